//! A world of GPUs, with stand-ins for NVIDIA's libraries (`standin.c`) that compute in the host's memory.

use super::processes::Processes;
use super::{LENGTHS, PATIENCE, floats, votes};
use halfpi_trainer::TrainError;
use halfpi_trainer::parallel::{Options, Sums, World, connect_gpus};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A directory with libraries of these names.
fn libraries(names: &[&str]) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let built = BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/parallel/standin.c");
        let library = directory.join(format!("standin-{}.so", std::process::id()));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        assert!(cc.status().expect("a C compiler, which linking needs too").success());
        library
    });
    let libraries = directory.join(format!("standin-{}", names.join("-")));
    std::fs::create_dir_all(&libraries).unwrap();
    for name in names {
        // Put in place whole: another test may be loading it.
        let part = libraries.join(format!("{name}.{}.part", std::process::id()));
        std::fs::copy(built, &part).unwrap();
        std::fs::rename(part, libraries.join(name)).unwrap();
    }
    libraries
}

fn world(scenario: &'static str, size: usize, gpus: &str, names: &[&str]) -> Processes {
    let mut processes = Processes::new(scenario, size);
    processes.variables = vec![
        ("LD_LIBRARY_PATH", libraries(names).display().to_string()),
        ("HALFPI_STANDIN_GPUS", gpus.to_string()),
    ];
    processes
}

fn start_all(processes: &mut Processes) {
    (0..processes.size).for_each(|rank| processes.start(rank));
}

const BOTH: [&str; 2] = ["libcuda.so", "libnccl.so"];

/// What one process does.
pub fn act(scenario: &str, directory: &Path, world: &World, options: &Options) -> Result<(), TrainError> {
    let sums = if scenario == "gpus-tcp" { Sums::Tcp } else { Sums::Nccl };
    let (mut ranks, gpu) = connect_gpus(world, options, sums)?;
    let mut result = vec![gpu as u8];
    for length in LENGTHS {
        let mut floats = floats(world.rank, length);
        ranks.all_reduce_sum_f32(&mut floats)?;
        result.extend(floats.iter().flat_map(|value| value.to_le_bytes()));
        let mut votes = votes(world.rank, length);
        ranks.all_reduce_sum_i32(&mut votes)?;
        result.extend(votes.iter().flat_map(|value| value.to_le_bytes()));
    }
    if scenario == "gpus-overflow" {
        ranks.all_reduce_sum_i32(&mut [0, i32::MAX / 2 + 1])?;
    }
    ranks.barrier()?;
    std::fs::write(directory.join(world.rank.to_string()), result).unwrap();
    Ok(())
}

/// The sums of two processes are those of two numbers, whatever their order.
fn check(processes: &Processes, gpus: [u8; 2]) {
    let mut expected = Vec::new();
    for length in LENGTHS {
        let sums = floats(0, length).into_iter().zip(floats(1, length)).map(|(a, b)| a + b);
        expected.extend(sums.flat_map(|sum| sum.to_le_bytes()));
        let sums = votes(0, length).into_iter().zip(votes(1, length)).map(|(a, b)| a + b);
        expected.extend(sums.flat_map(|sum| sum.to_le_bytes()));
    }
    for (rank, gpu) in gpus.into_iter().enumerate() {
        let result = std::fs::read(processes.directory.join(rank.to_string())).unwrap();
        assert_eq!(result[0], gpu, "rank {rank} has another GPU");
        assert!(result[1..] == expected, "rank {rank} computed something else");
    }
}

#[test]
fn each_process_has_its_gpu_and_nccl_adds_up() {
    // All see both, or each its own as the first.
    for (gpus, numbers) in [("2", [0, 1]), ("1", [0, 0])] {
        let mut processes = world("gpus", 2, gpus, &BOTH);
        start_all(&mut processes);
        processes.succeed();
        check(&processes, numbers);
    }
}

#[test]
fn without_nccl_gpus_can_add_up_over_tcp() {
    let mut processes = world("gpus-tcp", 2, "2", &["libcuda.so"]);
    start_all(&mut processes);
    processes.succeed();
    check(&processes, [0, 1]);

    let mut processes = world("gpus", 2, "2", &["libcuda.so"]);
    start_all(&mut processes);
    processes.fail(&[0, 1], &["libnccl", "--collective tcp"]);
}

#[test]
fn too_few_gpus_stop_all() {
    let mut processes = world("gpus", 3, "2", &BOTH);
    start_all(&mut processes);
    processes.fail(&[0, 1, 2], &["local rank 2 has no GPU: CUDA shows 2"]);
    let mut processes = world("gpus", 2, "0", &BOTH);
    start_all(&mut processes);
    processes.fail(&[0, 1], &["has no GPU: CUDA shows 0"]);
}

#[test]
fn votes_that_do_not_fit_are_an_error_on_gpus_too() {
    let mut processes = world("gpus-overflow", 2, "2", &BOTH);
    start_all(&mut processes);
    processes.fail(&[0, 1], &["element 1", "32 bits"]);
}

#[test]
fn a_rank_that_dies_within_nccl_does_not_keep_the_others() {
    let start = std::time::Instant::now();
    let mut processes = world("gpus", 3, "3", &BOTH);
    processes.variables.push(("HALFPI_STANDIN_DIES", "1".to_string()));
    start_all(&mut processes);
    processes.fail(&[0, 2], &["rank 1 failed", "ended without a word"]);
    assert!(start.elapsed() < PATIENCE, "they waited in NCCL");
}
