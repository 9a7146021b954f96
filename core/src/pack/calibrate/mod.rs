//! Calibrated packing: runs a text through the model, layer by layer, and rounds every matrix by what it meets there.
//!
//! Two streams go through the layers: what the model to be packed would compute, and what the layers packed so far do
//! compute. Each matrix is rounded with error feedback ([`Feedback`]) so that its output on the second stream comes close
//! to that on the first one; where the output is added to the residual stream, so that the sum does. The pass multiplies
//! with int8 activations, as the packed file will be used, and has the source's matrices at 8 bits for that.
//!
//! Memory, besides what packing takes anyway, two tensors and the output (all of which is kept until it is written): for
//! each token seven times as many floats as the widest matrix has columns (both streams, what goes into a step and what
//! comes out); three squares of that width in f64 (the second moments, their factors, and what the layers before are off
//! by); five floats for each weight of the largest matrix; and twice a layer at 8 bits. That is what is in use
//! (`tests/tests/pack_memory.rs` counts it): what the allocator holds back comes on top.

mod error;
mod inputs;
mod moments;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use halfpi_kernels::format::GROUP;
use halfpi_kernels::ops::rms_norm;
use halfpi_kernels::{Backend, Parallel};

pub use self::error::CalibrationError;
use self::inputs::Inputs;
use self::stream::{LayerWeights, Machine, Step, Stream};
use super::quantize::{Batch, Coding, Feedback, pack_rows, pack_with_feedback};
use super::source::{Source, SourceTensor};
use super::{Format, Method, PackError, Scales};
use crate::Result;
use crate::gguf::{Gguf, Writer};
use crate::model::{check_shapes, read_metadata};
use crate::pool::Pool;
use crate::tokenizer::{Special, Tokenizer};

/// What a calibrated pack reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Text of the kind that the model will meet: prose, chat in the model's template, code. Special tokens are parsed.
    pub text: String,
    /// At most so many tokens of it are used, in windows spread evenly over the text.
    pub tokens: usize,
}

impl Calibration {
    /// Up to 16384 tokens of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tokens: 16384,
        }
    }
}

/// Positions of a window.
const WINDOW: usize = 512;
/// Fewer tokens than this say nothing.
const LEAST_TOKENS: usize = 64;
/// A tensor, and the codes it will have, if any.
pub(super) struct Item<'a> {
    pub tensor: &'a SourceTensor<'a>,
    pub target: Option<&'a Coding>,
}

/// Packs all matrices of layers, and an output matrix of its own, that will have codes. Returns them by name.
///
/// `done` is called after each.
pub(super) fn calibrate(
    source: &Source,
    items: HashMap<&str, Item<'_>>,
    calibration: &Calibration,
    threads: usize,
    done: &mut dyn FnMut(&str) -> Result<(), PackError>,
) -> Result<HashMap<String, Batch>> {
    let Prepared { machine, windows } = Prepared::new(source, &items, calibration, threads)?;
    let mut pass = Pass {
        source,
        items,
        machine,
        packed: HashMap::new(),
        done,
    };
    pass.run(&windows)?;
    Ok(pass.packed)
}

/// What the metadata and the text say.
struct Prepared {
    machine: Machine,
    windows: Windows,
}

impl Prepared {
    fn new(
        source: &Source,
        items: &HashMap<&str, Item<'_>>,
        calibration: &Calibration,
        threads: usize,
    ) -> Result<Self> {
        let mut writer = Writer::new();
        source.set_metadata(&mut writer)?;
        let metadata = writer.write_header(Vec::new())?.finish()?;
        let gguf = Gguf::parse(&metadata)?;
        let vocab_size = items.get("token_embd.weight").map_or(0, |item| item.tensor.rows);
        let config = read_metadata(&gguf, |_| Ok(vocab_size))?;
        if config.architecture.is_complex() {
            let name = config.architecture.name();
            return Err(PackError::from(CalibrationError::Architecture { name }).into());
        }
        // The pass believes from here on that matrices which multiply the same inputs are equally wide.
        check_shapes(&config, items.values().map(|item| item.tensor.shape()))?;
        let rope_freqs = items.get("rope_freqs.weight").map(|item| read(item.tensor));
        Ok(Self {
            machine: Machine {
                config,
                rope_freqs: rope_freqs.unwrap_or_default(),
                pool: Pool::new(threads),
                backend: Backend::detect(),
            },
            windows: windows(&Tokenizer::from_gguf(&gguf)?, calibration)?,
        })
    }
}

/// The windows of the text, one after the other, and the positions of each.
fn windows(tokenizer: &Tokenizer, calibration: &Calibration) -> Result<Windows, PackError> {
    let ids = tokenizer.encode(&calibration.text, Special::Parse);
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let found = ids.len().min(calibration.tokens);
    if found < LEAST_TOKENS {
        let least = LEAST_TOKENS;
        return Err(CalibrationError::TextTooShort { found, least }.into());
    }
    let positions = WINDOW.min(found);
    let room = positions - bos.iter().count();
    let available = ids.len() / room;
    let wanted = (calibration.tokens / positions).clamp(1, available);
    let window = |n: usize| &ids[n * available / wanted * room..][..room];
    Ok(Windows {
        ids: (0..wanted)
            .flat_map(|n| bos.into_iter().chain(window(n).iter().copied()))
            .collect(),
        positions,
    })
}

struct Windows {
    ids: Vec<u32>,
    positions: usize,
}

/// What the model to be packed computes, and what the packed one does.
struct Streams {
    wanted: Stream,
    real: Stream,
}

/// The weights of a layer before and after packing.
struct Layer {
    source: LayerWeights,
    packed: LayerWeights,
}

struct Pass<'a> {
    source: &'a Source,
    items: HashMap<&'a str, Item<'a>>,
    machine: Machine,
    packed: HashMap<String, Batch>,
    done: &'a mut dyn FnMut(&str) -> Result<(), PackError>,
}

impl Pass<'_> {
    fn run(&mut self, windows: &Windows) -> Result<(), PackError> {
        let mut streams = self.embed(windows)?;
        for block in 0..self.machine.config.block_count {
            let mut layer = self.layer(block)?;
            for step in Step::ALL {
                self.step(block, step, &mut layer, &mut streams)?;
            }
            // Its pages are not read again, unless by the report.
            let prefix = format!("blk.{block}.");
            let read = self.items.values().filter(|item| item.tensor.name.starts_with(&prefix));
            read.for_each(|item| self.source.release(item.tensor));
        }
        self.output(&mut streams)
    }

    fn item(&self, name: &str) -> Result<&Item<'_>, CalibrationError> {
        let missing = || CalibrationError::Missing { name: name.to_owned() };
        self.items.get(name).ok_or_else(missing)
    }

    /// The embeddings of the text, as they are and as they will be.
    fn embed(&self, windows: &Windows) -> Result<Streams, PackError> {
        let name = "token_embd.weight";
        let Item { tensor, target } = self.item(name)?;
        let rows = tensor.rows;
        if let Some(&id) = windows.ids.iter().find(|&&id| id as usize >= rows) {
            return Err(CalibrationError::Token { id, rows }.into());
        }
        let read = |position: usize, out: &mut [f32]| tensor.read_row(windows.ids[position] as usize, out);
        let mut wanted = vec![0.0; windows.ids.len() * tensor.cols];
        for (position, x) in wanted.chunks_exact_mut(tensor.cols).enumerate() {
            read(position, x);
        }
        let mut real = wanted.clone();
        if let Some(coding) = target {
            let of_text = coding.with_rows(windows.ids.len()).map_err(CalibrationError::from)?;
            let tensor_scale = coding.tensor_scale(&|row, out| tensor.read_row(row, out));
            let (rows, threads) = (0..windows.ids.len(), self.machine.pool.threads());
            let packed = pack_rows(name, &of_text, tensor_scale, rows, &read, threads)?;
            let bytes = packed.file_bytes(&of_text.layout);
            let packed = stream::matrix(&bytes)?;
            for (row, x) in real.chunks_exact_mut(tensor.cols).enumerate() {
                packed.dequantize_row(row, x).map_err(CalibrationError::from)?;
            }
        }
        let stream = |x| Stream {
            positions: windows.positions,
            x,
            input: Vec::new(),
        };
        Ok(Streams {
            wanted: stream(wanted),
            real: stream(real),
        })
    }

    /// Reads a layer, its matrices at 8 bits.
    fn layer(&self, block: usize) -> Result<Layer, PackError> {
        let mut source = LayerWeights::default();
        for name in Step::ALL.iter().flat_map(|step| step.names()) {
            let bytes = self.at_8_bits(&format!("blk.{block}.{name}.weight"))?;
            source.matrices.insert(name, bytes);
        }
        for name in stream::VECTORS {
            if let Some(item) = self.items.get(format!("blk.{block}.{name}").as_str()) {
                source.vectors.insert(name, read(item.tensor));
            }
        }
        Ok(Layer {
            packed: source.clone(),
            source,
        })
    }

    /// A matrix as the pass multiplies with it.
    fn at_8_bits(&self, name: &str) -> Result<Vec<u8>, PackError> {
        let (tensor, format) = (self.item(name)?.tensor, Format::Q8);
        let read = |row: usize, out: &mut [f32]| tensor.read_row(row, out);
        let shape = (tensor.rows, tensor.cols);
        let coding = match Coding::trained(shape, format, &read) {
            Some(coding) => coding,
            None => {
                let coding = Coding::new(shape, format, Scales::Group(GROUP), Method::default());
                let coding = coding.map_err(|source| tensor.format_error(source))?;
                coding.ok_or(PackError::NoCodes { format })?
            }
        };
        let threads = self.machine.pool.threads();
        let packed = pack_rows(name, &coding, None, 0..tensor.rows, &read, threads)?;
        Ok(packed.file_bytes(&coding.layout))
    }

    /// Packs the matrices of a step and takes it.
    fn step(&mut self, block: usize, step: Step, layer: &mut Layer, streams: &mut Streams) -> Result<(), PackError> {
        streams.wanted.prepare(&self.machine, step, &layer.source)?;
        streams.real.prepare(&self.machine, step, &layer.packed)?;
        let full = |name: &str| format!("blk.{block}.{name}.weight");
        let names: Vec<String> = step.names().iter().map(|name| full(name)).collect();
        let residual = step.is_added().then(|| {
            let x = streams.wanted.x.iter().zip(&streams.real.x);
            x.map(|(wanted, real)| wanted - real).collect::<Vec<_>>()
        });
        let (wanted, real) = (&streams.wanted.input, &streams.real.input);
        self.pack_step(&names, wanted, real, residual.as_deref())?;
        for (name, full) in step.names().iter().zip(&names) {
            if let (Some(batch), Some(coding)) = (self.packed.get(full), self.item(full)?.target) {
                layer.packed.matrices.insert(name, batch.file_bytes(&coding.layout));
            }
        }
        streams.wanted.take(&self.machine, step, &layer.source)?;
        streams.real.take(&self.machine, step, &layer.packed)?;
        Ok(())
    }

    /// Packs an output matrix of its own.
    fn output(&mut self, streams: &mut Streams) -> Result<(), PackError> {
        if !self.items.contains_key("output.weight") {
            return Ok(());
        }
        let norm = read(self.item("output_norm.weight")?.tensor);
        let (machine, mut inputs) = (&self.machine, Vec::new());
        for stream in [&streams.wanted, &streams.real] {
            let mut input = vec![0.0; stream.x.len()];
            let epsilon = machine.config.layer_norm_rms_epsilon;
            rms_norm(machine.backend, &stream.x, &norm, epsilon, &mut input).map_err(CalibrationError::from)?;
            inputs.push(input);
        }
        self.pack_step(&["output.weight".to_owned()], &inputs[0], &inputs[1], None)
    }

    /// Packs matrices that multiply the same input, where they will have codes.
    fn pack_step(
        &mut self,
        names: &[String],
        wanted: &[f32],
        real: &[f32],
        residual: Option<&[f32]>,
    ) -> Result<(), PackError> {
        let threads = self.machine.pool.threads();
        let mut inputs = None;
        for name in names {
            let &Item { tensor, target } = self.item(name)?;
            let Some(coding) = target else { continue };
            let inputs = match &inputs {
                Some(inputs) => inputs,
                None => {
                    let not_finite = || CalibrationError::Inputs { name: name.clone() };
                    let found = Inputs::new(&self.machine, wanted, real, tensor.cols)?;
                    inputs.insert(found.ok_or_else(not_finite)?)
                }
            };
            let weights = read(tensor);
            let feedback = Feedback::new(&inputs.factor, inputs.drift(&weights, residual)?, threads);
            let batch = pack_with_feedback(name, coding, &weights, &feedback, threads)?;
            self.packed.insert(name.clone(), batch);
            (self.done)(name)?;
        }
        Ok(())
    }
}

/// All of a tensor.
fn read(tensor: &SourceTensor<'_>) -> Vec<f32> {
    let mut weights = vec![0.0; tensor.rows * tensor.cols];
    for (row, out) in weights.chunks_exact_mut(tensor.cols).enumerate() {
        tensor.read_row(row, out);
    }
    weights
}
