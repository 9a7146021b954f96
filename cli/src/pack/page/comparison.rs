//! The format beside other quantizers, on the same rows of the same tensors.

use std::fmt::{self, Write};

use halfpi::pack::{PackReport, Survey, TensorReport};

use super::{NOT_FINITE, decibels, decibels_of};
use crate::page::plot::ticks;
use crate::page::shown;

/// What a quantizer loses over all tensors.
struct Row<'r> {
    name: &'r str,
    bits_per_weight: f64,
    absmax: Option<f64>,
    searched: Option<f64>,
    is_this: bool,
}

impl Row<'_> {
    /// `None` if nothing is lost.
    fn best(&self) -> Option<f64> {
        [self.absmax, self.searched].into_iter().flatten().reduce(f64::max)
    }

    /// What it is sorted by: what loses nothing comes first, what is no number last.
    fn rank(&self) -> f64 {
        let best = self.best().unwrap_or(f64::INFINITY);
        if best.is_nan() { f64::NEG_INFINITY } else { best }
    }
}

fn finite(sqnr: Option<f64>) -> Option<f64> {
    sqnr.filter(|sqnr| sqnr.is_finite())
}

/// A packed tensor with its survey.
type Tensor<'r> = (&'r TensorReport, &'r Survey);

/// A chart over all tensors, which opens into a table of each.
pub fn section(html: &mut String, report: &PackReport) -> fmt::Result {
    let tensors: Vec<Tensor<'_>> = report
        .tensors
        .iter()
        .filter_map(|tensor| Some((tensor, tensor.survey.as_ref()?)))
        .filter(|(_, survey)| survey.code_bits.is_some() && !survey.alternatives.is_empty())
        .collect();
    let Some((_, first)) = tensors.first() else {
        return Ok(());
    };
    let mut rows = vec![this_file(&tensors)];
    rows.extend((0..first.alternatives.len()).map(|index| alternative(&tensors, index)));
    rows.sort_by(|a, b| b.rank().total_cmp(&a.rank()));
    html.push_str(
        "<section id=comparison><h2>Other quantizers on the same weights</h2><p>Measured on whole rows spread evenly over \
         each matrix, up to 16,384 weights of it, with the same groups and f16 scales. ○ has the largest weight at the \
         largest level, ● the scale of least squared error. To the right is better.",
    );
    if tensors
        .iter()
        .any(|(tensor, _)| !matches!(tensor.from.as_str(), "F32" | "F16" | "BF16"))
    {
        html.push_str(" The source had been quantized before: what is like its own format looks better than it is.");
    }
    html.push_str("</p><div class=rows>");
    chart(html, &rows)?;
    html.push_str("</div><details><summary>Each tensor</summary><div class=scroll><table><thead><tr><th>SQNR in dB");
    rows.iter()
        .try_for_each(|row| write!(html, "<th scope=col>{}", shown(row.name)))?;
    html.push_str("</thead><tbody>");
    for tensor in &tensors {
        each(html, &rows, tensor)?;
    }
    html.push_str("</table></div></details></section>\n");
    Ok(())
}

/// Averages of squared errors, weighted by what the tensors' weights amount to.
fn average(tensors: &[Tensor<'_>], nmse: impl Fn(&Survey) -> Option<f64>) -> Option<f64> {
    let (mut error, mut signal) = (0.0, 0.0);
    for (tensor, survey) in tensors {
        let squares = survey.weights.rms * survey.weights.rms * tensor.weights as f64;
        if let Some(nmse) = nmse(survey) {
            error += nmse * squares;
            signal += squares;
        }
    }
    (signal > 0.0).then(|| error / signal)
}

fn this_file<'r>(tensors: &[Tensor<'r>]) -> Row<'r> {
    let bytes: u64 = tensors.iter().map(|(tensor, _)| tensor.bytes).sum();
    let weights: u64 = tensors.iter().map(|(tensor, _)| tensor.weights).sum();
    Row {
        name: "this file",
        bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
        absmax: None,
        searched: average(tensors, |survey| Some(survey.sample_nmse)).and_then(decibels_of),
        is_this: true,
    }
}

fn alternative<'r>(tensors: &[Tensor<'r>], index: usize) -> Row<'r> {
    let of = |survey: &'r Survey| survey.alternatives.get(index);
    let first = tensors.first().and_then(|(_, survey)| of(survey));
    let bits =
        |(tensor, survey): &Tensor<'r>| of(survey).map_or(0.0, |other| other.bits_per_weight * tensor.weights as f64);
    let weights: u64 = tensors.iter().map(|(tensor, _)| tensor.weights).sum();
    Row {
        name: first.map_or("", |other| other.name),
        bits_per_weight: tensors.iter().map(bits).sum::<f64>() / weights.max(1) as f64,
        absmax: average(tensors, |survey| survey.alternatives.get(index)?.absmax_nmse).and_then(decibels_of),
        searched: average(tensors, |survey| survey.alternatives.get(index)?.searched_nmse).and_then(decibels_of),
        is_this: false,
    }
}

fn chart(html: &mut String, rows: &[Row<'_>]) -> fmt::Result {
    let values = || {
        rows.iter()
            .flat_map(|row| [row.absmax, row.searched])
            .filter_map(finite)
    };
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), sqnr| {
        (low.min(sqnr), high.max(sqnr))
    });
    if low > high {
        return Ok(());
    }
    let ticks = ticks(low, high);
    let (left, right) = (ticks[0], ticks[ticks.len() - 1]);
    let place = |sqnr: f64| 100.0 * (sqnr - left) / (right - left);
    html.push_str("<div class=ticks>");
    for &tick in &ticks {
        write!(html, "<span style=\"left:{:.2}%\">{tick}</span>", place(tick))?;
    }
    html.push_str("</div>");
    for row in rows {
        let class = if row.is_this { "row this" } else { "row" };
        write!(
            html,
            "<div class=\"{class}\"><b>{}</b><small>{:.2} bits</small><div class=track>",
            shown(row.name),
            row.bits_per_weight
        )?;
        if let (Some(absmax), Some(searched)) = (finite(row.absmax), finite(row.searched)) {
            let (from, to) = (place(absmax.min(searched)), place(absmax.max(searched)));
            write!(
                html,
                "<i class=bar style=\"left:{from:.2}%;width:{:.2}%\"></i>",
                to - from
            )?;
        }
        for (class, sqnr) in [("ring", row.absmax), ("disc", row.searched)] {
            if let Some(sqnr) = finite(sqnr) {
                write!(html, "<i class={class} style=\"left:{:.2}%\"></i>", place(sqnr))?;
            }
        }
        write!(html, "</div><span>{}</span></div>", decibels(row.best()))?;
    }
    Ok(())
}

fn each(html: &mut String, rows: &[Row<'_>], (tensor, survey): &Tensor<'_>) -> fmt::Result {
    let sqnr = |row: &Row<'_>| {
        let other = survey.alternatives.iter().find(|other| other.name == row.name);
        let nmse = match other {
            _ if row.is_this => Some(survey.sample_nmse),
            Some(other) => [other.absmax_nmse, other.searched_nmse]
                .into_iter()
                .flatten()
                .reduce(f64::min),
            None => None,
        };
        nmse.map(decibels_of)
    };
    write!(html, "<tr><th scope=row>{}", shown(&tensor.name))?;
    for row in rows {
        match sqnr(row) {
            None => html.push_str("<td>–"),
            Some(None) => html.push_str("<td>exact"),
            Some(Some(sqnr)) if sqnr.is_finite() => write!(html, "<td>{sqnr:.2}")?,
            Some(Some(_)) => write!(html, "<td>{NOT_FINITE}")?,
        }
    }
    Ok(())
}
