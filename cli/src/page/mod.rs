//! What the pages of `halfpi pack --report` and `halfpi train` have in common: each is one HTML file that needs nothing
//! else and no network.

pub mod plot;

use std::fmt::{self, Write};

use crate::output::one_line;

const STYLE: &str = include_str!("style.css");
/// The browser loads nothing, whatever a name might smuggle in.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The page of a command as far as its first section. `about` is HTML, `title` is not.
pub fn begin(command: &str, title: &str, about: &str) -> String {
    let title = shown(title);
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=Content-Security-Policy content=\"{POLICY}\">\
         <title>{title} – {command}</title>\n<style>\n{STYLE}</style></head>\n<body><header><p>{command}</p>\
         <h1>{title}</h1><p>{about}</p></header>\n<main>"
    )
}

/// A figure in large letters.
pub fn tile(html: &mut String, name: &str, value: &str, about: &str) -> fmt::Result {
    write!(
        html,
        "<div class=tile><h2>{name}</h2><strong>{value}</strong><p>{about}</p></div>"
    )
}

/// Text from a file, for HTML or an attribute in double quotes: on one line, with nothing that a browser obeys.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in one_line(text, 120).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
