//! A world of one.

use super::{Collective, ParallelError};

/// The only process: every sum is its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce_sum_f32(&mut self, _values: &mut [f32]) -> Result<(), ParallelError> {
        Ok(())
    }

    fn all_reduce_sum_i32(&mut self, _values: &mut [i32]) -> Result<(), ParallelError> {
        Ok(())
    }

    fn broadcast(&mut self, _bytes: &mut [u8], root: usize) -> Result<(), ParallelError> {
        super::collective::check_root(root, 1)
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        Ok(())
    }

    fn check(&self) -> Result<(), ParallelError> {
        Ok(())
    }

    fn abort(&mut self, _reason: &str) {}
}
