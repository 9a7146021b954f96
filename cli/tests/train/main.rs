//! `halfpi train` from outside: a model from nothing, packed, that answers; runs that go on; processes that agree.
#![cfg(feature = "train")]

#[path = "../support/browser.rs"]
mod browser;
mod page;
mod processes;
mod recipes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of this test, empty but for conversations that say the same things over and over.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("train-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let say = |i: usize| {
        let (question, answer) = [
            ("hello", "hi there"),
            ("who are you", "a small model"),
            ("bye", "see you"),
        ][i % 3];
        format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{question} {i}\"}}, \
             {{\"role\": \"assistant\", \"content\": \"{answer} {i}\"}}]}}\n"
        )
    };
    let lines: String = (0..400).map(say).collect();
    fs::write(folder.join("chats.jsonl"), lines + "{broken\n").unwrap();
    folder
}

fn halfpi(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfpi"));
    command
        .current_dir(folder)
        .env_remove("HALFPI_MODEL")
        .stdin(Stdio::null());
    command.args(args).output().unwrap()
}

/// A run of a tiny model, and its report.
fn train(folder: &Path, args: &[&str]) -> Value {
    train_in_batches(folder, "4", args)
}

/// The same with so many sequences in a forward pass of each process.
fn train_in_batches(folder: &Path, batch: &str, args: &[&str]) -> Value {
    let usual = [
        "train",
        "chats.jsonl",
        "--vocabulary",
        "300",
        "--batch",
        batch,
        "--length",
        "32",
    ];
    let output = halfpi(folder, &[&usual[..], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    let directory = args.iter().skip_while(|arg| **arg != "-o").nth(1).unwrap();
    let report = fs::read(folder.join(directory).join("run.json")).unwrap();
    serde_json::from_slice(&report).unwrap_or_else(|error| panic!("{args:?}: {error}: {stderr}"))
}

/// The most bytes of a class of memory.
fn peak(report: &Value, name: &str) -> u64 {
    let by_class = report["memory"]["by_class"].as_array().unwrap();
    let class = by_class.iter().find(|class| class[0] == name);
    class.unwrap_or_else(|| panic!("no {name} in {by_class:?}"))[1]
        .as_u64()
        .unwrap()
}

fn failure(folder: &Path, args: &[&str]) -> String {
    let output = halfpi(folder, &[&["train"], args].concat());
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn losses(report: &Value) -> Vec<f64> {
    report["updates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|update| update["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn a_model_from_nothing_is_trained_packed_and_answers() {
    let folder = folder("ternary");
    let args = [
        "--shape",
        "nano",
        "--method",
        "ternary, head=q6",
        "-n",
        "300",
        "--rate",
        "3e-3",
        "-o",
        "run",
    ];
    let report = train(&folder, &args);
    let losses = losses(&report);
    assert_eq!(losses.len(), 300);
    assert!(losses[299] < 0.5 * losses[0], "{losses:?}");
    let held_out = report["held_out"].as_array().unwrap();
    assert!(
        held_out.len() == 4 && held_out[3][1].as_f64() < held_out[0][1].as_f64(),
        "{held_out:?}"
    );
    // Read more than once, named once.
    let named = report["data"]["named"].as_array().unwrap();
    assert!(named.len() == 1 && named[0]["line"] == 401, "{named:?}");

    let peak = |name| peak(&report, name);
    let weights = 4 * report["parameters"].as_u64().unwrap();
    assert_eq!(
        (peak("weights"), peak("optimizer"), peak("votes")),
        (weights, 2 * weights, 0)
    );
    let zeros = report["levels"][3]["zeros"].as_f64().unwrap();
    assert!((0.1..0.6).contains(&zeros), "{zeros}");
    let page = fs::read_to_string(folder.join("run/index.html")).unwrap();
    assert!(page.contains("ternary, head=q6") && page.matches("<svg").count() >= 6 && !page.contains("NaN"));

    let output = halfpi(&folder, &["inspect", "run/model.gguf", "--json"]);
    let inspected = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        inspected.contains("ternary") || inspected.contains("codebook2"),
        "{inspected}"
    );
    let answer = [
        "chat",
        "--model",
        "run/model.gguf",
        "--prompt",
        "hello 3",
        "--max-tokens",
        "12",
        "--temperature",
        "0",
    ];
    let output = halfpi(&folder, &answer);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let known = ["hi there", "a small model", "see you"];
    assert!(known.iter().any(|known| answer.contains(known)), "{answer:?}");
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = folder("resume");
    let args = |n: &'static str, output: &'static str| {
        [
            "--shape",
            "nano",
            "--method",
            "phi4, head=q8",
            "-n",
            n,
            "--warm-up",
            "0",
            "-o",
            output,
            "--checkpoint-every",
            "4",
        ]
    };
    let whole = losses(&train(&folder, &args("8", "whole")));
    // Killed while it runs, after the first checkpoint.
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfpi"));
    command
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.args([
        "train",
        "chats.jsonl",
        "--vocabulary",
        "300",
        "--batch",
        "4",
        "--length",
        "32",
    ]);
    let mut child = command.args(args("8", "parts")).spawn().unwrap();
    while !folder.join("parts/checkpoint.safetensors").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let _ = child.kill();
    child.wait().unwrap();

    let refused = failure(&folder, &[&["chats.jsonl"], &args("8", "parts")[..]].concat());
    assert!(refused.contains("--resume"), "{refused}");
    let checkpoint = fs::read(folder.join("parts/checkpoint.safetensors")).unwrap();
    let parts = losses(&train(&folder, &[&args("8", "parts")[..], &["--resume"]].concat()));
    assert_eq!(parts, whole);
    // At another rate it is another run, which may be what is wanted.
    fs::create_dir(folder.join("slower")).unwrap();
    fs::write(folder.join("slower/checkpoint.safetensors"), checkpoint).unwrap();
    let slower = [
        &args("8", "slower")[..],
        &[
            "--resume",
            "--tokenizer",
            "parts/tokenizer",
            "--rate",
            "1e-5",
            "--clip",
            "0.5",
        ],
    ]
    .concat();
    let slower = losses(&train(&folder, &slower));
    assert!(slower[..4] == whole[..4] && slower != whole, "{slower:?} {whole:?}");
    let other = [&["chats.jsonl", "--resume", "--seed", "7"], &args("8", "parts")[..]].concat();
    let refused = failure(&folder, &other);
    assert!(refused.contains("checkpoint"), "{refused}");
}

/// What a command prints that succeeds.
fn succeeds(folder: &Path, args: &[&str]) -> Vec<u8> {
    let output = halfpi(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    output.stdout
}

/// Packs what a run left for the hub again.
fn pack_hub(folder: &Path, format: &str) {
    let pack = [
        "pack",
        "run/hub",
        "--head",
        "q8",
        "-o",
        "again.gguf",
        "--format",
        format,
    ];
    succeeds(folder, &pack);
}

/// How far two models' predictions are apart.
fn compare(folder: &Path, model: &str, reference: &str) -> Value {
    let files = ["--model", model, "--reference", reference];
    let compare = [&["eval", "compare", "--text", "chats.jsonl", "--json"], &files[..]].concat();
    serde_json::from_slice(&succeeds(folder, &compare)).unwrap()
}

#[test]
fn what_was_trained_is_written_for_others_too() {
    let folder = folder("others");
    let args = [
        "--shape",
        "nano",
        "--method",
        "phi4, head=q8",
        "-n",
        "2",
        "-o",
        "run",
        "--hub",
        "--codes",
    ];
    train(&folder, &args);
    assert!(folder.join("run/codes.safetensors").metadata().unwrap().len() > 100_000);
    // The hub's directory is a model, from which training goes on, and packing finds the same weights in it.
    pack_hub(&folder, "phi4");
    let compared = compare(&folder, "again.gguf", "run/model.gguf");
    assert_eq!(compared["top1_agreement"].as_f64(), Some(1.0), "{compared}");
    train(
        &folder,
        &["--from", "run/hub", "--method", "phi4, head=q8", "-n", "2", "-o", "on"],
    );
    // What it was trained on calibrates it.
    let calibrated = ["--calibrate", "chats.jsonl", "--calibrate-tokens", "256"];
    let other = ["pack", "run/hub", "--format", "phi5", "-o", "calibrated.gguf"];
    let output = halfpi(&folder, &[&other[..], &calibrated].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("1 lines cannot be used; the first is line 401") && said.contains("of 400 documents"),
        "{said}"
    );
}

#[test]
fn norms_are_added_inside_the_blocks() {
    let folder = folder("sub-norm");
    let new = ["--shape", "nano", "--method", "ternary, head=q8", "-n", "20"];
    train(&folder, &[&new[..], &["-o", "plain"]].concat());
    let more = ["--from", "plain/model.gguf", "--sub-norm", "--hub", "-o", "run"];
    let report = train(&folder, &[&new[2..], &more[..]].concat());
    assert_eq!(report["options"]["sub_norm"], true);
    // 64 and 192 channels in each of two layers.
    let plain: Value = serde_json::from_slice(&fs::read(folder.join("plain/run.json")).unwrap()).unwrap();
    let parameters = |report: &Value| report["parameters"].as_u64().unwrap();
    assert_eq!(parameters(&report), parameters(&plain) + 2 * (64 + 192));

    pack_hub(&folder, "ternary");
    let divergence = |reference: &str| {
        let compared = compare(&folder, "again.gguf", reference);
        compared["kl_divergence"].as_f64().unwrap()
    };
    // The hub's floats of 16 bits round the norms.
    let (same, without) = (divergence("run/model.gguf"), divergence("plain/model.gguf"));
    assert!(same < 1e-4 && without > 100.0 * same, "{same} {without}");
}

#[test]
fn a_model_is_distilled_in_stretches_that_leave_pieces() {
    let folder = folder("stretches");
    train(
        &folder,
        &["--shape", "nano", "-n", "20", "--rate", "3e-3", "-o", "teacher"],
    );
    fs::rename(folder.join("chats.jsonl"), folder.join("chitchat.jsonl")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/distill.py");
    let python = |args: &[&str]| {
        let output = Command::new("python3")
            .current_dir(&folder)
            .arg(&script)
            .args(args)
            .output();
        let output = output.expect("python3, which the scripts of this repository need");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    python(&["split", "teacher/model.gguf", "pieces"]);
    let run = [
        "--",
        "-n",
        "6",
        "--batch",
        "2",
        "--length",
        "32",
        "--warm-up",
        "0",
        "--rate",
        "1e-3",
    ];
    let stretch = |minutes: &str| {
        let halfpi = env!("CARGO_BIN_EXE_halfpi");
        let paths = [
            "stretch",
            "--halfpi",
            halfpi,
            "--teacher",
            "pieces",
            "--corpus",
            ".",
            "--state",
            "state",
        ];
        let options = ["--method", "phase-t2, head=q8", "--minutes", minutes];
        python(&[&paths[..], &options, &run].concat())
    };
    // No time at all is one update.
    assert_eq!(stretch("0"), "to be continued: run the same again");
    assert_eq!(stretch("0"), "to be continued: run the same again");
    let last = stretch("5");
    assert!(last.ends_with("\ncomplete"), "{last}");
    python(&["join", "state/run.json", "run.json"]);
    let report: Value = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    // Three stretches are one run.
    let teacher = "teacher/model.gguf";
    let whole = [
        "train",
        "chitchat.jsonl",
        "--from",
        teacher,
        "--teacher",
        teacher,
        "--method",
        "phase-t2, head=q8",
    ];
    let output = halfpi(&folder, &[&whole[..], &run[1..], &["-o", "whole", "--json"]].concat());
    let whole: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(losses(&report), losses(&whole));
    assert_eq!(losses(&whole).len(), 6);
    python(&["join", "state/model.gguf", "model.gguf"]);
    let answer = halfpi(
        &folder,
        &[
            "chat",
            "--model",
            "model.gguf",
            "--prompt",
            "hello",
            "--max-tokens",
            "2",
        ],
    );
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn integers_are_trained_by_votes_and_packed_as_they_are() {
    let folder = folder("votes");
    for (format, every) in [("halfpi8", "1"), ("halfpi4", "5"), ("ternary", "5")] {
        let method = format!("{format}, head=q8");
        let args = [
            "--shape", "nano", "--method", &method, "--vote", every, "--rate", "1e-2", "-n", "60", "-o", format,
        ];
        let losses = losses(&train(&folder, &args));
        assert!(losses[59] < losses[0] - 0.3, "{format}: {losses:?}");
    }
    // What is computed again, and processes together, change nothing. (The embedding is the output matrix, and votes too.)
    let args = |output: &'static str| {
        [
            "--shape",
            "nano",
            "--method",
            "halfpi4, head=halfpi8",
            "--warm-up",
            "0",
            "-n",
            "6",
            "--rate",
            "1e-2",
            "-o",
            output,
        ]
    };
    let twice = ["--vote", "2", "--accumulate", "2"];
    let report = train_in_batches(&folder, "1", &[&args("one")[..], &twice].concat());
    let again = train_in_batches(&folder, "1", &[&args("again")[..], &twice, &["--recompute"]].concat());
    assert_eq!(losses(&again), losses(&report));
    let shared = ["--vote", "1", "--processes", "2"];
    let two = train_in_batches(&folder, "1", &[&args("two")[..], &shared].concat());
    assert_eq!(two["processes"], 2);
    assert_eq!(losses(&two), losses(&report));
    let model = |run: &str| fs::read(folder.join(run).join("model.gguf")).unwrap();
    assert!(model("one") == model("again") && model("one") == model("two"));
    // Weights are a byte each, but for the norms: 5 of 64 floats. Votes have 16 bits.
    let floats = 5 * 64;
    let integers = report["parameters"].as_u64().unwrap() - floats;
    let scales = peak(&report, "weights") - integers - 4 * floats;
    assert!((1..integers / 10).contains(&scales), "{scales} of {integers}");
    assert_eq!(peak(&report, "votes"), 2 * integers);
    assert_eq!(peak(&report, "optimizer"), 2 * 4 * floats);
}

#[test]
fn how_votes_are_committed_can_be_chosen() {
    let folder = folder("rules");
    let usual = [
        "--shape",
        "nano",
        "--method",
        "halfpi4",
        "--vote",
        "2",
        "--rate",
        "1e-2",
        "--warm-up",
        "0",
        "-n",
        "6",
    ];
    let mut all = Vec::new();
    for (name, rule, expected) in [
        ("usual", &[][..], ["{\"top\":0.1}", "true", "0.9"]),
        ("stated", &["--as-stated"], ["\"all\"", "false", "0.0"]),
        (
            "top",
            &["--vote-top", "0.25", "--vote-feedback", "0.5"],
            ["{\"top\":0.25}", "true", "0.5"],
        ),
        (
            "threshold",
            &["--vote-threshold", "0.75", "--vote-feedback", "1"],
            ["{\"threshold\":0.75}", "true", "1.0"],
        ),
    ] {
        let report = train(&folder, &[&usual[..], rule, &["-o", name]].concat());
        let chosen = &report["options"]["vote"];
        let found = ["choice", "decays", "feedback"].map(|field| chosen[field].to_string());
        assert_eq!(found, expected, "{name}");
        all.push(losses(&report));
    }
    // Before the first commit all are the same, then each goes its way.
    for (i, one) in all.iter().enumerate() {
        for two in &all[..i] {
            assert!(one[..2] == two[..2] && one[3] != two[3], "{one:?} {two:?}");
        }
    }
    let start = [
        "chats.jsonl",
        "--shape",
        "nano",
        "--vocabulary",
        "300",
        "-o",
        "x",
        "--method",
    ];
    for (args, expected) in [
        (&["f32", "--vote", "5"][..], "halfpi8"),
        (&["ternary", "--vote", "0"], "at least 1"),
        (&["ternary", "--vote", "5", "--vote-top", "0"], "above 0"),
        (&["ternary", "--vote", "5", "--vote-threshold", "1.5"], "at most 1"),
        (&["ternary", "--vote", "5", "--vote-feedback", "nan"], "from 0 to 1"),
        (
            &["ternary", "--vote", "5", "--vote-top", "0.1", "--vote-threshold", "0.1"],
            "cannot be used with",
        ),
        (
            &["ternary", "--vote", "5", "--as-stated", "--vote-feedback", "0.1"],
            "cannot be used with",
        ),
        (&["ternary", "--vote-top", "0.1"], "--vote <N>"),
        (&["ternary", "--vote", "5", "--lora", "2", "--merge"], "adapters"),
        (&["ternary", "--vote", "3", "--accumulate", "2"], "no whole number"),
        (&["ternary:learned", "--vote", "5"], ":learned"),
        (&["ternary", "--vote", "5", "--regularize", "1"], "without votes"),
        (&["ternary, phi4"], "only one method"),
        (&["ternary, blk.9.*=phi4"], "no tensor of this name"),
        (&["f32", "--momentum", "0.9"], "--optimizer sgd"),
        (&["f32", "--lora", "2"], "--merge"),
        (
            &["f32", "--lora", "2", "--merge", "--architecture", "ifairy"],
            "complex",
        ),
    ] {
        let message = failure(&folder, &[&start[..], args].concat());
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(!message.contains("panicked"), "{args:?}: {message}");
    }
}

#[test]
fn looking_at_held_out_text_keeps_no_activations() {
    let folder = folder("held-out");
    for method in [&["ternary"][..], &["halfpi4, head=halfpi8", "--vote", "1"]] {
        let peak = |batches: &'static str| {
            let usual = ["--shape", "nano", "-n", "2", "--held-out", "0.5", "-o", batches];
            let all = [&usual[..], &["--held-out-batches", batches, "--method"], method].concat();
            let report = train_in_batches(&folder, "8", &all);
            fs::remove_dir_all(folder.join(batches)).unwrap();
            report["memory"]["peak"].as_u64().unwrap()
        };
        // A pass has megabytes of activations, and what the engine notes of its operations.
        let (few, many) = (peak("1"), peak("9"));
        assert!(many < few + (1 << 20), "{method:?}: {few} {many}");
    }
}

/// The first update spoils the weights: what is written last is what was there before it, or nothing.
#[test]
fn a_run_that_diverged_leaves_no_checkpoint_of_it() {
    let folder = folder("diverged");
    let run = [
        "--batch",
        "4",
        "--length",
        "32",
        "--shape",
        "nano",
        "-o",
        "run",
        "--clip",
        "0",
        "--warm-up",
        "0",
    ];
    let run = [
        &[
            "chats.jsonl",
            "--vocabulary",
            "300",
            "--checkpoint-every",
            "1",
            "-n",
            "40",
        ],
        &run[..],
    ]
    .concat();
    let sgd = ["--optimizer", "sgd", "--rate"];
    for rate in ["300", "3000"] {
        let message = failure(&folder, &[&run[..], &sgd, &[rate]].concat());
        assert!(message.contains("smaller learning rate"), "{message}");
        assert!(!folder.join("run/checkpoint.safetensors").exists(), "{rate}");
    }
    // A good one stays, and a smaller rate goes on from it.
    let stopped = [&["train"], &run[..], &sgd, &["1e-2", "--minutes", "0"]].concat();
    succeeds(&folder, &stopped);
    let good = fs::read(folder.join("run/checkpoint.safetensors")).unwrap();
    failure(&folder, &[&run[..], &sgd, &["300", "--resume"]].concat());
    assert!(fs::read(folder.join("run/checkpoint.safetensors")).unwrap() == good);
    succeeds(&folder, &[&["train"], &run[..], &sgd, &["1e-2", "--resume"]].concat());
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let folder = folder("refused");
    fs::write(folder.join("empty.txt"), "").unwrap();
    for (args, expected) in [
        (&["chats.jsonl", "-o", "x"][..], "--shape"),
        (&["nothing.jsonl", "--shape", "nano", "-o", "x"], "nothing.jsonl"),
        (&["empty.txt", "--shape", "nano", "-o", "x"], "nothing"),
        (&["chats.jsonl", "--shape", "giant", "-o", "x"], "micro"),
        (
            &["chats.jsonl", "--shape", "nano", "--method", "phi9", "-o", "x"],
            "phi9",
        ),
        (
            &[
                "chats.jsonl",
                "--shape",
                "nano",
                "--bad-lines",
                "refuse",
                "--vocabulary",
                "300",
                "-o",
                "y",
            ],
            "chats.jsonl:401",
        ),
        (&["chats.jsonl", "--from", "chats.jsonl", "-o", "x"], "chats.jsonl"),
        (
            &[
                "chats.jsonl",
                "--shape",
                "nano",
                "--length",
                "0",
                "--vocabulary",
                "300",
                "-o",
                "z",
            ],
            "length",
        ),
        (
            &[
                "chats.jsonl",
                "--shape",
                "nano",
                "--rate",
                "nan",
                "--vocabulary",
                "300",
                "-o",
                "z",
            ],
            "finite",
        ),
        #[cfg(not(feature = "cuda"))]
        (
            &[
                "chats.jsonl",
                "--shape",
                "nano",
                "--device",
                "cuda",
                "--vocabulary",
                "300",
                "-o",
                "c",
            ],
            "--features cuda",
        ),
    ] {
        let message = failure(&folder, args);
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(!message.contains("panicked"), "{args:?}: {message}");
    }
}
