//! Matrix products: `y = W x` for one or many positions, shared among threads by runs of rows.

mod codes;
mod complex;
mod dense;
mod float;
mod groups;
mod pairs;
mod prefill;
mod scales;
mod trits;

pub(crate) use prefill::{Panels, Tile};

use super::{Activations, OpError};
use crate::format::{Codes, Matrix, TILE_ROWS};
use crate::{Backend, Parallel};
use core::ops::Range;

/// Weight bytes (times positions) below which a task is not worth handing to another thread.
const MIN_TASK_BYTES: usize = 32 << 10;
/// More tasks than threads, so that a slow or busy core takes fewer of them.
const TASKS_PER_THREAD: usize = 8;
/// Products that one call takes.
const MAX_PRODUCTS: usize = 4;

/// One product of a call to [`matmul`].
#[derive(Debug)]
pub struct Product<'w, 'o> {
    /// The weights.
    pub weight: &'w Matrix<'w>,
    /// `[position][rows]`.
    pub out: &'o mut [f32],
}

/// A product whose result several threads write to.
#[derive(Clone, Copy)]
struct Shared<'w> {
    weight: &'w Matrix<'w>,
    out: *mut f32,
}

// SAFETY: every task writes to rows of its own, so no two threads touch the same float.
unsafe impl Sync for Shared<'_> {}

/// Multiplies the same activations with up to 4 matrices (say query, key and value) in one go.
///
/// # Errors
/// [`OpError`] if shapes and lengths do not fit, or there are more than 4 products.
pub fn matmul(
    backend: Backend,
    parallel: &dyn Parallel,
    x: &Activations<'_>,
    products: &mut [Product<'_, '_>],
) -> Result<(), OpError> {
    if products.len() > MAX_PRODUCTS {
        return Err(OpError {
            what: "matmul: products",
            expected: MAX_PRODUCTS,
            found: products.len(),
        });
    }
    let mut shared = [None; MAX_PRODUCTS];
    let (mut units, mut bytes) = (0, 0);
    for (shared, product) in shared.iter_mut().zip(products) {
        let (rows, cols) = (product.weight.rows(), product.weight.cols());
        let positions = x.floats.len() / cols;
        OpError::exact("matmul: x", positions * cols, x.floats.len())?;
        OpError::exact("matmul: out", positions.saturating_mul(rows), product.out.len())?;
        if let Some(int8) = &x.int8 {
            OpError::exact("matmul: int8 columns", cols, int8.cols)?;
            OpError::exact("matmul: int8 positions", positions, int8.positions())?;
        }
        units += units_of(product.weight);
        bytes += product.weight.bytes().saturating_mul(positions);
        *shared = Some(Shared {
            weight: product.weight,
            out: product.out.as_mut_ptr(),
        });
    }
    if bytes == 0 {
        return Ok(());
    }
    let most = if parallel.threads() == 1 {
        1
    } else {
        (parallel.threads().max(1) * TASKS_PER_THREAD).min(units)
    };
    let tasks = (bytes / MIN_TASK_BYTES).clamp(1, most);
    parallel.run(tasks, &|task, _thread| {
        // This task's share of all units, counted over the products one after the other.
        let (mut first, mut last) = (units * task / tasks, units * (task + 1) / tasks);
        for shared in shared.iter().flatten() {
            let own = units_of(shared.weight);
            if first < own && first < last {
                // SAFETY: the lengths were checked above; tasks have disjoint units.
                unsafe { run(backend, shared, x, first..last.min(own)) };
            }
            (first, last) = (first.saturating_sub(own), last.saturating_sub(own));
        }
    });
    Ok(())
}

/// Runs of rows that one thread works on at a time.
fn units_of(weight: &Matrix<'_>) -> usize {
    match weight {
        Matrix::Dense(w) => w.rows().div_ceil(TILE_ROWS),
        Matrix::Packed(w) => w.layout().units(),
    }
}

/// # Safety
/// `out` has room for all positions' rows, and no other thread has these units.
unsafe fn run(backend: Backend, product: &Shared<'_>, x: &Activations<'_>, units: Range<usize>) {
    let kernels = backend.kernels();
    // SAFETY: as this function's contract; `Backend` exists only for instruction sets that are present.
    unsafe {
        match (product.weight, &x.int8) {
            (Matrix::Packed(w), Some(x)) if x.positions() == 1 => (kernels.codes.matvec)(w, x, 0, units, product.out),
            (Matrix::Packed(w), Some(x)) if w.codes() == Codes::PhaseComplex => {
                complex::matmul(kernels, w, x, units, product.out);
            }
            (Matrix::Packed(w), Some(x)) => prefill::matmul(kernels, w, x, units, product.out),
            (Matrix::Packed(w), None) => (kernels.floats.matmul_f32)(w, x.floats, units, product.out),
            (Matrix::Dense(w), _) => {
                let rows = units.start * TILE_ROWS..w.rows().min(units.end * TILE_ROWS);
                (kernels.floats.matmul_dense)(w, x.floats, rows, product.out);
            }
        }
    }
}

/// The inner loops.
pub(crate) mod generic {
    pub(crate) use super::complex::complex_columns;
    pub(crate) use super::dense::matmul_dense;
    pub(crate) use super::float::matmul_f32;
    pub(crate) use super::prefill::{columns, expand};

    use super::codes::{Axis, Bits2, Bits4, Bits5, Bits6, Bits8, Phases};
    use super::{complex, groups, pairs, trits};
    use crate::arch::products::Products;
    use crate::format::codes::Table;
    use crate::format::{Codes, Packed};
    use crate::ops::Int8Rows;
    use core::ops::Range;

    /// # Safety
    /// As the entry of this name in `Kernels`.
    #[inline(always)]
    pub(crate) unsafe fn matvec<V: Products>(
        w: &Packed<'_>,
        x: &Int8Rows<'_>,
        column: usize,
        units: Range<usize>,
        out: *mut f32,
    ) {
        // SAFETY: as this function's contract, and each arm takes the codes that `w` has.
        unsafe {
            match &w.codes() {
                Codes::Int8 => groups::matvec::<V, _>(w, Bits8, x, column, units, out),
                Codes::Int6 => groups::matvec::<V, _>(w, Bits6, x, column, units, out),
                Codes::Codebook5(table) => groups::matvec::<V, _>(w, Bits5(&Table::of(table)), x, column, units, out),
                Codes::Codebook4(table) => groups::matvec::<V, _>(w, Bits4(&Table::of(table)), x, column, units, out),
                Codes::Codebook2(table) => groups::matvec::<V, _>(w, Bits2(table), x, column, units, out),
                Codes::PhaseAxis { magnitudes: true } => groups::matvec::<V, _>(w, Axis, x, column, units, out),
                Codes::PhaseAxis { magnitudes: false } => groups::matvec::<V, _>(w, Phases, x, column, units, out),
                Codes::Trits => trits::matvec::<V>(w, x, column, units, out),
                Codes::PhasePair { stages: 1 } => pairs::matvec::<V, 1>(w, x, column, units, out),
                Codes::PhasePair { .. } => pairs::matvec::<V, 2>(w, x, column, units, out),
                Codes::PhaseComplex => complex::matvec::<V>(w, x, column, units, out),
            }
        }
    }
}
