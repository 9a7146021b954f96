//! Histograms of weights and codes, by kind and by tensor.

use std::f64::consts::TAU;
use std::fmt::{self, Write};

use halfpi::pack::{CodeCount, Survey, TensorReport, WeightHistogram};

use super::kinds::{Kind, Kinds, color};
use super::{decibels, decibels_of};
use crate::page::plot::{HEIGHT, WIDTH};
use crate::page::shown;

/// A card for each kind, which opens into its tensors.
pub fn section(html: &mut String, kinds: &Kinds<'_>) -> fmt::Result {
    let has_survey = |kind: &&Kind<'_>| kind.tensors.iter().any(|member| member.tensor.survey.is_some());
    if !kinds.list.iter().any(|kind| has_survey(&kind)) {
        return Ok(());
    }
    html.push_str(
        "<section id=histograms><h2>Weights and codes</h2><p>Left the weights before packing, in units of their tensor's \
         root mean square; the line is a Gaussian. Right how often each code is used, from the most negative value to the \
         most positive.</p><div class=cards>",
    );
    for (index, kind) in kinds.list.iter().enumerate().filter(|(_, kind)| has_survey(kind)) {
        card(html, index, kind)?;
    }
    html.push_str("</div></section>\n");
    Ok(())
}

fn card(html: &mut String, index: usize, kind: &Kind<'_>) -> fmt::Result {
    let surveys: Vec<(&TensorReport, &Survey)> = kind
        .tensors
        .iter()
        .filter_map(|member| Some((member.tensor, member.tensor.survey.as_ref()?)))
        .collect();
    let (mut bins, mut outside) = (vec![0.0; WeightHistogram::BINS], 0.0);
    let mut codes: Vec<CodeCount> = Vec::new();
    let (mut signal, mut error, mut farthest) = (0.0, 0.0, 0f64);
    for (
        tensor,
        Survey {
            weights, codes: counts, ..
        },
    ) in &surveys
    {
        for (sum, count) in bins.iter_mut().zip(&weights.bins) {
            *sum += count;
        }
        outside += weights.outside;
        if weights.rms > 0.0 {
            farthest = farthest.max(f64::from(weights.max.max(-weights.min)) / weights.rms);
        }
        let squares = weights.rms * weights.rms * tensor.weights as f64;
        signal += squares;
        error += squares * tensor.nmse;
        if codes.is_empty() {
            codes.clone_from(counts);
        } else {
            for (sum, count) in codes.iter_mut().zip(counts) {
                sum.count += count.count;
            }
        }
    }
    let total = outside + bins.iter().sum::<f64>();
    let nmse = if signal > 0.0 { error / signal } else { 0.0 };
    write!(
        html,
        "<article class=\"card {}\"><h3>{}</h3><p>{} × {} · {}</p><div class=pair>",
        color(index),
        shown(&kind.label()),
        surveys.len(),
        shown(kind.format),
        decibels(decibels_of(nmse)),
    )?;
    weights_drawing(html, &bins, true)?;
    codes_drawing(html, &codes)?;
    write!(
        html,
        "</div><p>{:.2}% of the weights lie beyond ±{}, up to {farthest:.1}</p>",
        100.0 * outside / total.max(1.0),
        WeightHistogram::REACH,
    )?;
    if surveys.len() > 1 {
        html.push_str("<details><summary>Each tensor</summary>");
        for (tensor, survey) in surveys {
            write!(html, "<h4>{}</h4><div class=pair>", shown(&tensor.name))?;
            weights_drawing(html, &survey.weights.bins, false)?;
            codes_drawing(html, &survey.codes)?;
            html.push_str("</div>");
        }
        html.push_str("</details>");
    }
    html.push_str("</article>");
    Ok(())
}

fn weights_drawing(html: &mut String, bins: &[f64], with_gaussian: bool) -> fmt::Result {
    let total: f64 = bins.iter().sum();
    let width = 2.0 * WeightHistogram::REACH / bins.len().max(1) as f64;
    // The share of a Gaussian in the interval around x.
    let gaussian = |x: f64| total * width * (-x * x / 2.0).exp() / TAU.sqrt();
    let most = bins
        .iter()
        .copied()
        .fold(if with_gaussian { gaussian(0.0) } else { 0.0 }, f64::max);
    let mut line = String::new();
    for bin in (0..bins.len()).filter(|_| with_gaussian) {
        let x = (bin as f64 + 0.5) * width - WeightHistogram::REACH;
        let step = if bin == 0 { 'M' } else { 'L' };
        let across = (bin as f64 + 0.5) / bins.len() as f64;
        write!(line, "{step}{:.0} {:.0}", WIDTH * across, down(gaussian(x), most))?;
    }
    let reach = WeightHistogram::REACH;
    write!(
        html,
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=weights>\
         <path class=area d=\"{}\"/><path class=gauss d=\"{line}\"/></svg><figcaption><span>−{reach}</span><span>weights\
         </span><span>{reach}</span></figcaption></figure>",
        outline(bins, most)
    )
}

fn codes_drawing(html: &mut String, codes: &[CodeCount]) -> fmt::Result {
    let (Some(first), Some(last)) = (codes.first(), codes.last()) else {
        return Ok(());
    };
    let counts: Vec<f64> = codes.iter().map(|code| code.count as f64).collect();
    let most = counts.iter().copied().fold(1.0, f64::max);
    // Many bars would be thinner than the space between them.
    let drawing = if codes.len() > 64 { outline } else { bars };
    let sign = |value: i32| value.to_string().replace('-', "−");
    write!(
        html,
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=codes>\
         <path class=area d=\"{}\"/></svg><figcaption><span>{}</span><span>codes</span><span>{}</span></figcaption>\
         </figure>",
        drawing(&counts, most),
        sign(first.value),
        sign(last.value),
    )
}

/// How far down a value is drawn.
fn down(value: f64, most: f64) -> f64 {
    HEIGHT * (1.0 - value / most.max(f64::MIN_POSITIVE))
}

/// Bars with space between them.
fn bars(values: &[f64], most: f64) -> String {
    let width = WIDTH / values.len().max(1) as f64;
    let mut path = String::new();
    for (place, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        let (x, y) = (width * (place as f64 + 0.1), down(value, most));
        let _ = write!(path, "M{x:.0} {HEIGHT}V{y:.0}h{:.0}V{HEIGHT}", width * 0.8);
    }
    path
}

/// Bars without, in one line.
fn outline(values: &[f64], most: f64) -> String {
    let width = WIDTH / values.len().max(1) as f64;
    let mut path = format!("M0 {HEIGHT}");
    for &value in values {
        let _ = write!(path, "V{:.0}h{width:.1}", down(value, most));
    }
    path + &format!("V{HEIGHT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_the_height() {
        assert_eq!(
            bars(&[0.0, 2.0, 4.0, 1.0], 4.0),
            "M275 300V150h200V300M525 300V0h200V300M775 300V225h200V300"
        );
        assert_eq!(outline(&[0.0, 4.0], 4.0), "M0 300V300h500.0V0h500.0V300");
    }
}
