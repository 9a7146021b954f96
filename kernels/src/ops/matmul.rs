//! Matrix products: `y = W x` for one or many positions, shared among threads by row tiles.

use super::{Activations, OpError};
use crate::format::{Matrix, TILE_ROWS};
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

// SAFETY: every task writes to row tiles of its own, so no two threads touch the same float.
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
    let (mut tiles, mut bytes) = (0, 0);
    for (shared, product) in shared.iter_mut().zip(products) {
        let (rows, cols) = (product.weight.rows(), product.weight.cols());
        let positions = x.floats.len() / cols;
        OpError::exact("matmul: x", positions * cols, x.floats.len())?;
        OpError::exact("matmul: out", positions.saturating_mul(rows), product.out.len())?;
        if let Some(int8) = &x.int8 {
            OpError::exact("matmul: int8 columns", cols, int8.cols)?;
            OpError::exact("matmul: int8 positions", positions, int8.positions())?;
        }
        tiles += rows.div_ceil(TILE_ROWS);
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
        (parallel.threads().max(1) * TASKS_PER_THREAD).min(tiles)
    };
    let tasks = (bytes / MIN_TASK_BYTES).clamp(1, most);
    parallel.run(tasks, &|task, _thread| {
        // This task's share of all tiles, counted over the products one after the other.
        let (mut first, mut last) = (tiles * task / tasks, tiles * (task + 1) / tasks);
        for shared in shared.iter().flatten() {
            let own = shared.weight.rows().div_ceil(TILE_ROWS);
            if first < own && first < last {
                // SAFETY: the lengths were checked above; tasks have disjoint tiles.
                unsafe { run(backend, shared, x, first..last.min(own)) };
            }
            (first, last) = (first.saturating_sub(own), last.saturating_sub(own));
        }
    });
    Ok(())
}

/// # Safety
/// `out` has room for all positions' rows, and no other thread has these tiles.
unsafe fn run(backend: Backend, product: &Shared<'_>, x: &Activations<'_>, tiles: Range<usize>) {
    let kernels = backend.kernels();
    // SAFETY: as this function's contract; `Backend` exists only for instruction sets that are present.
    unsafe {
        match (product.weight, &x.int8) {
            (Matrix::Packed(w), Some(x)) if x.positions() == 1 => (kernels.matvec)(w, x, 0, tiles, product.out),
            (Matrix::Packed(w), Some(x)) => (kernels.matmul)(w, x, tiles, product.out),
            (Matrix::Packed(w), None) => (kernels.matmul_f32)(w, x.floats, tiles, product.out),
            (Matrix::Dense(w), _) => {
                let rows = tiles.start * TILE_ROWS..w.rows().min(tiles.end * TILE_ROWS);
                (kernels.matmul_dense)(w, x.floats, rows, product.out);
            }
        }
    }
}

/// The inner loops.
pub(crate) mod generic {
    use crate::arch::simd::{GROUP4_BYTES, GROUP8_BYTES, Simd};
    use crate::format::{Codes, Dense, Float, GROUP, Packed, TILE_ROWS};
    use crate::ops::Int8Rows;
    use core::ops::Range;

    /// How far ahead weights are asked for, in bytes: far enough for a memory access to arrive.
    const PREFETCH: usize = 4096;

    /// How the groups of a row tile are scaled.
    #[derive(Clone, Copy)]
    struct Scales {
        scales: *const u8,
        minima: Option<*const u8>,
        shift: u32,
    }

    impl Scales {
        #[inline(always)]
        fn of(w: &Packed<'_>, tile: usize) -> Self {
            let (scales, shift) = w.scales_ptr(tile);
            Scales {
                scales,
                minima: w.minima_ptr(tile),
                shift,
            }
        }

        /// Adds a group's integer dot products with `N` columns, scaled, to 16 rows' sums.
        ///
        /// # Safety
        /// `group` is one of the matrix, `x_group` and those at `N - 1` times `stride` from it are some of `x`.
        #[inline(always)]
        unsafe fn add_group<V: Simd, const N: usize>(
            self,
            sums: &mut [V; N],
            dots: [V; N],
            group: usize,
            x: &Int8Rows<'_>,
            x_group: usize,
            stride: usize,
        ) {
            let at = (group >> self.shift) * (TILE_ROWS * 2);
            // SAFETY: as this function's contract.
            unsafe {
                let scale = V::load_f16(self.scales.add(at));
                for (n, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
                    let x_scale = V::splat(*x.scales.get_unchecked(x_group + n * stride));
                    *sum = sum.add(scale.mul(x_scale).mul(dot));
                }
                if let Some(minima) = self.minima {
                    let minimum = V::load_f16(minima.add(at));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x_sum = V::splat(*x.sums.get_unchecked(x_group + n * stride));
                        *sum = sum.add(minimum.mul(x_sum));
                    }
                }
            }
        }
    }

    /// Rows of a tile that exist.
    #[inline(always)]
    fn rows_of(tile: usize, rows: usize) -> usize {
        (rows - tile * TILE_ROWS).min(TILE_ROWS)
    }

    /// # Safety
    /// As the entry of this name in `Kernels`.
    #[inline(always)]
    pub(crate) unsafe fn matvec<V: Simd>(
        w: &Packed<'_>,
        x: &Int8Rows<'_>,
        column: usize,
        tiles: Range<usize>,
        out: *mut f32,
    ) {
        // SAFETY: a `Packed`'s parts are as long as its shape says, so every group of every tile is there.
        unsafe {
            match w.codes() {
                Codes::Int8 => matvec_with::<V, GROUP8_BYTES>(w, &[0; 16], x, column, tiles, out),
                Codes::Codebook4(table) => matvec_with::<V, GROUP4_BYTES>(w, &table, x, column, tiles, out),
            }
        }
    }

    /// # Safety
    /// As [`matvec`]; `GROUP_BYTES` is that of the codes.
    #[inline(always)]
    unsafe fn matvec_with<V: Simd, const GROUP_BYTES: usize>(
        w: &Packed<'_>,
        table: &[i8; 16],
        x: &Int8Rows<'_>,
        column: usize,
        tiles: Range<usize>,
        out: *mut f32,
    ) {
        let groups = w.groups();
        // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
        unsafe {
            let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * groups);
            for tile in tiles {
                let scales = Scales::of(w, tile);
                let codes = w.codes_ptr(tile, 0);
                let mut sum = [V::splat(0.0)];
                for group in 0..groups {
                    let codes = codes.add(group * GROUP_BYTES);
                    for line in (0..GROUP_BYTES).step_by(64) {
                        V::prefetch(codes.wrapping_add(PREFETCH + line));
                    }
                    let x_codes = x_codes.add(group * GROUP);
                    let offset = *x.offsets.get_unchecked(x_group + group);
                    let dot = match GROUP_BYTES {
                        GROUP8_BYTES => V::dot8(codes, x_codes, offset),
                        _ => V::dot4(codes, table, x_codes, offset),
                    };
                    scales.add_group(&mut sum, [dot], group, x, x_group + group, 0);
                }
                sum[0].store_part(out.add(tile * TILE_ROWS), rows_of(tile, w.rows()));
            }
        }
    }

    /// Groups of a row tile that are expanded to 8-bit codes at a time: 8 KB, which stay in the first-level cache
    /// while all columns pass.
    const PANEL_GROUPS: usize = 16;

    /// # Safety
    /// As the entry of this name in `Kernels`.
    #[inline(always)]
    pub(crate) unsafe fn matmul<V: Simd, const N: usize>(
        w: &Packed<'_>,
        x: &Int8Rows<'_>,
        tiles: Range<usize>,
        out: *mut f32,
    ) {
        let columns = x.positions();
        let mut panel = Panel([0; PANEL_GROUPS * GROUP8_BYTES]);
        // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
        unsafe {
            for tile in tiles {
                for first in (0..w.groups()).step_by(PANEL_GROUPS) {
                    let groups = first..w.groups().min(first + PANEL_GROUPS);
                    let codes = match w.codes() {
                        Codes::Int8 => w.codes_ptr(tile, first),
                        Codes::Codebook4(table) => {
                            for (i, group) in groups.clone().enumerate() {
                                V::expand4(
                                    w.codes_ptr(tile, group),
                                    &table,
                                    panel.0.as_mut_ptr().add(i * GROUP8_BYTES),
                                );
                            }
                            panel.0.as_ptr()
                        }
                    };
                    let mut column = 0;
                    while column + N <= columns {
                        matmul_block::<V, N>(w, codes, x, tile, groups.clone(), column, out);
                        column += N;
                    }
                    while column < columns {
                        matmul_block::<V, 1>(w, codes, x, tile, groups.clone(), column, out);
                        column += 1;
                    }
                }
            }
        }
    }

    /// Aligned, so that a load of 64 bytes never crosses a cache line.
    #[repr(align(64))]
    struct Panel([u8; PANEL_GROUPS * GROUP8_BYTES]);

    /// One row tile, the groups of one panel, `N` columns from `column` on.
    ///
    /// # Safety
    /// `codes` holds the groups; all indices lie inside `w`, `x` and `out`.
    #[inline(always)]
    unsafe fn matmul_block<V: Simd, const N: usize>(
        w: &Packed<'_>,
        codes: *const u8,
        x: &Int8Rows<'_>,
        tile: usize,
        groups: Range<usize>,
        column: usize,
        out: *mut f32,
    ) {
        let (all_groups, rows) = (w.groups(), rows_of(tile, w.rows()));
        let scales = Scales::of(w, tile);
        // SAFETY: as this function's contract.
        unsafe {
            let out = out.add(column * w.rows() + tile * TILE_ROWS);
            let mut sums = [V::splat(0.0); N];
            if groups.start > 0 {
                for (n, sum) in sums.iter_mut().enumerate() {
                    let from = out.add(n * w.rows());
                    *sum = if rows == TILE_ROWS {
                        V::load(from)
                    } else {
                        V::load_part(from, rows)
                    };
                }
            }
            for (i, group) in groups.enumerate() {
                let x_group = column * all_groups + group;
                let offsets = core::array::from_fn(|n| *x.offsets.get_unchecked(x_group + n * all_groups));
                let x_codes = x.codes.as_ptr().add(column * x.cols + group * GROUP);
                let dots = V::dot8_columns::<N>(codes.add(i * GROUP8_BYTES), x_codes, x.cols, offsets);
                scales.add_group(&mut sums, dots, group, x, x_group, all_groups);
            }
            for (n, sum) in sums.into_iter().enumerate() {
                sum.store_part(out.add(n * w.rows()), rows);
            }
        }
    }

    /// Columns that share the weights once they are floats.
    const FLOAT_COLUMNS: usize = 4;

    /// # Safety
    /// As the entry of this name in `Kernels`.
    #[inline(always)]
    pub(crate) unsafe fn matmul_f32<V: Simd>(w: &Packed<'_>, x: &[f32], tiles: Range<usize>, out: *mut f32) {
        let columns = x.len() / w.cols();
        // The exact mode, for checking: weights become floats, a group at a time, [k][row].
        let mut floats = [[0f32; TILE_ROWS]; GROUP];
        // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
        unsafe {
            for tile in tiles {
                let rows = rows_of(tile, w.rows());
                for group in 0..w.groups() {
                    for lane in 0..rows {
                        let row = tile * TILE_ROWS + lane;
                        let (scale, minimum) = w.scale(row, group * GROUP);
                        for (k, floats) in floats.iter_mut().enumerate() {
                            floats[lane] = scale * f32::from(w.value(row, group * GROUP + k)) + minimum;
                        }
                    }
                    let mut column = 0;
                    while column < columns {
                        let n = (columns - column).min(FLOAT_COLUMNS);
                        let x = x.as_ptr().add(column * w.cols() + group * GROUP);
                        let out = out.add(column * w.rows() + tile * TILE_ROWS);
                        let mut sums = [V::splat(0.0); FLOAT_COLUMNS];
                        if group > 0 {
                            for (n, sum) in sums.iter_mut().enumerate().take(n) {
                                *sum = V::load_part(out.add(n * w.rows()), rows);
                            }
                        }
                        for (k, floats) in floats.iter().enumerate() {
                            let weights = V::load(floats.as_ptr());
                            for (i, sum) in sums.iter_mut().enumerate().take(n) {
                                *sum = sum.add(weights.mul(V::splat(*x.add(i * w.cols() + k))));
                            }
                        }
                        for (n, sum) in sums.into_iter().enumerate().take(n) {
                            sum.store_part(out.add(n * w.rows()), rows);
                        }
                        column += n;
                    }
                }
            }
        }
    }

    /// # Safety
    /// As the entry of this name in `Kernels`.
    #[inline(always)]
    pub(crate) unsafe fn matmul_dense<V: Simd>(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) {
        // SAFETY: a `Dense` has `cols` floats of its type from each row's pointer on.
        unsafe {
            match w.float() {
                Float::F32 => dense_with::<V, F32>(w, x, rows, out),
                Float::F16 => dense_with::<V, F16>(w, x, rows, out),
                Float::Bf16 => dense_with::<V, Bf16>(w, x, rows, out),
            }
        }
    }

    /// How 16 float weights are read. (Types, not closures: those are compiled without the instruction set.)
    trait Element {
        /// Of one weight.
        const BYTES: usize;
        /// # Safety
        /// `V`'s instruction set is present; 16 weights are there.
        unsafe fn load<V: Simd>(from: *const u8) -> V;
    }

    struct F32;

    impl Element for F32 {
        const BYTES: usize = 4;
        #[inline(always)]
        unsafe fn load<V: Simd>(from: *const u8) -> V {
            // SAFETY: as the trait's contract (likewise below).
            unsafe { V::load(from.cast()) }
        }
    }

    struct F16;

    impl Element for F16 {
        const BYTES: usize = 2;
        #[inline(always)]
        unsafe fn load<V: Simd>(from: *const u8) -> V {
            // SAFETY: as `F32`.
            unsafe { V::load_f16(from) }
        }
    }

    struct Bf16;

    impl Element for Bf16 {
        const BYTES: usize = 2;
        #[inline(always)]
        unsafe fn load<V: Simd>(from: *const u8) -> V {
            // SAFETY: as `F32`.
            unsafe { V::load_bf16(from) }
        }
    }

    /// # Safety
    /// As [`matmul_dense`]; `E` is the weights' type.
    #[inline(always)]
    unsafe fn dense_with<V: Simd, E: Element>(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) {
        let (all_rows, cols, columns) = (w.rows(), w.cols(), x.len() / w.cols());
        // SAFETY: rows and columns exist; `out` has the rows of every column.
        unsafe {
            for first in rows.clone().step_by(TILE_ROWS) {
                let tile = first..rows.end.min(first + TILE_ROWS);
                let mut column = 0;
                while column < columns {
                    let n = if column + FLOAT_COLUMNS <= columns {
                        FLOAT_COLUMNS
                    } else {
                        1
                    };
                    let (x, out) = (x.as_ptr().add(column * cols), out.add(column * all_rows));
                    for row in tile.clone() {
                        if n == FLOAT_COLUMNS {
                            dense_block::<V, E, FLOAT_COLUMNS>(w.row_ptr(row), x, cols, out.add(row), all_rows);
                        } else {
                            dense_block::<V, E, 1>(w.row_ptr(row), x, cols, out.add(row), all_rows);
                        }
                    }
                    column += n;
                }
            }
        }
    }

    /// One row, `N` columns, whose results lie `stride` apart.
    ///
    /// # Safety
    /// As [`dense_with`].
    #[inline(always)]
    unsafe fn dense_block<V: Simd, E: Element, const N: usize>(
        weights: *const u8,
        x: *const f32,
        cols: usize,
        out: *mut f32,
        stride: usize,
    ) {
        let whole = cols / 16 * 16;
        // SAFETY: as this function's contract.
        unsafe {
            let mut sums = [V::splat(0.0); N];
            for k in (0..whole).step_by(16) {
                let weights = E::load::<V>(weights.add(k * E::BYTES));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(weights.mul(V::load(x.add(n * cols + k))));
                }
            }
            if whole < cols {
                let mut tail = [0u8; 64];
                let tail_bytes = (cols - whole) * E::BYTES;
                core::ptr::copy_nonoverlapping(weights.add(whole * E::BYTES), tail.as_mut_ptr(), tail_bytes);
                let tail = E::load::<V>(tail.as_ptr());
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(tail.mul(V::load_part(x.add(n * cols + whole), cols - whole)));
                }
            }
            for (n, sum) in sums.into_iter().enumerate() {
                *out.add(n * stride) = sum.sum();
            }
        }
    }
}
