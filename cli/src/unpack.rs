//! `halfpi unpack`: restores a model file from the archive that `halfpi pack --archive` wrote.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use halfpi::Error;
use halfpi::archive::{Unpacked, Unpacker};
use serde::Serialize;

use crate::interrupt::Interrupt;
use crate::output::{Outcome, about, bytes, hex, one_line, print, print_json};
use crate::progress;

/// Restore a model file from an archive
///
/// The file comes back bit for bit. It appears when it is complete and every checksum is right: what was there before
/// stays if the archive is damaged.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  halfpi unpack model.hpar -o model.gguf
  curl https://example.org/model.hpar | halfpi unpack - -o model.gguf")]
pub struct Args {
    /// Archive, or - for standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "OUT.gguf")]
    output: PathBuf,
    /// Refuse any other file than the one with this SHA-256
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    sha256: Option<[u8; 32]>,
    /// Refuse a file of more bytes than this, before anything is written
    #[arg(long, value_name = "N")]
    max_bytes: Option<u64>,
    /// Threads [default: one for each fast core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    output: String,
    archive_bytes: u64,
    file_bytes: u64,
    sha256: String,
    seconds: f64,
}

pub fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let interrupt = Interrupt::noted()?;
    let unpacked = open(&args.archive)
        .and_then(|archive| unpack(archive, args, &interrupt))
        .map_err(|error| match error {
            Error::Archive(_) | Error::Read(_) => about(&args.archive, error),
            error => error.into(),
        })?;
    let report = Output {
        output: args.output.display().to_string(),
        archive_bytes: unpacked.archive_bytes,
        file_bytes: unpacked.file_bytes,
        sha256: hex(&unpacked.sha256),
        seconds: start.elapsed().as_secs_f64(),
    };
    if args.json {
        return print_json(&report);
    }
    print(&format!(
        "{}: {} from an archive of {} in {:.1} s ({}/s)\nSHA-256 {}\n",
        one_line(&report.output, 200),
        bytes(report.file_bytes),
        bytes(report.archive_bytes),
        report.seconds,
        bytes((report.file_bytes as f64 / report.seconds) as u64),
        report.sha256,
    ))
}

fn open(path: &Path) -> halfpi::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

fn unpack(archive: Box<dyn Read>, args: &Args, interrupt: &Interrupt) -> halfpi::Result<Unpacked> {
    let mut archive = Unpacker::new(archive)?;
    if let Some(sha256) = args.sha256 {
        archive = archive.expect_sha256(sha256);
    }
    if let Some(most) = args.max_bytes {
        archive = archive.most_bytes(most);
    }
    if let Some(threads) = args.threads {
        archive = archive.threads(threads.into());
    }
    let bar = progress::bar(archive.file_bytes(), "bytes");
    let unpacked = archive.unpack(&args.output, &mut |progress| {
        bar.set_position(progress.bytes_done);
        interrupt.go_on()
    });
    bar.finish_and_clear();
    unpacked
}

fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "a SHA-256 is 64 hexadecimal digits".to_owned();
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, start) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[start..start + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_parsed_as_they_are_printed() {
        let hash = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(parse_sha256(&hex(&hash)), Ok(hash));
        for wrong in [
            "",
            "00",
            &"0".repeat(63),
            &"g".repeat(64),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert!(parse_sha256(wrong).is_err(), "{wrong}");
        }
    }
}
