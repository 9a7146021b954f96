//! Integers and votes in a file, for a run to go on.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use super::{IntegerMatrix, Range, Rule, VoteError, VoteTrainer, VoteWidth, Votes};
use crate::memory::{self, Class};

/// What tensors are called after the matrix that they belong to.
const CODES: &str = ".codes";
const SCALES: &str = ".scales";
const VOTES: &str = ".votes";
const PULL: &str = ".pull";

impl VoteTrainer {
    /// All of its state as a safetensors file: for each matrix integers (I8), scales (F32), votes (I8 or I16), and where
    /// scales are learned what was added up for them since the last commit (F32).
    ///
    /// To be taken after a commit where several processes vote, by the first of them.
    ///
    /// # Errors
    /// [`VoteError::State`] if the parts do not make a file.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, VoteError> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut metadata = HashMap::from([
            ("micro_steps".to_owned(), self.micro_steps.to_string()),
            ("commits".to_owned(), self.commits.to_string()),
            ("rule".to_owned(), serde_json::to_string(&self.rule).map_err(wrong)?),
        ]);
        for (name, matrix) in &self.matrices {
            let shape = matrix.shape().to_vec();
            let codes = matrix.codes().iter().map(|&code| code as u8).collect();
            let (width, votes) = match matrix.votes() {
                Votes::I8(votes) => (Dtype::I8, votes.iter().map(|&vote| vote as u8).collect()),
                Votes::I16(votes) => (Dtype::I16, votes.iter().flat_map(|vote| vote.to_le_bytes()).collect()),
            };
            tensors.push((format!("{name}{CODES}"), Dtype::I8, shape.clone(), codes));
            for (part, values) in [(SCALES, matrix.learned_scales()), (PULL, matrix.pull())] {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{name}{part}"), Dtype::F32, vec![values.len()], bytes));
            }
            tensors.push((format!("{name}{VOTES}"), width, shape, votes));
            let range = serde_json::to_string(&matrix.range()).map_err(wrong)?;
            metadata.insert(format!("{name}.range"), range);
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, dtype, shape, bytes) in &tensors {
            views.push((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).map_err(wrong)?,
            ));
        }
        serialize(views, Some(metadata)).map_err(wrong)
    }

    /// Goes on from what [`to_safetensors`](Self::to_safetensors) gave, by the rule that was saved with it.
    ///
    /// # Errors
    /// [`VoteError::State`] if it is no such file; what [`IntegerMatrix::check`] finds, and [`Rule::check`].
    pub fn from_safetensors(bytes: &[u8], rank: u32, workers: u32) -> Result<Self, VoteError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
        let metadata = header.metadata().as_ref().ok_or_else(|| missing("its metadata"))?;
        let entry = |key: &str| metadata.get(key).ok_or_else(|| missing(key));
        let file = SafeTensors::deserialize(bytes).map_err(wrong)?;
        let rule: Rule = serde_json::from_str(entry("rule")?).map_err(wrong)?;
        rule.check()?;
        let mut trainer = Self::new(rule)?.shared(rank, workers);
        trainer.micro_steps = entry("micro_steps")?.parse().map_err(wrong)?;
        trainer.commits = entry("commits")?.parse().map_err(wrong)?;
        for tensor in file.names() {
            let Some(name) = tensor.strip_suffix(CODES) else {
                continue;
            };
            let codes = file.tensor(tensor).map_err(wrong)?;
            let &[rows, cols] = codes.shape() else {
                return Err(wrong(format_args!("{tensor} is no matrix")));
            };
            let range: Range = serde_json::from_str(entry(&format!("{name}.range"))?).map_err(wrong)?;
            let scales = file.tensor(&format!("{name}{SCALES}")).map_err(wrong)?;
            let votes = file.tensor(&format!("{name}{VOTES}")).map_err(wrong)?;
            if (codes.dtype(), scales.dtype()) != (Dtype::I8, Dtype::F32) {
                return Err(wrong(format_args!("{name} has other types than I8 and F32")));
            }
            let mut votes = memory::class(Class::Votes, || match (votes.dtype(), rule.width(workers)) {
                (Dtype::I8, VoteWidth::I8) => Ok(Votes::I8(votes.data().iter().map(|&byte| byte as i8).collect())),
                // The run goes on with more processes.
                (Dtype::I8, VoteWidth::I16) => Ok(Votes::I16(
                    votes.data().iter().map(|&byte| i16::from(byte as i8)).collect(),
                )),
                (Dtype::I16, _) => Ok(Votes::I16(le(votes.data(), i16::from_le_bytes))),
                (other, _) => Err(wrong(format_args!("{name}{VOTES} is of type {other:?}"))),
            })?;
            if rank > 0 {
                votes.clear();
            }
            let codes = memory::class(Class::Weights, || codes.data().iter().map(|&byte| byte as i8).collect());
            let scales = memory::class(Class::Weights, || le(scales.data(), f32::from_le_bytes));
            let mut matrix = IntegerMatrix::from_parts(name, range, [rows, cols], codes, scales, votes)?;
            if rank == 0 {
                // Files without learned scales may do without.
                let pull = file.tensor(&format!("{name}{PULL}"));
                matrix.set_pull(
                    name,
                    pull.map_or(Vec::new(), |pull| le(pull.data(), f32::from_le_bytes)),
                )?;
            }
            trainer.insert(name, matrix);
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

fn missing(what: &str) -> VoteError {
    wrong(format_args!("{what} is missing"))
}
