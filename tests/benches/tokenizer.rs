//! How long SmolLM2's tokenizer takes to load, encode and decode: `cargo bench -p halfpi-tests --bench tokenizer`.
//!
//! Each figure is the best of several runs, which is what a machine with other work on it can tell.

use std::hint::black_box;
use std::time::Instant;

use halfpi::gguf::Gguf;
use halfpi::tokenizer::{Special, Tokenizer};

const RUNS: usize = 15;

fn best_seconds(mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(run).fold(f64::INFINITY, f64::min)
}

fn main() {
    let Some(path) = std::env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: set HALFPI_TEST_MODEL to SmolLM2-135M-Instruct.Q4_1.gguf to run this benchmark");
        return;
    };
    let bytes = std::fs::read(path).expect("the model file");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let load = best_seconds(|| drop(black_box(Tokenizer::from_gguf(&gguf))));
    println!("{:<28} {:>8.2} ms", "load 49,152 tokens", load * 1e3);

    let tokenizer = Tokenizer::from_gguf(&gguf).expect("a tokenizer");
    let prose = include_str!("../reference/texts/prose.txt");
    let code = include_str!("../reference/texts/code.txt");
    let megabyte = |unit: &str| unit.repeat((1 << 20) / unit.len());
    let texts = [
        ("prose", megabyte(prose)),
        ("code", megabyte(code)),
        ("Chinese", megabyte("今天天气很好，我们去公园散步吧。")),
        ("emoji", megabyte("👩‍👩‍👧‍👦🏳️‍🌈😀")),
        ("one letter", megabyte("a")),
        ("two letters", megabyte("ab")),
        ("spaces", megabyte(" ")),
        ("`<`", megabyte("<")),
    ];
    for (name, text) in &texts {
        let encode = best_seconds(|| drop(black_box(tokenizer.encode(text, Special::Parse))));
        let ids = tokenizer.encode(text, Special::Parse);
        let decode = best_seconds(|| drop(black_box(tokenizer.decode(&ids, true))));
        let megabytes = text.len() as f64 / 1e6;
        let (encode, decode) = (megabytes / encode, megabytes / decode);
        println!(
            "1 MiB of {name:<12} encode {encode:>8.2} MB/s   decode {decode:>8.2} MB/s   {:>7} ids",
            ids.len()
        );
    }
}
