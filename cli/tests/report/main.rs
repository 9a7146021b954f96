//! The report of `halfpi pack` in a real browser: what it draws, in light and dark, and what its script does.
//!
//! HALFPI_BROWSER names the program, one of Chromium's family; `cargo xtask test report` finds or installs it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use halfpi::gguf::{GgmlType, TensorWriter, Writer};

const LAYERS: usize = 6;
const KINDS: [&str; 6] = ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_down"];
/// The matrices that are packed: those of the layers, the embedding, and one with an evil name.
const MATRICES: usize = LAYERS * KINDS.len() + 2;
const HOSTILE: &str = "blk.0.<script>document.title='owned'</script>";

/// What `style.css` calls `--page`, and the colours of the kinds in their order.
const LIGHT: [&str; 9] = [
    "f6f5f2", "7a53d6", "2f6fde", "c98207", "16936a", "d9453d", "0993b0", "c8418c", "6f9410",
];
const DARK: [&str; 9] = [
    "131417", "ab8dff", "6ba3ff", "f2b640", "45cf9f", "ff7d73", "3fc6df", "f283bb", "a9cf48",
];

#[test]
fn the_report_looks_right_in_a_browser() {
    let Some(browser) = std::env::var_os("HALFPI_BROWSER") else {
        println!(
            "SKIPPED: set HALFPI_BROWSER to Chromium or Chrome to run this test, or run `cargo xtask test report`"
        );
        return;
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    let page = pack(&folder);
    let browser = Browser {
        program: browser,
        folder,
    };

    let light = browser.screenshot(&page, "light.png", (1200, 3000), &[]);
    light.has_colors(&LIGHT);
    let dark = browser.screenshot(
        &page,
        "dark.png",
        (1200, 3000),
        &["--blink-settings=preferredColorScheme=0"],
    );
    dark.has_colors(&DARK);
    assert_eq!(
        (light.color_at(2, 2), dark.color_at(2, 2)),
        (color(LIGHT[0]), color(DARK[0]))
    );

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

struct Browser {
    program: OsString,
    folder: PathBuf,
}

impl Browser {
    /// Opens a page, which must not complain. Returns what the browser prints.
    fn run(&self, page: &Path, size: (u32, u32), args: &[&str]) -> String {
        let (output, errors) = self.open(page, size, args);
        assert!(errors.is_empty(), "{errors:?}");
        output
    }

    /// Returns what the browser prints, and what the page wrote to its console.
    fn open(&self, page: &Path, (width, height): (u32, u32), args: &[&str]) -> (String, Vec<String>) {
        let mut browser = Command::new(&self.program);
        browser
            // The sandbox cannot be set up as root, and the page is our own.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--enable-logging=stderr",
            ])
            .arg(format!("--user-data-dir={}", self.folder.join("profile").display()))
            .arg(format!("--window-size={width},{height}"))
            .args(args)
            .arg(format!("file://{}", page.display()));
        let output = browser.current_dir(&self.folder).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let console = errors
            .lines()
            .filter(|line| line.contains(":CONSOLE"))
            .map(String::from);
        (String::from_utf8_lossy(&output.stdout).into_owned(), console.collect())
    }

    fn screenshot(&self, page: &Path, name: &str, (width, height): (u32, u32), args: &[&str]) -> Picture {
        let path = self.folder.join(name);
        let _ = fs::remove_file(&path);
        let screenshot = format!("--screenshot={}", path.display());
        self.run(page, (width, height), &[&[screenshot.as_str()], args].concat());
        println!("see {}", path.display());
        let picture = Picture::read(&path);
        assert_eq!((picture.width, picture.pixels.len() as u32 / width), (width, height));
        picture
    }
}

struct Picture {
    width: u32,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap()))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let samples = info.color_type.samples();
        assert!(samples >= 3 && info.bit_depth == png::BitDepth::Eight);
        let pixels = bytes[..info.buffer_size()].chunks_exact(samples);
        Self {
            width: info.width,
            pixels: pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        }
    }

    fn color_at(&self, x: u32, y: u32) -> [u8; 3] {
        self.pixels[(y * self.width + x) as usize]
    }

    /// Each kind's colour fills the middles of its dots and its bars.
    fn has_colors(&self, colors: &[&str]) {
        for name in colors {
            let found = self.pixels.iter().filter(|pixel| **pixel == color(name)).count();
            assert!(found > 500, "{found} pixels are #{name}");
        }
    }
}

fn color(hex: &str) -> [u8; 3] {
    let number = u32::from_str_radix(hex, 16).unwrap();
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}
