//! As much of Apple's static libraries as is needed to see that one is what it should be, on any machine.
//!
//! An archive (`ar`) of object files, the first of which is an index of the symbols that the others define. The layouts
//! are those of Apple's `ar.h`, `ranlib.h` and `mach-o/loader.h`.

use std::fs;
use std::path::Path;

/// The 64-bit Arm processor, as object files number it.
pub const ARM64: u32 = 0x0100_000c;

/// A static library.
pub struct Library {
    /// The bytes of its index, which has every symbol's name with a zero byte behind.
    index: Vec<u8>,
    /// Its object files, those that say what they are for.
    pub objects: Vec<Object>,
}

/// What an object file is for.
#[derive(Debug, PartialEq)]
pub struct Object {
    /// The processor.
    pub processor: u32,
    /// 2 is iOS, 7 its simulator.
    pub platform: u32,
    /// The oldest system that it runs on: major and minor version.
    pub oldest: (u32, u32),
}

impl Library {
    /// Reads a library.
    pub fn open(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&bytes).ok_or_else(|| format!("{}: not a static library of Mach-O files", path.display()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"!<arch>\n")?;
        let mut library = Self {
            index: Vec::new(),
            objects: Vec::new(),
        };
        while !rest.is_empty() {
            let (header, after) = rest.split_at_checked(60)?;
            let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
            let (member, after) = after.split_at_checked(size)?;
            // Members begin at even offsets.
            rest = after.get(size % 2..).unwrap_or_default();
            // `#1/N`: the name is the member's first N bytes.
            let name = std::str::from_utf8(&header[..16]).ok()?.trim();
            let (name, content) = match name.strip_prefix("#1/") {
                Some(length) => member.split_at_checked(length.parse().ok()?)?,
                None => (name.as_bytes(), member),
            };
            if name.starts_with(b"__.SYMDEF") {
                library.index = content.to_vec();
            } else {
                library.objects.extend(Object::parse(content));
            }
        }
        Some(library)
    }

    /// Whether one of its object files defines a C function.
    pub fn defines(&self, function: &str) -> bool {
        // C's names have an underscore before them; the byte before that ends another name or a number.
        let name = format!("_{function}\0");
        self.index.windows(name.len()).any(|bytes| bytes == name.as_bytes())
    }
}

impl Object {
    fn parse(bytes: &[u8]) -> Option<Self> {
        const MAGIC: u32 = 0xfeed_facf;
        const LC_BUILD_VERSION: u32 = 0x32;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if word(0)? != MAGIC {
            return None;
        }
        let mut at = 32;
        for _ in 0..word(16)? {
            if word(at)? == LC_BUILD_VERSION {
                let version = word(at + 12)?;
                return Some(Self {
                    processor: word(4)?,
                    platform: word(at + 8)?,
                    oldest: (version >> 16, version >> 8 & 0xff),
                });
            }
            at = at.checked_add(word(at + 4)? as usize)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let header = format!("{name:<16}{:<32}{:<10}`\n", "", content.len());
        let mut bytes = [header.as_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        bytes
    }

    #[test]
    fn an_archive_is_read() {
        let words = [0xfeed_facf, ARM64, 0, 1, 1, 24, 0, 0, 0x32, 24, 2, 17 << 16, 0, 0u32];
        let object: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let archive = [
            b"!<arch>\n".to_vec(),
            member("#1/9", b"__.SYMDEF\x01_one\0_two\0"),
            member("a.o/", &object),
        ]
        .concat();
        let library = Library::parse(&archive).unwrap();
        assert!(library.defines("one") && library.defines("two"));
        assert!(!library.defines("three") && !library.defines("on"));
        let expected = Object {
            processor: ARM64,
            platform: 2,
            oldest: (17, 0),
        };
        assert_eq!(library.objects, [expected]);
        assert!(Library::parse(&archive[..archive.len() - 3]).is_none());
        assert!(Library::parse(b"no archive").is_none());
    }
}
