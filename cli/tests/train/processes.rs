//! Runs of several processes: they learn what one does, stop together, and go on together.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{folder, halfpi, losses, train, train_in_batches};

/// A run of two processes with half the usual batch each.
fn two(folder: &Path, args: &[&str]) -> Output {
    halfpi(folder, &[&TWO[..], args].concat())
}

const TWO: [&str; 10] = [
    "train",
    "chats.jsonl",
    "--vocabulary",
    "300",
    "--batch",
    "2",
    "--length",
    "32",
    "--processes",
    "2",
];

fn report(folder: &Path, run: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(run).join("run.json")).unwrap()).unwrap()
}

#[test]
fn two_processes_learn_what_one_does() {
    let folder = folder("processes");
    let usual = ["--shape", "nano", "-n", "4", "--warm-up", "0"];
    let one = train(&folder, &[&usual[..], &["-o", "one"]].concat());
    let two = train_in_batches(&folder, "2", &[&usual[..], &["--processes", "2", "-o", "two"]].concat());
    assert_eq!(two["processes"], 2);
    assert_eq!(two["tokens"], one["tokens"]);
    for (one, two) in losses(&one).iter().zip(losses(&two)) {
        assert!((one - two).abs() < 1e-4, "{one} {two}");
    }
}

/// With votes too, which only a commit makes everybody's.
#[test]
fn a_run_whose_time_is_up_ends_everywhere_and_goes_on() {
    let folder = folder("minutes");
    for (name, votes) in [
        ("floats", &[][..]),
        ("votes", &["--method", "halfpi8, head=q8", "--vote", "2"]),
    ] {
        let usual = [&["--shape", "nano", "-n", "6", "--warm-up", "0"], votes].concat();
        let (whole, parts) = (format!("{name}-whole"), format!("{name}-parts"));
        let output = two(&folder, &[&usual[..], &["-o", &whole]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let parts_of = [&usual[..], &["-o", &parts]].concat();
        let output = two(&folder, &[&parts_of[..], &["--minutes", "0"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.matches("goes on from here").count(), 1, "{stderr}");
        assert!(!stderr.contains("rank") && !stderr.contains("error"), "{stderr}");
        assert!(!folder.join(&parts).join("run.json").exists());

        let output = two(&folder, &[&parts_of[..], &["--resume"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            losses(&report(&folder, &parts)),
            losses(&report(&folder, &whole)),
            "{name}"
        );
    }
}

#[test]
fn ctrl_c_ends_all_processes_with_a_checkpoint() {
    ends_with_a_checkpoint("-INT");
}

/// What schedulers send before they kill.
#[test]
fn a_request_to_end_leaves_a_checkpoint_too() {
    ends_with_a_checkpoint("-TERM");
}

fn ends_with_a_checkpoint(signal: &str) {
    let folder = folder(&format!("interrupted{signal}"));
    let endless = ["--shape", "nano", "-n", "100000", "-o", "run"];
    let mut running = Command::new(env!("CARGO_BIN_EXE_halfpi"))
        .current_dir(&folder)
        .args([&TWO[..], &endless, &["--checkpoint-every", "1"]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let checkpoint = folder.join("run/checkpoint.safetensors");
    while !checkpoint.exists() && running.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // To this process alone, as a program would; at a terminal all of them hear it.
    let id = running.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let mut stderr = String::new();
    running.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = running.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("goes on from here").count(), 1, "{stderr}");
    assert!(!stderr.contains("rank"), "{stderr}");
    let output = two(
        &folder,
        &[&endless[..], &["--checkpoint-every", "1", "--resume", "--minutes", "0"]].concat(),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Where each has a disk of its own, for instance, and only one the checkpoint.
#[test]
fn processes_that_begin_apart_are_refused() {
    let folder = folder("apart");
    // One tokenizer, so that nothing else is different.
    train(&folder, &["--shape", "nano", "-n", "1", "-o", "zero"]);
    fs::create_dir(folder.join("one")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let rank = |rank: &str, output: &str| {
        Command::new(env!("CARGO_BIN_EXE_halfpi"))
            .current_dir(&folder)
            .args([
                "train",
                "chats.jsonl",
                "--batch",
                "2",
                "--length",
                "32",
                "--resume",
                "--checkpoint-every",
                "2",
            ])
            .args([
                "--tokenizer",
                "zero/tokenizer",
                "--shape",
                "nano",
                "-n",
                "2",
                "--warm-up",
                "0",
                "-o",
                output,
            ])
            .envs([
                ("RANK", rank),
                ("LOCAL_RANK", rank),
                ("WORLD_SIZE", "2"),
                ("LOCAL_WORLD_SIZE", "2"),
            ])
            .envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port.to_string())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // The checkpoint of a run with the same options, on one of the two machines.
    let whole = [
        "--batch",
        "2",
        "--length",
        "32",
        "--tokenizer",
        "zero/tokenizer",
        "-n",
        "2",
        "--warm-up",
        "0",
    ];
    let output = halfpi(
        &folder,
        &[&["train", "chats.jsonl", "--shape", "nano", "-o", "left"], &whole[..]].concat(),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::copy(
        folder.join("left/checkpoint.safetensors"),
        folder.join("one/checkpoint.safetensors"),
    )
    .unwrap();
    fs::create_dir(folder.join("two")).unwrap();
    let ended: Vec<Output> = [rank("0", "one"), rank("1", "two")]
        .map(|process| process.wait_with_output().unwrap())
        .into();
    for output in &ended {
        assert!(!output.status.success());
    }
    let said = String::from_utf8_lossy(&ended[0].stderr);
    assert!(said.contains("rank 1 does not begin with what rank 0 does"), "{said}");
}

#[test]
fn what_one_process_cannot_do_is_said_once() {
    let folder = folder("unable");
    let refused = |args: &[&str]| {
        let output = two(&folder, &[args, &["-o", "run"]].concat());
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (args, expected) in [
        (&["--shape", "giant"][..], "micro"),
        (&["--shape", "nano", "--collective", "nccl"], "--device cuda"),
        (&["--shape", "nano", "--join-timeout", "0"], "604800"),
        #[cfg(not(feature = "cuda"))]
        (&["--shape", "nano", "--device", "cuda"], "--features cuda"),
    ] {
        let stderr = refused(args);
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!folder.join("run").exists(), "{args:?} left something");
    }
    // Nothing to read: found out by rank 0, and told to all.
    fs::write(folder.join("chats.jsonl"), "").unwrap();
    let stderr = refused(&["--shape", "nano"]);
    assert!(stderr.contains("error: there is nothing to take"), "{stderr}");
    assert!(
        stderr.contains("[rank 1] error: rank 0 failed: there is nothing"),
        "{stderr}"
    );
}
