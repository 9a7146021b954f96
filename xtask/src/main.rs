//! Developer commands, run as `cargo xtask COMMAND`.

mod android;
mod apt;
mod bindings;
mod compare_methods;
mod context;
mod corpus;
mod cross;
mod demo;
mod fuzz;
mod ios;
mod kotlin;
mod mach_o;
mod model;
mod outcome;
mod package_ios;
mod python;
mod size;
mod steps;
mod swift;
mod test;

use std::process::ExitCode;

use context::Context;
use outcome::{Outcome, Stop};

const HELP: &str = "\
Developer commands of halfpi.

Usage: cargo xtask COMMAND

Commands:
  demo [--prompt TEXT] [--max-tokens N] [OPTION…]
                     get the demo model (98 MB, once) and open a chat with it; with --prompt, answer once.
                     Every option goes to `halfpi chat`
  test [STEP…]       install or check what the tests need and run every test, or the named steps
  test --list        name the steps
  bindings LANGUAGE [--out-dir DIRECTORY]
                     write the kotlin or swift code that uniffi makes for halfpi-ffi [target/bindings/LANGUAGE]
  bench-kotlin [OPTION…], bench-swift [OPTION…]
                     compare tokens per second through Kotlin or Swift and through the Rust API (benches/*.py)
  package-ios        make the Swift package's XCFramework, on a Mac
  package-android [--check]
                     build the Kotlin package's native libraries and bindings, with the NDK in ANDROID_NDK_HOME;
                     with --check, link them without one and see what they need and export
  size               print the size of the library that apps ship, by feature
  model              print the path of the demo model, getting it first if it is not there
  corpus             print the directory of the conversations that training is tried on, with a tokenizer, making it
                     first if it is not there
  compare-methods [OPTION…]
                     train a small model by every method on the same text and print the table: hours with the
                     default number of updates; what is there already is not repeated (--help says more)

Environment:
  HALFPI_CACHE         where the model and the cross-compiled standard library are kept [~/.cache/halfpi]
  HALFPI_TEST_MODEL    a model file to test with instead of the demo model
  HALFPI_FUZZ_SECONDS  how long each fuzz target runs [45]
  CI=true              a step is a failure if it cannot run for want of something that could be installed";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match run(command.as_deref(), &rest) {
        Ok(code) => code,
        Err(stop) => {
            eprintln!("error: {stop}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Option<&str>, rest: &[String]) -> Outcome<ExitCode> {
    let wants_help = |args: &[String]| args.iter().any(|arg| arg == "--help" || arg == "-h");
    match command {
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        // `demo --help` is answered by `halfpi chat` itself, which knows its options.
        Some("demo") => match demo::run(&Context::new()?, rest)? {},
        Some("test" | "model" | "bindings" | "package-android" | "package-ios" | "size" | "corpus")
            if wants_help(rest) =>
        {
            run(None, &[])
        }
        Some("test") => test::run(&Context::new()?, rest),
        Some("bindings") => {
            bindings::write(&Context::new()?, rest)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("package-android") => {
            android::package(&Context::new()?, rest)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("size") => {
            size::report(&Context::new()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(bench @ ("bench-kotlin" | "bench-swift")) => {
            let context = Context::new()?;
            let model = steps::test_model(&context)?;
            match bench {
                "bench-kotlin" => kotlin::bench(&context, &model, rest)?,
                _ => ios::bench(&context, &model, rest)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Some("compare-methods") => {
            compare_methods::compare(&Context::new()?, rest)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("package-ios") => {
            package_ios::package(&Context::new()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("model") => {
            println!("{}", model::path(&Context::new()?)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Some("corpus") => {
            println!("{}", corpus::path(&Context::new()?)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(Stop::Failed(format!(
            "there is no command `{other}`; `cargo xtask help` lists them"
        ))),
    }
}
