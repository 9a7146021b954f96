//! `cargo xtask bindings`: the Kotlin or Swift code that uniffi writes for halfpi-ffi.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::PathBuf;

use crate::context::Context;
use crate::outcome::{Outcome, Stop, run};

/// Writes the code for a language into a directory, `target/bindings/LANGUAGE` unless another is named, and prints
/// where that is. It follows from the library alone, so it is made where it is needed and kept nowhere.
pub fn write(context: &Context, args: &[String]) -> Outcome {
    let (language, directory) = match args {
        [language] => (language, context.target().join("bindings").join(language)),
        [language, option, directory] if option == "--out-dir" => (language, PathBuf::from(directory)),
        _ => {
            let usage = "usage: cargo xtask bindings kotlin|swift [--out-dir DIRECTORY]";
            return Err(Stop::Failed(usage.to_string()));
        }
    };
    let directory = std::path::absolute(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    run(&mut context.cargo(["build", "--package", "halfpi-ffi"]))?;
    let library = context
        .target()
        .join(format!("debug/{DLL_PREFIX}halfpi_ffi{DLL_SUFFIX}"));
    let mut bindgen = context.cargo(["run", "--package", "halfpi-bindgen", "--", "generate", "--no-format"]);
    bindgen.args(["--language", language.as_str(), "--out-dir"]);
    run(bindgen.arg(&directory).arg(library))?;
    println!("{}", directory.display());
    Ok(())
}
