//! Documents become sequences, in an order that can be taken up again and shared.

use super::*;

#[test]
fn sequences_are_the_documents_one_after_another() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        "{\"text\": \"the day\"}\n\n{\"text\": \"\"}\n{\"text\": \"look at this\"}",
    );
    folder.write("b.txt", "they said\nmore <|im_end|>\n");
    let corpus = corpus(&folder, nothing_held_out());
    let tokenizer = &corpus.language().tokenizer;
    let mut expected = Vec::new();
    for text in ["the day", "look at this", "they said\nmore <|im_end|>\n"] {
        expected.extend(tokenizer.encode(text, Special::AsText).iter().map(|&id| id as i32));
        expected.push(corpus.end_of_document() as i32);
    }
    assert_eq!(tokenizer.token_text(corpus.end_of_document()), Some("<|endoftext|>"));

    let mut stream = corpus.stream(Part::Training, StreamOptions::once(2, 5)).unwrap();
    let found = batches(&mut stream, usize::MAX);
    assert!(found.iter().all(|batch| (batch.batch, batch.time) == (2, 5)));
    let found = rows(&found);
    let tokens: Vec<i32> = found.iter().flat_map(|(tokens, ..)| tokens.clone()).collect();
    let weighed = |row: &(Vec<i32>, Vec<i32>, Vec<f32>)| -> Vec<i32> {
        let pairs = row.1.iter().zip(&row.2);
        pairs
            .filter(|(_, weight)| **weight == 1.0)
            .map(|(&target, _)| target)
            .collect()
    };
    let targets: Vec<i32> = found.iter().flat_map(weighed).collect();
    // Every token is a target once, but for the first.
    assert_eq!(targets, expected[1..]);
    assert!(tokens.starts_with(&expected[..expected.len() - 1]));
    let report = stream.report();
    assert_eq!((report.documents, report.empty, report.lines), (4, 1, 6));
    assert_eq!(report.tokens, expected.len() as u64);
    assert_eq!(report.padding as usize, found.len() * 5 + 1 - expected.len());
}

#[test]
fn whole_documents_are_not_cut_unless_they_are_too_long() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(60, 1));
    let corpus = corpus(&folder, nothing_held_out());
    let end = corpus.end_of_document() as i32;
    for long_documents in [LongDocuments::Split, LongDocuments::Drop] {
        let options = StreamOptions {
            packing: Packing::WholeDocuments,
            long_documents,
            ..StreamOptions::once(3, 70)
        };
        let mut stream = corpus.stream(Part::Training, options).unwrap();
        let rows = rows(&batches(&mut stream, usize::MAX));
        let targets: usize = rows
            .iter()
            .map(|(_, _, weights)| weights.iter().filter(|w| **w > 0.0).count())
            .sum();
        let ends_whole = |(_, targets, weights): &&(Vec<i32>, Vec<i32>, Vec<f32>)| {
            let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap();
            targets[last] == end
        };
        let report = stream.report();
        let broken = rows.len() - rows.iter().filter(ends_whole).count();
        match long_documents {
            LongDocuments::Drop => {
                assert!(report.dropped > 0 && report.split == 0, "{report}");
                assert_eq!(broken, 0);
            }
            LongDocuments::Split => {
                assert!(report.split > 0 && report.dropped == 0, "{report}");
                assert!(broken as u64 >= report.split);
            }
        }
        // The first token of a sequence is no target, unless the sequence goes on with a document.
        assert_eq!(targets as u64, report.tokens - rows.len() as u64 + broken as u64);
        assert!(report.padding > 0);
    }
}

#[test]
fn the_order_follows_from_the_seed_and_nothing_is_lost() {
    let folder = Folder::new();
    for file in 0..4 {
        folder.write(&format!("{file}.jsonl"), texts(20, file));
    }
    let corpus = corpus(&folder, nothing_held_out());
    let read = |seed, shuffle| {
        let options = StreamOptions {
            seed,
            shuffle,
            ..StreamOptions::once(2, 120)
        };
        rows(&batches(
            &mut corpus.stream(Part::Training, options).unwrap(),
            usize::MAX,
        ))
    };
    let (one, again, other, in_order) = (read(1, 8), read(1, 8), read(2, 8), read(1, 0));
    assert_eq!(one, again);
    assert!(one != other && one != in_order);
    let weight = |rows: &[(Vec<i32>, Vec<i32>, Vec<f32>)]| rows.iter().flat_map(|row| row.2.iter()).sum::<f32>();
    assert_eq!(weight(&one), weight(&in_order));

    // Within one file and one block, the sequences are the same ones.
    let folder = Folder::new();
    folder.write("a.jsonl", texts(80, 9));
    let sorted = |shuffle| {
        let options = StreamOptions {
            shuffle,
            ..StreamOptions::once(2, 40)
        };
        let corpus = self::corpus(&folder, nothing_held_out());
        let mut rows = rows(&batches(
            &mut corpus.stream(Part::Training, options).unwrap(),
            usize::MAX,
        ));
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    assert_eq!(sorted(0), sorted(16));
}

#[test]
fn ranks_share_one_stream() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(50, 5));
    let corpus = corpus(&folder, nothing_held_out());
    let options = |batch, rank, world| StreamOptions {
        rank,
        world,
        shuffle: 7,
        epochs: Some(2),
        ..StreamOptions::new(batch, 32)
    };
    let whole = rows(&batches(
        &mut corpus.stream(Part::Training, options(1, 0, 1)).unwrap(),
        usize::MAX,
    ));
    assert!(whole.len() > 60);
    for (batch, world) in [(1, 2), (2, 2), (3, 4), (5, 1), (1, 7)] {
        let mut shards: Vec<Vec<Batch>> = Vec::new();
        for rank in 0..world {
            let mut stream = corpus.stream(Part::Training, options(batch, rank, world)).unwrap();
            shards.push(batches(&mut stream, usize::MAX));
        }
        assert!(
            shards.iter().all(|shard| shard.len() == shards[0].len()),
            "all ranks take the same steps"
        );
        let mut merged = Vec::new();
        for step in 0..shards[0].len() {
            for row in 0..batch {
                for shard in &shards {
                    let batch = &shard[step];
                    let places = row * 32..(row + 1) * 32;
                    merged.push(Batch {
                        batch: 1,
                        time: 32,
                        tokens: batch.tokens[places.clone()].to_vec(),
                        targets: batch.targets[places.clone()].to_vec(),
                        weights: batch.weights[places].to_vec(),
                    });
                }
            }
        }
        assert_eq!(rows(&merged), whole, "{world} ranks with batches of {batch}");
    }
}

#[test]
fn a_stream_is_taken_up_anywhere() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(12, 5) + "broken\n" + &texts(9, 6));
    folder.write("b/c.txt", "they said\n".repeat(1500));
    folder.write(
        "b/d.jsonl",
        texts(11, 7) + "{\"text\": \"" + &"long ".repeat(100) + "\"}\n",
    );
    let source = SourceOptions {
        held_out: 0.3,
        ..SourceOptions::default()
    };
    let corpus = corpus(&folder, source);
    for packing in [Packing::Continuous, Packing::WholeDocuments] {
        for (shuffle, part) in [(0, Part::Training), (5, Part::Training), (1000, Part::HeldOut)] {
            let options = |rank, world, batch| StreamOptions {
                packing,
                shuffle,
                rank,
                world,
                epochs: Some(3),
                ..StreamOptions::new(batch, 48)
            };
            let mut stream = corpus.stream(part, options(0, 1, 4)).unwrap();
            let (mut positions, mut all) = (vec![stream.position()], Vec::new());
            while let Some(batch) = stream.next_batch().unwrap() {
                all.push(batch);
                positions.push(stream.position());
            }
            assert!(all.len() > 10 || part == Part::HeldOut, "{}", all.len());
            assert_eq!(positions.last().unwrap().epoch(), 2);
            for (at, position) in positions.iter().enumerate().step_by(3) {
                let saved = serde_json::to_string(position).unwrap();
                assert!(saved.len() < 2000, "{saved}");
                let position: Position = serde_json::from_str(&saved).unwrap();
                let mut resumed = corpus.stream(part, options(0, 1, 4)).unwrap();
                resumed.resume(&position).unwrap();
                assert_eq!(&resumed.position(), &position);
                assert_eq!(
                    batches(&mut resumed, usize::MAX),
                    all[at..],
                    "{packing:?} {shuffle} {at}"
                );
                assert_eq!(resumed.report(), stream.report());
                // As two machines: each has half of every batch.
                for rank in 0..2 {
                    let mut resumed = corpus.stream(part, options(rank, 2, 2)).unwrap();
                    resumed.resume(&position).unwrap();
                    let halves = batches(&mut resumed, usize::MAX);
                    assert_eq!(halves.len(), all.len() - at);
                    for (half, batch) in halves.iter().zip(&all[at..]) {
                        for row in 0..2 {
                            let of_whole = (2 * row + rank) * 48;
                            assert_eq!(half.tokens[row * 48..][..48], batch.tokens[of_whole..][..48]);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_position_of_another_stream_is_refused() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(50, 5));
    let open = || corpus(&folder, nothing_held_out());
    let corpus = open();
    let mut stream = corpus.stream(Part::Training, StreamOptions::new(2, 16)).unwrap();
    stream.next_batch().unwrap();
    let position = stream.position();
    let refused = |corpus: &Corpus, options| {
        let mut stream = corpus.stream(Part::Training, options).unwrap();
        let error = stream.resume(&position).unwrap_err();
        assert!(matches!(error, DataError::Position { .. }), "{error}");
        // It stays where it was.
        assert_eq!(stream.position().epoch(), 0);
    };
    refused(&corpus, StreamOptions::new(2, 17));
    refused(
        &corpus,
        StreamOptions {
            seed: 1,
            ..StreamOptions::new(2, 16)
        },
    );
    assert!(stream.resume(&position).is_ok());
    folder.write("a.jsonl", texts(51, 5));
    refused(&open(), StreamOptions::new(2, 16));
}
