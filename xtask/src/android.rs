//! The Android package: native libraries for every ABI, and what is checked of them.
//!
//! With an NDK they are linked as they ship. Without one they are linked against nothing: then what they need of Android
//! stays undefined, and is held to a list of what Android has.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::{Context, find_program};
use crate::cross::{self, Target};
use crate::kotlin;
use crate::outcome::{Outcome, Stop, output, run};

/// One .so for each.
struct Abi {
    /// As Android names it.
    name: &'static str,
    target: Target,
}

const ABIS: [Abi; 2] = [
    Abi {
        name: "arm64-v8a",
        target: cross::AARCH64_ANDROID,
    },
    Abi {
        name: "x86_64",
        target: cross::X86_64_ANDROID,
    },
];

/// The oldest Android that the library runs on; android/halfpi/build.gradle.kts has it as `minSdk`.
const MIN_API: u32 = 26;

/// Google Play asks for 16 KB pages: every segment must begin at a multiple of that.
const PAGE: u64 = 16 * 1024;

/// What the libraries export besides uniffi's functions.
const EXPORTS: [&str; 2] = [
    "Java_dev_halfpi_NativeBridge_descriptorNumber__Ljava_io_FileDescriptor_2",
    "Java_dev_halfpi_NativeBridge_directListener__JLjava_lang_Object_2",
];

/// Prefixes of what uniffi exports.
const PREFIXES: [&str; 2] = ["uniffi_halfpi_ffi_", "ffi_halfpi_ffi_"];

/// `cargo xtask package-android`: bindings and libraries into android/halfpi/generated, where Gradle expects them.
pub fn package(context: &Context, args: &[String]) -> Outcome {
    match args {
        [] => {}
        [option] if option == "--check" => return check(context),
        _ => return Err(Stop::Failed("usage: cargo xtask package-android [--check]".to_string())),
    }
    let ndk = Ndk::find()?.ok_or_else(|| {
        Stop::missing(
            "ANDROID_NDK_HOME is not set",
            "an NDK (r26 or later), with `sdkmanager --install ndk\\;VERSION` or from developer.android.com/ndk",
        )
    })?;
    kotlin::bindings(context)?;
    let libraries = context.root.join("android/halfpi/generated/jniLibs");
    for abi in &ABIS {
        let built = build(context, abi, Some(&ndk))?;
        check_layout(context, abi, &built)?;
        let directory = libraries.join(abi.name);
        let place = directory.join("libhalfpi_android.so");
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        fs::copy(&built, &place).map_err(|e| format!("{}: {e}", place.display()))?;
    }
    println!("android/halfpi/generated is complete; next: cd android && gradle :halfpi:assembleRelease");
    Ok(())
}

/// The same as far as it goes without an NDK, and what can be seen of the libraries.
pub fn check(context: &Context) -> Outcome {
    kotlin::bindings(context)?;
    let allowed = context.root.join("android/jni/bionic.txt");
    let allowed = fs::read_to_string(&allowed).map_err(|e| format!("{}: {e}", allowed.display()))?;
    let allowed = symbols(&allowed)?;
    for abi in &ABIS {
        let built = build(context, abi, None)?;
        check_layout(context, abi, &built)?;
        let needed = dynamic_symbols(&built, |symbol| symbol.is_undefined && !symbol.is_weak)?;
        let unknown: Vec<&String> = needed.difference(&allowed).collect();
        if !unknown.is_empty() {
            return Err(Stop::Failed(format!(
                "{}: not in android/jni/bionic.txt: {unknown:?}. If Android {MIN_API} has them, add them there",
                abi.name
            )));
        }
    }
    Ok(())
}

/// Alignment and exports, and prints the size.
fn check_layout(context: &Context, abi: &Abi, library: &Path) -> Outcome {
    let size = fs::metadata(library)
        .map_err(|e| format!("{}: {e}", library.display()))?
        .len();
    println!("{}: {:.2} MB stripped", abi.name, size as f64 / 1e6);
    for align in load_alignments(&readelf(library, "--program-headers")?)? {
        if align % PAGE != 0 {
            return Err(Stop::Failed(format!(
                "{}: a segment is aligned to {align:#x}, not {PAGE:#x}",
                abi.name
            )));
        }
    }
    let exported = dynamic_symbols(library, |symbol| !symbol.is_undefined)?;
    let is_known =
        |name: &&String| EXPORTS.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let surprising: Vec<&String> = exported.iter().filter(|name| !is_known(name)).collect();
    if !surprising.is_empty() {
        return Err(Stop::Failed(format!("{} exports {surprising:?}", abi.name)));
    }
    let called = called(context)?;
    let needed = called.iter().map(String::as_str).chain(EXPORTS);
    match needed.into_iter().find(|name| !exported.contains(*name)) {
        None => Ok(()),
        Some(missing) => Err(Stop::Failed(format!("{} does not export {missing}", abi.name))),
    }
}

/// The native functions that the generated Kotlin code declares, of which there must be some.
fn called(context: &Context) -> Outcome<Vec<String>> {
    let code = context
        .root
        .join("android/halfpi/generated/kotlin/dev/halfpi/ffi/halfpi_ffi.kt");
    let code = fs::read_to_string(&code).map_err(|e| format!("{}: {e}", code.display()))?;
    let declared = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("external fun ")?.split('(').next());
    let names: Vec<String> = declared.map(String::from).collect();
    match names.is_empty() {
        false => Ok(names),
        true => Err(Stop::Failed("the generated Kotlin code calls nothing".to_string())),
    }
}

/// Builds the library for one ABI, stripped, and returns its path.
fn build(context: &Context, abi: &Abi, ndk: Option<&Ndk>) -> Outcome<PathBuf> {
    let triple = abi.target.triple;
    let mut cargo = cross::cargo(
        context,
        &abi.target,
        ["rustc", "--profile", "mobile", "--package", "halfpi-android", "--lib"],
    )?;
    let (linker, flags) = match ndk {
        Some(ndk) => (
            ndk.clang(triple),
            vec![format!("-Clink-arg=-Wl,-z,max-page-size={PAGE}")],
        ),
        None => {
            // The compiler's own linker, and libraries with nothing in them in the place of Android's.
            let stubs = cross::stub_libraries(context, "bionic", &["c", "dl", "log", "m", "unwind", "gcc"])?;
            let flags = vec![
                "-Clinker-flavor=ld.lld".to_string(),
                format!("-Clink-arg=-zmax-page-size={PAGE}"),
                format!("-Clink-arg=-L{}", stubs.display()),
            ];
            // Optimizing it as a whole takes minutes, and changes neither what it needs nor what it exports.
            cargo
                .env("CARGO_PROFILE_MOBILE_LTO", "off")
                .env("CARGO_PROFILE_MOBILE_CODEGEN_UNITS", "16");
            (PathBuf::from("rust-lld"), flags)
        }
    };
    cargo
        .arg("--config")
        .arg(format!("target.{triple}.rustflags=['{}']", flags.join("', '")))
        .arg("--config")
        .arg(format!("target.{triple}.linker='{}'", linker.display()));
    cross::export_ours(context, &mut cargo, &linker.display().to_string());
    run(&mut cargo)?;
    Ok(context.target().join(triple).join("mobile/libhalfpi_android.so"))
}

/// An Android NDK.
struct Ndk {
    /// Where its compilers are.
    bin: PathBuf,
}

impl Ndk {
    /// The one that ANDROID_NDK_HOME names, if it is set.
    fn find() -> Outcome<Option<Self>> {
        let Some(home) = env::var_os("ANDROID_NDK_HOME").or_else(|| env::var_os("ANDROID_NDK_ROOT")) else {
            return Ok(None);
        };
        let prebuilt = Path::new(&home).join("toolchains/llvm/prebuilt");
        let hosts = fs::read_dir(&prebuilt).map_err(|e| format!("{}: {e}", prebuilt.display()))?;
        // One directory, named after the machine that runs it.
        let host = hosts
            .flatten()
            .next()
            .ok_or_else(|| format!("{} is empty", prebuilt.display()))?;
        Ok(Some(Self {
            bin: host.path().join("bin"),
        }))
    }

    fn clang(&self, triple: &str) -> PathBuf {
        self.bin.join(format!("{triple}{MIN_API}-clang"))
    }
}

/// A line of `readelf --dyn-syms`.
struct Symbol<'t> {
    name: &'t str,
    is_undefined: bool,
    is_weak: bool,
}

fn dynamic_symbols(library: &Path, is_wanted: impl Fn(&Symbol) -> bool) -> Outcome<BTreeSet<String>> {
    let table = readelf(library, "--dyn-syms")?;
    let wanted = table.lines().filter_map(symbol).filter(is_wanted);
    Ok(wanted.map(|symbol| symbol.name.to_string()).collect())
}

/// `12: 0000000000000000 0 FUNC GLOBAL DEFAULT UND read@LIBC (2)`.
fn symbol(line: &str) -> Option<Symbol<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (number, binding, section, name) = (fields.first()?, fields.get(4)?, fields.get(6)?, fields.get(7)?);
    number.strip_suffix(':')?.parse::<u32>().ok()?;
    Some(Symbol {
        name: name.split('@').next().unwrap_or(name),
        is_undefined: *section == "UND",
        is_weak: *binding == "WEAK",
    })
}

/// The alignment of each LOAD segment, of which there must be some.
fn load_alignments(headers: &str) -> Result<Vec<u64>, String> {
    let loads = headers.lines().map(str::trim).filter(|line| line.starts_with("LOAD "));
    let aligns = loads.map(|line| {
        let last = line.split_whitespace().last().unwrap_or_default();
        u64::from_str_radix(last.trim_start_matches("0x"), 16).map_err(|e| format!("{line}: {e}"))
    });
    let aligns: Vec<u64> = aligns.collect::<Result<_, _>>()?;
    match aligns.is_empty() {
        false => Ok(aligns),
        true => Err("no LOAD segment".to_string()),
    }
}

fn readelf(library: &Path, what: &str) -> Outcome<String> {
    let program = ["readelf", "llvm-readelf"].into_iter().find_map(find_program);
    let program = program.ok_or_else(|| Stop::missing("no readelf", "binutils"))?;
    Ok(output(Command::new(program).args(["--wide", what]).arg(library))?)
}

/// The names of a list, one a line after its API level; `#` begins a comment.
fn symbols(list: &str) -> Result<BTreeSet<String>, String> {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let entries = lines.filter(|line| !line.is_empty()).map(|line| {
        let (api, name) = line.split_once(' ').ok_or_else(|| format!("{line}: no API level"))?;
        let api: u32 = api.parse().map_err(|_| format!("{line}: no API level"))?;
        match api <= MIN_API {
            true => Ok(name.trim().to_string()),
            false => Err(format!(
                "{name} came with API {api}, and this library runs on {MIN_API}"
            )),
        }
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::{load_alignments, symbol, symbols};

    #[test]
    fn a_line_of_readelf_is_a_symbol() {
        let line = "    12: 0000000000000000     0 FUNC    WEAK   DEFAULT  UND read@LIBC (2)";
        let read = symbol(line).unwrap();
        assert_eq!((read.name, read.is_undefined, read.is_weak), ("read", true, true));
        assert!(
            !symbol("  7: 0000000000001000  10 FUNC    GLOBAL DEFAULT   11 uniffi_x")
                .unwrap()
                .is_undefined
        );
        assert!(symbol("   Num:    Value          Size Type    Bind   Vis      Ndx Name").is_none());
    }

    #[test]
    fn alignments_are_read_and_must_be_there() {
        let headers =
            "  PHDR x 0x8\n  LOAD           0x0 0x0 0x0 0x1 0x1 R   0x4000\n  LOAD 0x0 0x0 0x0 0x1 0x1 R E 0x1000\n";
        assert_eq!(load_alignments(headers).unwrap(), [0x4000, 0x1000]);
        assert!(load_alignments("").is_err());
    }

    #[test]
    fn newer_symbols_are_refused() {
        assert!(symbols("# libc\n1 read\n21 write # since\n").unwrap().contains("write"));
        assert!(symbols("28 getrandom\n").unwrap_err().contains("28"));
        assert!(symbols("read\n").is_err());
    }
}
