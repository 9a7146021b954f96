//! What is taken from files, and on which side of the split it is.

use super::*;

#[test]
fn a_document_is_on_one_side_wherever_it_is() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(300, 1));
    let sides = |folder: &Folder| {
        let options = SourceOptions {
            held_out: 0.2,
            ..SourceOptions::default()
        };
        let corpus = corpus(folder, options);
        [Part::Training, Part::HeldOut].map(|part| {
            let options = StreamOptions {
                packing: Packing::WholeDocuments,
                long_documents: LongDocuments::Drop,
                ..StreamOptions::once(1, 300)
            };
            let mut stream = corpus.stream(part, options).unwrap();
            let mut documents = std::collections::BTreeSet::new();
            let end = corpus.end_of_document() as i32;
            for (tokens, targets, weights) in rows(&batches(&mut stream, usize::MAX)) {
                let weighed = weights.iter().filter(|&&weight| weight > 0.0).count();
                let tokens = [&tokens[..1], &targets[..weighed]].concat();
                documents.extend(tokens.split(|&token| token == end).map(<[i32]>::to_vec));
            }
            documents
        })
    };
    let [training, held_out] = sides(&folder);
    assert!(training.is_disjoint(&held_out) || training.intersection(&held_out).all(Vec::is_empty));
    assert!((40..=80).contains(&held_out.len()), "{} of 300", held_out.len());
    assert!(training.len() + held_out.len() >= 300);

    // Other files beside it, other order, copies: nothing changes sides.
    folder.write("0.jsonl", texts(40, 2));
    let lines = fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    let backwards: Vec<&str> = lines.lines().rev().collect();
    folder.write("b.jsonl", backwards.join("\n"));
    let [more_training, more_held_out] = sides(&folder);
    assert!(training.is_subset(&more_training) && held_out.is_subset(&more_held_out));
    assert!(more_training.intersection(&more_held_out).all(Vec::is_empty));
}

#[test]
fn bad_lines_are_named_and_skipped_or_refused() {
    let folder = Folder::new();
    let long = format!("{{\"text\": \"{}\"}}", "a".repeat(5000));
    let mut lines = b"{\"text\": \"good\"}\nnot JSON\n{\"no\": 1}\n\n".to_vec();
    lines.extend(b"{\"text\": \"\xff\"}\n");
    lines.extend(long.as_bytes());
    lines.extend(b"\n{\"messages\": [{\"role\": \"nobody\", \"content\": \"\"}]}\n{\"text\": \"also good\"}");
    let path = folder.write("a.jsonl", lines);
    let options = |on_bad_line| SourceOptions {
        on_bad_line,
        max_line_bytes: 1000,
        ..nothing_held_out()
    };
    let mut stream = corpus(&folder, options(OnBadLine::Skip))
        .stream(Part::Training, StreamOptions::once(1, 64))
        .unwrap();
    assert_eq!(batches(&mut stream, usize::MAX).len(), 1);
    let report = stream.report();
    assert_eq!((report.bad_lines, report.documents), (5, 2));
    let named: Vec<u64> = report.named.iter().map(|bad| bad.line).collect();
    assert_eq!(named, [2, 3, 5, 6, 7]);
    let shown = report.to_string();
    for expected in [
        format!("{}:2: the line is not JSON", path.display()),
        "a.jsonl:5: byte 10 of the line is not UTF-8".to_owned(),
        "a.jsonl:6: the line has more than 1000 bytes".to_owned(),
        "\"nobody\"".to_owned(),
        "5 lines that could not be used".to_owned(),
    ] {
        assert!(shown.contains(&expected), "{expected} in {shown}");
    }

    let mut stream = corpus(&folder, options(OnBadLine::Refuse))
        .stream(Part::Training, StreamOptions::once(1, 64))
        .unwrap();
    let error = stream.next_batch().unwrap_err();
    assert!(matches!(&error, DataError::BadLine { line: 2, .. }), "{error}");
    assert!(
        error.to_string().starts_with(&format!("{}:2: ", path.display())),
        "{error}"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    let open = |options| Sources::open(&[folder.path()], options);
    let error = open(SourceOptions::default()).unwrap_err();
    assert!(matches!(error, DataError::NoFiles { .. }), "{error}");
    folder.write("notes.pdf", "x");
    assert!(open(SourceOptions::default()).is_err());
    let missing = folder.path().join("missing.txt");
    assert!(matches!(
        Sources::open(&[missing], SourceOptions::default()),
        Err(DataError::Io { .. })
    ));
    let text = folder.write("a.txt", "\n\n");
    let wrong = SourceOptions {
        held_out: f64::NAN,
        ..SourceOptions::default()
    };
    assert!(matches!(open(wrong), Err(DataError::Option { option: "held_out", .. })));

    // A tokenizer of another model.
    let sources = || open(nothing_held_out()).unwrap();
    let error = Corpus::new(sources(), language(), ROWS - 1, EncodeOptions::default())
        .err()
        .unwrap();
    assert!(
        matches!(error, DataError::Tokenizer { tokens: 421, rows: 420 }),
        "{error}"
    );
    assert!(Corpus::new(sources(), language(), ROWS + 7, EncodeOptions::default()).is_ok());
    let encode = EncodeOptions {
        end_of_document: Some(ROWS as u32),
        ..EncodeOptions::default()
    };
    assert!(Corpus::new(sources(), language(), ROWS, encode).is_err());

    // Blank text has no tokens: not even a stream without end goes on forever.
    let corpus = corpus(&folder, nothing_held_out());
    for options in [StreamOptions::new(1, 8), StreamOptions::once(1, 8)] {
        let error = corpus
            .stream(Part::Training, options)
            .unwrap()
            .next_batch()
            .unwrap_err();
        assert!(matches!(error, DataError::Nothing { .. }), "{error}");
    }
    for options in [
        StreamOptions::new(0, 8),
        StreamOptions::new(8, 0),
        StreamOptions::new(usize::MAX, 8),
        StreamOptions {
            rank: 2,
            world: 2,
            ..StreamOptions::new(1, 8)
        },
    ] {
        let error = corpus.stream(Part::Training, options).err().unwrap();
        assert!(matches!(error, DataError::Option { .. }), "{error}");
    }
    // The file goes away while it is read.
    let mut stream = corpus.stream(Part::Training, StreamOptions::new(1, 8)).unwrap();
    fs::remove_file(&text).unwrap();
    let error = stream.next_batch().unwrap_err();
    assert!(matches!(&error, DataError::Io { path, .. } if *path == text), "{error}");
}

#[test]
fn text_files_have_documents_as_asked() {
    let folder = Folder::new();
    folder.write("a.txt", "\none\ntwo\n\n\nthree\n");
    let read = |text_documents| {
        let options = SourceOptions {
            text_documents,
            ..nothing_held_out()
        };
        let corpus = corpus(&folder, options);
        let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 64)).unwrap();
        let batch = stream.next_batch().unwrap().unwrap();
        let weighed = batch.weights.iter().filter(|&&weight| weight > 0.0).count();
        let tokens: Vec<u32> = batch.tokens[..1]
            .iter()
            .chain(&batch.targets[..weighed])
            .map(|&id| id as u32)
            .collect();
        corpus
            .language()
            .tokenizer
            .decode(&tokens, true)
            .replace("<|endoftext|>", "|")
    };
    assert_eq!(read(TextDocuments::File), "one\ntwo\n\n\nthree\n|");
    assert_eq!(read(TextDocuments::BlankLine), "one\ntwo|three|");
    assert_eq!(read(TextDocuments::Line), "one|two|three|");

    folder.write(
        "a.txt",
        format!("{}\n\nend\n", "a line of a long paragraph\n".repeat(3000)),
    );
    let options = SourceOptions {
        text_documents: TextDocuments::BlankLine,
        ..nothing_held_out()
    };
    let corpus = corpus(&folder, options);
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(4, 512)).unwrap();
    while stream.next_batch().unwrap().is_some() {}
    assert_eq!(stream.report().documents, 3);
}

/// A long text is one document on each side but for where a piece of it is on the other.
#[test]
fn pieces_of_a_text_go_on_or_break_off() {
    let folder = Folder::new();
    let lines: String = (0..4000).map(|number| format!("line {number} of the text\n")).collect();
    folder.write("a.txt", &lines);
    let options = SourceOptions {
        held_out: 0.3,
        ..SourceOptions::default()
    };
    let corpus = corpus(&folder, options);
    let mut all = String::new();
    for part in [Part::Training, Part::HeldOut] {
        let mut stream = corpus.stream(part, StreamOptions::once(1, 1000)).unwrap();
        let rows = rows(&batches(&mut stream, usize::MAX));
        let mut tokens = vec![rows[0].0[0] as u32];
        for (_, targets, weights) in &rows {
            let weighed = weights.iter().filter(|&&weight| weight > 0.0).count();
            tokens.extend(targets[..weighed].iter().map(|&id| id as u32));
        }
        let text = corpus.language().tokenizer.decode(&tokens, true);
        for stretch in text.split("<|endoftext|>") {
            assert!(lines.contains(stretch), "{stretch}");
            // The other side lies between two stretches.
            assert!(stretch.is_empty() || stretch.ends_with('\n'));
        }
        assert!(text.matches("<|endoftext|>").count() > 1);
        all += &text.replace("<|endoftext|>", "");
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&all), sorted(&lines));
}

/// What ends a text that broke off is written before the next document that is of use, whatever comes between, also where
/// a stream is taken up there.
#[test]
fn a_broken_off_text_is_ended_whatever_is_left_out_after_it() {
    let options = SourceOptions {
        held_out: 0.5,
        ..SourceOptions::default()
    };
    let (parts, empty) = (Folder::new(), "");
    let parts = Sources::open(&[parts.write("a.txt", empty)], options.clone()).unwrap();
    // The side that texts of nothing are on.
    let part = parts.part_of(&Content::Text(empty.to_owned()));
    let taken = |content: &Content| parts.part_of(content) == part;
    // Three pieces, of which the last is on the other side.
    let texts = (0..).map(|seed| -> String { (0..700).map(|line| format!("line {line} of {seed}\n")).collect() });
    let breaks_off = |text: &String| {
        let folder = Folder::new();
        folder.write("a.txt", text);
        let corpus = corpus(&folder, options.clone());
        let mut stream = corpus.stream(part, StreamOptions::once(1, 64)).unwrap();
        let found: Vec<Batch> = std::iter::from_fn(|| stream.next_batch().ok().flatten()).collect();
        let end = corpus.end_of_document() as i32;
        let ends = |(_, targets, weights): &(Vec<i32>, Vec<i32>, Vec<f32>)| {
            let mut targets = targets.iter().zip(weights);
            targets.any(|(&target, &weight)| weight > 0.0 && target == end)
        };
        found.len() > 20 && !rows(&found).iter().any(ends)
    };
    let text = texts.take(50).find(breaks_off).unwrap();
    let line = |text: &str| format!("{{\"text\": {text:?}}}\n");
    let numbered = |word: &str| -> String {
        let mut texts = (0..).map(|number| format!("{word} {number}"));
        texts.find(|text| taken(&Content::Text(text.clone()))).unwrap()
    };
    let chats = (0..).map(|number| format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{number}\"}}]}}\n"));
    let chat = chats
        .take(50)
        .find(|chat| taken(&Content::parse(chat.trim_end().as_bytes(), "text").unwrap()))
        .unwrap();
    for left_out in [line(empty), line(&numbered(&"long ".repeat(500))), chat] {
        let good = numbered("good");
        let folder = Folder::new();
        folder.write("a.txt", &text);
        folder.write("b.jsonl", left_out.clone() + &left_out + &line(&good));
        let language = Language {
            template: ChatTemplate::new("{{ raise_exception('no') }}", "", "").unwrap(),
            ..language()
        };
        let sources = Sources::open(&[folder.path()], options.clone()).unwrap();
        let corpus = Corpus::new(sources, language, ROWS, EncodeOptions::default()).unwrap();
        for packing in [Packing::Continuous, Packing::WholeDocuments] {
            let options = StreamOptions {
                packing,
                long_documents: LongDocuments::Drop,
                ..StreamOptions::once(1, 64)
            };
            let mut stream = corpus.stream(part, options.clone()).unwrap();
            let (mut positions, mut all) = (vec![stream.position()], Vec::new());
            while let Some(batch) = stream.next_batch().unwrap() {
                all.push(batch);
                positions.push(stream.position());
            }
            let report = stream.report();
            assert_eq!(report.empty + report.dropped + report.bad_lines, 2, "{report}");
            let mut tokens = Vec::new();
            for (inputs, targets, weights) in rows(&all) {
                let weighed = weights.iter().filter(|&&weight| weight > 0.0).count();
                if packing == Packing::WholeDocuments || tokens.is_empty() {
                    tokens.push(inputs[0] as u32);
                }
                tokens.extend(targets[..weighed].iter().map(|&id| id as u32));
            }
            let read = corpus.language().tokenizer.decode(&tokens, true);
            let end = format!("\n<|endoftext|>{good}<|endoftext|>");
            assert!(read.ends_with(&end), "{packing:?}: {}", &read[read.len() - 100..]);
            for (at, position) in positions.iter().enumerate() {
                let mut resumed = corpus.stream(part, options.clone()).unwrap();
                resumed.resume(position).unwrap();
                assert_eq!(batches(&mut resumed, usize::MAX), all[at..], "{packing:?} {at}");
            }
        }
    }
}
