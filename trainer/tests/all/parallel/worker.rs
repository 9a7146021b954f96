//! What the processes of these tests do.

use super::{FAILED, LENGTHS, PATIENCE, bytes, floats, train, vote, votes};
use halfpi_trainer::TrainError;
use halfpi_trainer::parallel::{Options, World, connect};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Not a test by itself: what the processes of the other tests run.
#[test]
#[ignore = "run by the other tests, as the processes of their worlds"]
fn process() {
    let mut args = std::env::args().skip_while(|arg| arg != super::WORKER).skip(1);
    let (scenario, directory) = (
        args.next().expect("a scenario"),
        PathBuf::from(args.next().expect("a directory")),
    );
    let world = World::from_environment().expect("the variables of a world");
    if let Err(error) = act(&scenario, &directory, &world) {
        let text = format!("rank {}: {error}", world.rank);
        eprintln!("{text}");
        std::fs::write(directory.join(format!("error-{}", world.rank)), text).unwrap();
        std::process::exit(FAILED);
    }
}

/// What one process does in a scenario.
fn act(scenario: &str, directory: &Path, world: &World) -> Result<(), TrainError> {
    let different = scenario == "config" && world.rank == 2;
    let mut options = Options::new(if different { b"other" } else { b"settings" });
    options.join_timeout = Duration::from_secs(if scenario == "missing" { 3 } else { 60 });
    options.silence_timeout = Duration::from_secs(if scenario == "silence" { 4 } else { 60 });
    options.stall_timeout = Duration::from_secs(if scenario == "stall" { 3 } else { 60 });
    #[cfg(all(feature = "nccl", target_os = "linux"))]
    if scenario.starts_with("gpus") {
        return super::gpus::act(scenario, directory, world, &options);
    }
    let mut ranks = connect(world, &options)?;
    std::fs::write(directory.join(format!("met-{}", world.rank)), "").unwrap();
    match scenario {
        "sums" => {
            let mut result = Vec::new();
            for length in LENGTHS {
                let mut floats = floats(world.rank, length);
                ranks.all_reduce_sum_f32(&mut floats)?;
                result.extend(floats.iter().flat_map(|value| value.to_le_bytes()));
                let mut votes = votes(world.rank, length);
                ranks.all_reduce_sum_i32(&mut votes)?;
                result.extend(votes.iter().flat_map(|value| value.to_le_bytes()));
                for root in 0..world.size {
                    let mut sent = bytes(world.rank, length);
                    ranks.broadcast(&mut sent, root)?;
                    result.extend(sent);
                }
            }
            ranks.barrier()?;
            let mut parameters = floats(world.rank, 70_000);
            ranks.broadcast_f32(&mut parameters, world.size - 1)?;
            result.extend(parameters.iter().flat_map(|value| value.to_le_bytes()));
            for gathered in ranks.all_gather(&bytes(world.rank, 10 * world.rank))? {
                result.extend(gathered);
            }
            std::fs::write(directory.join(world.rank.to_string()), result).unwrap();
        }
        "training" => {
            let result = train(&[world.rank], world.size, ranks.as_mut())?;
            std::fs::write(directory.join(world.rank.to_string()), result).unwrap();
        }
        "voting" => {
            let result = vote(&[world.rank], world.size, ranks.as_mut())?;
            std::fs::write(directory.join(world.rank.to_string()), result).unwrap();
        }
        // Work without end, until somebody fails.
        "endless" | "silence" => loop {
            ranks.all_reduce_sum_f32(&mut floats(world.rank, 100_000))?;
        },
        "stall" => {
            ranks.barrier()?;
            if world.rank == 1 {
                std::thread::sleep(PATIENCE);
            }
            ranks.barrier()?;
        }
        "step" => {
            ranks.barrier()?;
            let length = if world.rank == 2 { 11 } else { 10 };
            ranks.all_reduce_sum_f32(&mut vec![0.0; length])?;
            ranks.barrier()?;
        }
        "overflow" => {
            let mut votes = vec![0; 70_000];
            votes[69_000] = i32::MAX / 3;
            ranks.all_reduce_sum_i32(&mut votes)?;
        }
        "abort" => {
            if world.rank == 3 {
                ranks.abort("the loss is NaN");
                ranks.check()?;
            }
            ranks.barrier()?;
        }
        "leave" | "leave-0" => {
            if world.rank != if scenario == "leave" { 3 } else { 0 } {
                ranks.barrier()?;
            }
        }
        "stubborn" => {
            if world.rank == 1 {
                std::process::abort();
            }
            std::thread::sleep(2 * PATIENCE);
        }
        "panic" => {
            assert!(world.rank != 1, "on purpose");
            ranks.barrier()?;
        }
        "config" | "missing" | "join" => ranks.barrier()?,
        other => panic!("no scenario {other}"),
    }
    Ok(())
}
