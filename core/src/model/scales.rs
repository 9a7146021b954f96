//! Looking through the scales of matrices that are used in the file as they are. (Those of others are looked at when they
//! are [packed](super::convert).)

use super::ModelError;
use super::progress::Steps;
use super::tensors::Plan;
use crate::gguf::ModelFile;
use halfpi_kernels::Parallel;
use halfpi_kernels::format::Matrix;
use std::sync::{Mutex, PoisonError};

/// Matrices between two reports, for each thread: some milliseconds where they have to be read first.
const MATRICES_PER_REPORT: usize = 4;

/// Reads all scales and minima of packed matrices in the file: those of 4-bit codes in groups of 32 are a ninth of
/// its bytes, with minima a fifth. They lie together after the codes of a matrix, which are not read.
///
/// # Errors
/// [`ModelError::Scale`], of the first matrix by name that has one which is no finite number.
pub(super) fn check(
    file: &ModelFile,
    plan: &Plan,
    parallel: &dyn Parallel,
    steps: &mut Steps<'_, '_>,
) -> Result<(), ModelError> {
    let places: Vec<_> = plan.packed().collect();
    for places in places.chunks(MATRICES_PER_REPORT * parallel.threads()) {
        let failures = Mutex::new(Vec::new());
        parallel.run(places.len(), &|index, _| {
            let Some(Matrix::Packed(packed)) = places[index].1.matrix(file.bytes(), &[]) else {
                return;
            };
            if let Some(value) = packed.scale_not_finite() {
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push((index, value));
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((index, value)) = failures.into_iter().min_by_key(|&(index, _)| index) {
            let name = places[index].0.to_owned();
            return Err(ModelError::Scale { name, value });
        }
        steps.advance(places.iter().map(|(_, place)| place.bytes_in_file() as u64).sum())?;
    }
    Ok(())
}
