//! Every step with a derivative of its own beside the engine's operations one by one, forward and backward, at the sizes of
//! a `micro` model: 8 sequences of 128 tokens, 4096 tokens to choose from. Prints milliseconds, the median of alternating
//! rounds.
//!
//!     cargo bench -p halfpi-trainer --bench steps

use std::time::Instant;

use halfpi_trainer::Random;
use halfpi_trainer::optimize::{AdamW, Optimizer, Step};
use halfpi_trainer::quantize::Method;
use halfpi_trainer::tensor::{
    Cpu, Int, Precision, Tensor, TensorData, activation, causal_softmax, cross_entropy, linear, matrix, rms_norm,
    split_heads, straight_through, swiglu,
};

type Matrix = Tensor<Cpu, 2>;

const POSITIONS: usize = 1024;
const LENGTH: usize = 128;
const CHANNELS: usize = 128;
const INNER: usize = 384;
const TOKENS: usize = 4096;
const ROUNDS: usize = 15;

fn random([rows, cols]: [usize; 2]) -> Matrix {
    let mut random = Random::of(1, "bench");
    let values = (0..rows * cols).map(|_| random.normal()).collect();
    matrix(values, [rows, cols], &Default::default())
}

/// Milliseconds of both, forward and backward.
fn compare(
    name: &str,
    shapes: &[[usize; 2]],
    whole: impl Fn(&[Matrix]) -> Matrix,
    parts: impl Fn(&[Matrix]) -> Matrix,
) {
    let inputs: Vec<Matrix> = shapes.iter().map(|&shape| random(shape)).collect();
    let time = |function: &dyn Fn(&[Matrix]) -> Matrix| {
        let inputs: Vec<Matrix> = inputs.iter().map(|input| input.clone().require_grad()).collect();
        let begun = Instant::now();
        // As if more came before and after: its gradients are added to others'.
        let gradients = function(&inputs).sum().backward();
        for input in &inputs {
            let _ = input.grad(&gradients).map(|gradient| gradient.add_scalar(1.0));
        }
        begun.elapsed().as_secs_f64() * 1e3
    };
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [time(&whole), time(&parts)]).collect();
    let median = |which: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|times| times[which]).collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    println!("| {name} | {:.2} | {:.2} |", median(0), median(1));
}

fn main() {
    println!("| step | as a whole, ms | one by one, ms |\n|---|--:|--:|");
    compare(
        "linear",
        &[[POSITIONS, CHANNELS], [INNER, CHANNELS]],
        |x| linear(x[0].clone(), x[1].clone(), Precision::F32),
        |x| x[0].clone().matmul(x[1].clone().transpose()),
    );
    let device = Default::default();
    let ids: Vec<i32> = (0..POSITIONS as i32).map(|i| i * 37 % TOKENS as i32).collect();
    let targets = Tensor::<Cpu, 1, Int>::from_data(TensorData::new(ids, [POSITIONS]), &device);
    let weights = Tensor::<Cpu, 1>::ones([POSITIONS], &device);
    compare(
        "cross-entropy",
        &[[POSITIONS, TOKENS]],
        |x| cross_entropy(x[0].clone() * 1.0, targets.clone(), weights.clone()).reshape([1, 1]),
        |x| {
            let likelihood = activation::log_softmax(x[0].clone() * 1.0, 1).gather(1, targets.clone().unsqueeze_dim(1));
            (likelihood.flatten::<1>(0, 1) * weights.clone())
                .sum()
                .neg()
                .reshape([1, 1])
        },
    );
    compare(
        "rms_norm",
        &[[POSITIONS, CHANNELS], [1, CHANNELS]],
        |x| rms_norm(x[0].clone(), x[1].clone(), 1.0, 1e-5),
        |x| {
            let mean_square = (x[0].clone() * x[0].clone()).mean_dim(1);
            x[0].clone() * (mean_square + 1e-5).sqrt().recip() * x[1].clone()
        },
    );
    compare(
        "swiglu",
        &[[POSITIONS, INNER], [POSITIONS, INNER]],
        |x| swiglu(x[0].clone(), x[1].clone()),
        |x| activation::silu(x[0].clone()) * x[1].clone(),
    );
    let mask = (0..LENGTH * LENGTH).map(|i| if i % LENGTH > i / LENGTH { -1e9 } else { 0.0 });
    let mask: Tensor<Cpu, 3> = matrix::<Cpu>(mask.collect(), [LENGTH, LENGTH], &device).unsqueeze();
    compare(
        "causal softmax",
        &[[4 * POSITIONS, LENGTH]],
        |x| causal_softmax(x[0].clone(), 0.2),
        |x| {
            let scores = x[0].clone().reshape([4 * POSITIONS / LENGTH, LENGTH, LENGTH]) * 0.2;
            activation::softmax(scores + mask.clone(), 2).reshape([4 * POSITIONS, LENGTH])
        },
    );
    compare(
        "heads apart",
        &[[POSITIONS, CHANNELS]],
        |x| split_heads(x[0].clone(), [POSITIONS / LENGTH, 4], None),
        |x| {
            let heads = x[0].clone().reshape([POSITIONS / LENGTH, LENGTH, 4, CHANNELS / 4]);
            heads.swap_dims(1, 2).reshape([4 * POSITIONS, CHANNELS / 4])
        },
    );
    let ternary: Method = "ternary".parse().expect("a method");
    compare(
        "absmean ternary weights",
        &[[INNER, CHANNELS]],
        |x| {
            ternary
                .quantize("w", x[0].clone(), None)
                .expect("a shape that can be packed")
        },
        |x| {
            let weight = x[0].clone().detach();
            let scale = weight.clone().abs().mean().reshape([1, 1]);
            let levels = (weight / scale.clone()).round().clamp(-1.0, 1.0) * scale;
            levels.detach() + (x[0].clone() - x[0].clone().detach())
        },
    );
    compare(
        "straight_through",
        &[[INNER, CHANNELS]],
        |x| straight_through(x[0].clone(), x[0].clone()),
        |x| x[0].clone().detach() + (x[0].clone() - x[0].clone().detach()),
    );

    let step = Step { rate: 1e-3, decay: 0.1 };
    let mut adamw = AdamW::default();
    let (mut value, gradient) = (random([TOKENS, CHANNELS]).inner(), random([TOKENS, CHANNELS]).inner());
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            adamw.begin();
            value = adamw.update("w", value.clone(), gradient.clone(), step);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("| AdamW, {TOKENS} x {CHANNELS} | {:.2} | |", times[ROUNDS / 2]);
}
