//! Integers and votes in a file, for a run to go on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};

use super::{IntegerMatrix, Range, Rule, VoteError, VoteTrainer, VoteWidth, Votes};
use crate::memory::{self, Class};

/// What tensors are called after the matrix that they belong to.
const CODES: &str = ".codes";
const SCALES: &str = ".scales";
const VOTES: &str = ".votes";
const PULL: &str = ".pull";

/// What a trainer is beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoteState {
    rule: Rule,
    micro_steps: u32,
    commits: u64,
    /// By the names of matrices.
    ranges: BTreeMap<String, Range>,
}

/// Integers, scales or votes of a matrix on their way into a file. Their bytes are there while they are written.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    shape: Vec<usize>,
    numbers: Numbers<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Numbers<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    F32(&'a [f32]),
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::I8(_) => Dtype::I8,
            Numbers::I16(_) => Dtype::I16,
            Numbers::F32(_) => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.numbers {
            Numbers::I8(numbers) => numbers.iter().map(|&number| number as u8).collect(),
            Numbers::I16(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Numbers::F32(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        match self.numbers {
            Numbers::I8(numbers) => size_of_val(numbers),
            Numbers::I16(numbers) => size_of_val(numbers),
            Numbers::F32(numbers) => size_of_val(numbers),
        }
    }
}

/// A tensor of a file: its type, its lengths and its bytes, little-endian.
pub(crate) type Stored<'a> = (Dtype, &'a [usize], &'a [u8]);

impl VoteTrainer {
    /// What is to be saved beside [`parts`](Self::parts). Where several processes vote both are to be taken after a commit,
    /// by the first of them.
    pub(crate) fn state(&self) -> VoteState {
        let ranges = self
            .matrices
            .iter()
            .map(|(name, matrix)| (name.clone(), matrix.range()));
        VoteState {
            rule: self.rule,
            micro_steps: self.micro_steps,
            commits: self.commits,
            ranges: ranges.collect(),
        }
    }

    /// Its tensors: for each matrix integers (I8), scales (F32), votes (I8 or I16), and where scales are learned what was
    /// added up for them since the last commit (F32).
    pub(crate) fn parts(&self) -> impl Iterator<Item = (String, Part<'_>)> {
        self.matrices.iter().flat_map(|(name, matrix)| {
            let shape = matrix.shape();
            let votes = match matrix.votes() {
                Votes::I8(votes) => Numbers::I8(votes),
                Votes::I16(votes) => Numbers::I16(votes),
            };
            let floats = |numbers: &'_ [f32]| vec![numbers.len()];
            [
                (CODES, shape.to_vec(), Numbers::I8(matrix.codes())),
                (
                    SCALES,
                    floats(matrix.learned_scales()),
                    Numbers::F32(matrix.learned_scales()),
                ),
                (VOTES, shape.to_vec(), votes),
                (PULL, floats(matrix.pull()), Numbers::F32(matrix.pull())),
            ]
            .map(|(part, shape, numbers)| (format!("{name}{part}"), Part { shape, numbers }))
        })
    }

    /// Goes on from what was saved, by the rule that was saved with it. `tensor` gives the tensors.
    ///
    /// # Errors
    /// [`VoteError::State`] if a tensor is missing or of another type; what [`IntegerMatrix::check`] finds, and
    /// [`Rule::check`].
    pub(crate) fn from_state<'a>(
        state: &VoteState,
        tensor: impl Fn(&str) -> Option<Stored<'a>>,
        rank: u32,
        workers: u32,
    ) -> Result<Self, VoteError> {
        state.rule.check()?;
        // As many are committed at once.
        if state.micro_steps >= state.rule.every {
            return Err(wrong("it has more votes than are committed at once"));
        }
        let mut trainer = Self::new(state.rule)?.shared(rank, workers);
        trainer.micro_steps = state.micro_steps;
        trainer.commits = state.commits;
        let width = state.rule.width(workers);
        for (name, &range) in &state.ranges {
            let part = |part: &str, types: &[Dtype]| {
                let name = format!("{name}{part}");
                let (dtype, shape, bytes) = tensor(&name).ok_or_else(|| wrong(format_args!("{name} is missing")))?;
                if types.contains(&dtype) {
                    Ok((dtype, shape, bytes))
                } else {
                    Err(wrong(format_args!("{name} is of type {dtype:?}")))
                }
            };
            let (_, shape, codes) = part(CODES, &[Dtype::I8])?;
            let &[rows, cols] = shape else {
                return Err(wrong(format_args!("{name} is no matrix")));
            };
            let (_, _, scales) = part(SCALES, &[Dtype::F32])?;
            let (dtype, _, votes) = part(VOTES, &[Dtype::I8, Dtype::I16])?;
            let (_, _, pull) = part(PULL, &[Dtype::F32])?;
            let (codes, scales) = memory::class(Class::Weights, || {
                (le(codes, i8::from_le_bytes), le(scales, f32::from_le_bytes))
            });
            let votes = memory::class(Class::Votes, || match (dtype, width) {
                (Dtype::I16, _) => Votes::I16(le(votes, i16::from_le_bytes)),
                (_, VoteWidth::I8) => Votes::I8(le(votes, i8::from_le_bytes)),
                // The run goes on with more processes.
                (_, VoteWidth::I16) => Votes::I16(le(votes, |byte| i8::from_le_bytes(byte).into())),
            });
            let mut matrix = IntegerMatrix::from_parts(name, range, [rows, cols], codes, scales, votes)?;
            if rank == 0 {
                matrix.set_pull(name, le(pull, f32::from_le_bytes))?;
            } else {
                // What stays of sums is counted once.
                matrix.votes_mut().clear();
            }
            trainer.insert(name.clone(), matrix);
        }
        Ok(trainer)
    }
}

fn le<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&bytes| from(bytes)).collect()
}

fn wrong(reason: impl ToString) -> VoteError {
    VoteError::State {
        reason: reason.to_string(),
    }
}
