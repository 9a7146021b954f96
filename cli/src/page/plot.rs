//! Drawings with axes. They are SVG that stretches to the width of the screen; their labels are HTML, which does not.

use std::fmt::{self, Write};

/// Units of every chart's drawing, which the browser stretches.
pub const WIDTH: f64 = 1000.0;
pub const HEIGHT: f64 = 300.0;

/// A label and its place, as a part of the axis from the left or the top.
pub type Label = (f64, String);

/// A drawing with labelled axes.
pub fn plot(html: &mut String, about: &str, y: &[Label], x: &[Label], drawing: &str) -> fmt::Result {
    html.push_str("<div class=plot><div class=y>");
    for (place, label) in y {
        write!(html, "<span style=\"top:{:.2}%\">{label}</span>", 100.0 * place)?;
    }
    write!(
        html,
        "</div><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=\"{about}\">"
    )?;
    for (place, _) in y {
        write!(html, "<path class=line d=\"M0 {:.1}H{WIDTH}\"/>", HEIGHT * place)?;
    }
    write!(html, "{drawing}</svg><div class=x>")?;
    for (place, label) in x {
        write!(html, "<span style=\"left:{:.2}%\">{label}</span>", 100.0 * place)?;
    }
    html.push_str("</div></div>");
    Ok(())
}

/// Round numbers from `low` or less to `high` or more, which are finite; at least two.
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = ((high - low) / 4.0).max(0.25);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).floor();
    let last = (high / step).ceil().max(first + 1.0);
    // Few, because the step is at least a quarter of the range.
    (0..=(last - first) as usize)
        .map(|tick| (first + tick as f64) * step)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose() {
        assert_eq!(ticks(17.3, 24.9), [16.0, 18.0, 20.0, 22.0, 24.0, 26.0]);
        assert_eq!(ticks(20.0, 20.0), [20.0, 20.5]);
        for (low, high) in [(-3.0, 140.0), (0.1, 0.1001), (-80.0, -79.0)] {
            let ticks = ticks(low, high);
            assert!((2..=7).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks[0] <= low && *ticks.last().unwrap() >= high, "{ticks:?}");
        }
    }
}
