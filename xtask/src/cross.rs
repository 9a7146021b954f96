//! Building for targets whose standard library rustup did not install.
//!
//! Where rustup cannot be reached, the library is built once from Debian's `rust-src` of the same version as the
//! compiler and kept in the cache, in a sysroot of its own: `rustlib/` with a link to the host's libraries, Rust's
//! source and the libraries built from it. The installed toolchain stays as it is; `--sysroot` points it there.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::context::{Context, find_program};
use crate::outcome::{Outcome, Stop, output, run};

/// A target and those crates of the standard library that it can have.
pub struct Target {
    /// Its name.
    pub triple: &'static str,
    library: &'static str,
}

/// 64-bit Arm Linux: its tests run under qemu.
pub const AARCH64_LINUX: Target = Target {
    triple: "aarch64-unknown-linux-gnu",
    library: "std,panic_abort,panic_unwind,proc_macro,test",
};

/// 64-bit Arm Android.
pub const AARCH64_ANDROID: Target = Target {
    triple: "aarch64-linux-android",
    library: "std,panic_abort,panic_unwind,proc_macro,test",
};

/// x86-64 Android: emulators.
pub const X86_64_ANDROID: Target = Target {
    triple: "x86_64-linux-android",
    library: "std,panic_abort,panic_unwind,proc_macro,test",
};

/// 64-bit Arm without an operating system. Only `core` is built: a crate that needs `alloc` or `std` does not compile.
pub const AARCH64_BARE: Target = Target {
    triple: "aarch64-unknown-none",
    library: "core",
};

/// Apple's devices and simulators. A static library needs no linker, so it can be built anywhere.
pub const AARCH64_IOS: Target = Target::apple("aarch64-apple-ios");
/// The simulator on a Mac with Apple's processor.
pub const AARCH64_IOS_SIM: Target = Target::apple("aarch64-apple-ios-sim");
/// The simulator on a Mac with an Intel processor.
pub const X86_64_IOS_SIM: Target = Target::apple("x86_64-apple-ios");
/// Macs, for `swift test` and Mac apps.
pub const AARCH64_MACOS: Target = Target::apple("aarch64-apple-darwin");

impl Target {
    const fn apple(triple: &'static str) -> Self {
        Self {
            triple,
            library: "std,panic_abort,panic_unwind",
        }
    }
}

/// Debian's suites that may have the source of a recent Rust, the likeliest first.
const SUITES: [&str; 3] = ["trixie-backports", "testing", "unstable"];

/// `cargo ARGS… --target TARGET`, once everything is there for it.
pub fn cargo<const N: usize>(context: &Context, target: &Target, args: [&str; N]) -> Outcome<Command> {
    let mut cargo = context.cargo(args);
    cargo.args(["--target", target.triple]);
    if rustc(&["--print", "target-libdir", "--target", target.triple]).is_ok_and(|lib| has_library(Path::new(&lib))) {
        return Ok(cargo);
    }
    if apt::has_debian() {
        let toolchain = Toolchain::open(context)?;
        toolchain.add(context, target)?;
        // The path is part of what cargo compares, so a sysroot in another place means another build.
        let flags = format!(
            "target.{}.rustflags=['--sysroot', '{}']",
            target.triple,
            toolchain.sysroot().display()
        );
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .arg("--config")
            .arg(flags);
    } else if find_program("rustup").is_some() {
        run(Command::new("rustup").args(["target", "add", target.triple]))?;
    } else {
        let why = format!("no standard library for {}", target.triple);
        return Err(Stop::missing(why, format!("rustup target add {}", target.triple)));
    }
    Ok(cargo)
}

/// The installed compiler with a sysroot of ours, in one directory of the cache per version.
struct Toolchain {
    directory: PathBuf,
    version: String,
    /// Held while this exists, so that two runs do not build the same library.
    _lock: File,
}

impl Toolchain {
    fn open(context: &Context) -> Outcome<Self> {
        let verbose = rustc(&["--version", "--verbose"])?;
        let field = |name: &str| {
            let value = verbose
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.ok_or_else(|| format!("rustc --version --verbose does not say its {name}"))
        };
        let (version, host, installed) = (field("release")?, field("host")?, rustc(&["--print", "sysroot"])?);
        let directory = context.cache.join(format!("rust-{version}"));
        let rustlib = directory.join("sysroot/lib/rustlib");
        let io = |e: std::io::Error| format!("{}: {e}", directory.display());
        fs::create_dir_all(rustlib.join("src/rust")).map_err(io)?;
        let lock = File::create(directory.join("lock")).map_err(io)?;
        lock.lock().map_err(io)?;

        let (link, libraries) = (rustlib.join(host), Path::new(&installed).join("lib/rustlib").join(host));
        if !fs::read_link(&link).is_ok_and(|to| to == libraries) {
            // Left behind by a toolchain that was in another place.
            let _ = fs::remove_file(&link);
            symlink(&libraries, &link).map_err(io)?;
        }
        let toolchain = Self {
            directory: directory.clone(),
            version: version.to_string(),
            _lock: lock,
        };
        let (compiler, sysroot) = (Path::new(&installed).join("bin/rustc"), toolchain.sysroot());
        let script = format!(
            "#!/bin/sh\nexec {} --sysroot {} \"$@\"\n",
            quoted(&compiler),
            quoted(&sysroot)
        );
        // Only when it differs: another cargo may be running it.
        if !fs::read_to_string(toolchain.rustc()).is_ok_and(|text| text == script) {
            fs::write(toolchain.rustc(), script).map_err(io)?;
            fs::set_permissions(toolchain.rustc(), PermissionsExt::from_mode(0o755)).map_err(io)?;
        }
        Ok(toolchain)
    }

    /// A script that makes the compiler take Rust's source from the sysroot too, which no flag does.
    fn rustc(&self) -> PathBuf {
        self.directory.join("rustc")
    }

    fn sysroot(&self) -> PathBuf {
        self.directory.join("sysroot")
    }

    /// Builds the target's standard library into the sysroot, unless it is there.
    fn add(&self, context: &Context, target: &Target) -> Outcome {
        let lib = self.sysroot().join("lib/rustlib").join(target.triple).join("lib");
        if has_library(&lib) {
            return Ok(());
        }
        self.add_source()?;
        println!("building Rust's standard library for {}, once", target.triple);
        let work = Scratch::new(self.directory.join("build"))?;
        let io = |e: std::io::Error| format!("{}: {e}", work.path.display());
        fs::create_dir(work.path.join("src")).map_err(io)?;
        fs::write(work.path.join("src/lib.rs"), "#![no_std]\n").map_err(io)?;
        let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(work.path.join("Cargo.toml"), manifest).map_err(io)?;
        let mut build = context.cargo([
            "build",
            "--quiet",
            "--release",
            "--target",
            target.triple,
            "--target-dir",
            "target",
        ]);
        build
            .arg(format!("-Zbuild-std={}", target.library))
            .current_dir(&work.path);
        // -Z is for nightly compilers; this lets the stable one take it.
        build.env("RUSTC", self.rustc()).env("RUSTC_BOOTSTRAP", "1");
        run(build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;

        // Moved into its place whole: an interrupted run leaves nothing that looks finished.
        let finished = work.path.join("lib");
        fs::create_dir(&finished).map_err(io)?;
        let built = fs::read_dir(work.path.join("target").join(target.triple).join("release/deps")).map_err(io)?;
        for entry in built.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rlib") && !name.starts_with("libempty") {
                fs::copy(entry.path(), finished.join(name)).map_err(io)?;
            }
        }
        fs::create_dir_all(lib.parent().unwrap_or(&lib)).map_err(io)?;
        Ok(fs::rename(finished, lib).map_err(io)?)
    }

    /// Puts Rust's source where cargo looks for it, unless it is there.
    fn add_source(&self) -> Outcome {
        let library = self.sysroot().join("lib/rustlib/src/rust/library");
        if library.exists() {
            return Ok(());
        }
        let work = Scratch::new(self.directory.join("source"))?;
        apt::unpack("rust-src", &self.version, &SUITES, &work.path)?;
        let unpacked = work.path.join(format!("usr/src/rustc-{}/library", self.version));
        Ok(fs::rename(&unpacked, library).map_err(|e| format!("{}: {e}", unpacked.display()))?)
    }
}

/// An empty directory that goes away with this value.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, String> {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn rustc(args: &[&str]) -> Result<String, String> {
    output(Command::new("rustc").args(args))
}

/// Ends the arguments of `cargo rustc`: the crate is linked by `linker`, and exports only what Kotlin and Swift call.
pub fn export_ours(context: &Context, rustc: &mut Command, linker: &str) {
    let script = context.root.join("xtask/link/exports.sh");
    rustc.env("HALFPI_LINKER", linker);
    rustc.arg("--").arg(format!("-Clinker={}", script.display()));
}

/// The linker that comes with the compiler.
pub fn rust_lld() -> Outcome<PathBuf> {
    let libraries = rustc(&["--print", "target-libdir"])?;
    Ok(Path::new(&libraries).with_file_name("bin/rust-lld"))
}

/// Whether a `rustlib/TARGET/lib` holds a standard library.
fn has_library(lib: &Path) -> bool {
    let Ok(files) = fs::read_dir(lib) else { return false };
    files
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

/// A directory of libraries with nothing in them, in the place of those that rustc asks the linker for by name.
///
/// What they would define stays undefined: that is how a library for Android or iOS is linked without its SDK.
pub fn stub_libraries(context: &Context, system: &str, names: &[&str]) -> Outcome<PathBuf> {
    let directory = context.target().join("xtask").join(system);
    fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for name in names {
        let file = directory.join(format!("lib{name}.a"));
        fs::write(&file, "!<arch>\n").map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(directory)
}

/// A path as one word of a shell script.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
