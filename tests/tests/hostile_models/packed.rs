use crate::changed::{Changed, model};
use crate::refused;
use halfpi::Error::Model;
use halfpi::gguf::GgmlType;
use halfpi::model::ModelError;
use halfpi::transformer::Architecture;
use halfpi_kernels::format::FormatError::{self, Columns, Header, Length, Magic, ScaleGroup, Shape, Version};

const NAME: &str = "blk.1.ffn_down.weight";

/// Which header is wrong: that of 4-bit codes, 160 columns and 64 rows.
fn changed(at: usize, bytes: &[u8]) -> Changed {
    model(Architecture::Llama, "phi4").change(NAME, |tensor| {
        assert_eq!(tensor.ty, GgmlType::I8);
        assert_eq!(tensor.data[..4], *b"HPIP");
        tensor.data[at..at + bytes.len()].copy_from_slice(bytes);
    })
}

fn error(file: &Changed) -> FormatError {
    match crate::load(file.bytes()).map(drop).unwrap_err() {
        Model(ModelError::Format { name, source }) if name == NAME => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_of_the_header_is_checked() {
    let length = |what: &str, error| matches!(error, Length { what: named, .. } if named == what);
    assert_eq!(error(&changed(0, b"HPIQ")), Magic);
    assert_eq!(error(&changed(0, b"GGUF")), Magic);
    assert_eq!(error(&changed(4, &[2, 0])), Version { found: 2 });
    assert_eq!(error(&changed(4, &[1, 1])), Version { found: 257 });
    for kind in [0, 1, 7, 9, 15, 21, 255] {
        assert_eq!(error(&changed(6, &[kind])), Header { field: "code width" });
    }
    let field = "reserved bytes";
    assert_eq!(error(&changed(6, &[2])), Header { field }, "the table is longer");
    assert_eq!(error(&changed(6, &[20])), Header { field }, "complex codes have none");
    assert!(
        length("packed matrix", error(&changed(6, &[5]))),
        "5-bit codes are longer"
    );
    assert!(length("packed matrix", error(&changed(7, &[1]))), "minima are more");
    assert!(
        length("packed matrix", error(&changed(7, &[2]))),
        "f32 scales are longer"
    );
    for flags in [4, 128, 255] {
        assert_eq!(error(&changed(7, &[flags])), Header { field: "flags" });
    }
    let (rows, cols) = (
        |n: u32| changed(8, &n.to_le_bytes()),
        |n: u32| changed(12, &n.to_le_bytes()),
    );
    assert_eq!(error(&rows(0)), Shape { rows: 0, cols: 160 });
    assert_eq!(
        error(&rows(u32::MAX)),
        Shape {
            rows: u32::MAX as usize,
            cols: 160
        }
    );
    assert!(length("packed matrix", error(&rows(65))), "one tile more");
    assert!(length("packed matrix", error(&rows(1 << 30))));
    assert_eq!(error(&cols(0)), Shape { rows: 64, cols: 0 });
    assert_eq!(error(&cols(161)), Columns { cols: 161 });
    assert!(length("packed matrix", error(&cols(192))));
    assert!(length("packed matrix", error(&cols(1 << 30))));
    for group in [1u32, 31, 33, 64, 96, 1 << 31, u32::MAX] {
        let found = error(&changed(16, &group.to_le_bytes()));
        assert_eq!(
            found,
            ScaleGroup {
                group: group as usize,
                cols: 160
            }
        );
    }
    assert!(
        length("packed matrix", error(&changed(16, &[0; 4]))),
        "one scale a row is less"
    );
    for reserved in (20..32).chain(48..128) {
        assert_eq!(
            error(&changed(reserved, &[1])),
            Header {
                field: "reserved bytes"
            }
        );
    }
    assert_eq!(error(&changed(40, &[0x80])), Header { field: "table" });
    // As many bytes, but another matrix.
    refused!(rows(63).bytes(), Model(ModelError::Shape { name, found, .. }) if name == NAME && *found == [160, 63]);
}

#[test]
fn the_length_is_checked() {
    let resized = |len: usize| {
        model(Architecture::Llama, "q8").change(NAME, |tensor| {
            tensor.data.resize(len, 0);
            tensor.dims = vec![len as u64];
        })
    };
    let mut whole = model(Architecture::Llama, "q8");
    let whole = whole.tensor(NAME).data.len();
    for len in [1, 127, 128, 129, whole - 1, whole + 1, whole * 2] {
        assert!(matches!(error(&resized(len)), Length { .. }), "{len} bytes");
    }
    crate::load(resized(whole).bytes()).unwrap();
}

/// What is no packed matrix at all.
#[test]
fn an_i8_tensor_of_zeros() {
    let file = model(Architecture::Llama, "f32").change(NAME, |tensor| tensor.retype(GgmlType::I8));
    assert_eq!(error(&file), Magic);
}
