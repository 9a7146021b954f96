//! What the fuzzer of packed tensors starts from is what the library writes.

use std::collections::BTreeMap;
use std::{env, fs};

use halfpi_kernels::format::{HEADER_BYTES, Layout};
use halfpi_tests::packed::{corpus_directory, seeds};

#[test]
fn corpus_is_what_the_generator_makes() {
    let directory = corpus_directory();
    let seeds: BTreeMap<_, _> = seeds()
        .unwrap()
        .into_iter()
        .map(|(name, bytes)| (directory.join(name), bytes))
        .collect();
    if env::var_os("HALFPI_BLESS").is_some() {
        seeds.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
    let committed = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let committed: BTreeMap<_, _> = committed.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert_eq!(committed, seeds);
}

#[test]
fn headers_read_back_as_they_were_written() {
    for (name, bytes) in seeds().unwrap() {
        let layout = Layout::from_header(&bytes).unwrap();
        assert_eq!(layout.header(), bytes[..HEADER_BYTES], "{name}");
        for len in 0..HEADER_BYTES {
            assert!(Layout::from_header(&bytes[..len]).is_err(), "{name}, {len} bytes");
        }
    }
}
