//! Guesses what a file is that is not a GGUF, so that the error can say what to do with it.

use std::fmt;

/// What a file that is not a GGUF looks like. Displays what it is and what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignFormat {
    /// A zip archive, which PyTorch checkpoints are too.
    Zip,
    /// Compressed with gzip or zstd.
    Compressed,
    /// A safetensors file.
    Safetensors,
    /// A web page instead of a download.
    WebPage,
    /// The small text file that stands for a large one in a Git repository.
    LfsPointer,
    /// A JSON text.
    Json,
    /// One of the formats llama.cpp used before GGUF.
    Ggml,
    /// An [archive](crate::archive) of a model.
    Archive,
    /// Nothing but zeros at the start.
    Zeros,
    /// None of these.
    Unknown,
}

impl ForeignFormat {
    /// Looks at the first bytes of a file.
    pub fn guess(bytes: &[u8]) -> Self {
        const GGML_MAGICS: [&[u8]; 4] = [b"lmgg", b"fmgg", b"tjgg", b"algg"];
        let text = bytes.trim_ascii_start();
        let starts_any = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| bytes.starts_with(prefix));
        let tag = |tag: &str| {
            text.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
        };
        if starts_any(&[b"PK\x03\x04"]) {
            Self::Zip
        } else if starts_any(&[b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]) {
            Self::Compressed
        } else if starts_any(&GGML_MAGICS) {
            Self::Ggml
        } else if starts_any(&[b"HPAR"]) {
            Self::Archive
        } else if starts_any(&[b"version https://git-lfs"]) {
            Self::LfsPointer
        } else if tag("<!doctype") || tag("<html") || tag("<?xml") {
            Self::WebPage
        } else if text.starts_with(b"{") {
            Self::Json
        } else if bytes.get(8) == Some(&b'{') {
            // After the length of its JSON header in 8 bytes.
            Self::Safetensors
        } else if bytes.iter().take(4096).all(|&byte| byte == 0) {
            Self::Zeros
        } else {
            Self::Unknown
        }
    }
}

impl fmt::Display for ForeignFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "a zip archive, such as a PyTorch checkpoint; unpack it, or convert the model with llama.cpp",
            Self::Compressed => "a compressed file; decompress it",
            Self::Safetensors => "safetensors; make a GGUF of its directory with `halfpi pack`",
            Self::WebPage => "a web page in place of the download; get the file again",
            Self::Archive => "a halfpi archive; restore the model with `halfpi unpack`",
            Self::LfsPointer => "a Git LFS pointer; run `git lfs pull` to get the file it stands for",
            Self::Json => "JSON, perhaps a server's error message; get the file again",
            Self::Ggml => "a GGML file from before GGUF; convert the original model with a current llama.cpp",
            Self::Zeros => "zeros, as an unfinished download leaves them; get the file again",
            Self::Unknown => "something else; give the path of a .gguf file",
        })
    }
}
