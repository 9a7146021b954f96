use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::pack::{Format, Keep, Options, Source, pack};

use super::*;

/// A report about matrices of 64 x 64, and a vector.
fn report(names: &[&str], format: Format, keep: &[&str], survey: bool) -> PackReport {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    for name in names {
        writer.declare(name, &[64, 64], GgmlType::F32).unwrap();
    }
    writer.declare("output_norm.weight", &[64], GgmlType::F32).unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    let weights = |seed: usize, count: usize| -> Vec<u8> {
        let weight = |i: usize| ((i * 7919 + seed * 31) % 1009) as f32 / 1009.0 - 0.5;
        (0..count).flat_map(|i| weight(i).to_le_bytes()).collect()
    };
    for (seed, name) in names.iter().enumerate() {
        tensors.write(name, &weights(seed, 64 * 64)).unwrap();
    }
    tensors.write("output_norm.weight", &weights(0, 64)).unwrap();
    let source = Source::from_model_file(ModelFile::from_bytes(tensors.finish().unwrap()).unwrap());
    let options = Options {
        keep: keep.iter().map(|keep| keep.parse::<Keep>().unwrap()).collect(),
        threads: 1,
        survey,
        ..Options::new(format)
    };
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("halfpi-page-{}-{number}.gguf", std::process::id()));
    let report = pack(&source, &options, &path, &mut |_| ControlFlow::Continue(()));
    std::fs::remove_file(&path).unwrap();
    report.unwrap()
}

fn count_of(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

const NAMES: [&str; 5] = [
    "token_embd.weight",
    "blk.0.ffn_up.weight",
    "blk.0.ffn_down.weight",
    "blk.1.ffn_up.weight",
    "blk.1.ffn_down.weight",
];

#[test]
fn every_matrix_has_its_marks() {
    let report = report(
        &NAMES,
        Format::Phi4,
        &["token_embd.weight=q8", "blk.1.ffn_up.weight=f32"],
        true,
    );
    let html = page("model.gguf", "phi4", &report).unwrap();
    // f32 loses nothing and has no codes.
    assert_eq!(count_of(&html, "<path class=\"dot "), 4);
    assert_eq!(count_of(&html, "<g class=\"bar "), 4);
    assert!(html.contains("One matrix was kept exactly."));
    // Kinds: token_embd, ffn_up in two formats, ffn_down.
    assert_eq!(count_of(&html, "<article class=\"card"), 4);
    assert!(html.contains("ffn_up · f32") && html.contains("ffn_up · phi4"));
    let rows = html.split_once("<section id=tensors>").unwrap().1;
    assert_eq!(count_of(rows, "<tr><th scope=row>"), report.tensors.len());
    for name in [
        "log2",
        "int4",
        "NF4",
        "k-means",
        "phi4",
        "phi4-additive",
        "int8",
        "this file",
    ] {
        assert!(html.contains(&format!("<b>{name}</b>")), "{name}");
    }
    assert!(!html.contains("The source had been quantized before"));
    for bad in ["NaN", "inf", "http:", "https:", "src=", "url("] {
        assert!(!html.contains(bad), "{bad}");
    }
}

#[test]
fn a_page_needs_neither_codes_nor_matrices() {
    let floats = report(&NAMES, Format::F32, &[], true);
    let html = page("model.gguf", "f32", &floats).unwrap();
    assert!(html.contains("5 matrices were kept exactly."));
    assert!(!html.contains("<section id=comparison>") && !html.contains("<section id=entropy>"));
    let vector = report(&[], Format::Phi4, &[], true);
    let html = page("model.gguf", "phi4", &vector).unwrap();
    assert!(!html.contains("NaN") && html.contains("output_norm.weight"));
    let unsurveyed = report(&NAMES, Format::Phi4, &[], false);
    let html = page("model.gguf", "phi4", &unsurveyed).unwrap();
    assert_eq!(
        (count_of(&html, "<path class=\"dot "), count_of(&html, "<article")),
        (5, 0)
    );
}

/// Weights without any signal, or out of all bounds.
#[test]
fn losses_that_are_no_numbers_are_a_case_of_their_own() {
    let mut report = report(&NAMES, Format::Phi4, &[], true);
    let odd = [
        (f64::NEG_INFINITY, f64::INFINITY),
        (f64::NAN, f64::NAN),
        (f64::INFINITY, f64::NAN),
    ];
    for (tensor, (sqnr, nmse)) in report.tensors.iter_mut().zip(odd) {
        (tensor.sqnr_db, tensor.nmse) = (Some(sqnr), nmse);
        let survey = tensor.survey.as_mut().unwrap();
        survey.sample_nmse = nmse;
        let other = &mut survey.alternatives[0];
        (other.absmax_nmse, other.searched_nmse) = (Some(nmse), Some(nmse));
    }
    (report.sqnr_db, report.nmse) = (Some(f64::NEG_INFINITY), f64::INFINITY);
    let html = page("model.gguf", "phi4", &report).unwrap();
    assert!(html.contains("Of 3 matrices the loss is not finite."));
    let rows = html.split_once("<section id=tensors>").unwrap().1;
    assert_eq!(count_of(rows, "not finite<td"), 3);
    assert_eq!(count_of(&html, "<path class=\"dot "), 2);
    // Only the vector.
    assert_eq!(count_of(&html, "exact<"), 1);
    for bad in ["NaN", "inf%", ":inf", "-inf", "data-v=inf"] {
        assert!(!html.contains(bad), "{bad}");
    }
    assert_eq!(decibels(None), "exact");
    assert_eq!(decibels(Some(f64::NAN)), "not finite");
    assert_eq!(decibels(decibels_of(f64::INFINITY)), "not finite");
    assert_eq!(decibels(decibels_of(f64::NAN)), "not finite");
}

#[test]
fn kinds_are_told_apart_by_name_and_format() {
    let names = ["blk.1.a.weight", "blk.0.a.weight", "b.weight", "blk.0.b.weight"];
    let report = report(&names, Format::Phi4, &["blk.0.a.weight=q8", "b.weight=f32"], false);
    let kinds = Kinds::of(&report);
    let labels: Vec<String> = kinds.list.iter().map(|kind| kind.label()).collect();
    assert_eq!(labels, ["a · phi4", "a · q8", "b · f32", "b · phi4"]);
    assert_eq!(kinds.layers, [0, 1]);
}

#[test]
fn names_cannot_leave_their_place() {
    assert_eq!(shown("<b a='1'>&\"x\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;x&quot;");
    assert_eq!(shown("a\n\u{202e}b"), "a\\n\\u{202e}b");
    assert!(shown(&"x".repeat(1000)).chars().count() < 130);

    let hostile = [
        "blk.0.</style><script>alert(1)</script>.weight",
        "\" onmouseover=\"alert(2)",
        "' onload='alert(3)",
        "blk.18446744073709551615.--><img src=x onerror=alert(4)>",
    ];
    let report = report(&hostile, Format::Phi4, &[], true);
    let html = page("</title><script>alert(5)</script>.gguf", "phi4", &report).unwrap();
    assert_eq!(
        (
            count_of(&html, "<script"),
            count_of(&html, "</style>"),
            count_of(&html, "<img")
        ),
        (1, 1, 0)
    );
    assert!(!html.contains("\" onmouseover=\"") && !html.contains("' onload='"));
    assert!(html.contains("&lt;script&gt;alert(1)"));
}
