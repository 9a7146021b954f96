//! How fast processes on loopback add up floats: `cargo bench -p halfpi-trainer --bench all_reduce [PROCESSES…]`.

use halfpi_trainer::parallel::{Collective, Options, ParallelError, World, connect, spawn_local};
use std::time::{Duration, Instant};

/// What is added up: little, a small layer, a model of 16M parameters.
const LENGTHS: [usize; 3] = [1, 1 << 16, 16 << 20];

fn main() {
    let result = match World::from_environment() {
        Ok(world) if world.size > 1 => rank(&world),
        _ => {
            let given: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
            let program = std::env::current_exe().expect("this program's path");
            let sizes = if given.is_empty() { vec![2, 4] } else { given };
            sizes
                .into_iter()
                .try_for_each(|size| spawn_local(size, &program, [""; 0], &|| false))
        }
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn rank(world: &World) -> Result<(), ParallelError> {
    let mut ranks = connect(world, &Options::new(b"bench"))?;
    for length in LENGTHS {
        let best = best(ranks.as_mut(), length)?;
        if world.rank == 0 {
            let bytes = (4 * length) as f64 / best.as_secs_f64() / 1e9;
            println!(
                "{} processes, {length} floats: {best:?}, {bytes:.2} GB/s of the slice",
                world.size
            );
        }
    }
    Ok(())
}

/// The fastest of several.
fn best(ranks: &mut dyn Collective, length: usize) -> Result<Duration, ParallelError> {
    let mut values = vec![1.0; length];
    let mut best = Duration::MAX;
    for _ in 0..10 {
        ranks.barrier()?;
        let start = Instant::now();
        ranks.all_reduce_sum_f32(&mut values)?;
        best = best.min(start.elapsed());
        values.fill(1.0);
    }
    Ok(best)
}
