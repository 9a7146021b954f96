//! Where a run can go on: one file with everything, there whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::tensor::{AutodiffBackend, Backend, Tensor, TensorData};
use crate::train::Trainer;
use crate::vote::{Part, SharedVotes, VoteState, VoteTrainer};
use crate::{Result, TrainError};

/// The version of what follows.
const VERSION: u32 = 1;
/// Where the state is in the file's metadata.
const STATE: &str = "halfpi.train";
/// What the names of parameters begin with.
const PARAMETER: &str = "parameter.";
/// What the names of the optimizer's memory begin with.
const OPTIMIZER: &str = "optimizer.";
/// What the names of integers, their scales and votes begin with.
const VOTES: &str = "votes.";

/// Where a run stands, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of the file.
    version: u32,
    /// What integers that vote are beside their tensors.
    #[serde(default)]
    votes: Option<VoteState>,
    /// Updates that were made.
    pub updates: u64,
    /// Tokens that were read.
    pub tokens: u64,
    /// What the run was asked for, of which nothing may change that would make it another one.
    pub run: serde_json::Value,
    /// Where the data stands.
    pub data: serde_json::Value,
    /// What was measured so far.
    pub history: serde_json::Value,
}

impl State {
    /// The state of a run after this many updates and tokens.
    pub fn new(updates: u64, tokens: u64) -> Self {
        let null = serde_json::Value::Null;
        Self {
            version: VERSION,
            votes: None,
            updates,
            tokens,
            run: null.clone(),
            data: null.clone(),
            history: null,
        }
    }
}

/// A tensor as it lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its lengths.
    pub shape: Vec<usize>,
    /// Its numbers, little-endian.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// The tensor, if it is a matrix of floats.
    pub fn to_tensor<B: Backend>(&self, device: &B::Device) -> Option<Tensor<B, 2>> {
        let &[rows, cols] = self.shape.as_slice() else {
            return None;
        };
        let (numbers, rest) = self.bytes.as_chunks::<4>();
        if self.dtype != Dtype::F32 || !rest.is_empty() || Some(numbers.len()) != rows.checked_mul(cols) {
            return None;
        }
        let values: Vec<f32> = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        Some(Tensor::from_data(TensorData::new(values, [rows, cols]), device))
    }
}

/// A run's tensors and state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub state: State,
    /// Everything that it needs to go on, by name.
    pub tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Brings a trainer of the same model, on rank `rank` of `workers`, to where this one was. Nothing is changed if it does
    /// not fit.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if a parameter, or what the optimizer remembers of one, is missing or has another shape.
    pub fn restore<B: AutodiffBackend>(
        &self,
        trainer: &mut Trainer<B>,
        device: &B::Device,
        path: &Path,
        [rank, workers]: [usize; 2],
    ) -> Result<()> {
        let refuse = |reason: String| TrainError::Checkpoint {
            path: path.to_owned(),
            reason,
        };
        let mut parameters = Vec::new();
        for (name, parameter) in trainer.parameters.iter() {
            let stored = self.tensors.get(&format!("{PARAMETER}{name}"));
            let value = stored.and_then(|stored| stored.to_tensor::<B::InnerBackend>(device));
            let value = value.filter(|value| value.dims() == parameter.value.dims());
            let value = value.ok_or_else(|| {
                refuse(format!(
                    "it has no tensor {name} of the shape {:?}",
                    parameter.value.dims()
                ))
            })?;
            parameters.push((name.to_owned(), value));
        }
        let mut memory = Vec::new();
        for (name, stored) in &self.tensors {
            if let Some(name) = name.strip_prefix(OPTIMIZER) {
                let tensor = stored.to_tensor::<B::InnerBackend>(device);
                let tensor = tensor.ok_or_else(|| refuse(format!("{name} is no matrix of floats")))?;
                memory.push((name.to_owned(), tensor));
            }
        }
        trainer
            .optimizer
            .check(&trainer.parameters.shapes(), &memory)
            .map_err(refuse)?;
        let votes = match (&trainer.votes, &self.state.votes) {
            (None, None) => None,
            (Some(votes), Some(state)) => {
                let tensor = |name: &str| {
                    let stored = self.tensors.get(&format!("{VOTES}{name}"))?;
                    Some((stored.dtype, stored.shape.as_slice(), stored.bytes.as_slice()))
                };
                let saved = VoteTrainer::from_state(state, tensor, rank as u32, workers as u32)?;
                if !votes.lock().fits(&saved) {
                    return Err(refuse("its integers are of other matrices".into()));
                }
                Some((votes.clone(), saved))
            }
            _ => return Err(refuse("only one of the two runs has weights that are integers".into())),
        };
        for (name, value) in parameters {
            trainer.parameters.update(&name, |_| value)?;
        }
        if let Some((votes, saved)) = votes {
            *votes.lock() = saved;
        }
        trainer.optimizer.restore(memory, self.state.updates);
        Ok(())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Io`] if there is none, [`TrainError::Checkpoint`] if the file is something else or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |reason: String| TrainError::Checkpoint {
            path: path.to_owned(),
            reason,
        };
        let bytes = fs::read(path).map_err(|source| io(path, source))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| refuse(error.to_string()))?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let state = state.ok_or_else(|| refuse("it was not written by a training run".into()))?;
        let state: State = serde_json::from_str(state).map_err(|error| refuse(error.to_string()))?;
        if state.version != VERSION {
            return Err(refuse(format!("its version is {}, not {VERSION}", state.version)));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let stored = tensors.iter().map(|(name, view)| {
            let stored = Stored {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name.to_owned(), stored)
        });
        Ok(Self {
            tensors: stored.collect(),
            state,
        })
    }
}

/// A tensor on its way into a file. Its bytes are there while they are written.
enum Entry<'a, B: Backend> {
    Floats(Tensor<B, 2>, [usize; 2]),
    Votes(Part<'a>),
}

impl<B: Backend> Entry<'_, B> {
    fn of(tensor: Tensor<B, 2>) -> Self {
        let shape = tensor.dims();
        Entry::Floats(tensor, shape)
    }
}

impl<B: Backend> View for Entry<'_, B> {
    fn dtype(&self) -> Dtype {
        match self {
            Entry::Floats(..) => Dtype::F32,
            Entry::Votes(part) => part.dtype(),
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Entry::Floats(_, shape) => shape,
            Entry::Votes(part) => part.shape(),
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Entry::Floats(tensor, _) => {
                let values = crate::tensor::values(tensor.clone());
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Entry::Votes(part) => part.data(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Entry::Floats(_, [rows, cols]) => rows * cols * size_of::<f32>(),
            Entry::Votes(part) => part.data_len(),
        }
    }
}

/// Writes what a trainer holds into the file `path`, which keeps its old contents until everything is on disk. Never are
/// the bytes of more than one tensor there. Where several processes vote, to be called after a commit, by the first of
/// them.
///
/// # Errors
/// [`TrainError::Io`] if that fails: a full disk, for instance. The old file is then still there.
pub fn write<B: AutodiffBackend>(trainer: &Trainer<B>, mut state: State, path: &Path) -> Result<()> {
    let parameters = trainer.parameters.iter().map(|(name, parameter)| {
        let value = parameter.value.clone().inner();
        (format!("{PARAMETER}{name}"), Entry::<B::InnerBackend>::of(value))
    });
    let memory = trainer.optimizer.state().into_iter();
    let memory = memory.map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), Entry::of(tensor)));
    let mut tensors: BTreeMap<String, Entry<B::InnerBackend>> = parameters.chain(memory).collect();
    let votes = trainer.votes.as_ref().map(SharedVotes::lock);
    if let Some(votes) = &votes {
        state.votes = Some(votes.state());
        let parts = votes
            .parts()
            .map(|(name, part)| (format!("{VOTES}{name}"), Entry::Votes(part)));
        tensors.extend(parts);
    }
    let part = part_of(path);
    let written = write_to(tensors, &state, &part).and_then(|()| {
        let sync = File::open(&part).and_then(|file| file.sync_all());
        sync.and_then(|()| fs::rename(&part, path))
            .map_err(|source| io(path, source))
    });
    if written.is_err() {
        // Nobody is left to tell if this fails.
        let _ = fs::remove_file(&part);
    }
    written
}

fn write_to<B: Backend>(tensors: BTreeMap<String, Entry<'_, B>>, state: &State, part: &Path) -> Result<()> {
    let state = serde_json::to_string(state).map_err(|source| io(part, source.into()))?;
    let metadata = HashMap::from([(STATE.to_owned(), state)]);
    safetensors::serialize_to_file(tensors, Some(metadata), part).map_err(|error| {
        let source = match error {
            safetensors::SafeTensorError::IoError(source) => source,
            other => std::io::Error::other(other),
        };
        io(part, source)
    })
}

/// Where a file is written before it takes its place: always the same one, so that what a killed run leaves is written
/// over.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}
