//! Steps whose way back is written by hand: it needs less memory and less time than that of the operations one by one.

use std::array::from_fn;
use std::fmt::Debug;
use std::marker::PhantomData;

use burn_autodiff::Autodiff;
use burn_autodiff::NodeId;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_tensor::TensorPrimitive;
use burn_tensor::ops::FloatTensor;

use super::{Backend, Tensor};

/// A function of `N` matrices, and its derivative. Vectors are matrices of one row.
pub trait Step<B: Backend, const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// What the way forward leaves for the way back.
    type Kept: Clone + Debug + Send + 'static;

    /// The function.
    fn forward(&self, inputs: [Tensor<B, 2>; N]) -> (Tensor<B, 2>, Self::Kept);

    /// Which inputs [`backward`](Self::backward) reads if it is to compute the gradients of those that are `wanted`.
    fn needs(_wanted: [bool; N]) -> [bool; N] {
        [true; N]
    }

    /// The gradients of the inputs, of those that are `wanted` at least. The inputs that it [`needs`](Self::needs) are there.
    fn backward(
        &self,
        inputs: [Option<Tensor<B, 2>>; N],
        kept: Self::Kept,
        gradient: Tensor<B, 2>,
        wanted: [bool; N],
    ) -> [Option<Tensor<B, 2>>; N];
}

/// A step on its way back.
#[derive(Clone, Debug)]
struct Taken<S, K, const N: usize> {
    step: S,
    kept: K,
    inputs: [Option<NodeId>; N],
}

/// The operation, whatever the step.
#[derive(Debug)]
struct Whole<S>(PhantomData<S>);

impl<B: Backend, S: Step<B, N>, const N: usize> Backward<B, N> for Whole<S> {
    type State = Taken<S, S::Kept, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let Taken { step, kept, inputs } = ops.state;
        let inputs = inputs.map(|input| Some(tensor(checkpointer.retrieve_node_output(input?))));
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = step.backward(inputs, kept, gradient, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient.into_primitive().tensor());
            }
        }
    }
}

/// Takes a step such that gradients find back.
pub(super) fn apply<B: Backend, S: Step<B, N>, const N: usize>(
    step: S,
    inputs: [FloatTensor<Autodiff<B>>; N],
) -> FloatTensor<Autodiff<B>> {
    let wanted = inputs.each_ref().map(|input| input.is_tracked());
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let prepared = Backward::<B, N>::prepare::<NoCheckpointing>(Whole(PhantomData::<S>), nodes).compute_bound();
    // What nobody else has the step may change where it lies.
    let forward = |step: &S, inputs: [FloatTensor<Autodiff<B>>; N]| {
        let (output, kept) = step.forward(inputs.map(|input| tensor(input.primitive)));
        (output.into_primitive().tensor(), kept)
    };
    match prepared.stateful() {
        OpsKind::Tracked(mut prep) => {
            let needs = S::needs(wanted);
            let ids = from_fn(|i| needs[i].then(|| prep.checkpoint(&inputs[i])));
            let (output, kept) = forward(&step, inputs);
            prep.finish(
                Taken {
                    step,
                    kept,
                    inputs: ids,
                },
                output,
            )
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(&step, inputs).0),
    }
}

fn tensor<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 2> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}
