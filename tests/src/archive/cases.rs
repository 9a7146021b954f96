//! What can be wrong with an archive, and what the reader must say to it.
//!
//! Numbers to read the offsets by: the first part's mark is at byte 16, the length of its name at 17; if it is called
//! `t`, that is at 18, its length at 19, its first block at 27, that one's coded length at 31, its lanes at 35.

use halfpi::archive::ArchiveError::{self, *};
use halfpi::gguf::ForeignFormat;

use super::draft::{Draft, bits, lane, lanes, one_lane, stream, table};
use super::{Case, archived};
use crate::gguf::small_file;

/// The file of most cases, whose only part is called `t`.
const FILE: &[u8] = b"what was archived once upon a time comes back, bit for bit";
const BYTES: u32 = FILE.len() as u32;

const AS_IT_IS: u8 = 0;
const ONE_TABLE: u8 = 1;
const TABLE_BY_BYTE_BEFORE: u8 = 2;

/// The smallest state between two bytes, where encoders begin and decoders end.
const LOWEST: u32 = 1 << 16;
/// 4096 in a table: all there is.
const ALL: &[u8] = &[0x80, 0x20];

/// All files of the corpus.
pub fn cases() -> Vec<Case> {
    [
        good_archives(),
        other_files(),
        truncated(),
        lengths(),
        blocks(),
        tables(),
        streams(),
        checksums(),
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

fn bad(name: &'static str, bytes: impl Into<Vec<u8>>, error: ArchiveError) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        error: Some(error),
    }
}

/// Bytes of value 7 in a row cost nothing: the states stay as they are.
fn sevens() -> Vec<u8> {
    [table(&[7], ALL), stream(LOWEST, &[])].concat()
}

fn good_archives() -> Vec<Case> {
    let as_it_is = Draft::new(BYTES.into()).whole_part("t", FILE, &one_lane(AS_IT_IS, FILE));
    let [even, odd] = [0, 1].map(|first| FILE.iter().copied().skip(first).step_by(2).collect::<Vec<u8>>());
    let two_lanes = lanes(&[1, 1], &[lane(AS_IT_IS, &even), lane(AS_IT_IS, &odd)]);
    let by_byte_before = [
        &bits(&[0, 7])[..],
        &table(&[7], ALL),
        &table(&[7], ALL),
        &stream(LOWEST, &[]),
    ]
    .concat();
    let coded = |coding, data: &[u8]| {
        let draft = Draft::new(200).whole_part("sevens", &[7; 200], &one_lane(coding, data));
        draft.end(&[7; 200]).build()
    };
    let whole = |coded: &[u8]| Draft::new(BYTES.into()).whole_part("", FILE, coded).end(FILE).build();
    vec![
        good("good_as_it_is", as_it_is.end(FILE).build()),
        good("good_lanes", whole(&two_lanes)),
        good("good_table", coded(ONE_TABLE, &sevens())),
        good(
            "good_table_by_byte_before",
            coded(TABLE_BY_BYTE_BEFORE, &by_byte_before),
        ),
        bad("no_parts", Draft::new(0).end(&[]).build(), Empty),
        good("good_model", archived(&small_file(3))),
    ]
}

fn other_files() -> Vec<Case> {
    let foreign = |name, bytes: &[u8], looks_like| bad(name, bytes, NotAnArchive { looks_like });
    let version = |name, version: u32| {
        let bytes = [&b"HPAR"[..], &version.to_le_bytes(), &[0; 8]].concat();
        bad(name, bytes, UnsupportedVersion { version })
    };
    vec![
        bad("gguf", small_file(3), IsAModel),
        foreign("web_page", b"<!doctype html><title>404</title>", ForeignFormat::WebPage),
        foreign("zip", b"PK\x03\x04\x14\0\x08\0", ForeignFormat::Zip),
        foreign("zeros", &[0; 100], ForeignFormat::Zeros),
        foreign("text", b"Hello", ForeignFormat::Unknown),
        foreign("lower_case", b"hpar\x01\0\0\0", ForeignFormat::Unknown),
        version("version_0", 0),
        version("version_2", 2),
        version("version_max", u32::MAX),
    ]
}

fn truncated() -> Vec<Case> {
    let archive = archived(&small_file(3));
    let cut = |name, offset: usize| {
        let error = Truncated { offset: offset as u64 };
        bad(name, &archive[..offset], error)
    };
    vec![
        cut("empty", 0),
        cut("cut_in_magic", 3),
        cut("cut_in_version", 7),
        cut("cut_in_length", 15),
        cut("cut_before_parts", 16),
        cut("cut_in_part", 20),
        cut("cut_in_block", 100),
        cut("cut_before_end", archive.len() - 33),
        cut("cut_in_hash", archive.len() - 1),
        bad(
            "trailing_byte",
            [&archive[..], &[0]].concat(),
            TrailingBytes {
                offset: archive.len() as u64,
            },
        ),
        bad("mark_2", Draft::new(1).raw(&[2]).build(), Mark { mark: 2, offset: 16 }),
        bad(
            "name_not_utf8",
            Draft::new(1).raw(&[1, 2, b'a', 0xff]).build(),
            NotUtf8 { offset: 18 },
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let length = |offset, bytes, most| Length {
        part: "t".into(),
        offset,
        bytes,
        most,
    };
    let part = |name, file_bytes, bytes| {
        let draft = Draft::new(file_bytes).part("t", bytes);
        bad(name, draft.build(), length(19, bytes, file_bytes))
    };
    let block = |name, part_bytes, bytes: u32, most| {
        let draft = Draft::new(part_bytes).part("t", part_bytes).block(bytes, &[]);
        bad(name, draft.build(), length(27, bytes.into(), most))
    };
    let coded = |name, coded_bytes: u32| {
        let draft = Draft::new(10)
            .part("t", 10)
            .raw(&[10, 0, 0, 0])
            .raw(&coded_bytes.to_le_bytes());
        bad(name, draft.build(), length(31, coded_bytes.into(), 10 + 57))
    };
    // A small block that claims to be many times its size, of a file that claims to be as large as files can be.
    let bomb = Draft::new(u64::MAX)
        .part("t", u64::MAX)
        .block(1 << 20, &one_lane(ONE_TABLE, &sevens()));
    let missing = Draft::new(100)
        .whole_part("t", FILE, &one_lane(AS_IT_IS, FILE))
        .end(FILE);
    let again = Draft::new(BYTES.into()).whole_part("t", FILE, &one_lane(AS_IT_IS, FILE));
    vec![
        part("part_of_nothing", 10, 0),
        part("part_longer_than_file", 10, 11),
        part("part_max", 10, u64::MAX),
        block("block_of_nothing", 10, 0, 10),
        block("block_longer_than_part", 10, 11, 10),
        block("block_longer_than_1_mib", 1 << 40, (1 << 20) + 1, 1 << 20),
        block("block_max", u64::MAX, u32::MAX, 1 << 20),
        coded("coded_of_nothing", 0),
        coded("coded_too_long", 68),
        coded("coded_max", u32::MAX),
        bad(
            "bomb",
            bomb.build(),
            Truncated {
                offset: 35 + 6 + 34 + 32,
            },
        ),
        bad(
            "part_missing",
            missing.build(),
            Missing {
                expected: 100,
                found: BYTES.into(),
            },
        ),
        bad(
            "part_too_many",
            again.part("t", 1).build(),
            Length {
                part: "t".into(),
                offset: 27 + 8 + 6 + u64::from(BYTES) + 4 + 3,
                bytes: 1,
                most: 0,
            },
        ),
    ]
}

/// An archive whose only block is this one, with checksums that nobody gets to.
fn bad_block(name: &'static str, coded: &[u8], what: &'static str) -> Case {
    let draft = Draft::new(BYTES.into()).whole_part("t", FILE, coded).end(FILE);
    let error = Block {
        part: "t".into(),
        offset: 27,
        what,
    };
    bad(name, draft.build(), error)
}

fn blocks() -> Vec<Case> {
    let parts = |name, coded: &[u8]| bad_block(name, coded, "parts are");
    let halves = [lane(AS_IT_IS, &FILE[..7]), lane(AS_IT_IS, &FILE[7..])];
    let many = [1u16; 9];
    vec![
        parts("lanes_0", &[0]),
        parts("lanes_9", &lanes(&many, &[lane(AS_IT_IS, FILE)])),
        parts("lanes_max", &[255; 20]),
        parts("run_of_nothing", &lanes(&[1, 0], &halves)),
        // The second lane would be empty.
        parts(
            "runs_longer_than_block",
            &lanes(&[BYTES as u16, 1], &[lane(AS_IT_IS, FILE), lane(AS_IT_IS, &[])]),
        ),
        parts("runs_cut", &[2, 1, 0, 1]),
        parts("lane_cut", &[1, AS_IT_IS, 1, 0]),
        parts("lane_too_long", &[1, AS_IT_IS, 255, 255, 255, 255, 0]),
        parts("lane_short_by_one", &one_lane(AS_IT_IS, &FILE[1..])),
        parts("lane_of_another_length", &lanes(&[1, 3], &halves)),
        parts("lane_missing", &lanes(&[1, 1], &halves[..1])),
        parts(
            "lane_left_over",
            &[one_lane(AS_IT_IS, FILE), lane(AS_IT_IS, &[])].concat(),
        ),
        parts("coding_3", &one_lane(3, FILE)),
        parts("coding_max", &one_lane(255, FILE)),
        parts("contexts_cut", &one_lane(TABLE_BY_BYTE_BEFORE, &[1; 31])),
    ]
}

fn tables() -> Vec<Case> {
    let coded = |name, table: &[u8]| {
        let data = [table, &stream(LOWEST, &[])].concat();
        bad_block(name, &one_lane(ONE_TABLE, &data), "table of frequencies is")
    };
    let alone = |name, coding, data: &[u8]| bad_block(name, &one_lane(coding, data), "table of frequencies is");
    vec![
        alone("table_cut", ONE_TABLE, &[255; 31]),
        alone("table_cut_in_frequency", ONE_TABLE, &table(&[7], &[0x80])),
        alone(
            "table_missing",
            TABLE_BY_BYTE_BEFORE,
            &[&bits(&[0, 7])[..], &table(&[7], ALL)].concat(),
        ),
        coded("table_of_nothing", &table(&[], &[])),
        coded("table_of_zeros", &[0; 40]),
        coded("table_too_small", &table(&[7], &[0xff, 0x1f])),
        coded("table_too_large", &table(&[7], &[0x81, 0x20])),
        coded("table_max", &table(&[7, 8], &[0xff, 0xff, 0xff, 0xff])),
        coded("table_with_zero", &table(&[7, 8], &[0, 0x80, 0x20])),
        coded("table_overlong", &table(&[7, 8], &[0x81, 0, 0xff, 0x1f])),
    ]
}

fn streams() -> Vec<Case> {
    // Bytes 7 and 8 are equally frequent: each costs a bit.
    let two = table(&[7, 8], &[0x80, 0x10, 0x80, 0x10]);
    let coded = |name, coding, table: &[u8], stream: &[u8]| {
        bad_block(name, &one_lane(coding, &[table, stream].concat()), "coded stream is")
    };
    let sevens = [&bits(&[0])[..], &table(&[7], ALL)].concat();
    vec![
        coded("stream_cut", ONE_TABLE, &two, &stream(LOWEST, &[])[..31]),
        coded("stream_odd", ONE_TABLE, &two, &stream(LOWEST, &[0])),
        coded("stream_state_0", ONE_TABLE, &two, &stream(0, &[])),
        coded("stream_state_low", ONE_TABLE, &two, &stream(LOWEST - 1, &[0; 16])),
        coded("stream_state_max", ONE_TABLE, &two, &stream(u32::MAX, &[])),
        coded("stream_lacks_words", ONE_TABLE, &two, &stream(LOWEST, &[0; 14])),
        coded(
            "stream_words_left_over",
            ONE_TABLE,
            &table(&[7], ALL),
            &stream(LOWEST, &[0; 2]),
        ),
        coded(
            "stream_ends_elsewhere",
            ONE_TABLE,
            &table(&[7], ALL),
            &stream(LOWEST + 1, &[]),
        ),
        // After the first 7 there is no table any more.
        coded(
            "stream_without_table",
            TABLE_BY_BYTE_BEFORE,
            &sevens,
            &stream(LOWEST, &[]),
        ),
    ]
}

fn checksums() -> Vec<Case> {
    let part = |name: &str| {
        let draft = Draft::new(BYTES.into()).part(name, BYTES.into());
        draft.block(BYTES, &one_lane(AS_IT_IS, FILE))
    };
    let crc = |bytes: &[u8]| crc32fast::hash(bytes);
    let part_checksum = |name, draft: Draft, part: &str, expected| {
        let found = crc(&[part.as_bytes(), FILE].concat());
        let part = part.into();
        bad(name, draft.end(FILE).build(), PartChecksum { part, expected, found })
    };
    let file = Draft::new(BYTES.into()).whole_part("t", FILE, &one_lane(AS_IT_IS, FILE));
    let [expected, found] = [&[0; 3][..], FILE].map(|file| {
        let end = Draft::new(0).end(file).build();
        *end.last_chunk().expect("a hash is 32 bytes long")
    });
    vec![
        part_checksum("checksum_0", part("t").raw(&[0; 4]), "t", 0),
        part_checksum(
            "checksum_of_another_name",
            part("u").crc("t", FILE),
            "u",
            crc(&[b"t", FILE].concat()),
        ),
        part_checksum("checksum_of_metadata", part("").raw(&[255; 4]), "", u32::MAX),
        bad(
            "hash_of_another_file",
            file.end(&[0; 3]).build(),
            FileChecksum { expected, found },
        ),
    ]
}
