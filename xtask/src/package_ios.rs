//! `cargo xtask package-ios`, which makes the XCFramework on a Mac, and what of it can be checked on any machine: that
//! the static library for iOS has the right functions for the right devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::cross::{self, AARCH64_IOS, AARCH64_IOS_SIM, AARCH64_MACOS, Target, X86_64_IOS_SIM};
use crate::ios;
use crate::mach_o::{self, Library};
use crate::outcome::{Outcome, Stop, output, run};
use crate::swift::Swift;

/// The oldest iOS and macOS that it runs on; ios/Package.swift says the same.
const OLDEST: [(&str, &str); 2] = [
    ("IPHONEOS_DEPLOYMENT_TARGET", "17.0"),
    ("MACOSX_DEPLOYMENT_TARGET", "14.0"),
];

/// Makes ios/CHalfpi.xcframework and its archive with the checksum that a `binaryTarget(url:checksum:)` wants. Not run
/// by this project's tests, which have no Mac: elsewhere the library for devices is built and checked.
pub fn package(context: &Context) -> Outcome {
    if !cfg!(target_os = "macos") {
        check(context)?;
        let why = "Xcode makes XCFrameworks, on a Mac: the library for devices was built and is right";
        return Err(Stop::Unsupported(why.to_string()));
    }
    ios::generate(context)?;
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
        join.arg(build(context, &target)?);
    }
    run(join.arg("-output").arg(&simulator))?;

    let framework = context.root.join("ios/CHalfpi.xcframework");
    if framework.exists() {
        fs::remove_dir_all(&framework).map_err(|e| format!("{}: {e}", framework.display()))?;
    }
    let mut create = Command::new("xcodebuild");
    create.arg("-create-xcframework");
    for library in [
        build(context, &AARCH64_IOS)?,
        simulator,
        build(context, &AARCH64_MACOS)?,
    ] {
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

/// Builds the library for iOS devices and looks at it: processor, platform and oldest system of every object file, and
/// every function that the generated code calls. Prints what it adds to an app.
fn check(context: &Context) -> Outcome {
    ios::generate(context)?;
    let path = build(context, &AARCH64_IOS)?;
    let library = Library::open(&path)?;
    let wrong = library
        .objects
        .iter()
        .find(|object| object.processor != mach_o::ARM64 || object.platform != 2 || object.oldest > (17, 0));
    if let Some(object) = wrong {
        return Err(Stop::Failed(format!(
            "{} has an object file for {object:?}",
            path.display()
        )));
    }
    let header = context.root.join("ios/Sources/CHalfpi/CHalfpi.h");
    let header = fs::read_to_string(&header).map_err(|e| format!("{}: {e}", header.display()))?;
    let functions: Vec<&str> = functions(&header).collect();
    match functions.iter().find(|function| !library.defines(function)) {
        Some(missing) => return Err(Stop::Failed(format!("{} lacks {missing}", path.display()))),
        None if functions.is_empty() => return Err(Stop::Failed("the header declares no function".to_string())),
        None => println!("{} functions, {} object files", functions.len(), library.objects.len()),
    }
    let bytes = linked(context, &path, &functions)?;
    println!("linked without what nobody calls: {} kB", bytes.div_ceil(1000));
    Ok(())
}

/// The static library for a target, as it ships.
fn build(context: &Context, target: &Target) -> Outcome<PathBuf> {
    let rustc = ["rustc", "--package", "halfpi-ffi", "--lib", "--crate-type", "staticlib"];
    let mut build = cross::cargo(context, target, rustc)?;
    run(build.args(["--profile", "mobile"]).envs(OLDEST))?;
    let built = context.target().join(target.triple).join("mobile/libhalfpi_ffi.a");
    Ok(built)
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

/// Bytes of a dynamic library with these functions, which is what an app with them grows by. Apple's own functions
/// are left open, because there is no SDK here.
fn linked(context: &Context, library: &Path, functions: &[&str]) -> Outcome<u64> {
    let swift = Swift::open(context)?;
    let directory = library.parent().unwrap_or(Path::new("/"));
    let linked = directory.join("linked.dylib");
    let mut link = swift.command(directory, &[directory], ["ld64.lld"]);
    link.args(["-dylib", "-arch", "arm64", "-platform_version", "ios", "17.0", "17.0"]);
    link.args(["-undefined", "dynamic_lookup", "-dead_strip", "-x", "-o"])
        .arg(&linked);
    for function in functions {
        link.arg("-u").arg(format!("_{function}"));
        link.arg("-exported_symbol").arg(format!("_{function}"));
    }
    run(link.arg(library).env_remove("LD_LIBRARY_PATH"))?;
    Ok(fs::metadata(&linked)
        .map_err(|e| format!("{}: {e}", linked.display()))?
        .len())
}
