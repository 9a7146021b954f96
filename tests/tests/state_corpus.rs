//! What the fuzzer of saved conversations starts from is what sessions write.

use std::collections::BTreeMap;
use std::{env, fs};

use halfpi_tests::state::{corpus_directory, repaired, seeds, sessions};

#[test]
fn corpus_is_what_sessions_write() {
    let directory = corpus_directory();
    let seeds: BTreeMap<_, _> = seeds()
        .unwrap()
        .into_iter()
        .map(|(name, bytes)| (directory.join(name), bytes))
        .collect();
    if env::var_os("HALFPI_BLESS").is_some() {
        seeds.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
    let committed = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let committed: BTreeMap<_, _> = committed.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(
        committed == seeds,
        "sessions write other files than those of tests/corpus/state: if that is meant, count the version up"
    );
}

#[test]
fn the_corpus_is_taken_up_by_its_session_and_no_other() {
    let mut sessions = sessions().unwrap();
    for (name, bytes) in seeds().unwrap() {
        assert_eq!(repaired(&bytes).as_ref(), Some(&bytes));
        for (element, session) in &mut sessions {
            let restored = session.restore_from(&mut &bytes[..]);
            assert_eq!(restored.is_ok(), name.starts_with(*element), "{name}: {restored:?}");
        }
    }
}
