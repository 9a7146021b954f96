//! What can be wrong with a GGUF file, and what the reader must say to it.
//!
//! Numbers to read the offsets by: the header ends at byte 24, so the entry of a first key `k` has its name at 32, its
//! type at 33 and its value at 37. In an array the type of the elements is at 37, their count at 41, the first at 49.
//! With one tensor `t` of one dimension and no metadata, the data section starts at byte 64.

use halfpi::gguf::GgufError::*;
use halfpi::gguf::{ForeignFormat, GgmlType, GgufError};

use super::Case;
use super::draft::{Draft, array, raw_string, string};

// The numbers of value types.
const U32: u32 = 4;
const I32: u32 = 5;
const BOOL: u32 = 7;
const STR: u32 = 8;
const ARRAY: u32 = 9;

// The numbers of tensor types.
const F32: u32 = 0;
const Q8_0: u32 = 8;
const I2_S: u32 = 36;
const I8: u32 = 24;
const I64: u32 = 27;

const ALIGNMENT: &str = "general.alignment";

/// A good file that has one of everything: all types of values, arrays of all kinds, tensors of one to four dimensions.
pub fn small_file(version: u32) -> Vec<u8> {
    Draft::new()
        .version(version)
        .value("u8", 0, &[1])
        .value("i8", 1, &[255])
        .value("u16", 2, &[1, 2])
        .value("i16", 3, &[255, 255])
        .value("u32", U32, &[1, 2, 3, 4])
        .value("i32", I32, &[254, 255, 255, 255])
        .value("f32", 6, &0.5f32.to_le_bytes())
        .value("bool", BOOL, &[1])
        .value("str", STR, &string("π/2"))
        .value("u64", 10, &[1, 2, 3, 4, 5, 6, 7, 8])
        .value("i64", 11, &[255; 8])
        .value("f64", 12, &0.25f64.to_le_bytes())
        .value(ALIGNMENT, U32, &[32, 0, 0, 0])
        .value(
            "strings",
            ARRAY,
            &array(STR, 3, &[string("a"), string(""), string("é")].concat()),
        )
        .value("i32s", ARRAY, &array(I32, 2, &[1, 0, 0, 0, 254, 255, 255, 255]))
        .value("bools", ARRAY, &array(BOOL, 3, &[0, 1, 1]))
        .value("none", ARRAY, &array(STR, 0, &[]))
        .tensor("norm", &[8], F32, 0)
        .tensor("blk.0.ffn_up.weight", &[32, 2], Q8_0, 32)
        .tensor("codes", &[5, 2, 1, 1], I8, 128)
        .data(138)
        .build()
}

/// All files of the corpus.
pub fn cases() -> Vec<Case> {
    [
        good_files(),
        other_formats(),
        counts(),
        strings(),
        values(),
        tensors(),
        tensor_data(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn good(name: &'static str, bytes: Vec<u8>) -> Case {
    Case {
        name,
        bytes,
        error: None,
    }
}

fn bad(name: &'static str, bytes: impl Into<Vec<u8>>, error: GgufError) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        error: Some(error),
    }
}

fn good_files() -> Vec<Case> {
    let many_dims = Draft::new().tensor("t", &[1, 1, 1, 64], I8, 0).data(64);
    vec![
        good("good_v2", small_file(2)),
        good("good_v3", small_file(3)),
        good("good_header_only", Draft::new().build()),
        good("good_four_dims", many_dims.build()),
        // The scale of an I2_S tensor lies after its rows.
        good(
            "good_i2_s",
            Draft::new().tensor("t", &[64, 2], I2_S, 0).data(64).build(),
        ),
    ]
}

fn other_formats() -> Vec<Case> {
    let foreign = |name, bytes: &[u8], looks_like| bad(name, bytes, NotGguf { looks_like });
    let version = |name, version| {
        bad(
            name,
            Draft::new().version(version).build(),
            UnsupportedVersion { version },
        )
    };
    vec![
        bad("empty", [], Empty),
        foreign("zip", b"PK\x03\x04\x14\0\x08\0archive/data.pkl", ForeignFormat::Zip),
        foreign("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", ForeignFormat::Compressed),
        foreign("zstd", b"\x28\xb5\x2f\xfd\x24\0\x01\0\0", ForeignFormat::Compressed),
        foreign("archive", b"HPAR\x01\0\0\0\0\x10\0\0\0\0\0\0", ForeignFormat::Archive),
        foreign(
            "safetensors",
            b"\x12\0\0\0\0\0\0\0{\"__metadata__\":{}}",
            ForeignFormat::Safetensors,
        ),
        foreign(
            "web_page",
            b"\r\n<!DOCTYPE html>\n<title>404</title>",
            ForeignFormat::WebPage,
        ),
        foreign(
            "lfs_pointer",
            b"version https://git-lfs.github.com/spec/v1\n",
            ForeignFormat::LfsPointer,
        ),
        foreign("json", b"{\"error\":\"not found\"}", ForeignFormat::Json),
        foreign("ggml", b"tjgg\x03\0\0\0", ForeignFormat::Ggml),
        foreign("zeros", &[0; 64], ForeignFormat::Zeros),
        foreign("text", b"a shopping list", ForeignFormat::Unknown),
        bad("big_endian", Draft::new().version(3u32.swap_bytes()).build(), BigEndian),
        version("version_0", 0),
        version("version_1", 1),
        version("version_4", 4),
        version("version_max", u32::MAX),
    ]
}

fn counts() -> Vec<Case> {
    let truncated = |name, bytes: Vec<u8>, place: &str, offset, needed, available| {
        bad(
            name,
            bytes,
            Truncated {
                place: place.into(),
                offset,
                needed,
                available,
            },
        )
    };
    let too_many = |name, draft: Draft, what: &str, count, offset, available| {
        bad(
            name,
            draft.build(),
            CountTooLarge {
                what: what.into(),
                count,
                offset,
                available,
            },
        )
    };
    // 41 bytes, enough for two of the smallest entries.
    let long_entry = Draft::new().value("k", STR, &string("twenty bytes of text"));
    let array_of = |ty, len| Draft::new().value("k", ARRAY, &array(ty, len, &[0; 64]));
    let of_k = "elements in the array of key `k`";
    vec![
        truncated("cut_in_magic", b"GG".to_vec(), "the magic", 0, 4, 2),
        truncated("cut_in_version", b"GGUF\x03".to_vec(), "the version", 4, 4, 1),
        truncated(
            "cut_in_counts",
            Draft::new().build()[..16].to_vec(),
            "the number of metadata entries",
            16,
            8,
            0,
        ),
        too_many(
            "tensor_count_max",
            Draft::new().tensor_count(u64::MAX),
            "tensors",
            u64::MAX,
            8,
            8,
        ),
        too_many("tensor_count_1_of_0", Draft::new().tensor_count(1), "tensors", 1, 8, 8),
        too_many(
            "metadata_count_max",
            long_entry.clone().metadata_count(u64::MAX),
            "metadata entries",
            u64::MAX,
            16,
            41,
        ),
        truncated(
            "metadata_count_2_of_1",
            long_entry.clone().metadata_count(2).build(),
            "metadata key 1",
            65,
            8,
            0,
        ),
        // The entry is then read as a tensor, its type as the number of dimensions.
        bad(
            "metadata_count_0_of_1",
            long_entry.metadata_count(0).tensor_count(1).build(),
            BadDimensionCount {
                name: "k".into(),
                n_dims: STR,
            },
        ),
        too_many("array_count_max", array_of(U32, u64::MAX), of_k, u64::MAX, 41, 64),
        // Four times this is 0 in 64 bits.
        too_many("array_count_wraps", array_of(U32, 1 << 62), of_k, 1 << 62, 41, 64),
        too_many("array_count_one_more", array_of(U32, 17), of_k, 17, 41, 64),
        too_many("string_count_max", array_of(STR, u64::MAX), of_k, u64::MAX, 41, 64),
    ]
}

fn strings() -> Vec<Case> {
    let truncated = |name, draft: Draft, place: &str, offset, needed, available| {
        bad(
            name,
            draft.build(),
            Truncated {
                place: place.into(),
                offset,
                needed,
                available,
            },
        )
    };
    let not_utf8 = |name, draft: Draft, place: &str, offset| {
        bad(
            name,
            draft.build(),
            NotUtf8 {
                place: place.into(),
                offset,
            },
        )
    };
    let long_key = [&u64::MAX.to_le_bytes()[..], b"a key"].concat();
    let wrong_key = [&raw_string(b"\xff")[..], &U32.to_le_bytes(), &[0; 4]].concat();
    let value = |bytes: &[u8]| Draft::new().value("k", STR, bytes);
    let tokens = [string("a"), raw_string(b"b\xc3\x28")].concat();
    vec![
        truncated(
            "key_length_max",
            Draft::new().entry(&long_key),
            "metadata key 0",
            32,
            u64::MAX,
            5,
        ),
        not_utf8("key_not_utf8", Draft::new().entry(&wrong_key), "metadata key 0", 32),
        truncated(
            "string_length_1000",
            value(&1000u64.to_le_bytes()),
            "the value of key `k`",
            45,
            1000,
            0,
        ),
        not_utf8(
            "string_not_utf8",
            value(&raw_string(b"ok\xff")),
            "the value of key `k`",
            47,
        ),
        not_utf8(
            "string_overlong",
            value(&raw_string(b"\xc0\x80")),
            "the value of key `k`",
            45,
        ),
        not_utf8(
            "string_surrogate",
            value(&raw_string(b"\xed\xa0\x80")),
            "the value of key `k`",
            45,
        ),
        not_utf8(
            "token_not_utf8",
            Draft::new().value("k", ARRAY, &array(STR, 2, &tokens)),
            "string 1 in the array of key `k`",
            67,
        ),
        not_utf8(
            "tensor_name_not_utf8",
            Draft::new().raw_tensor(b"\x80", 1, &[8], F32, 0).data(32),
            "the name of tensor 0",
            32,
        ),
    ]
}

fn values() -> Vec<Case> {
    let key = || "k".to_owned();
    let value = |ty, bytes: &[u8]| Draft::new().value("k", ty, bytes).build();
    let twice = |key: &str| {
        Draft::new()
            .value(key, BOOL, &[0])
            .value("other", BOOL, &[0])
            .value(key, BOOL, &[1])
            .build()
    };
    let alignment = |ty, value: &[u8]| Draft::new().value(ALIGNMENT, ty, value).build();
    let bad_alignment = |name, value: u32| {
        bad(
            name,
            alignment(U32, &value.to_le_bytes()),
            BadAlignment { value: value.into() },
        )
    };
    let wrong_alignment = |name, ty, value: &[u8], found: &str| {
        let error = WrongType {
            key: ALIGNMENT.into(),
            expected: "a u64",
            found: found.into(),
        };
        bad(name, alignment(ty, value), error)
    };
    let long = "k".repeat(700);
    vec![
        bad(
            "value_type_13",
            value(13, &[0; 8]),
            UnknownValueType {
                key: key(),
                id: 13,
                offset: 33,
            },
        ),
        bad(
            "value_type_max",
            value(u32::MAX, &[0; 8]),
            UnknownValueType {
                key: key(),
                id: u32::MAX,
                offset: 33,
            },
        ),
        bad(
            "array_type_13",
            value(ARRAY, &array(13, 1, &[0; 8])),
            UnknownValueType {
                key: key(),
                id: 13,
                offset: 37,
            },
        ),
        bad(
            "array_of_arrays",
            value(ARRAY, &array(ARRAY, 1, &array(U32, 1, &[0; 4]))),
            NestedArray { key: key(), offset: 37 },
        ),
        bad(
            "array_of_no_arrays",
            value(ARRAY, &array(ARRAY, 0, &[])),
            NestedArray { key: key(), offset: 37 },
        ),
        bad(
            "bool_2",
            value(BOOL, &[2]),
            BadBool {
                key: key(),
                value: 2,
                offset: 37,
            },
        ),
        bad(
            "bool_in_array_255",
            value(ARRAY, &array(BOOL, 3, &[0, 1, 255])),
            BadBool {
                key: key(),
                value: 255,
                offset: 51,
            },
        ),
        bad("key_twice", twice("k"), DuplicateKey { key: key() }),
        bad("key_twice_long", twice(&long), DuplicateKey { key: long.clone() }),
        bad(
            "key_twice_escapes",
            twice("\x1b[2J\n"),
            DuplicateKey {
                key: "\x1b[2J\n".into(),
            },
        ),
        bad_alignment("alignment_0", 0),
        bad_alignment("alignment_4", 4),
        bad_alignment("alignment_48", 48),
        bad_alignment("alignment_max", 1 << 31),
        wrong_alignment("alignment_string", STR, &string("32"), "a string"),
        wrong_alignment("alignment_negative", I32, &[255; 4], "i32 (-1)"),
    ]
}

fn tensors() -> Vec<Case> {
    let name = || "t".to_owned();
    let file = |draft: Draft| draft.data(64).build();
    let tensor = |dims: &[u64], ty| file(Draft::new().tensor("t", dims, ty, 0));
    let dimension_count = |label, n_dims, dims: &[u64]| {
        let draft = Draft::new().raw_tensor(b"t", n_dims, dims, F32, 0);
        bad(label, file(draft), BadDimensionCount { name: name(), n_dims })
    };
    let empty = |label, dims: &[u64]| {
        bad(
            label,
            tensor(dims, F32),
            EmptyTensor {
                name: name(),
                dims: dims.into(),
            },
        )
    };
    let overflow = |label, dims: &[u64], ty| {
        bad(
            label,
            tensor(dims, ty),
            ShapeOverflow {
                name: name(),
                dims: dims.into(),
            },
        )
    };
    let unknown = |label, id| bad(label, tensor(&[32], id), UnknownType { name: name(), id });
    let partial = PartialBlock {
        name: name(),
        ty: GgmlType::Q8_0,
        columns: 33,
    };
    let partial_i2s = PartialBlock {
        name: name(),
        ty: GgmlType::I2_S,
        columns: 96,
    };
    let twice = Draft::new().tensor("t", &[8], F32, 0).tensor("t", &[8], F32, 32);
    vec![
        dimension_count("tensor_no_dims", 0, &[]),
        dimension_count("tensor_five_dims", 5, &[1; 5]),
        dimension_count("tensor_max_dims", u32::MAX, &[1]),
        empty("tensor_empty", &[0]),
        empty("tensor_empty_rows", &[8, 0]),
        overflow("tensor_elements_overflow", &[1 << 32, 1 << 32], I8),
        overflow("tensor_elements_wrap_to_small", &[1 << 63, 2, 1, 1], I8),
        overflow("tensor_bytes_overflow", &[1 << 61], I64),
        overflow("tensor_max_everywhere", &[u64::MAX; 4], F32),
        bad("tensor_partial_block", tensor(&[33], Q8_0), partial),
        bad("tensor_i2_s_partial_block", tensor(&[96], I2_S), partial_i2s),
        // Without its scale, the codes of an I2_S tensor are not all of it.
        bad(
            "tensor_i2_s_without_scale",
            Draft::new().tensor("t", &[64], I2_S, 0).data(16).build(),
            OutOfBounds {
                name: name(),
                offset: 64,
                bytes: 48,
                file_bytes: 80,
            },
        ),
        // Q4_2, which ggml gave up, bitnet.cpp's TL1, and a type of a later ggml.
        unknown("tensor_type_4", 4),
        unknown("tensor_type_38", 38),
        unknown("tensor_type_1000", 1000),
        bad("tensor_twice", file(twice), DuplicateTensor { name: name() }),
    ]
}

fn tensor_data() -> Vec<Case> {
    let name = || "t".to_owned();
    let at = |offset| Draft::new().tensor("t", &[16], F32, offset).data(64).build();
    let outside = |label, bytes: Vec<u8>, offset| {
        let file_bytes = bytes.len() as u64;
        bad(
            label,
            bytes,
            OutOfBounds {
                name: name(),
                offset,
                bytes: 64,
                file_bytes,
            },
        )
    };
    let misaligned = |label, offset| {
        bad(
            label,
            at(offset),
            Misaligned {
                name: name(),
                offset,
                alignment: 32,
            },
        )
    };
    // Two tensors: the data section starts at 96.
    let two = |a: (u64, u64), b: (u64, u64)| {
        Draft::new()
            .tensor("a", &[a.1], I8, a.0)
            .tensor("b", &[b.1], I8, b.0)
            .data(96)
            .build()
    };
    let overlap = |label, bytes, first: &str, second: &str, offset| {
        bad(
            label,
            bytes,
            Overlap {
                first: first.into(),
                second: second.into(),
                offset,
            },
        )
    };
    vec![
        misaligned("data_misaligned", 1),
        misaligned("data_misaligned_16", 16),
        outside("data_past_end", at(32), 96),
        outside("data_far_past_end", at(1 << 40), 64 + (1 << 40)),
        outside("data_offset_overflows", at(u64::MAX - 31), u64::MAX),
        outside("data_end_overflows", at(u64::MAX - 127), u64::MAX - 63),
        outside("data_one_byte_short", at(0)[..127].to_vec(), 64),
        outside("data_missing", at(0)[..57].to_vec(), 64),
        overlap("data_overlap", two((0, 64), (32, 64)), "a", "b", 96 + 32),
        overlap("data_overlap_out_of_order", two((64, 32), (0, 65)), "b", "a", 96 + 64),
        overlap("data_inside_other", two((0, 96), (64, 1)), "a", "b", 96 + 64),
    ]
}
