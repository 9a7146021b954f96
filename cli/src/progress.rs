//! Progress bars, on standard error and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts to `length` in `unit`.
pub fn bar(length: u64, unit: &'static str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // indicatif draws on standard error, and nothing at all where that is no terminal.
    ProgressBar::new(length).with_style(style)
}
