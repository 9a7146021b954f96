//! How a model file is cut for coding: what lies where, and which of its bytes follow one law.
//!
//! Only the archiver knows this. What it cuts how is written in the archive, so that new layouts of weights need no new
//! version of it.

use std::ops::Range;

use halfpi_kernels::format::{Codes, HEADER_BYTES, Layout};

use crate::gguf::{GgmlType, Gguf, TensorInfo};

/// A tensor with the padding after it, or what comes before the first one.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// The tensor's name, or nothing.
    pub(super) name: &'a str,
    /// Its sections in order, of which none is empty.
    pub(super) sections: Vec<Section>,
}

/// A stretch of bytes that follow one law.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Where it lies in the file.
    pub(super) range: Range<usize>,
    /// The runs of a cycle: see [`lanes`](super::lanes).
    pub(super) runs: &'static [u16],
}

/// All parts of the file in order. Together they are the whole file.
pub(super) fn parts<'a>(gguf: &Gguf<'a>, file_bytes: usize) -> Vec<Part<'a>> {
    let mut tensors: Vec<&TensorInfo<'a>> = gguf.tensors().iter().collect();
    tensors.sort_by_key(|tensor| tensor.offset);
    // Inside the file, as the reader has checked.
    let start = |tensor: &TensorInfo<'_>| tensor.offset as usize;
    let first = tensors.first().map_or(file_bytes, |tensor| start(tensor));
    let before = Part {
        name: "",
        sections: cut(0, &[(first, &[1])], first),
    };
    let tensor = |(index, tensor): (usize, &&TensorInfo<'a>)| {
        let end = tensors.get(index + 1).map_or(file_bytes, |next| start(next));
        Part {
            name: tensor.name,
            sections: cut(start(tensor), &stretches(tensor.ty, gguf.data(tensor)), end),
        }
    };
    std::iter::once(before)
        .chain(tensors.iter().enumerate().map(tensor))
        .collect()
}

/// Sections of these lengths from `start` on, and one of what is left before `end`.
fn cut(mut start: usize, stretches: &[(usize, &'static [u16])], end: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    for &(bytes, runs) in stretches.iter().chain([&(usize::MAX, &[1][..])]) {
        let range = start..start.saturating_add(bytes).min(end);
        start = range.end;
        if !range.is_empty() {
            sections.push(Section { range, runs });
        }
    }
    sections
}

/// The lengths of a tensor's stretches, and the runs of each.
fn stretches(ty: GgmlType, data: &[u8]) -> Vec<(usize, &'static [u16])> {
    let runs: &[u16] = match ty {
        GgmlType::I8 => {
            if let Ok(layout) = Layout::from_header(data) {
                return packed(&layout).to_vec();
            }
            &[1]
        }
        GgmlType::F16 | GgmlType::BF16 | GgmlType::I16 => &[1, 1],
        GgmlType::F32 | GgmlType::I32 => &[1, 1, 1, 1],
        GgmlType::F64 | GgmlType::I64 => &[1, 1, 1, 1, 1, 1, 1, 1],
        // Scales, minima, then codes: see ggml-common.h.
        GgmlType::Q4_0 | GgmlType::IQ4_NL => &[1, 1, 16],
        GgmlType::Q4_1 => &[1, 1, 1, 1, 16],
        GgmlType::Q5_0 => &[1, 1, 4, 16],
        GgmlType::Q5_1 => &[1, 1, 1, 1, 4, 16],
        GgmlType::Q8_0 => &[1, 1, 32],
        GgmlType::Q4_K => &[1, 1, 1, 1, 12, 128],
        GgmlType::Q5_K => &[1, 1, 1, 1, 12, 32, 128],
        GgmlType::Q6_K => &[128, 64, 16, 1, 1],
        GgmlType::TQ1_0 => &[48, 4, 1, 1],
        GgmlType::TQ2_0 => &[64, 1, 1],
        _ => &[1],
    };
    vec![(data.len(), runs)]
}

/// The header, codes, scales, and minima or padding.
fn packed(layout: &Layout) -> [(usize, &'static [u16]); 4] {
    // The planes of a block of codes: see kernels/src/format/codes.
    let codes: &[u16] = match layout.codes() {
        Codes::Int6 => &[256, 128],
        Codes::Codebook5(_) | Codes::Trits => &[256, 64],
        Codes::PhaseAxis { magnitudes: true } => &[256, 32],
        _ => &[1],
    };
    let float: &[u16] = if layout.has_f32_scales() {
        &[1, 1, 1, 1]
    } else {
        &[1, 1]
    };
    let scales = (layout.scales_bytes(), float);
    let minima = (layout.minima_offset().map_or(0, |_| layout.scales_bytes()), float);
    [(HEADER_BYTES, &[1]), (layout.codes_bytes(), codes), scales, minima]
}

#[cfg(test)]
mod tests {
    use halfpi_kernels::format::ScaleGroup;

    use super::*;
    use crate::gguf::Writer;

    #[test]
    fn parts_are_the_whole_file() {
        let layout = Layout::new(20, 96, Codes::Trits, ScaleGroup::Row, false).unwrap();
        let packed = [&layout.header()[..], &vec![1; layout.bytes()]].concat();
        let mut writer = Writer::new();
        writer.declare("floats", &[33], GgmlType::F16).unwrap();
        writer.declare("packed", &[packed.len() as u64], GgmlType::I8).unwrap();
        let mut tensors = writer.write_header(Vec::new()).unwrap();
        tensors.write("floats", &[3; 66]).unwrap();
        tensors.write("packed", &packed).unwrap();
        let file = tensors.finish().unwrap();

        let parts = parts(&Gguf::parse(&file).unwrap(), file.len());
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        assert_eq!(names, ["", "floats", "packed"]);
        let sections: Vec<Vec<(usize, &[u16])>> = parts
            .iter()
            .map(|part| part.sections.iter().map(|s| (s.range.len(), s.runs)).collect())
            .collect();
        assert_eq!(sections[0].len(), 1);
        // 66 bytes and padding up to 64.
        assert_eq!(sections[1], [(66, &[1u16, 1][..]), (62, &[1])]);
        assert_eq!(
            sections[2][..3],
            [(128, &[1u16][..]), (layout.codes_bytes(), &[256, 64]), (64, &[1, 1])]
        );
        let ranges = parts
            .iter()
            .flat_map(|part| &part.sections)
            .map(|section| section.range.clone());
        let end = ranges.fold(0, |end, range| {
            assert!(range.start == end && !range.is_empty());
            range.end
        });
        assert_eq!(end, file.len());
    }

    #[test]
    fn a_block_is_a_whole_number_of_cycles() {
        for &ty in GgmlType::ALL {
            let [(_, runs)] = stretches(ty, &[])[..] else {
                panic!("{ty}")
            };
            let cycle: u64 = runs.iter().map(|&run| u64::from(run)).sum();
            assert!(ty.block_bytes().is_multiple_of(cycle), "{ty}: {runs:?}");
        }
    }
}
