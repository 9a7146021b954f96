use crate::common::{Ears, TestFile, gated, tokens};
use halfpi_ffi::{Engine, EngineConfig, HalfpiError, PowerMode, SessionConfig, TrimLevel, memory_needed};

#[cfg(unix)]
mod descriptors {
    use super::*;
    use halfpi_ffi::{ModelSource, inspect_model};
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;

    fn source(file: &File, offset: u64, length: Option<u64>) -> ModelSource {
        ModelSource::FileDescriptor {
            fd: file.as_raw_fd(),
            offset,
            length,
        }
    }

    /// As an asset lies in an Android package: between other things, at an odd place.
    #[test]
    fn a_model_inside_another_file() {
        const BEFORE: usize = 1234;
        let model = TestFile::tiny();
        let bytes = fs::read(model.path()).unwrap();
        let package = TestFile::at("package");
        fs::write(package.path(), [&[7; BEFORE][..], &bytes, &[7; 99]].concat()).unwrap();
        let file = File::open(package.path()).unwrap();
        let source = source(&file, BEFORE as u64, Some(bytes.len() as u64));
        assert_eq!(
            inspect_model(source.clone()).unwrap(),
            inspect_model(model.source()).unwrap()
        );
        let engine = Engine::load(source, EngineConfig::default(), None).unwrap();
        // The engine has a duplicate.
        drop(file);
        let [here, there] = [engine, model.load()].map(|engine| {
            let session = engine.session(SessionConfig::default()).unwrap();
            let generation = session.generate("Hello".to_owned(), tokens(10), Ears::new()).unwrap();
            generation.wait().unwrap().text
        });
        assert_eq!(here, there);
    }

    #[test]
    fn descriptors_that_are_none() {
        let model = TestFile::tiny();
        let file = File::open(model.path()).unwrap();
        let length = fs::metadata(model.path()).unwrap().len();
        let closed = ModelSource::FileDescriptor {
            fd: 1 << 20,
            offset: 0,
            length: None,
        };
        let negative = ModelSource::FileDescriptor {
            fd: -1,
            offset: 0,
            length: None,
        };
        for source in [closed, negative] {
            let error = inspect_model(source).unwrap_err();
            assert!(matches!(error, HalfpiError::Io { .. }), "{error:?}");
        }
        let too_long = source(&file, 0, Some(length + 1));
        let too_far = source(&file, length + 1, None);
        let overflow = source(&file, u64::MAX, Some(u64::MAX));
        let in_the_middle = source(&file, 8, None);
        for source in [too_long, too_far, overflow, in_the_middle] {
            let error = Engine::load(source, EngineConfig::default(), None).err();
            assert!(matches!(error, Some(HalfpiError::ModelFile { .. })), "{error:?}");
        }
    }
}

fn budget(bytes: u64) -> EngineConfig {
    EngineConfig {
        memory_budget_bytes: Some(bytes),
        threads: Some(1),
        ..EngineConfig::default()
    }
}

#[test]
fn a_budget_is_kept() {
    let model = TestFile::tiny();
    let config = SessionConfig::default();
    let needed = memory_needed(model.source(), budget(u64::MAX), config.clone()).unwrap();
    let weights = needed.weights_bytes + needed.heap_bytes;
    let refused = Engine::load(model.source(), budget(weights - 1), None).err();
    assert!(
        matches!(&refused, Some(HalfpiError::MemoryBudget { needed_bytes, budget_bytes, .. })
            if (*needed_bytes, *budget_bytes) == (weights, weights - 1)),
        "{refused:?}"
    );

    // Room for one session and not for two.
    let engine = Engine::load(model.source(), budget(needed.total_bytes), None).unwrap();
    let session = engine.session(config.clone()).unwrap();
    for refused in [engine.session(config.clone()), session.fork()] {
        assert!(matches!(refused, Err(HalfpiError::MemoryBudget { .. })));
    }
    let report = engine.memory().unwrap();
    assert_eq!(
        (report.sessions_bytes, report.sessions.len()),
        (needed.session_bytes, 1)
    );
    assert_eq!(report.budget_bytes, Some(needed.total_bytes));
    session.close();
    assert_eq!(engine.memory().unwrap().sessions, []);
    engine.session(config).unwrap();
}

#[test]
fn what_was_given_back_is_read_again() {
    let model = TestFile::tiny();
    let answers: Vec<_> = [None, Some(TrimLevel::Moderate), Some(TrimLevel::Critical)]
        .into_iter()
        .map(|level| {
            let engine = model.load();
            let session = engine.session(SessionConfig::default()).unwrap();
            let ask = |question: &str| {
                let generation = session.generate(question.to_owned(), tokens(10), Ears::new()).unwrap();
                generation.wait().unwrap()
            };
            ask("Hello");
            let cached = engine.memory().unwrap().sessions[0].cached_tokens;
            assert!(cached > 0);
            if let Some(level) = level {
                engine.trim(level);
            }
            let left = engine.memory().unwrap().sessions[0].cached_tokens;
            assert_eq!(left, if level == Some(TrimLevel::Critical) { 0 } else { cached });
            ask("And now?").text
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[test]
fn threads_and_power_change_while_an_answer_is_made() {
    let model = TestFile::tiny();
    let config = EngineConfig {
        threads: Some(4),
        ..EngineConfig::default()
    };
    let engine = Engine::load(model.source(), config, None).unwrap();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(20), ears.clone()).unwrap();
    keeper.wait();
    engine.set_threads(2).unwrap();
    assert_eq!(engine.threads(), 2);
    engine.set_threads(64).unwrap();
    assert_eq!(engine.threads(), 4);
    engine.set_power_mode(PowerMode::Reduced);
    assert_eq!((engine.threads(), engine.power_mode()), (2, Ok(PowerMode::Reduced)));
    engine.set_power_mode(PowerMode::Paused);
    keeper.open();
    let told = ears.told().len();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(
        !generation.is_finished() && ears.told().len() == told,
        "it is not paused"
    );
    engine.set_power_mode(PowerMode::Full);
    let answer = generation.wait().unwrap();

    let alone = model.load().session(SessionConfig::default()).unwrap();
    let same = alone.generate("Hello".to_owned(), tokens(20), Ears::new()).unwrap();
    assert_eq!(same.wait().unwrap().text, answer.text);
    assert!(matches!(engine.set_threads(0), Err(HalfpiError::InvalidOption { .. })));
}
