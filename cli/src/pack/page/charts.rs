//! The charts over all layers: what was lost, and what the codes could be squeezed into.

use std::fmt::{self, Write};

use super::kinds::{Kinds, Member, color};
use crate::page::plot::{HEIGHT, Label, WIDTH, plot, ticks};
use crate::page::shown;

/// Buttons that show and hide a kind.
fn legend(html: &mut String, kinds: &Kinds<'_>, is_drawn: impl Fn(usize) -> bool) -> fmt::Result {
    html.push_str("<div class=legend>");
    for (index, kind) in kinds.list.iter().enumerate().filter(|(index, _)| is_drawn(*index)) {
        write!(
            html,
            "<button class=\"{}\" data-kind={index} aria-pressed=true>{}</button>",
            color(index),
            shown(&kind.label())
        )?;
    }
    html.push_str("</div>");
    Ok(())
}

/// The signal-to-noise ratio of every matrix, by layer.
pub fn sqnr(html: &mut String, kinds: &Kinds<'_>) -> fmt::Result {
    let finite = |sqnr: Option<f64>| sqnr.filter(|sqnr| sqnr.is_finite());
    let members = || kinds.list.iter().flat_map(|kind| &kind.tensors);
    let lossy: Vec<f64> = members().filter_map(|member| finite(member.tensor.sqnr_db)).collect();
    let exact = members().filter(|member| member.tensor.sqnr_db.is_none()).count();
    html.push_str("<section id=sqnr><h2>What was lost, layer by layer</h2><p>Each dot is a matrix: higher is better.");
    match exact {
        0 => {}
        1 => html.push_str(" One matrix was kept exactly."),
        exact => write!(html, " {exact} matrices were kept exactly.")?,
    }
    let sqnrs = members().filter_map(|member| member.tensor.sqnr_db);
    match sqnrs.filter(|sqnr| !sqnr.is_finite()).count() {
        0 => {}
        1 => html.push_str(" Of one matrix the loss is not finite."),
        lost => write!(html, " Of {lost} matrices the loss is not finite.")?,
    }
    html.push_str("</p>");
    if !lossy.is_empty() {
        let low = lossy.iter().copied().fold(f64::INFINITY, f64::min);
        let high = lossy.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let ticks = ticks(low, high);
        let (bottom, top) = (ticks[0], ticks[ticks.len() - 1]);
        let y = |sqnr: f64| (top - sqnr) / (top - bottom);
        // Matrices outside of the layers have a column of their own, before the first.
        let is_outside = |member: &&Member<'_>| member.layer.is_none() && finite(member.tensor.sqnr_db).is_some();
        let outside = usize::from(members().any(|member| is_outside(&member)));
        let columns = (kinds.layers.len() + outside).max(1) as f64;
        let x = |layer: Option<usize>| (layer.map_or(0, |layer| layer + outside) as f64 + 0.5) / columns;

        legend(html, kinds, |index| {
            kinds.list[index]
                .tensors
                .iter()
                .any(|member| finite(member.tensor.sqnr_db).is_some())
        })?;
        let (mut lines, mut dots) = (String::new(), String::new());
        for (index, kind) in kinds.list.iter().enumerate() {
            let class = color(index);
            let mut line = String::new();
            for member in &kind.tensors {
                let Some(sqnr) = finite(member.tensor.sqnr_db) else {
                    continue;
                };
                let (x, y) = (WIDTH * x(member.layer), HEIGHT * y(sqnr));
                if member.layer.is_some() {
                    let step = if line.is_empty() { 'M' } else { 'L' };
                    write!(line, "{step}{x:.1} {y:.1}")?;
                }
                // A line without length has round ends: a dot that stays round when the drawing is stretched.
                write!(
                    dots,
                    "<path class=\"dot {class}\" data-kind={index} d=\"M{x:.1} {y:.1}h0\" data-tip=\"{}: {sqnr:.2} dB\"/>",
                    shown(&member.tensor.name)
                )?;
            }
            write!(lines, "<path class=\"trend {class}\" data-kind={index} d=\"{line}\"/>")?;
        }
        let y_labels: Vec<Label> = ticks.iter().map(|&tick| (y(tick), format!("{tick} dB"))).collect();
        let mut x_labels: Vec<Label> = Vec::new();
        if outside == 1 {
            x_labels.push((x(None), "–".into()));
        }
        let step = kinds.layers.len().div_ceil(8).max(1);
        let labelled = kinds.layers.iter().enumerate().step_by(step);
        x_labels.extend(labelled.map(|(layer, number)| (x(Some(layer)), number.to_string())));
        plot(
            html,
            "SQNR of each matrix by layer",
            &y_labels,
            &x_labels,
            &(lines + &dots),
        )?;
        html.push_str("<p class=axis>layer");
        if outside == 1 {
            html.push_str(" (–: outside of the layers)");
        }
        html.push_str("</p>");
    }
    html.push_str("</section>\n");
    Ok(())
}

/// The entropy of every matrix's codes in the bits that they are stored in.
pub fn entropy(html: &mut String, kinds: &Kinds<'_>) -> fmt::Result {
    let mut bars = Vec::new();
    let mut is_drawn = vec![false; kinds.list.len()];
    for (index, kind) in kinds.list.iter().enumerate() {
        for member in &kind.tensors {
            let survey = member.tensor.survey.as_ref();
            if let Some((stored, entropy)) = survey.and_then(|survey| survey.code_bits.zip(survey.entropy_bits)) {
                bars.push((index, &member.tensor.name, stored, entropy));
                is_drawn[index] = true;
            }
        }
    }
    if bars.is_empty() {
        return Ok(());
    }
    html.push_str(
        "<section id=entropy><h2>Bits that the codes need</h2><p>Each bar is a matrix, pale what a code takes in the file, \
         full its entropy: what is left for an archive to save. Scales are not counted.</p>",
    );
    legend(html, kinds, |index| is_drawn[index])?;
    let most = bars.iter().map(|(_, _, stored, _)| *stored).fold(0.0, f64::max);
    let (mut drawing, width) = (String::new(), WIDTH / bars.len() as f64);
    for (place, (kind, name, stored, entropy)) in bars.iter().enumerate() {
        // Many bars would be thinner than the space between them.
        let (x, width) = (place as f64 * width, width * if bars.len() > 64 { 1.0 } else { 0.8 });
        let [stored_height, entropy_height] = [stored, entropy].map(|bits| HEIGHT * bits / most);
        write!(
            drawing,
            "<g class=\"bar {class}\" data-kind={kind} data-tip=\"{name}: {entropy:.3} of {stored:.3} bits\">\
             <path class=pale d=\"M{x:.2} {HEIGHT}v-{stored_height:.1}h{width:.2}V{HEIGHT}\"/>\
             <path d=\"M{x:.2} {HEIGHT}v-{entropy_height:.1}h{width:.2}V{HEIGHT}\"/></g>",
            class = color(*kind),
            name = shown(name),
        )?;
    }
    let step = if most > 4.0 { 2.0 } else { 1.0 };
    let labels = (0..)
        .map(|tick| f64::from(tick) * step)
        .take_while(|&bits| bits <= most)
        .map(|bits| (1.0 - bits / most, format!("{bits} bits")));
    plot(
        html,
        "Entropy of each matrix's codes",
        &labels.collect::<Vec<_>>(),
        &[],
        &drawing,
    )?;
    html.push_str("</section>\n");
    Ok(())
}
