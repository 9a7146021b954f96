//! The page of `halfpi pack --report`: one HTML file that needs nothing else and no network.
//!
//! What a model file says (names, types) goes through [`shown`] on its way into the page.

mod charts;
mod comparison;
mod histograms;
mod kinds;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use halfpi::pack::{PackReport, TensorReport};

use self::kinds::{Kinds, color};
use crate::output::{Outcome, bytes, count};
use crate::page::{self, shown, tile};

/// What is shown for a loss that is infinite or not a number.
const NOT_FINITE: &str = "not finite";
const SCRIPT: &str = include_str!("script.js");

/// Writes `directory/index.html` about the packed file `output`.
pub fn write(directory: &Path, output: &Path, format: &str, report: &PackReport) -> Outcome {
    let path = directory.join("index.html");
    let title = output.file_name().unwrap_or(output.as_os_str()).to_string_lossy();
    let html = page(&title, format, report)?;
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

fn page(title: &str, format: &str, report: &PackReport) -> Result<String, fmt::Error> {
    let kinds = Kinds::of(report);
    let about = format!(
        "{} weights in {} tensors, matrices as {}",
        count(report.weights),
        report.tensors.len(),
        shown(format)
    );
    let mut html = page::begin("halfpi pack", title, &about);
    tiles(&mut html, report)?;
    sizes(&mut html, report, &kinds)?;
    charts::sqnr(&mut html, &kinds)?;
    comparison::section(&mut html, report)?;
    histograms::section(&mut html, &kinds)?;
    charts::entropy(&mut html, &kinds)?;
    table(&mut html, report)?;
    write!(
        html,
        "</main>\n<footer>Made by halfpi {}. SQNR is the signal-to-quantization-noise ratio, NMSE the squared error as a \
         part of the squared weights.</footer><div id=tip hidden></div>\n<script>\n{SCRIPT}</script></body></html>\n",
        env!("CARGO_PKG_VERSION")
    )?;
    Ok(html)
}

/// The figures of the whole file.
fn tiles(html: &mut String, report: &PackReport) -> fmt::Result {
    let mut tile = |name, value: &str, about: &str| tile(html, name, value, about);
    let file = report.file_bytes.max(1) as f64;
    let times = (report.weights * 2) as f64 / file;
    tile(
        "File",
        &bytes(report.file_bytes),
        &format!("{times:.1} times smaller than in f16"),
    )?;
    let average = format!("{:.2}", report.bits_per_weight);
    tile("Bits per weight", &average, "scales and headers included")?;
    let nmse = format!("NMSE {}, over all matrices", small(report.nmse));
    tile("SQNR", &decibels(report.sqnr_db), &nmse)?;
    if let Some(coded) = report.entropy_coded_bytes {
        let less = 100.0 * (1.0 - coded as f64 / file);
        tile(
            "Entropy-coded",
            &bytes(coded),
            &format!("{less:.1}% less to download, at best"),
        )?;
    }
    Ok(())
}

/// Where the bytes are.
fn sizes(html: &mut String, report: &PackReport, kinds: &Kinds<'_>) -> fmt::Result {
    let matrices = kinds.list.iter().enumerate();
    let mut parts: Vec<(String, String, u64)> = matrices
        .map(|(index, kind)| {
            let size = kind.tensors.iter().map(|member| member.tensor.bytes).sum();
            (color(index), kind.label(), size)
        })
        .collect();
    let tensors = |tensors: &[TensorReport]| tensors.iter().map(|tensor| tensor.bytes).sum::<u64>();
    let vectors = tensors(&report.tensors) - parts.iter().map(|(.., size)| size).sum::<u64>();
    let rest = report.file_bytes.saturating_sub(tensors(&report.tensors));
    parts.push(("plain".into(), "norms and other vectors".into(), vectors));
    parts.push(("plain".into(), "vocabulary and metadata".into(), rest));
    parts.retain(|(.., size)| *size > 0);
    html.push_str("<section id=sizes><h2>Where the bytes are</h2><div class=stack>");
    for (color, name, size) in &parts {
        write!(
            html,
            "<i class=\"{color}\" style=\"flex-grow:{size}\" data-tip=\"{}: {}\"></i>",
            shown(name),
            bytes(*size)
        )?;
    }
    html.push_str("</div><ul class=key>");
    for (color, name, size) in &parts {
        let percent = 100.0 * *size as f64 / report.file_bytes.max(1) as f64;
        write!(
            html,
            "<li class=\"{color}\">{} <b>{}</b> {percent:.1}%",
            shown(name),
            bytes(*size)
        )?;
    }
    html.push_str("</ul></section>\n");
    Ok(())
}

/// Everything about every tensor.
fn table(html: &mut String, report: &PackReport) -> fmt::Result {
    html.push_str(
        "<section id=tensors><h2>All tensors</h2><p>Press a heading to sort. <input id=filter type=search \
         placeholder=\"Filter by name\" aria-label=\"Filter by name\"></p><div class=scroll><table><thead><tr>",
    );
    for name in [
        "tensor",
        "from",
        "to",
        "shape",
        "size",
        "bits per weight",
        "entropy",
        "SQNR",
        "NMSE",
    ] {
        write!(html, "<th scope=col><button>{name}</button>")?;
    }
    html.push_str("</thead><tbody>");
    for tensor in &report.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        let note = match &tensor.note {
            Some(note) => format!(" <small>{}</small>", shown(note)),
            None => String::new(),
        };
        let entropy = tensor.survey.as_ref().and_then(|survey| survey.entropy_bits);
        write!(
            html,
            "<tr><th scope=row>{name}<td>{from}<td>{to}{note}<td data-v={weights}>{shape}<td data-v={size}>{bytes}\
             <td data-v={bits}>{bits:.3}<td data-v={sort_entropy}>{entropy}<td data-v={sort_sqnr}>{sqnr}\
             <td data-v={sort_nmse:e}>{shown_nmse}",
            name = shown(&tensor.name),
            from = shown(&tensor.from),
            to = shown(&tensor.to),
            weights = tensor.weights,
            shape = shape.join(" × "),
            size = tensor.bytes,
            bytes = bytes(tensor.bytes),
            bits = tensor.bits_per_weight,
            sort_entropy = entropy.unwrap_or(-1.0),
            entropy = entropy.map_or("–".into(), |bits| format!("{bits:.3}")),
            // Exact above all others, what is no number below them.
            sort_sqnr = tensor
                .sqnr_db
                .map_or(1e9, |sqnr| if sqnr.is_finite() { sqnr } else { -1e9 }),
            sqnr = decibels(tensor.sqnr_db),
            sort_nmse = if tensor.nmse.is_finite() { tensor.nmse } else { f64::MAX },
            shown_nmse = small(tensor.nmse),
        )?;
    }
    html.push_str("</table></div></section>\n");
    Ok(())
}

/// A ratio of signal to noise, `None` where nothing was lost. Where there is no signal, or weights are out of all bounds, it
/// is no number.
pub fn decibels(sqnr: Option<f64>) -> String {
    match sqnr {
        None => "exact".into(),
        Some(sqnr) if sqnr.is_finite() => format!("{sqnr:.2} dB"),
        Some(_) => NOT_FINITE.into(),
    }
}

/// The ratio for a squared error as a part of the squared weights.
fn decibels_of(nmse: f64) -> Option<f64> {
    (nmse != 0.0).then(|| -10.0 * nmse.log10())
}

/// A squared error as a part of the squared weights.
pub fn small(nmse: f64) -> String {
    match nmse {
        0.0 => "0".into(),
        _ if nmse.is_finite() => format!("{nmse:.2e}"),
        _ => NOT_FINITE.into(),
    }
}
