//! The page about a run: one HTML file that needs nothing else, in the style of `halfpi pack --report`.

use std::fmt::{self, Write};

use halfpi_trainer::run::{Levels, RunReport};

use crate::output::{bytes, count};
use crate::page::plot::{HEIGHT, WIDTH, plot, ticks};
use crate::page::{self, shown, tile};

/// Points of a curve at most: more than a screen shows.
const POINTS: usize = 1000;

/// The page, about a run whose model has so many bytes.
pub fn page(report: &RunReport, model_bytes: u64) -> Result<String, fmt::Error> {
    let scheme = report.options.scheme.to_string();
    let about = format!(
        "{} parameters, {} tokens",
        count(report.parameters),
        count(report.tokens)
    );
    let mut html = page::begin("halfpi train", &scheme, &about);
    tiles(&mut html, report, model_bytes)?;
    loss(&mut html, report)?;
    rate(&mut html, report)?;
    levels(&mut html, &report.levels)?;
    memory(&mut html, report)?;
    write!(
        html,
        "<section id=data><h2>Data</h2><pre>{}</pre></section></main>\n<footer>Made by halfpi {}. Losses are negative \
         log-likelihoods of a token, in nats, unless a teacher was asked for.</footer></body></html>\n",
        escaped(&report.data.to_string()),
        env!("CARGO_PKG_VERSION")
    )?;
    Ok(html)
}

fn tiles(html: &mut String, report: &RunReport, model_bytes: u64) -> fmt::Result {
    let mut tile = |name, value: &str, about: &str| tile(html, name, value, about);
    if let (Some((_, first)), Some((_, last))) = (report.held_out.first(), report.held_out.last()) {
        let about = format!("nats a token; {first:.3} before; perplexity {:.2}", last.exp());
        tile("Held-out text", &format!("{last:.3}"), &about)?;
    }
    let processes = match report.processes {
        1 => String::new(),
        processes => format!(", {processes} processes"),
    };
    let about = format!("{:.0} s{processes}", report.seconds);
    tile("Tokens a second", &format!("{:.0}", report.tokens_per_second), &about)?;
    tile("Model", &bytes(model_bytes), "packed, vocabulary and metadata included")?;
    if let Some(memory) = &report.memory {
        tile("Memory", &bytes(memory.peak as u64), "at its peak")?;
    }
    Ok(())
}

/// The loss of every update, and of held-out text.
fn loss(html: &mut String, report: &RunReport) -> fmt::Result {
    let losses: Vec<(f64, f64)> = report
        .updates
        .iter()
        .map(|at| (at.update as f64, at.loss.into()))
        .collect();
    let held_out: Vec<(f64, f64)> = report
        .held_out
        .iter()
        .map(|&(at, nll)| (at as f64, nll.into()))
        .collect();
    html.push_str(
        "<section id=loss><h2>Loss</h2><p>Pale: every update, of its own text before it. Strong: held-out text, the same \
         each time.</p>",
    );
    curves(html, "loss by update", &[("k1 pale", &losses), ("k0", &held_out)])?;
    html.push_str("<p class=axis>updates</p></section>");
    Ok(())
}

/// The norm of the gradients.
fn rate(html: &mut String, report: &RunReport) -> fmt::Result {
    let norms = report
        .updates
        .iter()
        .map(|at| (at.update as f64, f64::from(at.gradient_norm).max(1e-9).log10()));
    html.push_str("<section id=gradients><h2>Gradients</h2><p>The norm of all gradients before it was cut, as a power of ten.</p>");
    curves(
        html,
        "logarithm of the gradient norm by update",
        &[("k3", &norms.collect::<Vec<_>>())],
    )?;
    html.push_str("<p class=axis>updates</p></section>");
    Ok(())
}

/// Curves over the same axes, each with its class.
fn curves(html: &mut String, about: &str, curves: &[(&str, &[(f64, f64)])]) -> fmt::Result {
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let finite = || points().filter(|(_, y)| y.is_finite());
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (low, high) = bounds(&mut finite().map(|(_, y)| y));
    let (first, last) = bounds(&mut finite().map(|(x, _)| x));
    if low > high {
        html.push_str("<p>Nothing was measured.</p>");
        return Ok(());
    }
    let ticks = ticks(low, high);
    let (bottom, top) = (ticks[0], ticks[ticks.len() - 1]);
    let place_y = |y: f64| (top - y) / (top - bottom);
    let place_x = |x: f64| {
        if last > first {
            (x - first) / (last - first)
        } else {
            0.5
        }
    };
    let y: Vec<_> = ticks
        .iter()
        .map(|&tick| (place_y(tick), format!("{tick:.2}")))
        .collect();
    let x = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| (part, format!("{:.0}", first + part * (last - first))));
    let mut drawing = String::new();
    for (class, points) in curves {
        let opacity = if class.contains("pale") { 0.35 } else { 1.0 };
        write!(
            drawing,
            "<path class=\"trend {class}\" style=\"opacity:{opacity}\" d=\""
        )?;
        let every = points.len().div_ceil(POINTS).max(1);
        for (i, run) in points.chunks(every).enumerate() {
            // Many updates are one point of the curve: their mean.
            let run: Vec<_> = run.iter().filter(|(_, y)| y.is_finite()).collect();
            let (Some((at, _)), count) = (run.last(), run.len() as f64) else {
                continue;
            };
            let mean = run.iter().map(|(_, y)| y).sum::<f64>() / count;
            let letter = if i == 0 { 'M' } else { 'L' };
            write!(
                drawing,
                "{letter}{:.1} {:.1}",
                WIDTH * place_x(*at),
                HEIGHT * place_y(mean)
            )?;
        }
        drawing.push_str("\"/>");
    }
    plot(html, about, &y, &x, &drawing)
}

/// Histograms of the codes, one below the other.
fn levels(html: &mut String, all: &[Levels]) -> fmt::Result {
    let Some(last) = all.last() else { return Ok(()) };
    write!(
        html,
        "<section id=levels><h2>Weights over time</h2><p>Of all quantized layers, beside the largest of 32 neighbours. \
         {:.0}% of them are 0 at the end.</p>",
        100.0 * last.zeros
    )?;
    let most = all
        .iter()
        .flat_map(|levels| &levels.shares)
        .fold(0f32, |most, &share| most.max(share));
    // The first, the last, and some between.
    let every = all.len().div_ceil(6).max(1);
    let shown = all
        .iter()
        .enumerate()
        .filter(|(i, _)| i % every == 0 || i + 1 == all.len());
    for (_, levels) in shown {
        let width = WIDTH / levels.shares.len() as f64;
        let mut drawing = String::from("<g class=\"bar k0\">");
        for (i, share) in levels.shares.iter().enumerate() {
            let height = HEIGHT * f64::from(share / most.max(f32::MIN_POSITIVE));
            let (x, y) = (i as f64 * width, HEIGHT - height);
            write!(
                drawing,
                "<path d=\"M{x:.1} {HEIGHT}V{y:.1}h{:.1}V{HEIGHT}z\"/>",
                width * 0.9
            )?;
        }
        drawing.push_str("</g>");
        write!(
            html,
            "<h4>{} updates, {:.1}% zeros</h4>",
            levels.updates,
            100.0 * levels.zeros
        )?;
        let x = [(0.0, "-1".to_owned()), (0.5, "0".to_owned()), (1.0, "1".to_owned())];
        plot(
            html,
            "histogram of weights",
            &[(0.0, format!("{:.0}%", 100.0 * most))],
            &x,
            &drawing,
        )?;
    }
    html.push_str("</section>");
    Ok(())
}

fn memory(html: &mut String, report: &RunReport) -> fmt::Result {
    let Some(memory) = &report.memory else { return Ok(()) };
    html.push_str("<section id=memory><h2>Memory</h2><p>The most of each at any time.</p><div class=stack>");
    let used: Vec<_> = memory.by_class.iter().filter(|(_, peak)| *peak > 0).collect();
    for (i, (_, peak)) in used.iter().enumerate() {
        write!(html, "<i class=k{i} style=\"flex-grow:{peak}\"></i>")?;
    }
    html.push_str("</div><ul class=key>");
    for (i, (class, peak)) in used.iter().enumerate() {
        let name = format!("{class:?}").to_lowercase();
        write!(html, "<li class=k{i}>{name} <b>{}</b></li>", bytes(*peak as u64))?;
    }
    html.push_str("</ul></section>");
    Ok(())
}

/// Lines of text, each as a page may show it.
fn escaped(text: &str) -> String {
    text.lines().map(|line| shown(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_need_not_be_finite_or_there() {
        let mut html = String::new();
        curves(&mut html, "nothing", &[("k0", &[]), ("k1", &[(1.0, f64::NAN)])]).unwrap();
        assert!(html.contains("Nothing was measured"));
        let mut html = String::new();
        let points: Vec<(f64, f64)> = (0..5000)
            .map(|i| (f64::from(i), if i == 7 { f64::INFINITY } else { 2.0 }))
            .collect();
        curves(&mut html, "many", &[("k0", &points)]).unwrap();
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        assert!(html.matches('L').count() <= POINTS, "{}", html.matches('L').count());
    }

    #[test]
    fn names_of_files_cannot_leave_their_place() {
        assert_eq!(escaped("a <b>\n\"c\""), "a &lt;b&gt;\n&quot;c&quot;\n");
    }
}
