//! Where a run can go on: one file with everything, there whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::tensor::{AutodiffBackend, Backend, Tensor, TensorData};
use crate::train::Trainer;
use crate::vote::VoteTrainer;
use crate::{Result, TrainError};

/// The version of what follows.
const VERSION: u32 = 1;
/// Where the state is in the file's metadata.
const STATE: &str = "halfpi.train";
/// What the names of parameters begin with.
const PARAMETER: &str = "parameter.";
/// What the names of the optimizer's memory begin with.
const OPTIMIZER: &str = "optimizer.";
/// A file of integers and votes, as bytes.
const VOTES: &str = "votes";

/// Where a run stands, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of the file.
    version: u32,
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

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Stored {
    /// The numbers of a tensor, to the bit.
    pub fn of<B: Backend>(tensor: Tensor<B, 2>) -> Self {
        let shape = tensor.dims().to_vec();
        let values = crate::tensor::values(tensor);
        Self {
            dtype: Dtype::F32,
            shape,
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

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
    /// What a trainer holds. Where several processes vote, to be taken after a commit, by the first of them.
    ///
    /// # Errors
    /// [`TrainError::Vote`] if the votes cannot be stored.
    pub fn of<B: AutodiffBackend>(trainer: &Trainer<B>, state: State) -> Result<Self> {
        let parameters = trainer.parameters.iter();
        let parameters = parameters.map(|(name, parameter)| {
            (
                format!("{PARAMETER}{name}"),
                Stored::of(parameter.value.clone().inner()),
            )
        });
        let memory = trainer.optimizer.state().into_iter();
        let memory = memory.map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), Stored::of(tensor)));
        let mut tensors: BTreeMap<String, Stored> = parameters.chain(memory).collect();
        if let Some(votes) = &trainer.votes {
            let bytes = votes.lock().to_safetensors()?;
            let (dtype, shape) = (Dtype::U8, vec![bytes.len()]);
            tensors.insert(VOTES.to_owned(), Stored { dtype, shape, bytes });
        }
        Ok(Self { state, tensors })
    }

    /// Brings a trainer of the same model, on rank `rank` of `workers`, to where this one was. Nothing is changed if it does
    /// not fit.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if a parameter is missing or has another shape.
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
        let votes = match (&trainer.votes, self.tensors.get(VOTES)) {
            (None, None) => None,
            (Some(votes), Some(stored)) => {
                let saved = VoteTrainer::from_safetensors(&stored.bytes, rank as u32, workers as u32)?;
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

    /// Writes the file `path`, which keeps its old contents until everything is on disk.
    ///
    /// # Errors
    /// [`TrainError::Io`] if that fails: a full disk, for instance. The old file is then still there.
    pub fn write(&self, path: &Path) -> Result<()> {
        let part = part_of(path);
        let written = self.write_to(&part).and_then(|()| {
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

    fn write_to(&self, part: &Path) -> Result<()> {
        let state = serde_json::to_string(&self.state).map_err(|source| io(part, source.into()))?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        safetensors::serialize_to_file(&self.tensors, Some(metadata), part).map_err(|error| {
            let source = match error {
                safetensors::SafeTensorError::IoError(source) => source,
                other => std::io::Error::other(other),
            };
            io(part, source)
        })
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

/// Where a file is written before it takes its place.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}
