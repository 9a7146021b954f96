//! What the fuzzer of packed tensors starts from is what the library writes.

use halfpi_kernels::format::{HEADER_BYTES, Layout};
use halfpi_tests::corpus::Corpus;
use halfpi_tests::packed::{corpus_directory, seeds};

#[test]
fn corpus_is_what_the_generator_makes() {
    Corpus::new(corpus_directory(), seeds().unwrap()).assert_committed("HALFPI_BLESS=1 writes them anew");
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
