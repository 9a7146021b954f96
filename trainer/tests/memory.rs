//! The allocator that counts, in a program of its own.

use halfpi_trainer::memory::{self, Class, Metered};

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// One after the other, because all threads count together: the classes here are used by no other test.
#[test]
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
