//! The report of `halfpi pack` in a real browser: what it draws, in light and dark, and what its script does.
//!
//! HALFPI_BROWSER names the program, one of Chromium's family; `cargo xtask test report` finds or installs it.

#[path = "../support/browser.rs"]
mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use browser::{Browser, PAGE};
use halfpi::gguf::{GgmlType, TensorWriter, Writer};

const LAYERS: usize = 6;
const KINDS: [&str; 6] = ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_down"];
/// The matrices that are packed: those of the layers, the embedding, and one with an evil name.
const MATRICES: usize = LAYERS * KINDS.len() + 2;
const HOSTILE: &str = "blk.0.<script>document.title='owned'</script>";

#[test]
fn the_report_looks_right_in_a_browser() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    let Some(browser) = Browser::of_environment(&folder) else {
        return;
    };
    let page = pack(&folder);

    // Each kind's colour fills the middles of its dots and its bars.
    browser.screenshots(&page, 3000, |picture, colors| {
        colors[PAGE..].iter().for_each(|name| picture.has_color(name, 500));
    });

    // What a person would do on a phone, and what comes of it.
    let html = fs::read_to_string(&page).unwrap();
    let probed = page.with_file_name("probed.html");
    fs::write(&probed, html.clone() + "<script>" + PROBE + "</script>").unwrap();
    let dom = browser.run(&probed, (400, 800), &["--dump-dom"]);
    let facts = dom.split_once("data-facts=\"").expect("the probe ran").1;
    let facts = facts.split_once('"').unwrap().0.replace("&quot;", "\"");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["dots"], MATRICES, "{facts}");
    assert_eq!(facts["bars"], MATRICES, "{facts}");
    assert_eq!(facts["rows"], MATRICES + 1, "a norm besides; {facts}");
    assert_eq!(facts["cards"], KINDS.len() + 2, "{facts}");
    assert_eq!(facts["overflow"], 0, "the page is wider than a phone; {facts}");
    assert_eq!(facts["scripts"], 2, "the page's own and the probe; {facts}");
    assert_eq!(facts["title"], "packed.gguf – halfpi pack", "{facts}");
    assert_eq!(facts["smallest"], "output_norm.weight", "{facts}");
    assert_eq!(facts["largest"], "token_embd.weight", "{facts}");
    assert_eq!(facts["filtered"], LAYERS, "{facts}");
    assert_eq!(
        facts["hidden"],
        LAYERS + 1,
        "a trend line and a dot for each layer; {facts}"
    );
    assert_eq!(facts["tip"], "token_embd.weight", "{facts}");

    // Errors of scripts would have been seen.
    let broken = page.with_file_name("broken.html");
    fs::write(&broken, html + "<script>nothing.here()</script>").unwrap();
    let (_, errors) = browser.open(&broken, (400, 800), &["--dump-dom"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// Uses the page and writes down what happened.
const PROBE: &str = include_str!("probe.js");

/// Packs a model with a hostile name in it and returns its report.
fn pack(folder: &Path) -> PathBuf {
    let mut names = vec!["token_embd.weight".to_owned(), HOSTILE.to_owned()];
    names.extend((0..LAYERS).flat_map(|layer| KINDS.map(|kind| format!("blk.{layer}.{kind}.weight"))));
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let rows = |name: &str| if name.starts_with("token") { 512 } else { 64 };
    for name in &names {
        writer.declare(name, &[128, rows(name)], GgmlType::F32).unwrap();
    }
    writer.declare("output_norm.weight", &[128], GgmlType::F32).unwrap();
    let mut tensors: TensorWriter<Vec<u8>> = writer.write_header(Vec::new()).unwrap();
    let mut state = 1u64;
    let mut next = || {
        state = state * 48271 % 2_147_483_647;
        state as f32 / 2_147_483_647.0 - 0.5
    };
    for (seed, name) in names.iter().enumerate() {
        // Longer tails from matrix to matrix, so that not all dots are at one height.
        let power = 1 + 2 * (seed as i32 % 4);
        let mut weight = || (0..4).map(|_| next()).sum::<f32>().powi(power);
        let weights = (0..128 * rows(name)).flat_map(|_| weight().to_le_bytes());
        tensors.write(name, &weights.collect::<Vec<u8>>()).unwrap();
    }
    tensors.write("output_norm.weight", &[0; 512]).unwrap();
    fs::write(folder.join("source.gguf"), tensors.finish().unwrap()).unwrap();

    let args = [
        "pack",
        "source.gguf",
        "--format",
        "phi4-additive",
        "--keep",
        "token_embd.weight=q8",
    ];
    let mut halfpi = Command::new(env!("CARGO_BIN_EXE_halfpi"));
    let halfpi = halfpi
        .current_dir(folder)
        .args(args)
        .args(["-o", "packed.gguf", "--report", "."]);
    let output = halfpi.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("index.html")
}
