//! Low-rank adapters beside the weights (LoRA, arXiv:2106.09685).

use super::workspace::{ALIGN, widest};
use super::{Config, Runtime};
use halfpi_kernels::format::Matrix;
use halfpi_kernels::ops::{Activations, OpError, Product, add, matmul};

/// What an adapter adds to the output of a linear layer: `B (A x)`.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// From the layer's inputs to the rank.
    pub a: Matrix<'a>,
    /// From the rank to the layer's outputs; the adapter's scale, alpha / rank, is in it.
    pub b: Matrix<'a>,
}

/// The adapters of a layer's matrices, which have them or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerAdapter<'a> {
    /// Queries.
    pub attn_q: Option<LowRank<'a>>,
    /// Keys.
    pub attn_k: Option<LowRank<'a>>,
    /// Values.
    pub attn_v: Option<LowRank<'a>>,
    /// Output projection of attention.
    pub attn_output: Option<LowRank<'a>>,
    /// Gate.
    pub ffn_gate: Option<LowRank<'a>>,
    /// Up.
    pub ffn_up: Option<LowRank<'a>>,
    /// Down.
    pub ffn_down: Option<LowRank<'a>>,
}

/// Positions that go through an adapter at a time: its outputs need room of their own before they are added.
const POSITIONS: usize = 8;

/// Floats of working memory that adapters of rank up to `rank` take in passes over up to `positions` positions, beside
/// [`workspace_len`](super::workspace_len).
pub fn adapter_len(config: &Config, rank: usize, positions: usize) -> usize {
    if rank == 0 {
        return 0;
    }
    let outputs = widest(config).max(config.kv_length());
    let floats = positions.min(POSITIONS).saturating_mul(outputs.saturating_add(rank));
    floats.div_ceil(ALIGN).saturating_mul(ALIGN)
}

/// Adds what an adapter makes of `x`, rows of `cols` floats, to `out`.
pub(super) fn adapt(
    runtime: &Runtime<'_>,
    low_rank: Option<&LowRank<'_>>,
    x: &[f32],
    cols: usize,
    memory: &mut [f32],
    out: &mut [f32],
) -> Result<(), OpError> {
    let Some(LowRank { a, b }) = low_rank else {
        return Ok(());
    };
    let (rank, rows) = (a.rows(), b.rows());
    let some = x
        .chunks(POSITIONS * cols.max(1))
        .zip(out.chunks_mut(POSITIONS * rows.max(1)));
    for (x, out) in some {
        let n = x.len() / cols.max(1);
        let (expected, found) = (n.saturating_mul(rank.saturating_add(rows)), memory.len());
        let memory = memory.get_mut(..expected).ok_or(OpError {
            what: "adapter",
            expected,
            found,
        })?;
        let (inner, change) = memory.split_at_mut(n * rank);
        product(runtime, a, x, inner)?;
        product(runtime, b, inner, change)?;
        add(runtime.backend, out, change)?;
    }
    Ok(())
}

/// Adapters are floats: their inputs need not be quantized.
fn product(runtime: &Runtime<'_>, weight: &Matrix<'_>, x: &[f32], out: &mut [f32]) -> Result<(), OpError> {
    let x = Activations { floats: x, int8: None };
    matmul(runtime.backend, runtime.parallel, &x, &mut [Product { weight, out }])
}
