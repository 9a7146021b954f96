//! Pages in a real browser: what it draws, in light and dark, and what it complains of.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The place of the page's own colour in what follows; the others are those of `k0` and so on.
pub const PAGE: usize = 0;

/// What `style.css` calls `--page`, and the colours of the kinds in their order.
pub const LIGHT: [&str; 9] = [
    "f6f5f2", "7a53d6", "2f6fde", "c98207", "16936a", "d9453d", "0993b0", "c8418c", "6f9410",
];
pub const DARK: [&str; 9] = [
    "131417", "ab8dff", "6ba3ff", "f2b640", "45cf9f", "ff7d73", "3fc6df", "f283bb", "a9cf48",
];

pub struct Browser {
    program: OsString,
    folder: PathBuf,
}

impl Browser {
    /// The one that HALFPI_BROWSER names. Screenshots go to `folder`.
    pub fn of_environment(folder: &Path) -> Option<Self> {
        let Some(program) = std::env::var_os("HALFPI_BROWSER") else {
            println!(
                "SKIPPED: set HALFPI_BROWSER to Chromium or Chrome to run this test, or run `cargo xtask test report`"
            );
            return None;
        };
        let folder = folder.to_owned();
        Some(Self { program, folder })
    }

    /// Hands pictures of a page in light and in dark to `check`, with the colours that it should have.
    pub fn screenshots(&self, page: &Path, height: u32, check: impl Fn(&Picture, &[&str])) {
        let dark = ["--blink-settings=preferredColorScheme=0"];
        for (name, args, colors) in [("light.png", &[][..], LIGHT), ("dark.png", &dark, DARK)] {
            let picture = self.screenshot(page, name, (1200, height), args);
            assert_eq!(picture.color_at(2, 2), color(colors[PAGE]), "the page in {name}");
            check(&picture, &colors);
        }
    }

    /// Opens a page, which must not complain. Returns what the browser prints.
    pub fn run(&self, page: &Path, size: (u32, u32), args: &[&str]) -> String {
        let (output, errors) = self.open(page, size, args);
        assert!(errors.is_empty(), "{errors:?}");
        output
    }

    /// Returns what the browser prints, and what the page wrote to its console.
    pub fn open(&self, page: &Path, (width, height): (u32, u32), args: &[&str]) -> (String, Vec<String>) {
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

pub struct Picture {
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

    /// So many pixels at least have a colour.
    pub fn has_color(&self, name: &str, pixels: usize) {
        let found = self.pixels.iter().filter(|pixel| **pixel == color(name)).count();
        assert!(found >= pixels, "{found} pixels are #{name}");
    }
}

fn color(hex: &str) -> [u8; 3] {
    let number = u32::from_str_radix(hex, 16).unwrap();
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}
