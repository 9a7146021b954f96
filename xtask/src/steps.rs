//! What `cargo xtask test` checks, step by step.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::android;
use crate::apt;
use crate::context::{Context, find_program};
use crate::cross::{self, AARCH64_BARE, AARCH64_LINUX};
use crate::demo;
use crate::fuzz;
use crate::ios;
use crate::kotlin;
use crate::model;
use crate::outcome::{Outcome, Stop, output, run};
use crate::package_ios;
use crate::python;

/// `halfpi train`, which is left out of other builds because of the time that its tensor engine takes, and what of its way
/// to GPUs can be run without one.
const TRAIN: &str = "halfpi-cli/train,halfpi-trainer/nccl";
/// All of that way, which takes minutes to build, but half a minute more to look through.
const CUDA: &str = "halfpi-cli/cuda";

/// One check, with a name to ask for it by.
pub struct Step {
    /// `group` or `group:variant`.
    pub name: String,
    /// One line for `--list`.
    pub about: String,
    /// Runs it.
    pub run: Box<dyn Fn(&Context) -> Outcome>,
}

/// Every step, in the order in which they run: what is quick or fails most often comes first.
pub fn all(context: &Context) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |name: &str, about: &str, run: Box<dyn Fn(&Context) -> Outcome>| {
        steps.push(Step {
            name: name.to_string(),
            about: about.to_string(),
            run,
        });
    };
    step("fmt", "the code is formatted", Box::new(fmt));
    step("clippy", "clippy finds nothing in any crate", Box::new(clippy));
    step(
        "features",
        "clippy finds nothing in what is left of the libraries without their features",
        Box::new(features),
    );
    step("doc", "the documentation builds without a warning", Box::new(doc));
    step(
        "scripts",
        "the Python scripts compile and pass their tests",
        Box::new(scripts),
    );
    step(
        "test",
        "every test of the workspace, with the demo model",
        Box::new(tests),
    );
    step(
        "swift",
        "the tests of the Swift package, against the library",
        Box::new(|context| ios::test(context, &test_model(context)?)),
    );
    step(
        "report",
        "the pages of `halfpi pack` and `halfpi train` in a real browser",
        Box::new(report),
    );
    step(
        "kotlin",
        "the Kotlin library and its sample app on a JVM, with the demo model",
        Box::new(|context| kotlin::test(context, &test_model(context)?)),
    );
    for (backend, is_supported) in backends() {
        let name = format!("backend:{backend}");
        let run = move |context: &Context| {
            if is_supported {
                forced(context, backend)
            } else {
                Err(no_cpu(backend))
            }
        };
        step(
            &name,
            "the tests of the kernels with this backend forced",
            Box::new(run),
        );
    }
    step(
        "aarch64:clippy",
        "clippy finds nothing in the kernels' Arm code",
        Box::new(clippy_aarch64),
    );
    // What differs between processors is which kernels run, so only one runs everything.
    for (cpu, packages) in [
        ("cortex-a53", &["halfpi-kernels"][..]),
        ("neoverse-n1", &["halfpi-kernels"]),
        ("max", &["halfpi-kernels", "halfpi", "halfpi-tests"]),
    ] {
        let name = format!("aarch64:{cpu}");
        let about = format!("the tests of {} on this CPU model, under qemu", packages.join(", "));
        step(&name, &about, Box::new(move |c| emulated(c, cpu, packages)));
    }
    step(
        "android",
        "the library for Android links, is aligned for 16 KB pages, and needs and exports only what is known",
        Box::new(android::check),
    );
    step(
        "ios",
        "the static libraries for iOS devices and simulators have every function, and object files for nothing else",
        Box::new(|context| package_ios::check(context, package_ios::Quality::Quick)),
    );
    step(
        "bare-metal",
        "kernels and the transformer build with nothing but `core`",
        Box::new(bare_metal),
    );
    step(
        "fuzz",
        "every fuzz target for HALFPI_FUZZ_SECONDS",
        Box::new(fuzz::run_all),
    );
    for (package, example) in examples(&context.root) {
        let name = format!("example:{example}");
        step(
            &name,
            "the example runs",
            Box::new(move |context| run_example(context, &package, &example)),
        );
    }
    step("demo", "`cargo xtask demo --prompt` answers", Box::new(demo_answers));
    step("bench", "`halfpi bench` measures a random model", Box::new(bench));
    steps
}

fn fmt(context: &Context) -> Outcome {
    component("fmt", "rustfmt")?;
    run(&mut context.cargo(["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own: nobody else should build a fuzzer.
    Ok(run(&mut context.cargo([
        "fmt",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ]))?)
}

fn clippy(context: &Context) -> Outcome {
    component("clippy", "clippy")?;
    Ok(run(&mut context.cargo([
        "clippy",
        "--workspace",
        "--features",
        CUDA,
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?)
}

/// One at a time, or cargo gives each the features that the others want of it.
fn features(context: &Context) -> Outcome {
    component("clippy", "clippy")?;
    for (package, features) in [("halfpi", ""), ("halfpi", "std"), ("halfpi-ffi", "")] {
        let mut clippy = context.cargo(["clippy", "--package", package, "--no-default-features"]);
        run(clippy.args(["--features", features, "--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn doc(context: &Context) -> Outcome {
    // The command is left out: its executable has the name of the library, and their pages would have one place.
    let mut doc = context.cargo(["doc", "--workspace", "--no-deps", "--exclude", "halfpi-cli"]);
    Ok(run(doc.env("RUSTDOCFLAGS", "-D warnings"))?)
}

fn scripts(context: &Context) -> Outcome {
    python::require()?;
    let python = || {
        let mut python = Command::new("python3");
        python
            .current_dir(&context.root)
            .env("PYTHONPYCACHEPREFIX", context.root.join("target/xtask/pycache"));
        python
    };
    let listed = output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.py"])
            .current_dir(&context.root),
    )?;
    run(python().args(["-m", "py_compile"]).args(listed.lines()))?;
    for tested in ["xtask/model", "benches"] {
        run(python().args(["-m", "unittest", "discover", "--start-directory", tested]))?;
    }
    Ok(())
}

fn tests(context: &Context) -> Outcome {
    let model = test_model(context)?;
    Ok(run(context
        .cargo(["test", "--workspace", "--features", TRAIN, "--no-fail-fast"])
        .env("HALFPI_TEST_MODEL", model))?)
}

/// The pages' tests with a browser: one that is there, or Debian's smallest.
fn report(context: &Context) -> Outcome {
    const DEBIAN: &str = "chromium-headless-shell";
    const MAC: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
    let known = [DEBIAN, "chromium", "chromium-browser", "google-chrome", MAC];
    let browser = || known.into_iter().find_map(find_program);
    let found = match (env::var_os("HALFPI_BROWSER"), browser()) {
        (Some(browser), _) => browser,
        (None, Some(browser)) => browser.into(),
        (None, None) => {
            apt::require(&[(DEBIAN, DEBIAN)])?;
            DEBIAN.into()
        }
    };
    // With the features of the step before, or everything is built again.
    let mut test = context.cargo(["test", "--workspace", "--features", TRAIN]);
    test.args(["--test", "report", "--test", "train", "--", "browser"]);
    Ok(run(test.env("HALFPI_BROWSER", found))?)
}

/// The backends of this architecture besides the one that is chosen by itself, and whether this CPU can run them.
fn backends() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    return vec![
        ("scalar", true),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        ("avx512vbmi", std::is_x86_feature_detected!("avx512vbmi")),
    ];
    #[cfg(target_arch = "aarch64")]
    return vec![
        ("scalar", true),
        ("neon", true),
        ("neon-dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("neon-i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    vec![("scalar", true)]
}

fn forced(context: &Context, backend: &str) -> Outcome {
    Ok(run(context
        .cargo(["test", "--package", "halfpi-kernels"])
        .env("HALFPI_BACKEND", backend))?)
}

fn no_cpu(backend: &str) -> Stop {
    Stop::Unsupported(format!("this CPU cannot run {backend}"))
}

fn clippy_aarch64(context: &Context) -> Outcome {
    component("clippy", "clippy")?;
    let mut clippy = cross::cargo(
        context,
        &AARCH64_LINUX,
        ["clippy", "--package", "halfpi-kernels", "--all-targets"],
    )?;
    Ok(run(clippy.args(["--", "-D", "warnings"]))?)
}

/// The packages' tests, compiled for Arm Linux and run under qemu as `cpu`.
fn emulated(context: &Context, cpu: &str, packages: &[&str]) -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Stop::Unsupported(
            "qemu stands in for Arm CPUs on x86-64 Linux only".to_string(),
        ));
    }
    apt::require(&[
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
        ("qemu-aarch64", "qemu-user"),
    ])?;
    // Models are prepared on hosts; the tests of that (`pack_*`, `pack::`) would take longer than all others.
    let files: &[&str] = match packages {
        [_] => &["--tests"],
        _ => &["--lib", "--test=[!p]*", "--test=p[!a]*", "--test=packed_*"],
    };
    let mut test = cross::cargo(context, &AARCH64_LINUX, ["test", "--all-features", "--no-fail-fast"])?;
    test.args(files)
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .args(["--", "--skip", "pack::"])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            "timeout 900 qemu-aarch64",
        )
        .env("QEMU_CPU", cpu)
        .env("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu")
        // Reading debug information for a backtrace takes minutes under emulation, and so does the demo model.
        .env("RUST_BACKTRACE", "0")
        .env_remove("HALFPI_TEST_MODEL");
    Ok(run(&mut test)?)
}

fn bare_metal(context: &Context) -> Outcome {
    for package in ["halfpi-kernels", "halfpi"] {
        run(&mut cross::cargo(
            context,
            &AARCH64_BARE,
            ["build", "--no-default-features", "--package", package],
        )?)?;
    }
    Ok(())
}

/// Every example of the SDK, as the package's directory and the name. The trainer's are tools.
fn examples(root: &Path) -> Vec<(PathBuf, String)> {
    let package = root.join("core");
    let files = fs::read_dir(package.join("examples")).into_iter().flatten().flatten();
    let rust = files
        .map(|file| file.path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let mut found: Vec<_> = rust
        .filter_map(|file| Some((package.clone(), file.file_stem()?.to_str()?.to_string())))
        .collect();
    found.sort();
    found
}

/// Examples take the model as their first argument.
fn run_example(context: &Context, package: &Path, example: &str) -> Outcome {
    let mut cargo = context.cargo(["run", "--release", "--example", example, "--manifest-path"]);
    Ok(run(cargo
        .arg(package.join("Cargo.toml"))
        .arg("--")
        .arg(test_model(context)?))?)
}

fn demo_answers(context: &Context) -> Outcome {
    let question = [
        "--prompt",
        "What is the capital of France?",
        "--max-tokens",
        "16",
        "--temperature",
        "0",
    ];
    let answer = output(&mut demo::command(context, &question.map(String::from))?)?;
    println!("{answer}");
    if answer.trim().is_empty() {
        Err(Stop::Failed("the answer is empty".to_string()))
    } else {
        Ok(())
    }
}

/// As short as it can be: this sees that the benchmark works, not how fast anything is.
fn bench(context: &Context) -> Outcome {
    let mut bench = context.cargo(["run", "--release", "--package", "halfpi-cli", "--", "bench", "--json"]);
    bench.args([
        "--shape",
        "smollm2-135m",
        "--prompt-tokens",
        "32",
        "--decode-tokens",
        "8",
        "--rounds",
        "1",
    ]);
    let report = output(&mut bench)?;
    println!("{report}");
    match ["prefill_tokens_per_second", "decode_tokens_per_second"]
        .iter()
        .find(|key| !report.contains(**key))
    {
        None => Ok(()),
        Some(key) => Err(Stop::Failed(format!("the report has no {key}"))),
    }
}

/// HALFPI_TEST_MODEL, or else the demo model.
pub fn test_model(context: &Context) -> Outcome<PathBuf> {
    match env::var_os("HALFPI_TEST_MODEL") {
        Some(path) => Ok(std::path::absolute(path).map_err(|e| format!("HALFPI_TEST_MODEL: {e}"))?),
        None => model::path(context),
    }
}

/// Makes sure of a part of the toolchain that a minimal installation lacks.
fn component(command: &str, name: &str) -> Outcome {
    let version = Command::new("cargo").args([command, "--version"]).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let why = format!("the toolchain has no {name}");
    if find_program("rustup").is_none() {
        return Err(Stop::missing(why, format!("rustup component add {name}")));
    }
    // Some machines have a toolchain, and no way to where its parts come from.
    run(Command::new("rustup").args(["component", "add", name]))
        .map_err(|error| Stop::Unsupported(format!("{why}, and it cannot be added: {error}")))
}
