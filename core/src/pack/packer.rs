//! Packs a model, tensor by tensor.

use std::collections::HashMap;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use halfpi_kernels::format::stock::{Blocks, I2sOrder};
use halfpi_kernels::format::{GROUP, HEADER_BYTES, Layout, Matrix, ScaleGroup, TILE_ROWS};

use super::calibrate::{Calibration, Item, calibrate};
use super::floats::encode_row;
use super::metadata::{LAYOUT_VERSION, LAYOUT_VERSION_KEY};
use super::observe::Observer;
use super::quantize::{Batch, Coding, pack_complex_rows, pack_rows, phase_complex_layout};
use super::source::{Source, SourceTensor, Transform, Weights};
use super::{
    Distortion, Format, Method, Options, PackError, PackReport, Progress, Scales, Survey, TensorReport, gate, survey,
};
use crate::Result;
use crate::gguf::{AtomicFile, GgmlType, TensorWriter, Writer};
use crate::model::{ModelError, stock};

/// Weights that are read, packed and written at a time: enough to keep the threads busy, little enough to stay small
/// beside a tensor and to stop soon.
const BATCH_WEIGHTS: usize = 1 << 22;
/// A multiple of the rows of every layout's units.
const UNIT_ROWS: usize = 2 * TILE_ROWS;

/// How a tensor will be stored.
enum Target {
    /// One of the float types.
    Floats(GgmlType),
    /// Codes in tiles.
    Codes(Coding),
    /// Powers of i.
    PhaseComplex { layout: Layout },
    /// llama.cpp's blocks, moved into tiles.
    Tiles { blocks: Blocks, layout: Layout },
    /// A packed tensor as it is.
    Copy { layout: Layout },
}

impl Target {
    /// How it lies, unless it is floats.
    fn layout(&self) -> Result<&Layout, GgmlType> {
        match self {
            Target::Floats(ty) => Err(*ty),
            Target::Codes(Coding { layout, .. })
            | Target::PhaseComplex { layout }
            | Target::Tiles { layout, .. }
            | Target::Copy { layout } => Ok(layout),
        }
    }

    /// Bits of a weight's code.
    fn code_bits(&self) -> f64 {
        match self.layout() {
            Err(float) => float.block_bytes() as f64 * 8.0,
            Ok(layout) => survey::bits_per_weight(layout.codes()),
        }
    }

    /// The weights that share a scale, or for floats, as many as most formats have it.
    fn scale_group(&self) -> ScaleGroup {
        self.layout()
            .map_or(ScaleGroup::Columns(GROUP), |layout| layout.scale_group())
    }
}

/// What becomes of a tensor.
struct Plan {
    target: Target,
    /// The name of the format.
    format: String,
    note: Option<String>,
}

/// Packs `source` into the GGUF file `path`, which appears when it is complete.
///
/// Matrices get the format that `options` gives them; vectors (norms, biases) become f32. Where a matrix cannot have the
/// format, it is kept as f16 and the report says why. At most a tensor of the source and some millions of weights are in
/// memory at a time, whatever the size of the model; where all weights of a tensor share a scale, two tensors.
///
/// `progress` is called every few million weights; if it breaks, packing stops and leaves nothing behind.
///
/// # Errors
/// [`PackError`] for tensors that cannot be packed as asked, [`PackError::Cancelled`] if `progress` breaks,
/// [`Error::Io`](crate::Error::Io) and [`Error::Write`](crate::Error::Write) if the file cannot be written.
pub fn pack(
    source: &Source,
    options: &Options,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<PackReport> {
    let tensors = source.tensors()?;
    let plans = tensors
        .iter()
        .map(|tensor| Plan::new(tensor, options))
        .collect::<Result<Vec<_>, _>>()?;

    let mut writer = Writer::new();
    source.set_metadata(&mut writer)?;
    writer.set(LAYOUT_VERSION_KEY, LAYOUT_VERSION)?;
    writer.set("halfpi.format", options.format.name())?;
    if let Some(file_type) = options.format.file_type() {
        writer.set("general.file_type", file_type)?;
    }
    for (tensor, plan) in tensors.iter().zip(&plans) {
        plan.declare(tensor, &mut writer)?;
    }
    let file_bytes = writer.file_bytes();

    let mut packer = Packer {
        out: writer.write_header(AtomicFile::create(path)?)?,
        threads: options.threads,
        count: tensors.len(),
        weights: tensors.iter().map(SourceTensor::weight_count).sum(),
        weights_done: 0,
        progress,
    };
    let mut calibrated = match &options.calibration {
        Some(calibration) => packer.calibrate(source, calibration, &tensors, &plans)?,
        None => HashMap::new(),
    };
    let mut report = Vec::with_capacity(tensors.len());
    let mut all = Distortion::default();
    for (index, (tensor, plan)) in tensors.iter().zip(plans).enumerate() {
        let is_matrix = tensor.dims.len() > 1;
        let mut observer = Observer::new(tensor, options);
        let batch = calibrated.remove(&tensor.name);
        let distortion = match &batch {
            Some(batch) => packer.calibrated(tensor, &plan.target, batch, &mut observer)?,
            None => packer.tensor(index, tensor, &plan.target, &mut observer)?,
        };
        if !options.allow_loss {
            let (judged, of) = match batch {
                Some(batch) => (batch.judged, "outputs"),
                None => (distortion, "weights"),
            };
            gate::check(&tensor.name, &plan.format, plan.target.code_bits(), judged, of)?;
        }
        if is_matrix {
            all = all.plus(distortion);
        }
        let survey = observer.finish(plan.target.scale_group());
        report.push(plan.report(tensor, distortion, survey));
        source.release(tensor);
    }
    packer.out.finish()?.commit()?;

    let bytes: u64 = report.iter().map(|tensor| tensor.bytes).sum();
    let weights = report.iter().map(|tensor| tensor.weights).sum();
    let redundant_bytes: u64 = report.iter().map(TensorReport::redundant_bytes).sum();
    Ok(PackReport {
        tensors: report,
        weights,
        file_bytes,
        bits_per_weight: bits_per_weight(bytes, weights),
        sqnr_db: all.sqnr_db(),
        nmse: all.nmse(),
        entropy_coded_bytes: options.survey.then(|| file_bytes - redundant_bytes),
    })
}

fn bits_per_weight(bytes: u64, weights: u64) -> f64 {
    bytes as f64 * 8.0 / weights.max(1) as f64
}

impl Plan {
    fn new(tensor: &SourceTensor<'_>, options: &Options) -> Result<Self, PackError> {
        let plain = |format: Format, target| Plan {
            target,
            format: format.name().into(),
            note: None,
        };
        if tensor.dims.len() == 1 {
            return Ok(plain(Format::F32, Target::Floats(GgmlType::F32)));
        }
        match options.format_of(&tensor.name) {
            format @ Format::F32 => Ok(plain(format, Target::Floats(GgmlType::F32))),
            format @ Format::F16 => Ok(plain(format, Target::Floats(GgmlType::F16))),
            format @ Format::Bf16 => Ok(plain(format, Target::Floats(GgmlType::BF16))),
            format @ Format::Lossless => Ok(plain(format, lossless(tensor)?)),
            // As it is: it has its scales already.
            format @ Format::Ternary if options.scales.is_none() && tensor.is_ternary() => {
                Ok(plain(format, lossless(tensor)?))
            }
            Format::PhaseComplex if tensor.is_complex => Plan::phase_complex(tensor),
            Format::PhaseComplex => Err(PackError::NotComplex {
                name: tensor.name.clone(),
            }),
            format => Plan::codes(tensor, format, options),
        }
    }

    fn phase_complex(tensor: &SourceTensor<'_>) -> Result<Self, PackError> {
        if !tensor.cols.is_multiple_of(GROUP) {
            return Ok(Plan {
                target: Target::Floats(GgmlType::F16),
                format: Format::F16.name().into(),
                note: Some(format!("{} complex columns are not a multiple of {GROUP}", tensor.cols)),
            });
        }
        let layout = phase_complex_layout(tensor.rows / 2, tensor.cols);
        let layout = layout.map_err(|source| tensor.format_error(source))?;
        Ok(Plan {
            target: Target::PhaseComplex { layout },
            format: Format::PhaseComplex.name().into(),
            note: None,
        })
    }

    fn codes(tensor: &SourceTensor<'_>, format: Format, options: &Options) -> Result<Self, PackError> {
        let keep = |note| {
            Ok(Plan {
                target: Target::Floats(GgmlType::F16),
                format: Format::F16.name().into(),
                note: Some(note),
            })
        };
        if tensor.dims.len() != 2 {
            return keep(format!("{} dimensions: only matrices are packed", tensor.dims.len()));
        }
        if !tensor.cols.is_multiple_of(GROUP) {
            return keep(format!("{} columns are not a multiple of {GROUP}", tensor.cols));
        }
        let (scales, method) = (options.scales_of(format), options.method_of(format));
        if !method.suits(format) {
            return Err(PackError::Method { method, format });
        }
        let shape = (tensor.rows, tensor.cols);
        let new = |scales| {
            let coding = Coding::new(shape, format, scales, method).map_err(|source| tensor.format_error(source))?;
            let mut coding = coding.ok_or(PackError::NoCodes { format })?;
            if format == options.format {
                coding = coding.with_ladder(tensor, options)?;
            }
            let note = match coding.scales {
                fitting if fitting == scales => None,
                Scales::Group(columns) => Some(format!(
                    "groups of {columns}: {} columns are not a multiple of {scales}",
                    tensor.cols
                )),
                _ => Some(format!("{format} has one scale a row")),
            };
            Ok::<_, PackError>((coding, note))
        };
        let (coding, note) = match (scales, method) {
            (Some(scales), _) => new(scales)?,
            (None, Method::AbsMean) => new(Scales::Tensor)?,
            (None, Method::LeastSquares) => match trained(tensor, format).filter(|_| !options.has_own_ladder(format)) {
                Some(coding) => (coding, Some("scales as trained".to_owned())),
                None => new(format.scales())?,
            },
            (None, _) => new(format.scales())?,
        };
        Ok(Plan {
            target: Target::Codes(coding),
            format: format.name().into(),
            note,
        })
    }

    fn declare(&self, tensor: &SourceTensor<'_>, writer: &mut Writer) -> Result<()> {
        match self.target.layout() {
            Err(float) => writer.declare(&tensor.name, &tensor.dims, float)?,
            Ok(layout) => {
                let bytes = (HEADER_BYTES + layout.bytes()) as u64;
                writer.declare(&tensor.name, &[bytes], GgmlType::I8)?
            }
        };
        Ok(())
    }

    fn report(self, tensor: &SourceTensor<'_>, distortion: Distortion, survey: Option<Survey>) -> TensorReport {
        let weights = tensor.weight_count();
        let bytes = match self.target.layout() {
            Err(float) => weights * float.block_bytes(),
            Ok(layout) => (HEADER_BYTES + layout.bytes()) as u64,
        };
        TensorReport {
            name: tensor.name.clone(),
            from: tensor.type_name().to_owned(),
            to: self.format,
            shape: tensor.dims.clone(),
            weights,
            bytes,
            bits_per_weight: bits_per_weight(bytes, weights),
            sqnr_db: distortion.sqnr_db(),
            nmse: distortion.nmse(),
            note: self.note,
            survey,
        }
    }
}

impl Coding {
    /// The same with the exponents and the clusters that are asked for.
    fn with_ladder(self, tensor: &SourceTensor<'_>, options: &Options) -> Result<Self, PackError> {
        let format = options.format;
        let refused = |what, reason| PackError::Ladder { format, what, reason };
        let coding = match options.exponents {
            None => self,
            Some(exponents) => {
                let codes = exponents.codes(format).ok_or_else(|| {
                    let what = format!("the exponents {exponents}");
                    refused(what, "only phi4 and phi5 are ladders")
                })?;
                self.with_ladder_of(codes)
                    .map_err(|source| tensor.format_error(source))?
            }
        };
        match options.cluster {
            1 => Ok(coding),
            columns => {
                let refused = |reason| refused(format!("clusters of {columns}"), reason);
                if !matches!(format, Format::Phi4 | Format::Phi5) {
                    return Err(refused("only phi4 and phi5 have exponents to share"));
                }
                if !(columns.is_power_of_two() && columns <= GROUP) {
                    return Err(refused("there are clusters of 1, 2, 4, 8, 16 and 32"));
                }
                if options.calibration.is_some() {
                    return Err(refused("error feedback chooses each weight by itself"));
                }
                Ok(coding.with_cluster(columns))
            }
        }
    }
}

/// How a tensor gets a format without changing a weight, if training has left its weights so.
fn trained(tensor: &SourceTensor<'_>, format: Format) -> Option<Coding> {
    let shape = (tensor.rows, tensor.cols);
    let is_ternary = matches!(format, Format::Ternary | Format::TernaryDense);
    match tensor.ternary_scale().filter(|_| is_ternary) {
        Some(scale) => Some(Coding {
            given: Some(scale),
            ..Coding::new(shape, format, Scales::Tensor, Method::default()).ok()??
        }),
        None => Coding::trained(shape, format, &|row, out| tensor.read_row(row, out)),
    }
}

/// How a tensor is stored without changing a weight.
fn lossless(tensor: &SourceTensor<'_>) -> Result<Target, PackError> {
    let (ty, order) = match &tensor.weights {
        Weights::Packed { packed, .. } => {
            return Ok(Target::Copy {
                layout: *packed.layout(),
            });
        }
        Weights::Blocks { ty, .. } => (*ty, I2sOrder::default()),
        Weights::I2s { order, .. } => (GgmlType::I2_S, *order),
        Weights::TernaryBytes { .. } => {
            let ternary = trained(tensor, Format::Ternary);
            return Ok(ternary.map_or(Target::Floats(GgmlType::F32), Target::Codes));
        }
        Weights::Complex(complex) => (complex.ty(), I2sOrder::default()),
    };
    let name = || tensor.name.clone();
    let Some(stock) = stock(ty, order) else {
        return match ty {
            // A product with the scale beside it is no half any more.
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 if tensor.factor.is_some() => {
                Ok(Target::Floats(GgmlType::F32))
            }
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => Ok(Target::Floats(ty)),
            _ => Err(PackError::NotLossless { name: name(), ty }),
        };
    };
    debug_assert!(tensor.transform == Transform::None, "only floats come with a transform");
    let blocks = Blocks {
        factor: tensor.factor,
        ..stock.matrix(tensor.rows, tensor.cols)
    };
    let layout = blocks.layout().map_err(|source| tensor.format_error(source))?;
    Ok(Target::Tiles { blocks, layout })
}

/// The file being written.
struct Packer<'p, W> {
    out: TensorWriter<W>,
    threads: usize,
    count: usize,
    weights: u64,
    weights_done: u64,
    progress: &'p mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
}

impl<W: Write> Packer<'_, W> {
    /// Packs all matrices that can be calibrated.
    fn calibrate<'a>(
        &mut self,
        source: &Source,
        calibration: &Calibration,
        tensors: &'a [SourceTensor<'a>],
        plans: &'a [Plan],
    ) -> Result<HashMap<String, Batch>> {
        let item = |(tensor, plan): (&'a SourceTensor<'a>, &'a Plan)| {
            let target = match &plan.target {
                Target::Codes(coding) => Some(coding),
                _ => None,
            };
            (tensor.name.as_str(), Item { tensor, target })
        };
        let items = tensors.iter().zip(plans).map(item).collect();
        let threads = self.threads;
        calibrate(source, items, calibration, threads, &mut |name| match tensors
            .iter()
            .position(|tensor| tensor.name == name)
        {
            Some(index) => self.advance(index, &tensors[index], 0..tensors[index].rows),
            None => Ok(()),
        })
    }

    /// Writes a matrix that was packed in the calibration pass.
    fn calibrated(
        &mut self,
        tensor: &SourceTensor<'_>,
        target: &Target,
        batch: &Batch,
        observer: &mut Observer<'_>,
    ) -> Result<Distortion> {
        if let Target::Codes(Coding { layout, .. }) = target {
            for bytes in [&layout.header()[..], &batch.codes, &batch.scales] {
                self.out.write(&tensor.name, bytes)?;
            }
            observer.codes(0..tensor.rows, layout, &[&batch.codes, &batch.scales])?;
        }
        Ok(batch.distortion)
    }

    fn tensor(
        &mut self,
        index: usize,
        tensor: &SourceTensor<'_>,
        target: &Target,
        observer: &mut Observer<'_>,
    ) -> Result<Distortion> {
        let batches = Batches::new(tensor);
        let name = tensor.name.as_str();
        match (target, &tensor.weights) {
            (Target::Floats(ty), _) => {
                let mut distortion = Distortion::default();
                for rows in batches {
                    let (bytes, lost) = floats(tensor, rows.clone(), *ty)?;
                    distortion = distortion.plus(lost);
                    self.out.write(name, &bytes)?;
                    observer.floats(rows.clone(), *ty, &bytes)?;
                    self.advance(index, tensor, rows)?;
                }
                Ok(distortion)
            }
            (Target::Codes(coding), _) => {
                let layout = &coding.layout;
                self.out.write(name, &layout.header())?;
                let read = |row: usize, out: &mut [f32]| tensor.read_row(row, out);
                let tensor_scale = coding.tensor_scale(&read);
                let (mut scales, mut distortion) = (Vec::new(), Distortion::default());
                for rows in batches {
                    let batch = pack_rows(name, coding, tensor_scale, rows.clone(), &read, self.threads)?;
                    self.out.write(name, &batch.codes)?;
                    observer.codes(rows.clone(), layout, &[&batch.codes, &batch.scales])?;
                    scales.extend(batch.scales);
                    distortion = distortion.plus(batch.distortion);
                    self.advance(index, tensor, rows)?;
                }
                self.out.write(name, &scales)?;
                Ok(distortion)
            }
            (Target::PhaseComplex { layout }, _) => {
                self.out.write(name, &layout.header())?;
                let read = |row: usize, re: &mut [f32], im: &mut [f32]| {
                    tensor.read_row(row, re);
                    tensor.read_row(tensor.rows / 2 + row, im);
                };
                let (mut scales, mut distortion) = (Vec::new(), Distortion::default());
                let rows = 0..tensor.rows / 2;
                for rows in (Batches { left: rows, ..batches }) {
                    let batch = pack_complex_rows(name, tensor.cols, rows.clone(), &read, self.threads)?;
                    self.out.write(name, &batch.codes)?;
                    observer.phases(rows.clone(), &[batch.codes, batch.scales.clone()].concat())?;
                    scales.extend(batch.scales);
                    distortion = distortion.plus(batch.distortion);
                    // A complex row is two real ones.
                    self.advance(index, tensor, 2 * rows.start..2 * rows.end)?;
                }
                self.out.write(name, &scales)?;
                Ok(distortion)
            }
            (Target::Tiles { blocks, layout }, Weights::Blocks { .. } | Weights::I2s { .. }) => {
                self.out.write(name, &layout.header())?;
                let data = tensor.weights.data();
                let (mut scales, mut minima) = (Vec::new(), Vec::new());
                for rows in batches {
                    let tiles = rows.start / TILE_ROWS..rows.end.div_ceil(TILE_ROWS);
                    let part = |bytes: usize| vec![0; bytes / tensor.rows.div_ceil(TILE_ROWS) * tiles.len()];
                    let mut codes = part(layout.codes_bytes());
                    let mut batch_scales = part(layout.scales_bytes());
                    let mut batch_minima = part(layout.minima_offset().map_or(0, |_| layout.scales_bytes()));
                    let packed =
                        blocks.pack_tiles(data, tiles.clone(), &mut codes, &mut batch_scales, &mut batch_minima);
                    packed.map_err(|source| tensor.format_error(source))?;
                    finite(
                        [&batch_scales, &batch_minima]
                            .iter()
                            .find_map(|part| layout.not_finite(part)),
                        name,
                    )?;
                    self.out.write(name, &codes)?;
                    let parts = [&codes[..], &batch_scales, &batch_minima];
                    observer.codes(rows.clone(), layout, &parts)?;
                    scales.extend(batch_scales);
                    minima.extend(batch_minima);
                    self.advance(index, tensor, rows)?;
                }
                self.out.write(name, &scales)?;
                if !minima.is_empty() {
                    self.out.write(name, &minima)?;
                }
                Ok(Distortion::default())
            }
            (Target::Copy { .. }, Weights::Packed { data, packed }) => {
                finite(packed.scale_not_finite(), name)?;
                self.out.write(name, data)?;
                observer.see(0..tensor.rows, Matrix::Packed(*packed))?;
                self.advance(index, tensor, 0..tensor.rows)?;
                Ok(Distortion::default())
            }
            // `lossless` pairs targets and weights; nothing written makes `finish` fail.
            (Target::Tiles { .. } | Target::Copy { .. }, _) => Ok(Distortion::default()),
        }
    }

    /// Reports that some rows are written.
    fn advance(&mut self, index: usize, tensor: &SourceTensor<'_>, rows: Range<usize>) -> Result<(), PackError> {
        self.weights_done += (rows.len() * tensor.cols) as u64;
        let progress = Progress {
            tensor: &tensor.name,
            index,
            count: self.count,
            weights_done: self.weights_done,
            weights: self.weights,
        };
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(PackError::Cancelled),
        }
    }
}

/// The rows of a tensor in batches that begin at a unit of any layout.
struct Batches {
    left: Range<usize>,
    step: usize,
}

impl Batches {
    fn new(tensor: &SourceTensor<'_>) -> Self {
        Self {
            left: 0..tensor.rows,
            step: (BATCH_WEIGHTS / tensor.cols.max(1))
                .next_multiple_of(UNIT_ROWS)
                .max(UNIT_ROWS),
        }
    }
}

impl Iterator for Batches {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.left.start;
        self.left.start = self.left.end.min(start + self.step);
        (start < self.left.end).then_some(start..self.left.start)
    }
}

/// What is stored as it is has its scales looked through all the same.
fn finite(wrong: Option<f32>, name: &str) -> Result<(), ModelError> {
    match wrong {
        Some(value) => Err(ModelError::Scale {
            name: name.to_owned(),
            value,
        }),
        None => Ok(()),
    }
}

/// Some rows as floats of a type, and what that lost.
fn floats(tensor: &SourceTensor<'_>, rows: Range<usize>, ty: GgmlType) -> Result<(Vec<u8>, Distortion), PackError> {
    let mut bytes = Vec::with_capacity(rows.len() * tensor.cols * ty.block_bytes() as usize);
    let mut distortion = Distortion::default();
    let mut weights = vec![0.0; tensor.cols];
    for row in rows {
        tensor.read_row(row, &mut weights);
        distortion = distortion.plus(encode_row(&tensor.name, row, &weights, ty, &mut bytes)?);
    }
    Ok((bytes, distortion))
}
