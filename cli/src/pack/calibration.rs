//! What a pack is calibrated with: a text, or JSON lines with texts and conversations, as `halfpi train` takes them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use halfpi::pack::{Blueprint, Calibration, Source};
use halfpi::template::ChatTemplate;
use halfpi_data::Content;

use crate::output::{Outcome, count, read_text};

/// The longest line that is read.
const MAX_LINE: u64 = 16 << 20;
/// Bytes of documents that are held for each token that is used: a token has about four.
const BYTES_A_TOKEN: usize = 16;

/// Reads the file: `.jsonl`, `.ndjson` and `.json` are JSON lines, all others a text. Conversations are written by the
/// model's own template. Says on the terminal what was found.
pub fn read(path: &Path, source: &Source, tokens: usize) -> Outcome<Calibration> {
    let end = path.extension().and_then(|extension| extension.to_str());
    if !matches!(end, Some("jsonl" | "ndjson" | "json")) {
        let text = read_text(path)?;
        return Ok(Calibration { text, tokens });
    }
    let template = Blueprint::of(source).and_then(|blueprint| blueprint.template())?;
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let documents = Documents::read(BufReader::new(file), &template, tokens * BYTES_A_TOKEN)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let place = path.display();
    if let Some((line, problem)) = &documents.first_bad {
        let bad = count(documents.bad);
        eprintln!("{place}: {bad} lines cannot be used; the first is line {line}: {problem}");
    }
    if documents.kept.is_empty() {
        return Err(format!("{place}: no line has a text or a conversation to calibrate with").into());
    }
    let (kept, found) = (count(documents.kept.len() as u64), count(documents.found));
    eprintln!("{place}: calibrates with {kept} of {found} documents");
    let text = documents.kept.concat();
    Ok(Calibration { text, tokens })
}

/// Documents of a file, spread evenly over it, that together are not much longer than a limit.
#[derive(Debug, Default)]
struct Documents {
    kept: Vec<String>,
    found: u64,
    bad: u64,
    first_bad: Option<(u64, String)>,
}

impl Documents {
    fn read(mut lines: impl BufRead, template: &ChatTemplate, limit: usize) -> std::io::Result<Self> {
        let mut documents = Self::default();
        let (mut number, mut every, mut bytes) = (0, 1, 0);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(documents);
            }
            number += 1;
            let is_too_long = line.len() as u64 == MAX_LINE && !line.ends_with(b"\n");
            if is_too_long {
                lines.skip_until(b'\n')?;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let document = if is_too_long {
                Err(format!("it is longer than {MAX_LINE} bytes"))
            } else {
                document(&line, template)
            };
            match document {
                Err(problem) => {
                    documents.bad += 1;
                    documents.first_bad.get_or_insert((number, problem));
                    continue;
                }
                Ok(text) if documents.found.is_multiple_of(every) => {
                    bytes += text.len();
                    documents.kept.push(text);
                }
                Ok(_) => {}
            }
            documents.found += 1;
            // Every second one goes, and from now on half as many come.
            while bytes > limit && documents.kept.len() > 1 {
                every *= 2;
                let mut is_second = true;
                documents.kept.retain(|_| {
                    is_second = !is_second;
                    !is_second
                });
                bytes = documents.kept.iter().map(String::len).sum();
            }
        }
    }
}

/// The text of a line: a conversation as the template writes it.
fn document(line: &[u8], template: &ChatTemplate) -> Result<String, String> {
    match Content::parse(line, "text").map_err(|problem| problem.to_string())? {
        Content::Text(text) => Ok(text + "\n\n"),
        Content::Chat(chat) => template
            .render(&chat.messages, false)
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, limit: usize) -> Documents {
        Documents::read(text.as_bytes(), &ChatTemplate::chatml(), limit).unwrap()
    }

    #[test]
    fn texts_and_conversations_are_read_and_other_lines_counted() {
        let lines = [
            r#"{"text": "one"}"#,
            "",
            r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}"#,
            r#"{"conversations": [{"from": "human", "value": "so"}]}"#,
            "{broken",
            r#"{"messages": [{"role": "nobody", "content": "hi"}]}"#,
            "7",
            r#"{"text": "last"}"#,
        ];
        let documents = read(&lines.join("\n"), 1 << 20);
        assert_eq!((documents.found, documents.bad), (4, 3), "{documents:?}");
        assert!(documents.first_bad.unwrap().1.contains("JSON"));
        let chat = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n";
        let other = "<|im_start|>user\nso<|im_end|>\n";
        assert_eq!(documents.kept, ["one\n\n", chat, other, "last\n\n"]);
    }

    #[test]
    fn long_files_are_thinned_evenly() {
        let lines: String = (100..900).map(|i| format!("{{\"text\": \"{i}\"}}\n")).collect();
        let documents = read(&lines, 200);
        assert_eq!(documents.found, 800);
        let numbers: Vec<u32> = documents.kept.iter().map(|text| text.trim().parse().unwrap()).collect();
        let step = numbers[1] - numbers[0];
        assert!(
            numbers[0] == 100 && numbers.windows(2).all(|pair| pair[1] - pair[0] == step),
            "{numbers:?}"
        );
        assert!(
            (20..=40).contains(&numbers.len()) && numbers[numbers.len() - 1] + step >= 900,
            "{numbers:?}"
        );
        // One document is kept whatever its length.
        assert_eq!(read(&lines, 0).kept, ["100\n\n"]);
    }
}
