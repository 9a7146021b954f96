//! Defaults are written twice, as attributes for the generated code and as `Default`; the core has the first say.

use super::*;
use uniffi_meta::{DefaultValueMetadata, LiteralMetadata, Metadata, read_metadata};

/// A default of the generated code as Rust prints the value.
fn shown(default: DefaultValueMetadata) -> String {
    match default {
        DefaultValueMetadata::Literal(LiteralMetadata::None) => "None".to_owned(),
        DefaultValueMetadata::Literal(LiteralMetadata::EmptySequence) => "[]".to_owned(),
        DefaultValueMetadata::Literal(LiteralMetadata::Boolean(value)) => value.to_string(),
        DefaultValueMetadata::Literal(LiteralMetadata::UInt(value, ..)) => value.to_string(),
        DefaultValueMetadata::Literal(LiteralMetadata::Float(value, _)) => value,
        other => panic!("{other:?}: say here how Rust prints it"),
    }
}

/// Compares what uniffi tells the generated code of a record with `T::default()`; returns how many defaults there were.
#[track_caller]
fn assert_the_same<T: Default + std::fmt::Debug>(metadata: &[u8]) -> usize {
    let Metadata::Record(record) = read_metadata(metadata).unwrap() else {
        panic!("no record");
    };
    // `Name { field: value, field: value }`, each field between a brace or comma and the next.
    let rust = format!("{:?}", T::default()).replace(" {", ",").replace(" }", ",");
    let defaults = record
        .fields
        .into_iter()
        .filter_map(|field| Some((field.name, field.default?)));
    defaults
        .map(|(name, default)| {
            let wanted = format!(", {name}: {},", shown(default));
            assert!(rust.contains(&wanted), "the generated code has `{wanted}`, Rust {rust}");
        })
        .count()
}

#[test]
fn generated_code_has_the_same_defaults() {
    assert_eq!(
        assert_the_same::<EngineConfig>(&UNIFFI_META_HALFPI_FFI_RECORD_ENGINECONFIG),
        6
    );
    assert_eq!(
        assert_the_same::<SessionConfig>(&UNIFFI_META_HALFPI_FFI_RECORD_SESSIONCONFIG),
        4
    );
    assert_eq!(
        assert_the_same::<GenerationOptions>(&UNIFFI_META_HALFPI_FFI_RECORD_GENERATIONOPTIONS),
        12
    );
}

#[test]
fn the_defaults_are_the_cores() {
    let core = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let engine = EngineConfig::default().options().unwrap();
    assert_eq!(core(&engine), core(&EngineOptions::default()));
    assert_eq!(
        core(&SessionConfig::default().options()),
        core(&SessionOptions::default())
    );
    let mut generation = GenerationOptions::default().options(CancelToken::new()).unwrap();
    generation.cancel = None;
    assert_eq!(core(&generation), core(&GenerateOptions::default()));
}
