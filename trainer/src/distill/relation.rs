//! What a layer makes of a text, compared between two models.

use crate::batch::Batch;
use crate::model::Observer;
use crate::tensor::{AutodiffBackend, Backend, Tensor, activation};
use crate::{Result, TrainError};
use halfpi::transformer::Config;

/// What is seen of a forward pass: the last layer.
#[derive(Clone, Debug)]
pub struct Seen<B: Backend> {
    last: usize,
    hidden: Option<Tensor<B, 2>>,
    /// Queries, keys, values.
    attention: Option<[Tensor<B, 2>; 3]>,
}

impl<B: Backend> Seen<B> {
    /// The last layer of a model of this shape.
    pub(super) fn last_of(config: &Config) -> Self {
        Self {
            last: config.block_count.saturating_sub(1),
            hidden: None,
            attention: None,
        }
    }
}

impl<B: Backend> Observer<B> for Seen<B> {
    fn hidden(&mut self, block: usize, x: &Tensor<B, 2>) {
        if block == self.last {
            self.hidden = Some(x.clone());
        }
    }

    fn attention(&mut self, block: usize, q: &Tensor<B, 2>, k: &Tensor<B, 2>, v: &Tensor<B, 2>) {
        if block == self.last {
            self.attention = Some([q.clone(), k.clone(), v.clone()]);
        }
    }
}

/// How the rows of one thing (queries, keys or values) at all positions of a sequence relate to each other: the softmax of
/// their products (MiniLMv2, arXiv:2012.15828, section 3.1). Both models' rows are cut into the same number of heads, so
/// that their widths and numbers of heads may differ.
#[derive(Clone, Debug)]
pub struct Relation<B: Backend>(Tensor<B, 4>);

impl<B: Backend> Relation<B> {
    /// The logarithms of the relations of `x`, `[sequences * length, channels]`: `[sequences, heads, length, length]`.
    /// `heads` must divide the channels.
    pub fn new(x: Tensor<B, 2>, sequences: usize, heads: usize) -> Self {
        let [positions, channels] = x.dims();
        let (length, width) = (positions / sequences, channels / heads);
        let x = x.reshape([sequences, length, heads, width]).swap_dims(1, 2);
        let products = x.clone().matmul(x.swap_dims(2, 3)) * (width as f32).sqrt().recip();
        Self(activation::log_softmax(products, 3))
    }
}

/// The divergence of the student's relations from the teacher's, of queries, keys and values, a mean over heads and
/// positions: it counts as much as all targets.
pub(super) fn divergence<B: AutodiffBackend>(
    student: &Seen<B>,
    teacher: &Seen<B::InnerBackend>,
    [student_shape, teacher_shape]: [&Config; 2],
    batch: &Batch<B>,
) -> Result<Tensor<B, 1>> {
    let (Some(student), Some(teacher)) = (&student.attention, &teacher.attention) else {
        return Err(TrainError::NothingSeen);
    };
    let sequences = batch.tokens.dims()[0];
    // As many as both models' keys can be cut into.
    let heads = greatest_common_divisor(student_shape.head_count_kv, teacher_shape.head_count_kv);
    let mut sum = None;
    for (student, teacher) in student.iter().zip(teacher) {
        let Relation(student) = Relation::new(student.clone(), sequences, heads);
        let Relation(teacher) = Relation::new(teacher.clone(), sequences, heads);
        let teacher = Tensor::<B, 4>::from_inner(teacher);
        let part = (teacher.clone().exp() * (teacher - student)).sum() / (3 * heads) as f32;
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let sum = sum.ok_or(TrainError::NothingSeen)?;
    Ok(sum * (batch.total / batch.positions().max(1) as f32))
}

/// The squared distance of the student's last hidden states from the teacher's in parts of the teacher's mean square, a mean
/// over positions: it counts as much as all targets.
pub(super) fn distance<B: AutodiffBackend>(
    student: &Seen<B>,
    teacher: &Seen<B::InnerBackend>,
    batch: &Batch<B>,
) -> Result<Tensor<B, 1>> {
    let (Some(student), Some(teacher)) = (&student.hidden, &teacher.hidden) else {
        return Err(TrainError::NothingSeen);
    };
    let (found, expected) = (student.dims(), teacher.dims());
    if found != expected {
        return Err(TrainError::Shape {
            name: "the last hidden state".into(),
            expected,
            found,
        });
    }
    let teacher = Tensor::<B, 2>::from_inner(teacher.clone());
    let size = (teacher.clone() * teacher.clone()).mean();
    let difference = student.clone() - teacher;
    Ok((difference.clone() * difference).mean() / size * batch.total)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a.max(1)
    } else {
        greatest_common_divisor(b, a % b)
    }
}
