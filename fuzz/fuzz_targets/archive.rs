//! Unpacks any bytes as an archive; and archives them as the data of a tensor, which must come back bit for bit.
//!
//! As a tensor, the first byte chooses its type, which says how the archiver cuts its bytes into lanes.
#![no_main]

use std::ops::ControlFlow;

use halfpi::archive::Unpacker;
use halfpi::gguf::{GgmlType, Writer};
use halfpi_tests::archive::{archived, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = unpack(bytes) {
        assert!(!error.to_string().contains(char::is_control));
    }
    if !bytes.starts_with(b"HPAR")
        && let Some(file) = model_of(bytes)
    {
        let archive = archived(&file);
        let mut restored = Vec::new();
        let unpacker = Unpacker::new(&archive[..]).unwrap().threads(1);
        unpacker
            .write(&mut restored, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(restored, file);
    }
});

/// A model file with one tensor, of as many whole blocks as there are.
fn model_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&choice, data) = bytes.split_first()?;
    let ty = GgmlType::ALL[usize::from(choice) % GgmlType::ALL.len()];
    let blocks = data.len() as u64 / ty.block_bytes();
    let mut writer = Writer::new();
    // Of no elements at all there is no tensor.
    writer.declare("t", &[blocks * ty.block_size()], ty).ok()?;
    let mut tensors = writer.write_header(Vec::new()).ok()?;
    tensors.write("t", &data[..(blocks * ty.block_bytes()) as usize]).ok()?;
    tensors.finish().ok()
}
