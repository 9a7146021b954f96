//! Ladders with other exponents, and with exponents that neighbours share.

mod pack_common;

use std::ops::ControlFlow;

use halfpi::archive;
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Calibration, Exponents, Format, Options, PackError, PackReport, Source, pack};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{Codes, GROUP, Matrix, Packed};
use pack_common::{Directory, logits, unwrap_pack_error};

fn source() -> Source {
    Source::from_model_file(SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap())
}

fn packed(options: &Options) -> halfpi::Result<(PackReport, ModelFile)> {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let report = pack(&source(), options, &path, &mut |_| ControlFlow::Continue(()))?;
    Ok((report, ModelFile::from_bytes(std::fs::read(path).unwrap()).unwrap()))
}

fn ladder(format: Format, exponents: &str, cluster: usize) -> Options {
    Options {
        exponents: Some(exponents.parse::<Exponents>().unwrap()),
        cluster,
        ..Options::new(format)
    }
}

/// Codes and rows of a matrix of the file.
fn matrix(file: &ModelFile) -> (Codes, Vec<Vec<f32>>) {
    let gguf = file.gguf().unwrap();
    let data = gguf.data(gguf.tensor("blk.1.ffn_down.weight").unwrap());
    let packed = Packed::from_file_bytes(data).unwrap();
    let row = |i| {
        let mut row = vec![0.0; packed.cols()];
        Matrix::Packed(packed).dequantize_row(i, &mut row).unwrap();
        row
    };
    (packed.codes(), (0..packed.rows()).map(row).collect())
}

fn archive_bytes(file: &ModelFile) -> u64 {
    let mut go_on = |_: archive::Progress<'_>| ControlFlow::Continue(());
    archive::write(file, std::io::sink(), 2, &mut go_on)
        .unwrap()
        .archive_bytes
}

#[test]
fn fewer_levels_lose_more_and_take_less_of_an_archive() {
    for format in [Format::Phi4, Format::Phi5] {
        let (mut error, mut bytes) = (0.0, u64::MAX);
        for first in [4, 7, 9, 11] {
            let (report, file) = packed(&ladder(format, &format!("{first}..11"), 1)).unwrap();
            assert!(report.nmse > error, "{format} from {first}: {}", report.nmse);
            assert!(archive_bytes(&file) < bytes, "{format} from {first}");
            (error, bytes) = (report.nmse, archive_bytes(&file));
            // No weight has another level than those of the range.
            let (codes, rows) = matrix(&file);
            let table = match &codes {
                Codes::Codebook4(table) => table.to_vec(),
                Codes::Codebook5(table) => table.to_vec(),
                other => panic!("{other:?}"),
            };
            let mut levels: Vec<i8> = table.iter().map(|level| level.abs()).collect();
            levels.sort();
            levels.dedup();
            let per_exponent = if format == Format::Phi4 { 1 } else { 2 };
            assert_eq!(levels.len(), (12 - first) * per_exponent);
            let mut magnitudes: Vec<u32> = rows[3][..GROUP].iter().map(|weight| weight.abs().to_bits()).collect();
            magnitudes.sort();
            magnitudes.dedup();
            assert!(magnitudes.len() <= levels.len(), "{magnitudes:?}");
            assert!(logits(file).iter().all(|logit| logit.is_finite()));
        }
    }
}

/// What is shared is what the file holds: neighbours differ by their signs alone, and an archive has their exponent once.
#[test]
fn clusters_share_their_exponent_in_the_file() {
    let (_, file) = packed(&ladder(Format::Phi4, "4..11", 1)).unwrap();
    let alone = archive_bytes(&file);
    let (mut error, mut bytes) = (0.0, alone);
    for cluster in [2, 8, 32] {
        let (report, file) = packed(&ladder(Format::Phi4, "4..11", cluster)).unwrap();
        let (_, rows) = matrix(&file);
        let mut signs = [false; 2];
        for neighbours in rows.iter().flat_map(|row| row.chunks_exact(cluster)) {
            for weight in neighbours {
                assert_eq!(weight.abs(), neighbours[0].abs(), "{cluster}");
                signs[usize::from(*weight < 0.0)] = true;
            }
        }
        assert_eq!(signs, [true; 2]);
        println!(
            "clusters of {cluster}: NMSE {}, {} of {alone} bytes",
            report.nmse,
            archive_bytes(&file)
        );
        assert!(report.nmse > error && archive_bytes(&file) < bytes, "{cluster}");
        (error, bytes) = (report.nmse, archive_bytes(&file));
        assert!(logits(file).iter().all(|logit| logit.is_finite()));
    }
}

#[test]
fn what_is_no_ladder_is_refused() {
    for options in [
        ladder(Format::Phi4Additive, "4..11", 1),
        ladder(Format::Phi4, "4..11", 3),
        ladder(Format::Phi4, "4..11", 64),
        ladder(Format::Phi4, "4..11", 0),
        Options {
            cluster: 8,
            ..Options::new(Format::Q8)
        },
        Options {
            calibration: Some(Calibration::new("nothing")),
            ..ladder(Format::Phi4, "4..11", 8)
        },
    ] {
        let error = unwrap_pack_error(packed(&options));
        assert!(matches!(error, PackError::Ladder { .. }), "{error}");
    }
}
