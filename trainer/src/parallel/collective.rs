//! What processes can do together.

use super::ParallelError;

/// The most bytes one rank may give to [`Collective::all_gather`].
pub const MAX_GATHER: usize = 1 << 20;

/// How many floats are turned to bytes at a time to be broadcast.
const BROADCAST_FLOATS: usize = 1 << 16;

/// The ranks of a world, seen from one of them.
///
/// All ranks call the same methods in the same order, with slices of the same length; a call returns when this rank's
/// part is done. A rank that does otherwise is found out and stops the job ([`ParallelError::OutOfStep`]). After an
/// error every further call fails with the same reason.
pub trait Collective: Send {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// Replaces every element by its sum over all ranks: the same bits everywhere.
    ///
    /// # Errors
    ///
    /// [`ParallelError::RankFailed`], [`ParallelError::OutOfStep`].
    fn all_reduce_sum_f32(&mut self, values: &mut [f32]) -> Result<(), ParallelError>;

    /// Replaces every element by its exact sum over all ranks.
    ///
    /// # Errors
    ///
    /// [`ParallelError::RankFailed`], [`ParallelError::OutOfStep`], [`ParallelError::Overflow`].
    fn all_reduce_sum_i32(&mut self, values: &mut [i32]) -> Result<(), ParallelError>;

    /// Replaces the bytes by those of rank `root`.
    ///
    /// # Errors
    ///
    /// [`ParallelError::RankFailed`], [`ParallelError::OutOfStep`]; [`ParallelError::Argument`] without such a rank.
    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), ParallelError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    ///
    /// [`ParallelError::RankFailed`], [`ParallelError::OutOfStep`].
    fn barrier(&mut self) -> Result<(), ParallelError>;

    /// Whether the job is still whole, at no cost: for a rank that computes for long between two sums.
    ///
    /// # Errors
    ///
    /// [`ParallelError::RankFailed`].
    fn check(&self) -> Result<(), ParallelError>;

    /// Ends the job on all ranks, which learn the reason: what a rank calls before it gives up for a reason of its own
    /// (a loss that is NaN, a disk that is full).
    fn abort(&mut self, reason: &str);

    /// Replaces the floats by those of rank `root`, bit for bit.
    ///
    /// # Errors
    ///
    /// Those of [`broadcast`](Self::broadcast).
    fn broadcast_f32(&mut self, values: &mut [f32], root: usize) -> Result<(), ParallelError> {
        check_root(root, self.world_size())?;
        let mut bytes = Vec::with_capacity(4 * values.len().min(BROADCAST_FLOATS));
        for part in values.chunks_mut(BROADCAST_FLOATS) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
            self.broadcast(&mut bytes, root)?;
            for (value, bytes) in part.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    /// What every rank gave, in the order of ranks. For small things (a loss, a state of a generator): each rank's
    /// bytes pass through every other one.
    ///
    /// # Errors
    ///
    /// Those of [`broadcast`](Self::broadcast); [`ParallelError::Argument`] for more than [`MAX_GATHER`] bytes.
    fn all_gather(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, ParallelError> {
        if own.len() > MAX_GATHER {
            let error = ParallelError::Argument {
                what: "length",
                value: own.len(),
                limit: MAX_GATHER + 1,
            };
            self.abort(&error.to_string());
            return Err(error);
        }
        let mut lengths = vec![0; self.world_size()];
        lengths[self.rank()] = own.len() as i32;
        self.all_reduce_sum_i32(&mut lengths)?;
        let mut gathered = Vec::with_capacity(lengths.len());
        for (root, length) in lengths.into_iter().enumerate() {
            // Another rank's word, so bounded once more.
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(MAX_GATHER);
            let mut bytes = if root == self.rank() {
                own.to_vec()
            } else {
                vec![0; length]
            };
            self.broadcast(&mut bytes, root)?;
            gathered.push(bytes);
        }
        Ok(gathered)
    }
}

/// An error if there is no rank `root` in a world of `size`.
pub(crate) fn check_root(root: usize, size: usize) -> Result<(), ParallelError> {
    if root < size {
        Ok(())
    } else {
        Err(ParallelError::Argument {
            what: "root",
            value: root,
            limit: size,
        })
    }
}
