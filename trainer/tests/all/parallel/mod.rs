//! Worlds of real processes on loopback. This binary is also the program that they run: the ignored test [`WORKER`], with
//! a scenario's name and a folder behind it.

// Elsewhere libraries have other names.
#[cfg(all(feature = "nccl", target_os = "linux"))]
mod gpus;
mod processes;
mod worker;

use super::{counting, trainer, voting};
use halfpi_trainer::TrainError;
use halfpi_trainer::objective::NextToken;
use halfpi_trainer::parallel::{Collective, Options, ParallelError, Single, Tcp, World, connect, spawn_local};
use halfpi_trainer::tensor::{Cpu, values};
use halfpi_trainer::train::Trainer;
use halfpi_trainer::vote::{Range, Rule, VoteTrainer};
use processes::Processes;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The test that is none.
const WORKER: &str = "parallel::worker::process";

/// After this a test gives up on its processes. Generous, because all of them may share one processor.
const PATIENCE: Duration = Duration::from_secs(120);

/// More chunks than are on their way at a time, and a rest; less than one; nothing.
const LENGTHS: [usize; 3] = [11 * 65_536 + 17, 5, 0];

/// What a failed worker ends with.
const FAILED: i32 = 3;

/// A rank's share, with sums that depend on their order.
fn floats(rank: usize, length: usize) -> Vec<f32> {
    (0..length)
        .map(|i| noise(rank, i) as f32 * 2f32.powi((i % 40) as i32 - (rank * 9) as i32))
        .collect()
}

fn votes(rank: usize, length: usize) -> Vec<i32> {
    (0..length).map(|i| noise(rank, i) >> 4).collect()
}

fn bytes(rank: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| noise(rank, i) as u8).collect()
}

fn noise(rank: usize, i: usize) -> i32 {
    let mixed = (i as u64 + 1 + ((rank as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as i32
}

/// Trains on the shares of `ranks`, one after the other, of `size` in all; gives all losses and parameters.
fn train(ranks: &[usize], size: usize, together: &mut dyn Collective) -> Result<Vec<u8>, TrainError> {
    updates(&mut trainer(8, 10), 10, ranks, size, together)
}

/// The same by votes; gives the integers as well.
fn vote(ranks: &[usize], size: usize, together: &mut dyn Collective) -> Result<Vec<u8>, TrainError> {
    let rule = Rule {
        every: 3 * ranks.len() as u32,
        ..Rule::improved(3, Range::Int4)
    };
    let votes = VoteTrainer::new(rule)?.shared(together.rank() as u32, together.world_size() as u32);
    let mut trainer = voting(trainer(8, 15), votes, Range::Int4);
    let codes = |trainer: &Trainer<Cpu>| -> Vec<u8> {
        let votes = trainer.votes.as_ref().unwrap().lock();
        let codes = votes.matrices().flat_map(|(_, matrix)| matrix.codes());
        codes.map(|&code| code as u8).collect()
    };
    let before = codes(&trainer);
    let mut result = updates(&mut trainer, 15, ranks, size, together)?;
    let after = codes(&trainer);
    assert_eq!(trainer.votes.as_ref().unwrap().lock().commits(), 5);
    assert_ne!(before, after);
    result.extend(after);
    Ok(result)
}

fn updates(
    trainer: &mut Trainer<Cpu>,
    updates: usize,
    ranks: &[usize],
    size: usize,
    together: &mut dyn Collective,
) -> Result<Vec<u8>, TrainError> {
    let mut result = Vec::new();
    for update in 0..updates {
        let first = |rank: usize| (update * size + rank) as i32;
        let batches: Vec<_> = ranks.iter().map(|&rank| counting(first(rank), 2, 8)).collect();
        let loss = trainer.update(&mut NextToken, &batches, together)?.loss;
        assert!(loss > 0.0 && loss.is_finite());
        result.extend(loss.to_le_bytes());
    }
    for (_, parameter) in trainer.parameters.iter() {
        result.extend(
            values(parameter.value.clone())
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
    }
    Ok(result)
}

#[test]
fn two_and_four_processes_vote_as_one_does() {
    for size in [2, 4] {
        let all: Vec<usize> = (0..size).collect();
        let expected = vote(&all, size, &mut Single).unwrap();
        let mut processes = Processes::all("voting", size);
        processes.succeed();
        for rank in 0..size {
            let result = std::fs::read(processes.directory.join(rank.to_string())).unwrap();
            assert!(result == expected, "rank {rank} of {size} voted for something else");
        }
    }
}

#[test]
fn two_processes_compute_what_one_does() {
    sums(2);
}

#[test]
fn four_processes_compute_what_one_does() {
    sums(4);
}

/// Integers exactly, floats in the order of ranks, to the bit, on every rank.
fn sums(size: usize) {
    let mut expected = Vec::new();
    for length in LENGTHS {
        let mut sum = floats(0, length);
        for rank in 1..size {
            sum.iter_mut()
                .zip(floats(rank, length))
                .for_each(|(sum, value)| *sum += value);
        }
        expected.extend(sum.iter().flat_map(|value| value.to_le_bytes()));
        let mut sum = votes(0, length);
        for rank in 1..size {
            sum.iter_mut()
                .zip(votes(rank, length))
                .for_each(|(sum, value)| *sum += value);
        }
        expected.extend(sum.iter().flat_map(|value| value.to_le_bytes()));
        expected.extend((0..size).flat_map(|root| bytes(root, length)));
    }
    expected.extend(floats(size - 1, 70_000).iter().flat_map(|value| value.to_le_bytes()));
    expected.extend((0..size).flat_map(|rank| bytes(rank, 10 * rank)));

    let mut processes = Processes::all("sums", size);
    processes.succeed();
    for rank in 0..size {
        let result = std::fs::read(processes.directory.join(rank.to_string())).unwrap();
        assert!(result == expected, "rank {rank} of {size} computed something else");
    }
}

#[test]
fn two_and_four_processes_train_as_one_does() {
    for size in [2, 4] {
        let all: Vec<usize> = (0..size).collect();
        let expected = train(&all, size, &mut Single).unwrap();
        let mut processes = Processes::all("training", size);
        processes.succeed();
        for rank in 0..size {
            let result = std::fs::read(processes.directory.join(rank.to_string())).unwrap();
            assert!(result == expected, "rank {rank} of {size} learned something else");
        }
    }
}

#[test]
fn a_killed_process_stops_the_others_and_is_named() {
    for (killed, name) in [(2, "rank 2 failed"), (0, "rank 0 failed")] {
        let mut processes = Processes::all("endless", 4);
        processes.met();
        let start = Instant::now();
        processes.signal(killed, "-KILL");
        let others: Vec<usize> = (0..4).filter(|rank| *rank != killed).collect();
        processes.fail(&others, &[name, "ended without a word"]);
        println!(
            "all ended {} ms after rank {killed} was killed",
            start.elapsed().as_millis()
        );
    }
}

#[test]
fn a_stopped_process_is_missed() {
    let mut processes = Processes::all("silence", 3);
    processes.met();
    processes.signal(1, "-STOP");
    let stopped = processes.running.remove(1);
    processes.fail(&[0, 2], &["rank 1 failed", "nothing was heard"]);
    processes.running = vec![stopped];
    processes.signal(1, "-CONT");
    processes.fail(&[1], &["failed"]);
}

#[test]
fn a_process_that_hangs_is_named() {
    let mut processes = Processes::all("stall", 3);
    processes.met();
    let hangs = processes.running.remove(1);
    processes.fail(
        &[0, 2],
        &["rank 1 failed", "waited for it", "operation 3 while it has begun 2"],
    );
    processes.running = vec![hangs];
}

#[test]
fn another_configuration_is_refused_everywhere() {
    let mut processes = Processes::all("config", 4);
    processes.fail(&[0, 1, 2, 3], &["configuration"]);
    assert!(processes.error(2).contains("refuses"), "{}", processes.error(2));
    assert!(
        processes.error(0).contains("rank 2 cannot join"),
        "{}",
        processes.error(0)
    );
}

#[test]
fn different_work_is_an_error() {
    let mut processes = Processes::all("step", 4);
    processes.fail(&[0, 1, 2, 3], &["a sum of 11 floats", "a sum of 10 floats"]);
}

#[test]
fn votes_that_do_not_fit_are_an_error() {
    let mut processes = Processes::all("overflow", 4);
    processes.fail(&[0, 1, 2, 3], &["element 69000", "ranks 0 to 3", "32 bits"]);
}

#[test]
fn the_reason_of_a_rank_that_gives_up_reaches_all() {
    let mut processes = Processes::all("abort", 4);
    processes.fail(&[0, 1, 2, 3], &["rank 3 failed: the loss is NaN"]);
}

#[test]
fn a_rank_that_leaves_early_is_named() {
    let mut processes = Processes::all("leave", 4);
    processes.fail(&[0, 1, 2], &["rank 3 failed", "still needed"]);
    // Then nobody is left to pass on the news.
    let mut processes = Processes::all("leave-0", 4);
    processes.fail(&[1, 2, 3], &["rank 0 failed", "still needed"]);
}

#[test]
fn a_panic_is_passed_on() {
    let mut processes = Processes::all("panic", 3);
    processes.fail(&[0, 2], &["rank 1 failed: it panicked"]);
}

#[test]
fn missing_ranks_are_named() {
    let mut processes = Processes::new("missing", 4);
    processes.start(0);
    processes.start(2);
    processes.fail(&[0, 2], &["ranks 1, 3 have not come within 3 s", "2 of the 4"]);
    // Nobody listens for this one.
    let mut processes = Processes::new("missing", 2);
    processes.start(1);
    processes.fail(&[1], &["rank 0 was not found at 127.0.0.1", "within 3 s"]);
}

#[test]
fn a_taken_port_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut processes = Processes::new("join", 2);
    processes.port = taken.local_addr().unwrap().port();
    processes.start(0);
    processes.fail(&[0], &["rank 0 cannot listen on 127.0.0.1:", "MASTER_PORT"]);
}

#[test]
fn strangers_on_the_port_are_turned_away() {
    let mut processes = Processes::new("join", 2);
    processes.start(0);
    let connect = || {
        let start = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", processes.port)) {
                Ok(stream) => return stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let _silent = connect();
    for said in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"halfpi\x01\xff\xff",
        &[0; 100],
        b"halfpi\x01\x02\x00{}",
    ] {
        let mut stream = connect();
        stream.write_all(said).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Hung up, or reset because it said more than was read.
        assert!(!matches!(stream.read(&mut [0; 16]), Ok(1..)), "an answer to {said:?}");
    }
    let mut stream = connect();
    let hello = br#"{"Hello":{"job":"another","size":2,"rank":1,"config":"","port":1}}"#;
    stream.write_all(b"halfpi\x01").unwrap();
    stream.write_all(&(hello.len() as u16).to_le_bytes()).unwrap();
    stream.write_all(hello).unwrap();
    let mut answer = String::new();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    stream
        .take(u16::from_le_bytes([frame[7], frame[8]]).into())
        .read_to_string(&mut answer)
        .unwrap();
    assert!(answer.contains("Refused") && answer.contains("another"), "{answer}");

    processes.start(1);
    processes.succeed();
}

fn local(size: usize, processes: &Processes) -> Result<(), ParallelError> {
    spawn_local(size, std::env::current_exe().unwrap(), processes.args(), &|| false)
}

#[test]
fn a_local_world_needs_no_launcher() {
    let processes = Processes::new("join", 3);
    local(3, &processes).unwrap();

    let processes = Processes::new("abort", 4);
    match local(4, &processes) {
        Err(ParallelError::Local {
            code, message, rank, ..
        }) => {
            assert_eq!(code, FAILED);
            assert!(
                rank == 0 || message.contains("rank 3 failed: the loss is NaN"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    // Rank 1 aborts, rank 0 takes no notice.
    let processes = Processes::new("stubborn", 2);
    let start = Instant::now();
    match local(2, &processes) {
        Err(ParallelError::Local {
            rank: 1,
            code: 134,
            status,
            ..
        }) => assert!(status.contains("signal"), "{status}"),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < PATIENCE, "rank 0 was left to itself");
    let nothing = spawn_local(2, "/no/such/program", [""; 0], &|| false).unwrap_err();
    assert!(nothing.to_string().contains("/no/such/program"), "{nothing}");
}

#[test]
fn a_world_of_one_and_a_world_without_a_place_to_meet() {
    let options = Options::new(b"");
    let mut one = connect(&World::alone(), &options).unwrap();
    let mut values = [1.5];
    one.all_reduce_sum_f32(&mut values).unwrap();
    assert_eq!((values, one.rank(), one.world_size()), ([1.5], 0, 1));
    assert_eq!(one.all_gather(b"me").unwrap(), [b"me"]);
    assert!(matches!(one.broadcast(&mut [], 1), Err(ParallelError::Argument { .. })));
    let lost = World {
        size: 2,
        ..World::alone()
    };
    assert!(matches!(
        Tcp::connect(&lost, &options),
        Err(ParallelError::MissingVariable {
            name: "MASTER_ADDR",
            ..
        })
    ));
}
