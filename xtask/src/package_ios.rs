//! `cargo xtask package-ios`, which makes the XCFramework on a Mac, and what of it can be checked on any machine: that
//! the static libraries for iOS have the right functions for the right devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::cross::{self, AARCH64_IOS, AARCH64_IOS_SIM, AARCH64_MACOS, Target, X86_64_IOS_SIM};
use crate::ios;
use crate::mach_o::{self, Library, Object};
use crate::outcome::{Outcome, Stop, output, run};

/// The oldest iOS and macOS that it runs on; ios/Package.swift says the same.
const OLDEST: [(&str, &str); 2] = [
    ("IPHONEOS_DEPLOYMENT_TARGET", "17.0"),
    ("MACOSX_DEPLOYMENT_TARGET", "14.0"),
];

/// Makes ios/CHalfpi.xcframework and its archive with the checksum that a `binaryTarget(url:checksum:)` wants. Not run
/// by this project's tests, which have no Mac: elsewhere the library for devices is built and checked.
pub fn package(context: &Context) -> Outcome {
    if !cfg!(target_os = "macos") {
        check(context, Quality::Shipped)?;
        let why =
            "Xcode makes XCFrameworks, on a Mac: the libraries for devices and simulators were built and are right";
        return Err(Stop::Unsupported(why.to_string()));
    }
    ios::generate(context)?;
    let build = |target: &Target| build(context, target, Quality::Shipped);
    let work = context.target().join("package-ios");
    let io = |e: std::io::Error| format!("{}: {e}", work.display());
    if work.exists() {
        fs::remove_dir_all(&work).map_err(io)?;
    }
    // In a directory of the module's name: several XCFrameworks of an app are unpacked into one place.
    let headers = work.join("Headers");
    fs::create_dir_all(headers.join("CHalfpi")).map_err(io)?;
    let made = context.root.join("ios/Sources/CHalfpi");
    fs::copy(made.join("CHalfpi.h"), headers.join("CHalfpi/CHalfpi.h")).map_err(io)?;
    let module = "module CHalfpi {\n    header \"CHalfpi.h\"\n    export *\n}\n";
    fs::write(headers.join("CHalfpi/module.modulemap"), module).map_err(io)?;

    let simulator = work.join("simulator");
    fs::create_dir_all(&simulator).map_err(io)?;
    let simulator = simulator.join("libhalfpi_ffi.a");
    let mut join = Command::new("lipo");
    join.arg("-create");
    for target in [AARCH64_IOS_SIM, X86_64_IOS_SIM] {
        join.arg(build(&target)?);
    }
    run(join.arg("-output").arg(&simulator))?;

    let framework = context.root.join("ios/CHalfpi.xcframework");
    if framework.exists() {
        fs::remove_dir_all(&framework).map_err(|e| format!("{}: {e}", framework.display()))?;
    }
    let mut create = Command::new("xcodebuild");
    create.arg("-create-xcframework");
    for library in [build(&AARCH64_IOS)?, simulator, build(&AARCH64_MACOS)?] {
        create.arg("-library").arg(library).arg("-headers").arg(&headers);
    }
    run(create.arg("-output").arg(&framework))?;

    let archive = work.join("CHalfpi.xcframework.zip");
    let zip = ["-c", "-k", "--sequesterRsrc", "--keepParent"];
    run(Command::new("ditto").args(zip).arg(&framework).arg(&archive))?;
    let checksum = output(
        Command::new("swift")
            .args(["package", "compute-checksum"])
            .arg(&archive),
    )?;
    println!("{}\n{}\nchecksum {checksum}", framework.display(), archive.display());
    Ok(())
}

/// How well a library is compiled.
#[derive(Clone, Copy, PartialEq)]
pub enum Quality {
    /// As it ships.
    Shipped,
    /// Without optimizing it, which takes minutes and changes neither what it needs nor what it has.
    Quick,
}

/// What is built for devices and for simulators, and how object files number the platform.
const PLATFORMS: [(Target, u32); 2] = [(AARCH64_IOS, 2), (AARCH64_IOS_SIM, 7)];

/// Builds the libraries for iOS and looks at them: processor, platform and oldest system of every object file, and every
/// function that the generated code calls. Of those that ship it prints what they add to an app.
pub fn check(context: &Context, quality: Quality) -> Outcome {
    ios::generate(context)?;
    let header = context.root.join("ios/Sources/CHalfpi/CHalfpi.h");
    let header = fs::read_to_string(&header).map_err(|e| format!("{}: {e}", header.display()))?;
    let functions: Vec<&str> = functions(&header).collect();
    if functions.is_empty() {
        return Err(Stop::Failed("the header declares no function".to_string()));
    }
    for (target, platform) in &PLATFORMS {
        let path = build(context, target, quality)?;
        let library = Library::open(&path)?;
        let is_right = |object: &Object| {
            object.processor == mach_o::ARM64 && object.platform == *platform && object.oldest <= (17, 0)
        };
        if library.objects.is_empty() {
            return Err(Stop::Failed(format!("{} has no object file", path.display())));
        }
        if let Some(object) = library.objects.iter().find(|object| !is_right(object)) {
            return Err(Stop::Failed(format!(
                "{} has an object file for {object:?}",
                path.display()
            )));
        }
        if let Some(missing) = functions.iter().find(|function| !library.defines(function)) {
            return Err(Stop::Failed(format!("{} lacks {missing}", path.display())));
        }
        println!(
            "{}: {} functions, {} object files",
            target.triple,
            functions.len(),
            library.objects.len()
        );
        if quality == Quality::Shipped && *platform == 2 {
            let bytes = linked(context, &path, &functions)?;
            println!("linked without what nobody calls: {} kB", bytes.div_ceil(1000));
        }
    }
    Ok(())
}

/// The static library for a target.
fn build(context: &Context, target: &Target, quality: Quality) -> Outcome<PathBuf> {
    let rustc = ["rustc", "--package", "halfpi-ffi", "--lib", "--crate-type", "staticlib"];
    let mut build = cross::cargo(context, target, rustc)?;
    build.args(["--profile", "mobile"]).envs(OLDEST);
    if quality == Quality::Quick {
        build.env("CARGO_PROFILE_MOBILE_LTO", "off");
        build.env("CARGO_PROFILE_MOBILE_CODEGEN_UNITS", "16");
        build.env("CARGO_PROFILE_MOBILE_OPT_LEVEL", "0");
    }
    if !cfg!(target_os = "macos") {
        // A static library needs no linker, but llguidance makes a dynamic one of itself as well, which nobody wants and
        // no setting leaves out. There is no SDK here to link it with.
        let mut flags = vec![
            "-Clinker-flavor=ld64.lld".to_string(),
            format!("-Clink-arg=-L{}", stubs(context)?.display()),
        ];
        flags.extend(OPEN_LINK.map(|arg| format!("-Clink-arg={arg}")));
        let triple = target.triple;
        build
            .arg("--config")
            .arg(format!("target.{triple}.rustflags=['{}']", flags.join("', '")));
        build.arg("--config").arg(format!("target.{triple}.linker='rust-lld'"));
    }
    run(&mut build)?;
    Ok(context.target().join(target.triple).join("mobile/libhalfpi_ffi.a"))
}

/// The functions of the library that a header declares.
fn functions(header: &str) -> impl Iterator<Item = &str> {
    let lines = header.lines().filter(|line| !line.starts_with("typedef"));
    lines.filter_map(|line| {
        let before = line.split('(').next()?;
        let name = before.rsplit([' ', '*']).next()?;
        let ours = name.starts_with("ffi_halfpi") || name.starts_with("uniffi_halfpi");
        (ours && line.contains('(')).then_some(name)
    })
}

/// Leaves Apple's own functions open.
const OPEN_LINK: [&str; 2] = ["-undefined", "dynamic_lookup"];

/// Stands for the libraries of an SDK.
fn stubs(context: &Context) -> Outcome<PathBuf> {
    cross::stub_libraries(context, "apple", &["System", "c", "m"])
}

/// Bytes of a dynamic library with these functions, which is what an app with them grows by, linked by the compiler's
/// own linker.
fn linked(context: &Context, library: &Path, functions: &[&str]) -> Outcome<u64> {
    let linked = library.with_file_name("linked.dylib");
    let mut link = Command::new(cross::rust_lld()?);
    link.args(["-flavor", "darwin", "-dylib", "-arch", "arm64"]);
    link.args(["-platform_version", "ios", "17.0", "17.0", "-dead_strip", "-x"]);
    link.args(OPEN_LINK)
        .arg("-L")
        .arg(stubs(context)?)
        .arg("-o")
        .arg(&linked);
    for function in functions {
        link.arg("-u").arg(format!("_{function}"));
        link.arg("-exported_symbol").arg(format!("_{function}"));
    }
    run(link.arg(library))?;
    Ok(fs::metadata(&linked)
        .map_err(|e| format!("{}: {e}", linked.display()))?
        .len())
}
