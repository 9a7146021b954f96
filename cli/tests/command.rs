//! The command from outside: what it prints, its exit codes, and the JSON that other programs read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use halfpi::gguf::{GgmlType, Writer};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::transformer::Architecture;
use serde_json::Value;

/// A folder of this run, with a random model in two precisions and a text in it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("command");
        std::fs::create_dir_all(&folder).unwrap();
        let model = SyntheticModel::tiny(Architecture::Qwen3);
        model.save(folder.join("f32.gguf")).unwrap();
        let packed = model.clone().with_storage(Storage::by_name("phi4").unwrap());
        packed.save(folder.join("phi4.gguf")).unwrap();
        std::fs::write(
            folder.join("text.txt"),
            "The cat sat there and then it was time to go.\n".repeat(9),
        )
        .unwrap();
        std::fs::write(folder.join("empty.txt"), "").unwrap();
        std::fs::write(folder.join("latin1.txt"), b"caf\xe9").unwrap();
        std::fs::write(folder.join("not-a-model.gguf"), "<html>").unwrap();
        folder
    })
}

fn halfpi(args: &[&str]) -> Output {
    command(args).stdin(Stdio::null()).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfpi"));
    command.current_dir(folder()).args(args).env_remove("HALFPI_MODEL");
    command
}

/// What a successful command prints, as JSON.
fn json(args: &[&str]) -> Value {
    let output = halfpi(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

#[track_caller]
fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[test]
fn inspect_tells_what_is_in_the_file() {
    let model = SyntheticModel::tiny(Architecture::Qwen3);
    for file in ["f32.gguf", "phi4.gguf"] {
        let report = json(&["inspect", file, "--context", "100", "--json"]);
        assert_eq!(report["architecture"], "qwen3");
        assert_eq!(report["problem"], Value::Null);
        assert_eq!(report["parameters"], model.parameters());
        assert_eq!(report["metadata"]["qwen3.block_count"], 2);
        assert_eq!(report["metadata"]["tokenizer.ggml.tokens"]["length"], 421);
        assert!(report["chat_template"].as_str().unwrap().contains("<|im_start|>"));
        let embedding = report["tensors"]
            .as_array()
            .unwrap()
            .iter()
            .find(|t| t["name"] == "token_embd.weight")
            .unwrap();
        assert_eq!(embedding["shape"], serde_json::json!([64, 421]));
        let memory = &report["memory"];
        assert_eq!(memory["context"], 100);
        assert!(number(memory, "kv_cache_int8") < number(memory, "kv_cache_f16"));
        // Two layers of keys and values, two heads of 16 halves.
        assert!(number(memory, "kv_cache_f16") >= (2 * 2 * 2 * 16 * 2 * 100) as f64);
    }
    let bits = |file| number(&json(&["inspect", file, "--json"]), "bits_per_weight");
    assert_eq!(bits("f32.gguf"), 32.0);
    assert!(bits("phi4.gguf") < 8.0);
    let text = halfpi(&["inspect", "phi4.gguf"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("runs here") && text.contains("phi4") && text.contains("blk.1.ffn_down.weight"),
        "{text}"
    );
}

/// Files that cannot run are shown with the reason, and what they say does not reach the terminal raw.
#[test]
fn inspect_shows_what_does_not_run() {
    let mut writer = Writer::new();
    writer.set("general.architecture", "mamba").unwrap();
    writer.set("evil", "\u{1b}[2Jgone\nsecond line").unwrap();
    writer.declare("odd", &[256, 3], GgmlType::Q6_K).unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    tensors.write("odd", &[0; 630]).unwrap();
    std::fs::write(folder().join("mamba.gguf"), tensors.finish().unwrap()).unwrap();
    let report = json(&["inspect", "mamba.gguf", "--json"]);
    assert!(report["problem"].as_str().unwrap().contains("mamba"));
    assert_eq!(report["memory"], Value::Null);
    assert_eq!(report["types"][0]["type"], "Q6_K");
    assert_eq!(report["parameters"], 768);
    let text = String::from_utf8(halfpi(&["inspect", "mamba.gguf"]).stdout).unwrap();
    assert!(text.contains("does not run here") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn eval_tokens_gives_ids() {
    std::fs::write(folder().join("special.txt"), "a<|im_end|>").unwrap();
    let parsed = json(&[
        "eval",
        "tokens",
        "--model",
        "f32.gguf",
        "--text",
        "special.txt",
        "--json",
    ]);
    assert_eq!(parsed["ids"].as_array().unwrap().len(), 2);
    let plain = json(&[
        "eval",
        "tokens",
        "--model",
        "f32.gguf",
        "--text",
        "special.txt",
        "--no-special",
        "--json",
    ]);
    assert!(plain["ids"].as_array().unwrap().len() > 2);
    assert_eq!(
        json(&["eval", "tokens", "-m", "f32.gguf", "-t", "empty.txt", "--json"])["ids"],
        serde_json::json!([])
    );
}

#[test]
fn eval_perplexity_and_compare_agree() {
    let perplexity = |file, context| {
        json(&[
            "eval",
            "perplexity",
            "--model",
            file,
            "--text",
            "text.txt",
            "--context",
            context,
            "--json",
        ])
    };
    let report = perplexity("f32.gguf", "16");
    let tokens = number(&report, "tokens");
    assert!((number(&report, "perplexity").ln() - number(&report, "mean_nll")).abs() < 1e-9);
    // Random weights know nothing of a vocabulary of 421.
    assert!(number(&report, "perplexity") > 100.0, "{report}");
    assert!(number(&report, "tokens_per_second") > 0.0);
    assert!(
        number(&perplexity("f32.gguf", "512"), "tokens") > tokens,
        "each window gives its first token away"
    );

    let compare = |model, reference, more: &[&str]| {
        let args = [
            "eval",
            "compare",
            "--model",
            model,
            "--reference",
            reference,
            "--text",
            "text.txt",
            "--context",
            "16",
        ];
        json(&[&args[..], &["--json"], more].concat())
    };
    let same = compare("f32.gguf", "f32.gguf", &[]);
    assert_eq!(number(&same, "kl_divergence"), 0.0);
    assert_eq!(number(&same, "top1_agreement"), 1.0);
    assert_eq!(number(&same, "tokens"), tokens);
    assert_eq!(number(&same, "perplexity"), number(&report, "perplexity"));
    let other = compare("phi4.gguf", "f32.gguf", &["--reference-activations", "f32"]);
    assert!(number(&other, "kl_divergence") > 0.0);
    assert!(number(&other, "top1_agreement") < 1.0);
    assert_ne!(number(&other, "perplexity"), number(&other, "reference_perplexity"));
}

#[test]
fn pack_writes_a_model_that_runs() {
    let args = [
        "pack",
        "f32.gguf",
        "--format",
        "phi4",
        "--keep",
        "token_embd.weight=q8",
        "-o",
        "packed.gguf",
    ];
    let report = json(&[&args[..], &["--report", "report", "--json"]].concat());
    let tensors = report["tensors"].as_array().unwrap();
    let tensor = |name: &str| tensors.iter().find(|tensor| tensor["name"] == name).unwrap();
    assert_eq!(tensor("token_embd.weight")["to"], "q8");
    let gate = tensor("blk.0.ffn_gate.weight");
    assert_eq!((&gate["from"], &gate["to"]), (&"F32".into(), &"phi4".into()));
    assert!((10.0..30.0).contains(&number(gate, "sqnr_db")), "{gate}");
    assert!((4.0..10.0).contains(&number(&report, "bits_per_weight")), "{report}");
    let length = std::fs::metadata(folder().join("packed.gguf")).unwrap().len();
    assert_eq!(report["file_bytes"], length);

    let inspected = json(&["inspect", "packed.gguf", "--json"]);
    assert_eq!(inspected["problem"], Value::Null);
    assert_eq!(inspected["parameters"], report["weights"]);
    let page = std::fs::read_to_string(folder().join("report/index.html")).unwrap();
    assert!(
        page.contains("blk.1.ffn_down.weight") && page.contains("<svg"),
        "{page}"
    );
    let answer = json(&["chat", "-m", "packed.gguf", "-p", "Hi", "--max-tokens", "4", "--json"]);
    assert!(number(&answer, "generated_tokens") > 0.0);

    let text = halfpi(&["pack", "packed.gguf", "--format", "lossless", "-o", "again.gguf"]);
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["per weight", "SQNR", "NMSE", "again.gguf", "signal to noise exact"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_pack_with_a_wrong_scale_is_refused_with_the_figure() {
    // Too small for scales in f16: every weight would become 0.
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    writer.declare("x.weight", &[32, 16], GgmlType::F32).unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    // Unlike each other, or a scale of 32 bits would hold all of them.
    let faint = (0..512).flat_map(|i| (1e-12 * (1.0 + 0.37 * (i % 11) as f32)).to_le_bytes());
    tensors.write("x.weight", &faint.collect::<Vec<u8>>()).unwrap();
    std::fs::write(folder().join("faint.gguf"), tensors.finish().unwrap()).unwrap();

    // From an earlier run.
    let _ = std::fs::remove_file(folder().join("faint-packed.gguf"));
    let args = ["pack", "faint.gguf", "--format", "phi4", "-o", "faint-packed.gguf"];
    let refused = halfpi(&args);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    for part in ["\"x.weight\"", "1.000", "0.27", "--allow-loss"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!folder().join("faint-packed.gguf").exists());
    let report = json(&[&args[..], &["--allow-loss", "--json"]].concat());
    assert_eq!(number(&report, "nmse"), 1.0);
    assert!(folder().join("faint-packed.gguf").exists());
}

#[test]
fn unpack_restores_what_pack_archived() {
    let pack = [
        "pack",
        "f32.gguf",
        "--format",
        "phi4",
        "-o",
        "small.gguf",
        "--archive",
        "small.hpar",
    ];
    let packed = json(&[&pack[..], &["--json"]].concat());
    let text = String::from_utf8(halfpi(&pack).stdout).unwrap();
    assert!(text.contains("small.hpar: ") && text.contains("% of that"), "{text}");
    let length = std::fs::metadata(folder().join("small.hpar")).unwrap().len();
    assert_eq!(packed["archive"]["archive_bytes"], length);
    assert!(number(&packed, "file_bytes") > length as f64);

    let sha256 = packed["archive"]["sha256"].as_str().unwrap();
    let unpack = ["unpack", "small.hpar", "-o", "restored.gguf", "--sha256", sha256];
    let unpacked = json(&[&unpack[..], &["--json"]].concat());
    assert_eq!(
        (&unpacked["sha256"], &unpacked["archive_bytes"]),
        (&sha256.into(), &length.into())
    );
    let read = |name: &str| std::fs::read(folder().join(name)).unwrap();
    assert!(read("restored.gguf") == read("small.gguf"));

    // From a pipe, and onto a file that is there.
    std::fs::write(folder().join("restored.gguf"), "old").unwrap();
    let archive = std::fs::File::open(folder().join("small.hpar")).unwrap();
    let output = command(&["unpack", "-", "-o", "restored.gguf"])
        .stdin(archive)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(sha256), "{text}");
    assert!(read("restored.gguf") == read("small.gguf"));

    std::fs::write(folder().join("cut.hpar"), &read("small.hpar")[..1000]).unwrap();
    let other = "0".repeat(64);
    for (args, needle) in [
        (
            &["unpack", "cut.hpar", "-o", "restored.gguf"][..],
            "cut.hpar: the archive ends at byte 1000",
        ),
        (&["unpack", "small.gguf", "-o", "restored.gguf"], "use it as it is"),
        (&["unpack", "not-a-model.gguf", "-o", "restored.gguf"], "web page"),
        (&["unpack", "missing.hpar", "-o", "restored.gguf"], "missing.hpar"),
        (
            &["unpack", "small.hpar", "-o", "no/such/folder/x.gguf"],
            "error: no/such/folder",
        ),
        (
            &["unpack", "small.hpar", "-o", "restored.gguf", "--sha256", &other],
            "was asked for",
        ),
        (
            &["unpack", "small.hpar", "-o", "restored.gguf", "--max-bytes", "1000"],
            "at most 1000 were allowed",
        ),
        (&["inspect", "small.hpar"], "halfpi unpack"),
    ] {
        let output = halfpi(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains(needle),
            "{args:?}: {stderr}"
        );
    }
    assert!(read("restored.gguf") == read("small.gguf"));
}

#[test]
fn chat_answers_once() {
    let ask = |seed| {
        json(&[
            "chat",
            "--model",
            "f32.gguf",
            "--prompt",
            "Hi",
            "--max-tokens",
            "8",
            "--seed",
            seed,
            "--json",
        ])
    };
    let answer = ask("1");
    assert_eq!(answer["finish_reason"], "max_tokens");
    assert_eq!(answer["generated_tokens"], 8);
    assert_eq!(answer["seed"], 1);
    for key in [
        "time_to_first_token_seconds",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
    ] {
        assert!(number(&answer, key) > 0.0, "{key}");
    }
    assert_eq!(ask("1")["text"], answer["text"]);
    assert_ne!(ask("2")["text"], answer["text"]);
    let plain = halfpi(&[
        "chat",
        "-m",
        "f32.gguf",
        "-p",
        "Hi",
        "--max-tokens",
        "8",
        "--seed",
        "1",
        "--stats",
    ]);
    assert_eq!(
        String::from_utf8_lossy(&plain.stdout).trim_end(),
        answer["text"].as_str().unwrap().trim_end()
    );
    assert!(String::from_utf8_lossy(&plain.stderr).contains("seed 1"));
}

#[test]
fn chat_answers_by_a_schema() {
    let file = |name: &str, text: &str| std::fs::write(folder().join(name), text).unwrap();
    file(
        "schema.json",
        r#"{"type": "array", "items": {"enum": ["yes", "no"]}, "minItems": 2, "maxItems": 2}"#,
    );
    file("impossible.json", r#"{"type": "integer", "minimum": 2, "maximum": 1}"#);
    file("no-schema.json", "{\"type\": ");
    let chat = |schema| {
        [
            "chat",
            "--model",
            "f32.gguf",
            "--prompt",
            "Yes?",
            "--seed",
            "1",
            "--json-schema",
            schema,
        ]
    };
    let answer = json(&[&chat("schema.json")[..], &["--json"]].concat());
    assert_eq!(answer["finish_reason"], "end_of_turn");
    let text: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
    let items = text.as_array().unwrap();
    assert!(
        items.len() == 2 && items.iter().all(|item| item == "yes" || item == "no"),
        "{text}"
    );
    for (schema, word) in [
        ("impossible.json", "nothing satisfies"),
        ("no-schema.json", "line 1"),
        ("missing.json", "missing.json"),
    ] {
        let output = halfpi(&chat(schema));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && stderr.contains(word) && stderr.contains(schema),
            "{stderr}"
        );
    }
}

#[test]
fn chat_is_a_conversation() {
    let mut child = command(&["chat", "--max-tokens", "4", "--temperature", "0", "--json"])
        .env("HALFPI_MODEL", "f32.gguf")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\n\n/stats\ntwo\n/nonsense\n/reset\none\n/quit\nthree\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(
        number(&answers[1], "cached_tokens") > 0.0,
        "the second turn builds on the first"
    );
    assert_eq!(answers[2]["text"], answers[0]["text"], "/reset forgets");
    assert_eq!(answers[2]["prompt_tokens"], answers[0]["prompt_tokens"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("/nonsense is not a command"), "{errors}");
}

/// The first Ctrl-C ends the answer, which would go on for thousands of tokens, the second the program.
#[cfg(unix)]
#[test]
fn interrupt_stops_the_answer_first() {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    let endless = ["--temperature", "0", "--max-tokens", "1000000", "--seed", "1"];
    let mut child = command(&[&["chat", "--model", "f32.gguf", "--stats"], &endless[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let interrupt = |child: &std::process::Child| {
        assert!(
            // The shell's own: a small Linux has no program of this name.
            Command::new("sh")
                .args(["-c", &format!("kill -INT {}", child.id())])
                .status()
                .unwrap()
                .success()
        );
    };
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    stdin.write_all(b"say 23\n").unwrap();
    stdout.read_exact(&mut [0; 20]).unwrap();
    interrupt(&child);
    // Drained aside, so that the answer's last words do not fill the pipe.
    let drain = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let mut timings = Vec::new();
    while !timings.ends_with(b"]\n") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).unwrap();
        timings.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&timings).contains("; cancelled, seed 1]"));
    assert!(child.try_wait().unwrap().is_none(), "the program goes on");
    interrupt(&child);
    let status = child.wait().unwrap();
    assert!(status.code() == Some(130) || status.signal() == Some(2), "{status:?}");
    drain.join().unwrap().unwrap();
}

#[test]
fn bench_measures_models_and_kernels() {
    let args = [
        "bench",
        "--model",
        "phi4.gguf",
        "--prompt-tokens",
        "40",
        "--decode-tokens",
        "8",
        "--rounds",
        "1",
    ];
    let report = json(&[&args[..], &["--threads", "1", "--json"]].concat());
    let keys = [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "time_to_first_token_seconds",
        "bytes_per_token",
        "read_bandwidth_bytes_per_second",
        "bandwidth_fraction",
    ];
    for key in keys {
        assert!(number(&report, key) > 0.0, "{key} in {report}");
    }
    if cfg!(target_os = "linux") {
        assert!(number(&report, "peak_memory_bytes") > number(&report, "file_bytes"));
    }
    assert_eq!(report["threads"], 1);
    assert!(report["backend"].is_string());

    let kernels = json(&[
        "bench",
        "kernels",
        "--backend",
        "scalar",
        "--format",
        "ternary",
        "--format",
        "q8",
        "--format",
        "f16",
        "--shape",
        "48x64",
        "--json",
    ]);
    let kernels = kernels.as_array().unwrap();
    // Three formats, one position and 64, cold and hot.
    assert_eq!(kernels.len(), 12);
    for kernel in kernels {
        for key in [
            "columns_n",
            "bits_per_weight",
            "nanoseconds",
            "bytes_per_second",
            "bandwidth_fraction",
        ] {
            assert!(number(kernel, key) > 0.0, "{key} in {kernel}");
        }
        assert_eq!((&kernel["rows"], &kernel["cols"]), (&48.into(), &64.into()));
        let work = 48.0 * 64.0 * number(kernel, "columns_n");
        let rate = work * 1e9 / number(kernel, "nanoseconds");
        assert!(
            (number(kernel, "weights_per_second") / rate - 1.0).abs() < 1e-6,
            "{kernel}"
        );
    }
    let bits = |format| {
        number(
            kernels.iter().find(|kernel| kernel["format"] == format).unwrap(),
            "bits_per_weight",
        )
    };
    // A row of 64 ternary weights has one f16 scale.
    assert_eq!((bits("f16"), bits("q8"), bits("ternary")), (16.0, 8.5, 2.25));
}

#[test]
fn errors_say_what_to_do() {
    let cases: [(&[&str], i32, &str); 20] = [
        (&["inspect", "missing.gguf"], 1, "missing.gguf"),
        (&["inspect", "not-a-model.gguf"], 1, "not-a-model.gguf"),
        (
            &["chat", "--model", "not-a-model.gguf", "--prompt", "Hi"],
            1,
            "not-a-model.gguf",
        ),
        (
            &["chat", "--model", "f32.gguf", "--prompt", "Hi", "--temperature", "-1"],
            1,
            "temperature",
        ),
        (
            &["chat", "--model", "f32.gguf", "--prompt", "Hi", "--top-p", "7"],
            1,
            "top_p",
        ),
        (
            &["chat", "--model", "f32.gguf", "--prompt", "Hi", "--context", "100000"],
            1,
            "100000",
        ),
        (&["chat", "--prompt", "Hi"], 2, "--model"),
        (
            &["eval", "perplexity", "--model", "f32.gguf", "--text", "empty.txt"],
            1,
            "empty.txt",
        ),
        (
            &["eval", "tokens", "--model", "f32.gguf", "--text", "latin1.txt"],
            1,
            "latin1.txt is not UTF-8 from byte 3",
        ),
        (&["pack", "missing", "--format", "q8", "-o", "x.gguf"], 1, "missing"),
        (
            &["pack", "f32.gguf", "--format", "q9", "-o", "x.gguf"],
            2,
            "phi4-additive",
        ),
        (
            &["pack", "f32.gguf", "--format", "q8", "--keep", "all", "-o", "x.gguf"],
            1,
            "PATTERN=FORMAT",
        ),
        (
            &["pack", "f32.gguf", "--format", "q8", "-o", "no/such/folder/x.gguf"],
            1,
            "no/such/folder",
        ),
        (
            &["pack", "f32.gguf", "--format", "q8", "-o", "x", "--archive", "x"],
            1,
            "name of its own",
        ),
        (
            &["unpack", "f32.gguf", "-o", "x", "--sha256", "12"],
            2,
            "64 hexadecimal digits",
        ),
        (&["bench"], 2, "--shape"),
        (&["bench", "kernels", "--backend", "abacus"], 1, "scalar"),
        (&["bench", "kernels", "--shape", "10x10"], 2, "multiple of 64"),
        (&["bench", "kernels", "--format", "abacus"], 2, "ternary-dense"),
        (&["dance"], 2, "dance"),
    ];
    for (args, code, needle) in cases {
        let output = halfpi(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(needle),
            "{args:?}: {stderr}"
        );
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn every_command_has_help() {
    let commands: [&[&str]; 11] = [
        &[],
        &["chat"],
        &["inspect"],
        &["pack"],
        &["unpack"],
        &["eval"],
        &["eval", "perplexity"],
        &["eval", "compare"],
        &["eval", "tokens"],
        &["bench"],
        &["bench", "kernels"],
    ];
    for command in commands {
        let output = halfpi(&[command, &["--help"]].concat());
        assert!(output.status.success(), "{command:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("Usage: halfpi"),
            "{command:?}"
        );
    }
}
