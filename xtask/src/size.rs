//! `cargo xtask size`: what the library that apps ship weighs, with and without each of its features.

use std::fs;

use crate::apt;
use crate::context::Context;
use crate::cross::{self, AARCH64_LINUX};
use crate::outcome::{Outcome, run};

/// The features of halfpi-ffi. The table has a line without any, one for each alone, and one with all.
const FEATURES: [&str; 1] = ["structured"];

/// Builds the library stripped, as it ships, for 64-bit Arm and for this machine, and prints a Markdown table.
pub fn report(context: &Context) -> Outcome {
    let all = FEATURES.join(",");
    let mut sets = vec![("none", "")];
    sets.extend(FEATURES.map(|feature| (feature, feature)));
    if FEATURES.len() > 1 {
        sets.push(("all", &all));
    }
    let arm = sizes(&sets, |features| arm_bytes(context, features))?;
    let host = sizes(&sets, |features| host_bytes(context, features))?;
    println!(
        "| features | aarch64, kB | {}, kB |\n|---|---:|---:|",
        std::env::consts::ARCH
    );
    for (((name, _), arm), host) in sets.iter().zip(arm).zip(host) {
        println!("| {name} | {} | {} |", kilobytes(arm), kilobytes(host));
    }
    Ok(())
}

fn sizes(sets: &[(&str, &str)], measure: impl Fn(&str) -> Outcome<u64>) -> Outcome<Vec<u64>> {
    sets.iter().map(|(_, features)| measure(features)).collect()
}

fn arm_bytes(context: &Context, features: &str) -> Outcome<u64> {
    apt::require(&[
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
    ])?;
    let mut build = cross::cargo(context, &AARCH64_LINUX, BUILD)?;
    // llguidance's own dynamic library is linked too.
    build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    build.args(["--features", features]);
    cross::export_ours(context, &mut build, "aarch64-linux-gnu-gcc");
    run(&mut build)?;
    bytes(context, &format!("{}/mobile/libhalfpi_ffi.so", AARCH64_LINUX.triple))
}

fn host_bytes(context: &Context, features: &str) -> Outcome<u64> {
    let mut build = context.cargo(BUILD);
    build.args(["--features", features]);
    if cfg!(target_os = "linux") {
        cross::export_ours(context, &mut build, "cc");
    }
    run(&mut build)?;
    bytes(
        context,
        &format!(
            "mobile/{}halfpi_ffi{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        ),
    )
}

/// Only the shared library: the static one and the Rust one would be made as well.
const BUILD: [&str; 9] = [
    "rustc",
    "--package",
    "halfpi-ffi",
    "--lib",
    "--crate-type",
    "cdylib",
    "--profile",
    "mobile",
    "--no-default-features",
];

fn bytes(context: &Context, library: &str) -> Outcome<u64> {
    let path = context.target().join(library);
    Ok(fs::metadata(&path)
        .map_err(|e| format!("{}: {e}", path.display()))?
        .len())
}

/// Thousands, as downloads are counted.
fn kilobytes(bytes: u64) -> u64 {
    bytes.div_ceil(1000)
}
