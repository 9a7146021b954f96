//! Updates, checkpoints, and what is refused.

use halfpi_trainer::TrainError;
use halfpi_trainer::batch::Batch;
use halfpi_trainer::checkpoint::{self, Checkpoint, State};
use halfpi_trainer::objective::NextToken;
use halfpi_trainer::parallel::Single;
use halfpi_trainer::tensor::{Cpu, Precision, values};
use halfpi_trainer::train::Trainer;

use super::{counting, trainer};

const LENGTH: usize = 8;

fn numbers(trainer: &Trainer<Cpu>) -> Vec<(String, Vec<f32>)> {
    let parameters = trainer.parameters.iter();
    parameters
        .map(|(name, parameter)| (name.to_owned(), values(parameter.value.clone())))
        .collect()
}

fn update(trainer: &mut Trainer<Cpu>, batches: &[Batch<Cpu>]) -> f32 {
    trainer.update(&mut NextToken, batches, &mut Single).unwrap().loss
}

#[test]
fn the_loss_falls() {
    let mut trainer = trainer(LENGTH, 60);
    let before = trainer.evaluate([Ok(counting(3, 4, LENGTH))].into_iter()).unwrap();
    let losses: Vec<f32> = (0..60)
        .map(|i| update(&mut trainer, &[counting(i, 8, LENGTH)]))
        .collect();
    let after = trainer.evaluate([Ok(counting(3, 4, LENGTH))].into_iter()).unwrap();
    assert!(losses[0] > 4.0 && before > 4.0, "{losses:?}");
    assert!(after < 0.5 && losses[59] < 0.5, "{after} {losses:?}");
    assert_eq!(trainer.updates(), 60);
}

/// Weights, and what comes of them, stay of 32 bits: only what is multiplied is rounded.
#[test]
fn products_of_16_bits_learn_as_those_of_32() {
    let losses = |precision| {
        let mut trainer = trainer(LENGTH, 60);
        trainer.parameters.precision = precision;
        let batch = |i| counting(i, 8, LENGTH);
        (0..60).map(|i| update(&mut trainer, &[batch(i)])).collect::<Vec<f32>>()
    };
    let (exact, rounded) = (losses(Precision::F32), losses(Precision::Bf16));
    assert_ne!(exact, rounded);
    for (exact, rounded) in exact.iter().zip(&rounded) {
        assert!((exact - rounded).abs() < 0.02 * exact + 0.02, "{exact} {rounded}");
    }
}

#[test]
fn gradients_of_small_batches_add_up() {
    let (mut whole, mut parts) = (trainer(LENGTH, 10), trainer(LENGTH, 10));
    let one = update(&mut whole, &[counting(0, 4, LENGTH)]);
    let two = update(&mut parts, &[counting(0, 2, LENGTH), counting(14, 2, LENGTH)]);
    assert!((one - two).abs() < 1e-5 * one, "{one} {two}");
    for ((name, whole), (_, parts)) in numbers(&whole).iter().zip(numbers(&parts)) {
        // Adam divides by the size of a gradient, so that rounding shows where that is almost 0.
        let far = whole.iter().zip(&parts).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
        assert!(far * 100 <= whole.len(), "{name}: {far} of {}", whole.len());
    }
}

#[test]
fn a_run_goes_on_bit_for_bit() {
    let path = std::env::temp_dir().join(format!("halfpi-checkpoint-{}.safetensors", std::process::id()));
    let mut first = trainer(LENGTH, 10);
    (0..3).for_each(|i| assert!(update(&mut first, &[counting(i, 4, LENGTH)]) > 0.0));
    let mut state = State::new(first.updates(), 96);
    state.data = serde_json::json!({"place": 3});
    checkpoint::write(&first, State::new(1, 0), &path).unwrap();
    // Written over: the newer one counts.
    checkpoint::write(&first, state.clone(), &path).unwrap();

    let mut second = trainer(LENGTH, 10);
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_eq!(checkpoint.state, state);
    checkpoint
        .restore(&mut second, &Default::default(), &path, [0, 1])
        .unwrap();
    for i in 3..6 {
        let batches = [counting(i, 4, LENGTH)];
        assert_eq!(
            update(&mut first, &batches).to_bits(),
            update(&mut second, &batches).to_bits()
        );
    }
    assert_eq!(numbers(&first), numbers(&second));

    // A damaged or a foreign file changes nothing.
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            matches!(Checkpoint::read(&path), Err(TrainError::Checkpoint { .. })),
            "{length}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Checkpoint::read(&path), Err(TrainError::Io { .. })));
    let mut other = checkpoint.clone();
    other.tensors.remove("parameter.output_norm.weight");
    let before = numbers(&second);
    let error = other
        .restore(&mut second, &Default::default(), &path, [0, 1])
        .unwrap_err();
    assert!(error.to_string().contains("output_norm.weight"), "{error}");
    assert_eq!(numbers(&second), before);

    // Nor does one whose optimizer remembers something else.
    let of = |moment: &str| format!("optimizer.output_norm.weight.adamw.{moment}");
    let short = checkpoint.tensors["parameter.blk.0.attn_q.weight"].clone();
    let changes: [&dyn Fn(&mut Checkpoint); 3] = [
        &|other| drop(other.tensors.remove(&of("square"))),
        &|other| drop(other.tensors.insert(of("mean"), short.clone())),
        &|other| {
            drop(
                other
                    .tensors
                    .insert("optimizer.nobody.adamw.mean".into(), short.clone()),
            )
        },
    ];
    for change in changes {
        let mut other = checkpoint.clone();
        change(&mut other);
        let error = other
            .restore(&mut second, &Default::default(), &path, [0, 1])
            .unwrap_err();
        assert!(error.to_string().contains("optimizer remembers"), "{error}");
    }
    assert_eq!(numbers(&second), before);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_old_one() {
    let directory = std::env::temp_dir().join(format!("halfpi-checkpoints-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("checkpoint.safetensors");
    let trainer = trainer(LENGTH, 10);
    checkpoint::write(&trainer, State::new(1, 0), &path).unwrap();
    // A directory cannot be replaced by a file.
    let taken = directory.join("taken");
    std::fs::create_dir(&taken).unwrap();
    let error = checkpoint::write(&trainer, State::new(2, 0), &taken).unwrap_err();
    assert!(
        matches!(&error, TrainError::Io { path, .. } if *path == taken),
        "{error}"
    );
    assert_eq!(Checkpoint::read(&path).unwrap().state.updates, 1);
    assert_eq!(
        std::fs::read_dir(&directory).unwrap().count(),
        2,
        "something is left behind"
    );
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_is_not_finite_changes_nothing() {
    let mut trainer = trainer(LENGTH, 10);
    update(&mut trainer, &[counting(0, 2, LENGTH)]);
    trainer
        .parameters
        .update("blk.0.ffn_up.weight", |weights| weights * f32::INFINITY)
        .unwrap();
    let before = numbers(&trainer);
    let error = trainer
        .update(&mut NextToken, &[counting(1, 2, LENGTH)], &mut Single)
        .unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { update: 2, .. }), "{error}");
    assert_eq!(trainer.updates(), 1);
    for ((name, before), (_, after)) in before.iter().zip(numbers(&trainer)) {
        let same = before.iter().zip(&after).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}");
    }
}
