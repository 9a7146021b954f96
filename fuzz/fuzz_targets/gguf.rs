//! Parses any bytes as a model file. What is accepted is read whole, written again, and must read back the same.
#![no_main]

use halfpi::gguf::Gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Gguf::parse(bytes) {
        Ok(gguf) => {
            halfpi_tests::gguf::walk(&gguf);
            halfpi_tests::gguf::rewrite(&gguf);
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
});
