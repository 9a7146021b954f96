//! Archives as an app unpacks them: the model comes back whole, or what was there stays and nothing else is there.

use halfpi::archive;
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_ffi::{CallbackError, HalfpiError, LoadListener, UnpackedModel, file_sha256, unpack_archive};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A directory with an archive and what it was made of; it goes away with this value.
struct Place {
    directory: PathBuf,
    model: Vec<u8>,
    sha256: String,
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("halfpi-ffi-archive-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let original = directory.join("original");
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        // Some MiB, which are what progress is told by.
        (model.config.embedding_length, model.config.feed_forward_length) = (256, 256);
        model.config.head_dim = 64;
        model.save(&original).unwrap();
        let file = ModelFile::open(&original).unwrap();
        archive::create(&file, &directory.join("model.hpar"), 1, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let model = fs::read(&original).unwrap();
        let sha256 = file_sha256(text(&original)).unwrap();
        fs::remove_file(original).unwrap();
        Place {
            directory,
            model,
            sha256,
        }
    }

    /// With an older model where the new one is to be.
    fn with_target() -> Self {
        let place = Place::new();
        fs::write(place.target(), "an older model").unwrap();
        place
    }

    fn archive(&self) -> PathBuf {
        self.directory.join("model.hpar")
    }

    fn target(&self) -> PathBuf {
        self.directory.join("model.gguf")
    }

    fn unpack(
        &self,
        sha256: Option<&str>,
        listener: Option<Arc<dyn LoadListener>>,
    ) -> Result<UnpackedModel, HalfpiError> {
        let sha256 = sha256.map(str::to_owned);
        unpack_archive(text(&self.archive()), text(&self.target()), sha256, None, listener)
    }

    /// The names of all files.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| text(Path::new(&entry.unwrap().file_name())))
            .collect();
        names.sort();
        names
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(fs::read(self.target()).unwrap(), b"an older model");
        assert_eq!(self.files(), ["model.gguf", "model.hpar"]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Remembers the fractions, and answers as it is told to.
struct Ears<F> {
    heard: Mutex<Vec<f64>>,
    answer: F,
}

impl<F: Fn(f64) -> Result<bool, CallbackError> + Send + Sync> Ears<F> {
    fn new(answer: F) -> Arc<Self> {
        let heard = Mutex::default();
        Arc::new(Ears { heard, answer })
    }
}

impl<F: Fn(f64) -> Result<bool, CallbackError> + Send + Sync> LoadListener for Ears<F> {
    fn on_progress(&self, fraction: f64) -> Result<bool, CallbackError> {
        self.heard.lock().unwrap().push(fraction);
        (self.answer)(fraction)
    }
}

#[test]
fn the_model_comes_back_bit_for_bit() {
    let place = Place::with_target();
    let ears = Ears::new(|_| Ok(true));
    let unpacked = place
        .unpack(Some(&place.sha256.to_uppercase()), Some(ears.clone()))
        .unwrap();
    let expected = UnpackedModel {
        file_bytes: place.model.len() as u64,
        archive_bytes: fs::metadata(place.archive()).unwrap().len(),
        sha256: place.sha256.clone(),
    };
    assert_eq!(unpacked, expected);
    assert!(fs::read(place.target()).unwrap() == place.model);
    assert_eq!(place.files(), ["model.gguf", "model.hpar"]);

    let heard = ears.heard.lock().unwrap();
    assert!(heard.len() > 3 && heard.is_sorted(), "{heard:?}");
    assert_eq!((heard[0], heard[heard.len() - 1]), (0.0, 1.0));

    // Where nothing was, and whatever it is.
    fs::remove_file(place.target()).unwrap();
    assert_eq!(place.unpack(None, None).unwrap(), expected);
    assert!(fs::read(place.target()).unwrap() == place.model);
}

#[test]
fn a_listener_ends_it() {
    let place = Place::with_target();
    for stop in [0.0, 0.4, 1.0] {
        let ears = Ears::new(move |fraction| Ok(fraction < stop));
        assert_eq!(place.unpack(None, Some(ears.clone())), Err(HalfpiError::Cancelled));
        place.assert_untouched();
        let heard = ears.heard.lock().unwrap();
        assert_eq!(
            heard.iter().filter(|&&fraction| fraction >= stop).count(),
            1,
            "{heard:?}"
        );
    }
    let failed = |detail: &str| {
        let detail = detail.to_owned();
        Err(HalfpiError::Callback { detail })
    };
    let throws = Ears::new(|fraction| match fraction {
        0.0 => Ok(true),
        _ => Err(CallbackError::Failed {
            detail: "the screen is gone".to_owned(),
        }),
    });
    assert_eq!(place.unpack(None, Some(throws)), failed("the screen is gone"));
    place.assert_untouched();
    let panics = Ears::new(|_| panic!("a mistake"));
    assert_eq!(place.unpack(None, Some(panics)), failed("a mistake"));
    place.assert_untouched();
}

#[test]
fn a_damaged_archive_changes_nothing() {
    let place = Place::with_target();
    let whole = fs::read(place.archive()).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(place.archive(), bytes).unwrap();
        match place.unpack(None, None) {
            Err(HalfpiError::Archive { path, detail }) => {
                assert_eq!(path, text(&place.archive()), "{what}");
                assert!(
                    detail.contains("it again") || detail.contains("use"),
                    "{what}: {detail}"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
        place.assert_untouched();
    };
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        if at >= 4 {
            refused(&bytes, &format!("byte {at}"));
        }
        if at > 0 {
            refused(&whole[..at], &format!("cut at {at}"));
        }
    }
    refused(&[&whole[..], b"more"].concat(), "longer");
    refused(&place.model, "a model");
}

#[test]
fn an_archive_of_another_model_changes_nothing() {
    let place = Place::with_target();
    let other = "0123456789abcdef".repeat(4);
    let error = place.unpack(Some(&other), None).unwrap_err();
    let HalfpiError::Archive { path, detail } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*path, text(&place.archive()));
    assert!(detail.contains(&other) && detail.contains(&place.sha256), "{detail}");
    place.assert_untouched();

    for sha256 in ["", "ab", &"g".repeat(64), &"é".repeat(32), &format!("{other}0")] {
        let error = place.unpack(Some(sha256), None).unwrap_err();
        assert!(
            matches!(&error, HalfpiError::InvalidOption { name, .. } if name == "sha256"),
            "{error:?}"
        );
    }
    place.assert_untouched();
}

#[test]
fn a_model_that_is_larger_than_allowed_changes_nothing() {
    let place = Place::with_target();
    let size = place.model.len() as u64;
    let unpack = |most| unpack_archive(text(&place.archive()), text(&place.target()), None, Some(most), None);
    let error = unpack(size - 1).unwrap_err();
    assert!(
        matches!(&error, HalfpiError::Archive { detail, .. } if detail.contains(&size.to_string())),
        "{error:?}"
    );
    place.assert_untouched();
    assert_eq!(unpack(size).unwrap().file_bytes, size);
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let place = Place::with_target();
    let (archive, target) = (text(&place.archive()), text(&place.target()));
    let path_of =
        |archive: &str, target: &str| match unpack_archive(archive.to_owned(), target.to_owned(), None, None, None) {
            Err(HalfpiError::Io { path, .. }) => path,
            other => panic!("{other:?}"),
        };
    assert_eq!(path_of("/nowhere/model.hpar", &target), "/nowhere/model.hpar");
    // A directory opens, but does not read.
    let directory = text(&place.directory);
    assert_eq!(path_of(&directory, &target), directory);
    assert!(path_of(&archive, "/nowhere/model.gguf").starts_with("/nowhere/model.gguf"));
    place.assert_untouched();
}

#[test]
fn what_a_process_left_that_was_ended_is_removed() {
    let place = Place::with_target();
    // No process has this number.
    let left = place.directory.join("model.gguf.4294967295-0.part");
    fs::write(&left, "half a model").unwrap();
    place.unpack(None, None).unwrap();
    assert_eq!(place.files(), ["model.gguf", "model.hpar"]);
}
