//! Model files of real size.

use std::time::{Duration, Instant};
use std::{env, fs};

use halfpi::gguf::{GgmlType, Gguf, ModelFile, Writer};
use halfpi_tests::gguf::{rewrite, walk};

/// The shortest of a few runs, because the machine may be busy.
fn parse_time(bytes: &[u8]) -> Duration {
    let time = || {
        let start = Instant::now();
        Gguf::parse(bytes).unwrap();
        start.elapsed()
    };
    (0..10).map(|_| time()).min().unwrap()
}

/// The vocabulary of a chat model takes milliseconds, also without optimisation. The bound is wide: it is there to
/// catch work that grows with the square of the number of tokens.
#[test]
fn a_large_vocabulary_parses_quickly() {
    let mut writer = Writer::new();
    writer
        .set_strings("tokenizer.ggml.tokens", (0..50_000).map(|id| format!("token{id}")))
        .unwrap();
    writer
        .set_strings("tokenizer.ggml.merges", (0..50_000).map(|id| format!("to ken{id}")))
        .unwrap();
    writer
        .set_i32s("tokenizer.ggml.token_type", (0..50_000).map(|_| 1))
        .unwrap();
    let bytes = writer.write_header(Vec::new()).unwrap().finish().unwrap();

    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(
        gguf.strings("tokenizer.ggml.tokens").unwrap().iter().nth(49_999),
        Some("token49999")
    );
    assert_eq!(gguf.i32s("tokenizer.ggml.token_type").unwrap().len(), 50_000);
    let time = parse_time(&bytes);
    println!("a header with 100,000 strings parses in {time:?}");
    assert!(time < Duration::from_secs(2), "{time:?}");
}

/// Needs SmolLM2-135M-Instruct.Q4_1.gguf.
#[test]
fn a_real_model_reads_and_rewrites() {
    let Some(path) = env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: HALFPI_TEST_MODEL does not name the model file");
        return;
    };
    let model = ModelFile::open(&path).unwrap();
    let gguf = model.gguf().unwrap();
    assert_eq!(gguf.str("general.architecture"), Ok("llama"));
    assert_eq!(gguf.u32("llama.block_count"), Ok(30));
    assert_eq!(gguf.strings("tokenizer.ggml.tokens").unwrap().len(), 49_152);
    let embedding = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!((embedding.ty, embedding.dims()), (GgmlType::Q8_0, &[576, 49_152][..]));
    // Nothing is lost between the tensors and the end.
    let last = gguf
        .tensors()
        .iter()
        .map(|tensor| tensor.offset + tensor.bytes)
        .max()
        .unwrap();
    assert_eq!(
        last.next_multiple_of(gguf.alignment()),
        fs::metadata(&path).unwrap().len()
    );
    walk(&gguf);
    rewrite(&gguf);
    println!("{} parses in {:?}", path.display(), parse_time(model.bytes()));
}
