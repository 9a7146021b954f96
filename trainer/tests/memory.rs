//! The allocator that counts, in a program of its own.

use halfpi::pack::expected_tensors;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_trainer::batch::Batch;
use halfpi_trainer::memory::{self, Class, Metered};
use halfpi_trainer::model::{Initial, Plain, Transformer, random};
use halfpi_trainer::objective::{NextToken, Objective};
use halfpi_trainer::pass::Pass;
use halfpi_trainer::tensor::Cpu;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// One test, because all threads count together.
#[test]
fn memory_is_measured() {
    allocations_count_for_their_class_until_they_are_freed();
    a_pass_that_recomputes_keeps_one_layer_at_a_time();
}

fn allocations_count_for_their_class_until_they_are_freed() {
    const MIB: usize = 1 << 20;
    let live = |class| memory::usage(class).live;

    let votes = memory::class(Class::Votes, || vec![1u8; 3 * MIB]);
    assert_eq!(live(Class::Votes), 3 * MIB);
    // Freed elsewhere, with no class in force.
    std::thread::spawn(move || drop(votes)).join().unwrap();
    assert_eq!(live(Class::Votes), 0);
    assert_eq!(memory::usage(Class::Votes).peak, 3 * MIB);

    // An allocation keeps its class when it grows and shrinks, and its contents.
    let mut grown: Vec<u32> = memory::class(Class::Optimizer, || (0..1000).collect());
    grown.reserve_exact(MIB - 1000);
    assert_eq!(live(Class::Optimizer), 4 * grown.capacity());
    grown.shrink_to_fit();
    assert_eq!(live(Class::Optimizer), 4000);
    assert!(grown.iter().copied().eq(0..1000));

    // Classes nest, and a panic ends one as a return does.
    memory::class(Class::Weights, || {
        let panicked =
            std::panic::catch_unwind(|| memory::class(Class::Data, || std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        let weights = vec![0u8; MIB];
        assert!((MIB..MIB + MIB / 2).contains(&live(Class::Weights)));
        drop(weights);
    });

    // Alignments beyond the header's, zeroed memory, and empty allocations.
    #[repr(align(256))]
    #[derive(Clone)]
    struct Wide([u8; 256]);
    let wide = memory::class(Class::Data, || vec![Wide([7; 256]); 9]);
    assert!(wide.as_ptr().addr().is_multiple_of(256) && wide.iter().all(|wide| wide.0 == [7; 256]));
    assert_eq!(live(Class::Data), 9 * 256);
    drop(wide);
    assert_eq!(live(Class::Data), 0);
    assert!(
        memory::class(Class::Data, || vec![0u64; MIB])
            .iter()
            .all(|&zero| zero == 0)
    );
    memory::class(Class::Data, || drop(Vec::<u8>::new()));

    // What tensors hold is taken out of the rest, and given back.
    let tensor = vec![1.0f32; MIB];
    let (rest, all) = (live(Class::Other), memory::total().live);
    let claim = memory::claim(Class::Gradients, 4 * MIB);
    assert_eq!((live(Class::Gradients), live(Class::Other)), (4 * MIB, rest - 4 * MIB));
    assert_eq!(memory::total().live, all);
    drop(claim);
    assert_eq!((live(Class::Gradients), live(Class::Other)), (0, rest));
    drop(tensor);

    memory::reset_peaks();
    assert_eq!(memory::usage(Class::Votes).peak, 0);
    let sum: usize = Class::ALL.into_iter().map(live).sum();
    assert_eq!(sum, memory::total().live);
}

/// Bytes that a pass through so many layers needs at most, beyond what was there before it.
fn peak(layers: usize, recompute: bool) -> usize {
    const SHAPE: [usize; 2] = [4, 64];
    let mut config = SyntheticModel::tiny(Architecture::Llama).config;
    config.block_count = layers;
    let tensors = expected_tensors(&config, true);
    let shapes: Vec<_> = tensors
        .map(|tensor| (tensor.name, [tensor.rows, tensor.cols]))
        .collect();
    let device = Default::default();
    let parameters = random::<Cpu>(&config, &shapes, Initial::default(), &device);
    let model = Transformer::new(&config, SHAPE[1], &[], &device);
    let numbers = SHAPE[0] * SHAPE[1];
    let batch = Batch::new(
        &vec![1; numbers],
        &vec![2; numbers],
        &vec![1.0; numbers],
        SHAPE,
        &device,
    );
    let before = memory::total().live;
    memory::reset_peaks();
    let mut pass = Pass::new(&model, &Plain, &parameters);
    if recompute {
        pass = pass.recomputing(None);
    }
    let loss = NextToken.loss(&mut pass, &batch).unwrap();
    let gradients = pass.gradients(loss).unwrap();
    assert_eq!(gradients.len(), shapes.len());
    memory::total().peak - before
}

fn a_pass_that_recomputes_keeps_one_layer_at_a_time() {
    let (_warm, few, many) = (peak(2, false), peak(2, true), peak(10, true));
    let (few_kept, many_kept) = (peak(2, false), peak(10, false));
    let (again, kept) = (many - few, many_kept - few_kept);
    // A layer more is its input and its gradients.
    assert!(
        3 * again < kept,
        "8 layers more are {again} bytes, and {kept} if all is kept"
    );
}
