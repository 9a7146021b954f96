//! The table of docs/formats.md: what every format loses on random weights.
//!
//! `cargo run --release -p halfpi --example sqnr`

#[path = "../tests/pack_common/weights.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod weights;

use halfpi::pack::{Format, Scales, pack_matrix};
use weights::{Density, random};

/// Wide rows, as those of a model of some billion weights.
const SHAPE: (usize, usize) = (256, 4096);

fn main() {
    println!("| format | scales | bits a weight | Gauss, dB | Laplace, dB |");
    println!("|---|---|---|---|---|");
    // Complex weights are another matter: the codes of the others fit any matrix.
    let formats = Format::all().filter(|&format| format.codes().is_some() && format != Format::PhaseComplex);
    for format in formats {
        let mut choices = vec![format.scales()];
        if format != Format::TernaryDense {
            choices.push(match format.scales() {
                Scales::Row => Scales::Group(64),
                _ => Scales::Row,
            });
        }
        for scales in choices {
            let figure = |density| {
                let weights = random(density, SHAPE.0 * SHAPE.1, 1);
                match pack_matrix(&weights, SHAPE, format, scales, 8) {
                    Ok((bytes, lost)) => (bytes.len(), lost.sqnr_db().unwrap_or(f64::INFINITY)),
                    Err(error) => panic!("{format}: {error}"),
                }
            };
            let ((bytes, gauss), (_, laplace)) = (figure(Density::Gauss), figure(Density::Laplace));
            let bits = bytes as f64 * 8.0 / (SHAPE.0 * SHAPE.1) as f64;
            println!("| `{format}` | {scales} | {bits:.2} | {gauss:.2} | {laplace:.2} |");
        }
    }
}
