//! `halfpi inspect`: what is in a model file, and what it takes to run it. Reads the header only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halfpi::gguf::{GgmlType, Gguf, ModelFile, TensorInfo, Value};
use halfpi::model::{LoadOptions, ModelInfo, SessionMemory, logical_shape};
use halfpi::pack::Format;
use halfpi_kernels::Backend;
use halfpi_kernels::format::{Codes, Packed};
use halfpi_kernels::ops::KvElement;
use serde::{Serialize, Serializer};

use crate::output::{Outcome, bytes, count, one_line, print, print_json, table};

/// Elements of an array that are shown.
const SHOWN_ELEMENTS: usize = 4;
/// Lines and columns of the chat template that are shown.
const TEMPLATE_LINES: usize = 12;
const TEMPLATE_COLUMNS: usize = 110;

/// Show a model file: metadata, tensors, sizes, and the memory needed to run it
///
/// Only the header is read. Files that cannot run here are shown too, with the reason.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  halfpi inspect model.gguf\n  halfpi inspect model.gguf --context 2048 --json")]
pub struct Args {
    /// Model file (GGUF)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Compute the memory for this many tokens of context [default: the model's own, at most 4096]
    #[arg(long, short, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Threads to compute the memory for
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    file: String,
    file_bytes: u64,
    gguf_version: u32,
    alignment: u64,
    architecture: Option<&'a str>,
    /// Why it does not run here; null if it does.
    problem: Option<String>,
    parameters: u64,
    bits_per_weight: f64,
    memory: Option<Memory>,
    types: Vec<TypeTotal>,
    #[serde(serialize_with = "as_map")]
    metadata: Vec<(&'a str, Summary<'a>)>,
    tensors: Vec<TensorRow<'a>>,
    chat_template: Option<&'a str>,
}

/// Metadata in the order of the file, as one JSON object.
fn as_map<S: Serializer>(metadata: &[(&str, Summary<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metadata.iter().map(|(key, value)| (key, value)))
}

/// A metadata value; arrays by their first elements.
#[derive(Serialize)]
#[serde(untagged)]
enum Summary<'a> {
    Text(&'a str),
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Array {
        element_type: &'static str,
        length: usize,
        first: Vec<Summary<'a>>,
    },
}

impl<'a> Summary<'a> {
    fn new(value: &Value<'a>) -> Self {
        match *value {
            Value::Str(text) => Summary::Text(text),
            Value::Bool(value) => Summary::Bool(value),
            Value::F32(value) => Summary::Float(value.into()),
            Value::F64(value) => Summary::Float(value),
            Value::I8(value) => Summary::Signed(value.into()),
            Value::I16(value) => Summary::Signed(value.into()),
            Value::I32(value) => Summary::Signed(value.into()),
            Value::I64(value) => Summary::Signed(value),
            Value::U8(value) => Summary::Unsigned(value.into()),
            Value::U16(value) => Summary::Unsigned(value.into()),
            Value::U32(value) => Summary::Unsigned(value.into()),
            Value::U64(value) => Summary::Unsigned(value),
            Value::Array(array) => Summary::Array {
                element_type: array.element_type().name(),
                length: array.len(),
                first: array
                    .iter()
                    .take(SHOWN_ELEMENTS)
                    .map(|value| Summary::new(&value))
                    .collect(),
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Summary::Text(text) => one_line(text, 100),
            Summary::Bool(value) => value.to_string(),
            Summary::Unsigned(value) => value.to_string(),
            Summary::Signed(value) => value.to_string(),
            // Halves were f32 in the file.
            Summary::Float(value) => (*value as f32).to_string(),
            Summary::Array {
                element_type,
                length,
                first,
            } => {
                let mut shown: Vec<String> = first.iter().map(|value| one_line(&value.text(), 24)).collect();
                if *length > first.len() {
                    shown.push("…".into());
                }
                format!("[{length} x {element_type}: {}]", shown.join(", "))
            }
        }
    }
}

#[derive(Serialize)]
struct TensorRow<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: String,
    shape: Vec<u64>,
    bytes: u64,
    offset: u64,
}

#[derive(Serialize)]
struct TypeTotal {
    #[serde(rename = "type")]
    type_name: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Memory {
    context: usize,
    threads: usize,
    weights_mapped: usize,
    weights_converted: usize,
    kv_cache_f16: usize,
    kv_cache_int8: usize,
    workspace: usize,
    total_f16: usize,
    total_int8: usize,
}

impl Memory {
    fn new(info: &ModelInfo, context: usize, threads: usize) -> Option<Self> {
        let chunk = halfpi::engine::EngineOptions::default().prefill_chunk;
        let session = |element| info.session_memory(context, element, chunk, threads).ok();
        let (f16, int8): (SessionMemory, SessionMemory) = (session(KvElement::F16)?, session(KvElement::Int8)?);
        let weights = info.mapped_bytes + info.converted_bytes;
        Some(Memory {
            context,
            threads,
            weights_mapped: info.mapped_bytes,
            weights_converted: info.converted_bytes,
            kv_cache_f16: f16.kv_cache,
            kv_cache_int8: int8.kv_cache,
            workspace: f16.workspace,
            total_f16: weights + f16.kv_cache + f16.workspace,
            total_int8: weights + int8.kv_cache + int8.workspace,
        })
    }
}

pub fn run(args: &Args) -> Outcome {
    let file = ModelFile::open(&args.model)?;
    let gguf = file.gguf()?;
    let report = Report::new(args, &file, &gguf);
    if args.json {
        print_json(&report)
    } else {
        print(&report.text())
    }
}

impl<'a> Report<'a> {
    fn new(args: &Args, file: &ModelFile, gguf: &Gguf<'a>) -> Self {
        // As an engine here would load it.
        let options = LoadOptions {
            expand_trits: !Backend::detect().looks_up_trits(),
            ..LoadOptions::default()
        };
        let info = ModelInfo::inspect(gguf, options);
        let memory = info.as_ref().ok().and_then(|info| {
            let context = args
                .context
                .map_or(info.config.context_length.min(4096), |context| context as usize);
            Memory::new(info, context, args.threads as usize)
        });
        let tensors: Vec<(TensorRow<'a>, u64)> = gguf.tensors().iter().map(|tensor| describe(gguf, tensor)).collect();
        let mut types: BTreeMap<String, TypeTotal> = BTreeMap::new();
        for (row, parameters) in &tensors {
            let empty = TypeTotal {
                type_name: row.type_name.clone(),
                tensors: 0,
                parameters: 0,
                bytes: 0,
            };
            let total = types.entry(row.type_name.clone()).or_insert(empty);
            total.tensors += 1;
            total.parameters += parameters;
            total.bytes += row.bytes;
        }
        let mut types: Vec<TypeTotal> = types.into_values().collect();
        types.sort_by_key(|total| std::cmp::Reverse(total.bytes));
        let parameters: u64 = types.iter().map(|total| total.parameters).sum();
        let tensor_bytes: u64 = types.iter().map(|total| total.bytes).sum();
        Report {
            file: args.model.display().to_string(),
            file_bytes: file.bytes().len() as u64,
            gguf_version: gguf.version(),
            alignment: gguf.alignment(),
            architecture: gguf.get("general.architecture").and_then(Value::as_str),
            problem: info.err().map(|error| error.to_string()),
            parameters,
            bits_per_weight: if parameters > 0 {
                tensor_bytes as f64 * 8.0 / parameters as f64
            } else {
                0.0
            },
            memory,
            types,
            metadata: gguf.metadata().map(|(key, value)| (key, Summary::new(value))).collect(),
            tensors: tensors.into_iter().map(|(row, _)| row).collect(),
            chat_template: gguf.get("tokenizer.chat_template").and_then(Value::as_str),
        }
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n", one_line(&self.file, 200));
        let architecture = self
            .architecture
            .map_or("no architecture".into(), |name| one_line(name, 40));
        let totals = [
            format!(
                "GGUF {}, {} in {} tensors",
                self.gguf_version,
                bytes(self.file_bytes),
                self.tensors.len()
            ),
            format!(
                "{architecture}, {} parameters, {:.2} bits per weight",
                count(self.parameters),
                self.bits_per_weight
            ),
            match &self.problem {
                None => "runs here".into(),
                Some(problem) => format!("does not run here: {}", one_line(problem, 300)),
            },
        ];
        totals.iter().for_each(|line| out.push_str(&format!("  {line}\n")));

        out.push_str("\nMetadata\n");
        let rows: Vec<_> = self
            .metadata
            .iter()
            .map(|(key, value)| vec![one_line(key, 80), value.text()])
            .collect();
        out.push_str(&table(&rows, 2));

        out.push_str("\nTensors\n");
        let row = |tensor: &TensorRow<'_>| {
            let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            vec![
                one_line(tensor.name, 80),
                tensor.type_name.clone(),
                shape.join(" x "),
                bytes(tensor.bytes),
            ]
        };
        out.push_str(&table(&self.tensors.iter().map(row).collect::<Vec<_>>(), 2));

        out.push_str("\nTypes\n");
        let row = |total: &TypeTotal| {
            let tensors = format!("{} tensors", total.tensors);
            vec![
                total.type_name.clone(),
                tensors,
                count(total.parameters),
                bytes(total.bytes),
            ]
        };
        out.push_str(&table(&self.types.iter().map(row).collect::<Vec<_>>(), 1));

        if let Some(memory) = &self.memory {
            out.push_str(&format!(
                "\nMemory for {} tokens and {} threads\n",
                memory.context, memory.threads
            ));
            out.push_str(&memory.text());
        }
        if let Some(template) = self.chat_template {
            out.push_str(&format!("\nChat template ({})\n", bytes(template.len() as u64)));
            for line in template.lines().take(TEMPLATE_LINES) {
                out.push_str(&format!("  {}\n", one_line(line, TEMPLATE_COLUMNS)));
            }
            if template.lines().count() > TEMPLATE_LINES {
                out.push_str("  …\n");
            }
        }
        out
    }
}

impl Memory {
    fn text(&self) -> String {
        let rows = [
            ("weights used in the file", self.weights_mapped),
            ("weights packed at load", self.weights_converted),
            ("KV cache, f16", self.kv_cache_f16),
            ("KV cache, int8", self.kv_cache_int8),
            ("working memory", self.workspace),
            ("all, with f16", self.total_f16),
            ("all, with int8", self.total_int8),
        ];
        table(&rows.map(|(what, count)| vec![what.into(), bytes(count as u64)]), 1)
    }
}

/// A tensor as shown, and how many weights it holds. Packed matrices lie in the file as bytes; their header says more.
fn describe<'a>(gguf: &Gguf<'a>, tensor: &TensorInfo<'a>) -> (TensorRow<'a>, u64) {
    let packed = (tensor.ty == GgmlType::I8)
        .then(|| Packed::from_file_bytes(gguf.data(tensor)).ok())
        .flatten();
    let type_name = packed.map_or(tensor.ty.name(), |packed| format_name(packed.codes()));
    let (type_name, shape) = (type_name.to_owned(), logical_shape(gguf, tensor));
    let parameters = shape.iter().product();
    let row = TensorRow {
        name: tensor.name,
        type_name,
        shape,
        bytes: tensor.bytes,
        offset: tensor.offset,
    };
    (row, parameters)
}

/// The name `halfpi pack` has for a packed matrix of these codes: the first, where several do. (`halfpi8` differs from
/// `q8` in how its scales came about, and not in what is stored.)
fn format_name(codes: Codes) -> &'static str {
    if let Some(format) = Format::all().find(|format| format.codes() == Some(codes)) {
        return format.name();
    }
    match codes {
        Codes::Codebook2(_) => "codebook2",
        Codes::Codebook5(_) => "codebook5",
        _ => "codebook4",
    }
}
