//! Matrices whose floats exist only while something is multiplied with them.

use std::fmt::Debug;
use std::sync::Arc;

use burn_autodiff::Autodiff;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_tensor::{IndexingUpdateOp, TensorPrimitive};

use super::{AutodiffBackend, Backend, Int, Tensor};

/// A matrix that is kept in another form than floats, `[rows, columns]`.
pub trait Transient<B: Backend>: Debug + Send + Sync {
    /// Its floats: called on the way forward and on the way back, which must see the same.
    fn value(&self, device: &B::Device) -> Tensor<B, 2>;

    /// Whether it wants its gradient: asked on the way forward.
    fn is_trained(&self) -> bool;

    /// Takes the gradient, which is nowhere else.
    fn take(&self, gradient: Tensor<B, 2>);
}

/// A backend that multiplies with such matrices.
pub trait TransientBackend: AutodiffBackend {
    /// `x W^T`: `x` is `[positions, columns]`. Neither W nor its gradient stays: both are made again when they are needed,
    /// and only one of them is there at a time.
    fn transient_linear(x: Tensor<Self, 2>, matrix: Arc<dyn Transient<Self::InnerBackend>>) -> Tensor<Self, 2>;

    /// The rows of W with these numbers, as an embedding is looked up. W does not stay; its gradient, which is 0 in all
    /// other rows, is a whole matrix.
    fn transient_rows(rows: Tensor<Self, 1, Int>, matrix: Arc<dyn Transient<Self::InnerBackend>>) -> Tensor<Self, 2>;
}

/// What the way back of a product needs.
#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    x: NodeId,
    /// Whether something before `x` wants its gradient.
    is_tracked: bool,
    /// Whether the matrix does.
    is_trained: bool,
    matrix: Arc<dyn Transient<B>>,
}

#[derive(Debug)]
struct Linear;

impl<B: Backend> Backward<B, 1> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<LinearState<B>, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let LinearState {
            x,
            is_tracked,
            is_trained,
            matrix,
        } = ops.state;
        let x: Tensor<B, 2> = tensor(checkpointer.retrieve_node_output(x));
        let gradient: Tensor<B, 2> = tensor(grads.consume::<B>(&ops.node));
        if let [Some(parent)] = ops.parents
            && is_tracked
        {
            let before = gradient.clone().matmul(matrix.value(&x.device()));
            grads.register::<B>(parent.id, before.into_primitive().tensor());
        }
        if is_trained {
            matrix.take(gradient.transpose().matmul(x));
        }
    }
}

/// What the way back of a look-up needs.
#[derive(Clone, Debug)]
struct RowsState<B: Backend> {
    rows: Tensor<B, 1, Int>,
    shape: [usize; 2],
    matrix: Arc<dyn Transient<B>>,
}

#[derive(Debug)]
struct Rows;

impl<B: Backend> Backward<B, 1> for Rows {
    type State = RowsState<B>;

    fn backward(self, ops: Ops<RowsState<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let RowsState { rows, shape, matrix } = ops.state;
        let gradient: Tensor<B, 2> = tensor(grads.consume::<B>(&ops.node));
        let zeros = Tensor::zeros(shape, &gradient.device());
        matrix.take(zeros.select_assign(0, rows, gradient, IndexingUpdateOp::Add));
    }
}

impl<B: Backend<Inner = B>> TransientBackend for Autodiff<B> {
    fn transient_linear(x: Tensor<Self, 2>, matrix: Arc<dyn Transient<B>>) -> Tensor<Self, 2> {
        let mut x = x.into_primitive().tensor();
        let is_tracked = !x.node.requirement.is_none();
        let is_trained = matrix.is_trained();
        if is_trained && !is_tracked {
            // The matrix wants its gradient even where the input is a constant.
            let constant = Tensor::<Self, 2>::from_primitive(TensorPrimitive::Float(x));
            x = constant.require_grad().into_primitive().tensor();
        }
        let inner: Tensor<B, 2> = tensor(x.primitive.clone());
        let y = inner.clone().matmul(matrix.value(&inner.device()).transpose());
        let y = y.into_primitive().tensor();
        let y = match Linear
            .prepare::<NoCheckpointing>([x.node.clone()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let state = LinearState {
                    x: prep.checkpoint(&x),
                    is_tracked,
                    is_trained,
                    matrix,
                };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        Tensor::from_primitive(TensorPrimitive::Float(y))
    }

    fn transient_rows(rows: Tensor<Self, 1, Int>, matrix: Arc<dyn Transient<B>>) -> Tensor<Self, 2> {
        let rows = Tensor::<B, 1, Int>::from_primitive(rows.into_primitive());
        let device = rows.device();
        // Operations have a tensor before them, which wants a gradient or not: this is none's.
        let input = Tensor::<Self, 2>::zeros([1, 1], &device).set_require_grad(matrix.is_trained());
        let input = input.into_primitive().tensor();
        let weights = matrix.value(&device);
        let shape = weights.dims();
        let y = weights.select(0, rows.clone()).into_primitive().tensor();
        let y = match Rows.prepare::<NoCheckpointing>([input.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(RowsState { rows, shape, matrix }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        Tensor::from_primitive(TensorPrimitive::Float(y))
    }
}

fn tensor<B: Backend>(primitive: B::FloatTensorPrimitive) -> Tensor<B, 2> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}
