//! The pass that lets a teacher predict everything that a run will read, and the run's look at what it left.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use halfpi::pack::Blueprint;
use sha2::{Digest, Sha256};

use super::options::RunOptions;
use super::start::{blueprint, teacher, tokens_of};
use super::tell;
use crate::data::{Part, Stream};
use crate::distill::{Cache, CacheError, CacheWriter, Origin};
use crate::parallel::Collective;
use crate::tensor::{AutodiffBackend, Int, Tensor, TensorData, values};
use crate::{Result, TrainError};

/// What a teacher leaves for runs without it.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheOptions {
    /// The teacher: a GGUF of any type, or a Hugging Face directory, with the same tokens.
    pub model: PathBuf,
    /// Where its predictions are put.
    pub directory: PathBuf,
    /// Tokens that are kept of each position: the likeliest. At most all.
    pub top: usize,
    /// The most bytes of a file.
    pub piece_bytes: u64,
}

/// How far the teacher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheProgress {
    /// Sequences of this process that have predictions.
    pub done: u64,
    /// Sequences that the run will read in this process.
    pub of: u64,
}

/// Lets a teacher predict all sequences that the run of `options` will read in this process, and keeps what it says: all
/// that is not there yet. What is there stays if `progress` breaks; the same call goes on.
///
/// The run's [`teacher`](RunOptions::teacher) says the temperature.
///
/// # Errors
/// [`TrainError::Cancelled`] if `progress` breaks, [`CacheError`], and what is wrong with the data or the models.
pub fn cache_teacher<B: AutodiffBackend>(
    options: &RunOptions,
    cache: &CacheOptions,
    device: &B::Device,
    together: &mut dyn Collective,
    progress: &mut dyn FnMut(CacheProgress) -> ControlFlow<()>,
) -> Result<()> {
    let result = fill::<B>(options, cache, device, together, progress);
    tell(result, together)
}

fn fill<B: AutodiffBackend>(
    options: &RunOptions,
    cache: &CacheOptions,
    device: &B::Device,
    together: &mut dyn Collective,
    progress: &mut dyn FnMut(CacheProgress) -> ControlFlow<()>,
) -> Result<()> {
    options.check()?;
    let blueprint = blueprint(&options.start)?;
    let asked = origin(options, &blueprint)?;
    if cache.top == 0 {
        return Err(TrainError::Option {
            option: "cache-top",
            reason: "has to be at least 1".into(),
        });
    }
    let origin = Origin {
        teacher: digest(&cache.model)?,
        top: u32::try_from(cache.top).map_or(asked.vocab_size, |top| top.min(asked.vocab_size)),
        ..asked
    };
    let mut writer = CacheWriter::open(&cache.directory, origin, together.rank(), cache.piece_bytes)?;
    let vocab_size = blueprint.config().vocab_size;
    // Read when the first prediction is missing.
    let mut model = None;
    let corpus = options.corpus(&blueprint)?;
    let mut stream = corpus.stream(Part::Training, options.stream(together))?;
    let passes = options.schedule.updates * options.accumulate as u64;
    for pass in 0..passes {
        let Some(batch) = stream.next_batch()? else { break };
        let sequences = batch.tokens.chunks(options.length);
        let new: Vec<&[i32]> = sequences.filter(|tokens| !writer.has(tokens)).collect();
        if !new.is_empty() {
            if model.is_none() {
                model = Some(teacher::<B>(&cache.model, options.length, &blueprint, device)?);
            }
            if let Some(model) = &model {
                let tokens = TensorData::new(new.concat(), [new.len(), options.length]);
                let tokens = Tensor::<B::InnerBackend, 2, Int>::from_data(tokens, device);
                let logits = values(model.logits(tokens, &mut ())?);
                for (tokens, logits) in new.iter().zip(logits.chunks(options.length * vocab_size)) {
                    writer.add(tokens, logits)?;
                }
            }
        }
        let [done, of] = [pass + 1, passes].map(|passes| passes * options.batch as u64);
        // All processes end at the same sequence.
        let mut wants_to_stop = [i32::from(progress(CacheProgress { done, of }).is_break())];
        together.all_reduce_sum_i32(&mut wants_to_stop)?;
        if wants_to_stop[0] > 0 {
            writer.finish()?;
            return Err(TrainError::Cancelled);
        }
    }
    writer.finish()?;
    Ok(together.barrier()?)
}

/// Opens the predictions that a run learns from.
pub(super) fn open(directory: &Path, options: &RunOptions, blueprint: &Blueprint) -> Result<Cache> {
    let cache = Cache::open(directory)?;
    cache.check(&origin(options, blueprint)?)?;
    Ok(cache)
}

/// Refuses a run for which predictions are missing. `stream` stands where the run goes on, after `updates`.
pub(super) fn check(directory: &Path, options: &RunOptions, mut stream: Stream, updates: u64) -> Result<()> {
    let cache = Cache::open(directory)?;
    let (mut found, mut missing) = (0, 0);
    for _ in 0..options.schedule.updates.saturating_sub(updates) * options.accumulate as u64 {
        let Some(batch) = stream.next_batch()? else { break };
        for tokens in batch.tokens.chunks(options.length) {
            *if cache.has(tokens) { &mut found } else { &mut missing } += 1;
        }
    }
    if missing == 0 {
        return Ok(());
    }
    let path = directory.to_owned();
    Err(CacheError::Missing { path, missing, found }.into())
}

/// What predictions for a run have to be of, but for the teacher and how many are kept.
fn origin(options: &RunOptions, blueprint: &Blueprint) -> Result<Origin> {
    let number = |number: usize| {
        u32::try_from(number).map_err(|_| TrainError::Option {
            option: "length",
            reason: format!("{number} is more than a cache can say"),
        })
    };
    Ok(Origin {
        teacher: [0; 32],
        tokenizer: tokens_of(&blueprint.tokenizer()?),
        vocab_size: number(blueprint.config().vocab_size)?,
        length: number(options.length)?,
        top: 1,
        temperature: options
            .teacher
            .as_ref()
            .map_or(1.0, |teacher| teacher.mixture.temperature),
    })
}

/// Of a file, or of a directory's configuration and weights.
fn digest(model: &Path) -> Result<[u8; 32]> {
    let is_part = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "safetensors") || path.ends_with("config.json")
    };
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| TrainError::Io { path, source }
    };
    let mut files = vec![model.to_owned()];
    if model.is_dir() {
        let entries = fs::read_dir(model).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let paths = entries.map_err(at(model))?.into_iter().map(|entry| entry.path());
        files = paths.filter(is_part).collect();
        files.sort();
    }
    let mut hash = Sha256::new();
    for path in files {
        let mut file = File::open(&path).map_err(at(&path))?;
        let mut part = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut part).map_err(at(&path))?;
            if read == 0 {
                break;
            }
            hash.update(&part[..read]);
        }
    }
    Ok(hash.finalize().into())
}
