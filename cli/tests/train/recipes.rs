//! Recipes: predictions that a teacher left, adapters beside their model and merged, regularization.

use std::fs;

use serde_json::Value;

use super::{failure, folder, halfpi, losses, train};

#[test]
fn a_teacher_that_predicted_before_need_not_be_there() {
    let folder = folder("cache");
    train(
        &folder,
        &["--shape", "nano", "-n", "100", "--rate", "3e-3", "-o", "teacher"],
    );
    let usual = [
        "--from",
        "teacher/model.gguf",
        "--method",
        "ternary, head=q8",
        "--temperature",
        "2",
        "-n",
        "6",
        "--warm-up",
        "0",
    ];
    let teacher = ["--teacher", "teacher/model.gguf"];
    // The vocabulary has 300 tokens: nothing is left out.
    let cache = [
        "--cache-teacher",
        "all",
        "--cache-top",
        "300",
        "--cache-piece",
        "100000",
    ];
    let online = losses(&train(&folder, &[&usual[..], &teacher, &["-o", "online"]].concat()));
    let first = losses(&train(
        &folder,
        &[&usual[..], &teacher, &cache, &["-o", "first"]].concat(),
    ));
    for (update, (online, first)) in online.iter().zip(&first).enumerate() {
        // Weights near a threshold make more of what rounding to 16 bits changes, update by update.
        let tolerance = if update == 0 { 1e-4 } else { 2e-3 };
        assert!(
            (online - first).abs() < tolerance * online,
            "{update}: {online} {first}"
        );
    }
    // A model of as many other tokens (400 short lines make 289) has nothing to say to this one.
    let line =
        |i: usize| format!("{{\"text\": \"another text, whose words make other tokens, though no fewer: {i}\"}}\n");
    fs::write(folder.join("other.jsonl"), (0..400).map(line).collect::<String>()).unwrap();
    let other = [
        "other.jsonl",
        "--vocabulary",
        "289",
        "--held-out",
        "0.5",
        "--batch",
        "1",
        "--length",
        "8",
    ];
    let other = [&["train"], &other[..], &["--shape", "nano", "-n", "1", "-o", "other"]].concat();
    let output = halfpi(&folder, &other);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let taught = [
        "chats.jsonl",
        "--from",
        "teacher/model.gguf",
        "--teacher",
        "other/model.gguf",
        "-o",
        "x",
    ];
    for more in [&[][..], &["--cache-teacher", "wrong"]] {
        let message = failure(&folder, &[&taught[..], more].concat());
        assert!(message.contains("its tokens are others"), "{message}");
    }
    let pieces = || fs::read_dir(folder.join("all")).unwrap().count();
    assert!(pieces() > 2);
    fs::rename(folder.join("teacher/model.gguf"), folder.join("student.gguf")).unwrap();
    let usual = [&["--from", "student.gguf"], &usual[2..]].concat();
    let cache = ["--cache-teacher", "all"];
    let again = losses(&train(&folder, &[&usual[..], &cache, &["-o", "again"]].concat()));
    assert_eq!(again, first);

    // Only of the likeliest tokens, in two goes.
    let few = [
        "--teacher",
        "student.gguf",
        "--cache-teacher",
        "few",
        "--cache-top",
        "8",
        "--cache-only",
        "-o",
        "few-run",
    ];
    let usual_of_few = [&["train", "chats.jsonl", "--batch", "4", "--length", "32"], &usual[..]].concat();
    for more in [&["--minutes", "0"][..], &[]] {
        let output = halfpi(&folder, &[&usual_of_few[..], &few, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!folder.join("few-run/model.gguf").exists());
    assert_eq!(fs::read_dir(folder.join("few")).unwrap().count(), 2, "one for each go");
    let few = losses(&train(
        &folder,
        &[&usual[..], &["--cache-teacher", "few", "-o", "few"]].concat(),
    ));
    assert!(few[0] <= first[0] && few[0] > 0.8 * first[0], "{few:?} {first:?}");

    // What it is not for is refused before the first update.
    for (args, expected) in [
        (&["-n", "50"][..], "no predictions for"),
        (&["--seed", "3"], "no predictions for"),
        (&["--length", "16"], "another sequence length: 32, and not 16"),
        (&["--temperature", "1"], "another temperature: 2, and not 1"),
        (&["--relation-weight", "1", "--teacher", "student.gguf"], "text inside"),
    ] {
        // The last of two counts, but clap refuses two.
        let is_changed = |name: &&str| args.contains(name);
        let mut all = vec!["chats.jsonl", "--batch", "4", "-o", "refused"];
        for pair in [&usual[..], &cache, &["--length", "32"]].concat().chunks(2) {
            if !is_changed(&pair[0]) {
                all.extend(pair);
            }
        }
        let message = failure(&folder, &[&all[..], args].concat());
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn merged_adapters_do_what_they_do_beside_their_model() {
    let folder = folder("merge");
    let shape = ["--shape", "nano", "--method", "phi4, head=q8"];
    train(
        &folder,
        &[&shape[..], &["-n", "40", "--rate", "3e-3", "-o", "base"]].concat(),
    );
    let lora = ["--from", "base/model.gguf", "--lora", "4", "-n", "20"];
    train(
        &folder,
        &[&lora[..], &["--rate", "1e-2", "--merge=q8", "--hub", "-o", "merged"]].concat(),
    );
    let report: Value = serde_json::from_slice(&fs::read(folder.join("merged/merge.json")).unwrap()).unwrap();
    let kept = report["kept"].as_f64().unwrap();
    assert!((kept - 1.0).abs() < 0.05, "{kept}");
    let nmse = report["packed"]["nmse"].as_f64().unwrap();
    assert!(nmse > 0.0 && nmse < 1e-3, "{nmse}");

    // The engine's likelihoods of a text.
    let nll = |model: &str, more: &[&str]| {
        let args = [
            "eval",
            "perplexity",
            "--model",
            model,
            "--text",
            "chats.jsonl",
            "--json",
        ];
        let output = halfpi(&folder, &[&args[..], &["--activations", "f32"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["mean_nll"].as_f64().unwrap()
    };
    let pack = ["pack", "merged/hub", "--format", "f32", "-o", "floats.gguf"];
    let output = halfpi(&folder, &pack);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let adapted = nll("base/model.gguf", &["--lora", "merged/adapter.gguf"]);
    let (base, floats) = (nll("base/model.gguf", &[]), nll("floats.gguf", &[]));
    assert!(
        (floats - adapted).abs() < 1e-5 && adapted < base - 0.02,
        "{base} {adapted} {floats}"
    );
    let packed = nll("merged/model.gguf", &[]);
    assert!((packed - adapted).abs() < 0.02, "{adapted} {packed}");

    // Steps smaller than half of one between two levels are lost in the formats that the model has.
    let args = [
        &["train", "chats.jsonl", "--batch", "4", "--length", "32"],
        &lora[..],
        &["--rate", "1e-6", "--merge", "-o", "lost"],
    ];
    let output = halfpi(&folder, &args.concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && message.contains("of what the adapter changes"),
        "{message}"
    );
    assert!(folder.join("lost/adapter.gguf").exists() && !folder.join("lost/model.gguf").exists());
    let refused = failure(&folder, &[&["chats.jsonl"], &lora[..], &["--hub", "-o", "x"]].concat());
    assert!(refused.contains("--merge"), "{refused}");
}

#[test]
fn regularization_is_for_weights_that_are_rounded() {
    let folder = folder("regularize");
    let args = [
        "--shape",
        "nano",
        "--method",
        "ternary, head=q6",
        "-n",
        "60",
        "--rate",
        "3e-3",
    ];
    let free = train(&folder, &[&args[..], &["-o", "free"]].concat());
    let pulled = train(&folder, &[&args[..], &["--regularize", "1", "-o", "pulled"]].concat());
    // It is off at the beginning, and the text is learnt all the same.
    let (free, pulled) = (losses(&free), losses(&pulled));
    assert_eq!(free[0], pulled[0]);
    assert!(
        free[59] != pulled[59] && pulled[59] < 0.8 * pulled[0],
        "{free:?} {pulled:?}"
    );
    let floats = [
        "chats.jsonl",
        "--shape",
        "nano",
        "--vocabulary",
        "300",
        "--regularize",
        "1",
        "-o",
        "x",
    ];
    let refused = failure(&folder, &floats);
    assert!(refused.contains("name a method"), "{refused}");
}

#[test]
fn adapters_are_trained_beside_a_packed_model() {
    let folder = folder("lora");
    train(
        &folder,
        &[
            "--shape",
            "nano",
            "--method",
            "ternary, head=q6",
            "-n",
            "2",
            "-o",
            "base",
        ],
    );
    let args = [
        "--from",
        "base/model.gguf",
        "--lora",
        "4",
        "--rate",
        "1e-2",
        "-n",
        "20",
        "-o",
        "adapter",
    ];
    let losses = losses(&train(&folder, &args));
    assert!(losses[19] < losses[0] - 0.1, "{losses:?}");
    assert!(!folder.join("adapter/model.gguf").exists());
    // The engine puts it on the base, and the text becomes likelier.
    let nll = |more: &[&str]| {
        let args = [
            "eval",
            "perplexity",
            "--model",
            "base/model.gguf",
            "--text",
            "chats.jsonl",
            "--json",
        ];
        let output = halfpi(&folder, &[&args[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["mean_nll"].as_f64().unwrap()
    };
    let (base, adapted) = (nll(&[]), nll(&["--lora", "adapter/adapter.gguf"]));
    assert!(adapted < base, "{base} {adapted}");
}
