//! The page of `halfpi pack --report`: every tensor's figures and a histogram of its codes, in one HTML file.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use halfpi::gguf::{GgmlType, ModelFile};
use halfpi::pack::PackReport;
use halfpi_kernels::format::{Codes, Packed};

use crate::output::{Outcome, bytes};
use crate::progress;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2em;color-scheme:light dark}\
table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:right;border-bottom:1px solid #8884}\
td:first-child,th:first-child{text-align:left}svg{display:block}rect{fill:#47a}";
/// Size of a histogram, in pixels.
const WIDTH: usize = 256;
const HEIGHT: usize = 40;

/// Writes `directory/index.html` about the packed file `output`.
pub fn write(directory: &Path, output: &Path, report: &PackReport) -> Outcome {
    let path = directory.join("index.html");
    let html = page(output, report)?;
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, html))
        .map_err(|error| {
            format!(
                "{}: {error}; {} is complete without the report",
                path.display(),
                output.display()
            )
            .into()
        })
}

fn page(output: &Path, report: &PackReport) -> Outcome<String> {
    let file = ModelFile::open(output)?;
    let gguf = file.gguf()?;
    let title = escape(&output.display().to_string());
    let mut html =
        format!("<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>");
    let decibels = |sqnr: Option<f64>| sqnr.map_or("exact".into(), |sqnr| format!("{sqnr:.2} dB"));
    write!(
        html,
        "<p>{}, {} weights at {:.3} bits, signal to noise {}. Bars: how often each code is used, from the most negative \
         to the most positive value.</p><table><tr><th>tensor<th>from<th>to<th>shape<th>size<th>bits per weight\
         <th>signal to noise<th>codes",
        bytes(report.file_bytes),
        report.weights,
        report.bits_per_weight,
        decibels(report.sqnr_db),
    )?;
    let bar = progress::bar(report.weights, "weights");
    for tensor in &report.tensors {
        let info = gguf.tensor(&tensor.name).filter(|info| info.ty == GgmlType::I8);
        let packed = info.and_then(|info| Packed::from_file_bytes(gguf.data(info)).ok());
        let histogram = packed.map(|packed| svg(&histogram(&packed))).unwrap_or_default();
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        write!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.3}<td>{}<td>{histogram}",
            escape(&tensor.name),
            escape(&tensor.from),
            escape(&tensor.to),
            shape.join(" × "),
            bytes(tensor.bytes),
            tensor.bits_per_weight,
            decibels(tensor.sqnr_db),
        )?;
        bar.inc(tensor.weights);
    }
    bar.finish_and_clear();
    html.push_str("</table>\n");
    Ok(html)
}

/// How often each code occurs, in the order of the values they stand for.
fn histogram(packed: &Packed<'_>) -> Vec<u64> {
    let mut counts = [0u64; 512];
    for row in 0..packed.rows() {
        for col in 0..packed.cols() {
            if let Ok(code) = packed.code(row, col) {
                counts[usize::from(code)] += 1;
            }
        }
    }
    match packed.codes() {
        // Codes are the values themselves, in two's complement.
        Codes::Int8 => (i8::MIN..=i8::MAX)
            .map(|value| counts[usize::from(value as u8)])
            .collect(),
        Codes::Codebook4(table) => {
            let mut codes: Vec<usize> = (0..table.len()).collect();
            codes.sort_by_key(|&code| table[code]);
            codes.into_iter().map(|code| counts[code]).collect()
        }
        codes => counts[..codes.count() as usize].to_vec(),
    }
}

fn svg(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = WIDTH as f64 / counts.len().max(1) as f64;
    let mut svg = format!("<svg width={WIDTH} height={HEIGHT}>");
    for (index, &count) in counts.iter().enumerate() {
        let height = HEIGHT as f64 * count as f64 / most;
        let (x, y) = (index as f64 * width, HEIGHT as f64 - height);
        let _ = write!(svg, "<rect x={x:.1} y={y:.1} width={width:.1} height={height:.1} />");
    }
    svg + "</svg>"
}

/// Names come from the model's file.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_cell() {
        assert_eq!(escape("<b>&\"x\""), "&lt;b>&amp;&quot;x&quot;");
    }

    #[test]
    fn bars_fill_the_height() {
        let svg = svg(&[0, 2, 4]);
        assert!(
            svg.contains("height=40.0") && svg.contains("height=20.0") && svg.contains("height=0.0"),
            "{svg}"
        );
    }
}
