//! The Swift package in `ios/`: its generated code, and its tests against the real library.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bindings;
use crate::context::Context;
use crate::outcome::{Outcome, run};
use crate::swift::Swift;

/// The page whose code the tests run.
const PAGE: &str = "docs/swift.md";

/// What only Apple's compiler can compile.
const APPLE: [&str; 4] = [
    "Sample.swiftpm/Package.swift",
    "Sample.swiftpm/App/ChatApp.swift",
    "Sample.swiftpm/App/ChatView.swift",
    "Sources/Halfpi/SystemObserver.swift",
];

/// Writes the code that uniffi makes to its place in the package.
pub fn generate(context: &Context) -> Outcome {
    let made = context.target().join("bindings/swift");
    bindings::write(context, &["swift".to_string()])?;
    let sources = context.root.join("ios/Sources");
    for (file, place) in [("HalfpiFFI.swift", "HalfpiFFI"), ("CHalfpi.h", "CHalfpi")] {
        update(&sources.join(place).join(file), &read(&made.join(file))?)?;
    }
    Ok(())
}

/// Takes the blocks of code out of the page: those for every system are one function, which a test calls; those for iOS
/// are one each, in a file whose syntax is looked at.
fn take_out_examples(context: &Context, tests: &Path, ios: &Path) -> Outcome {
    let page = read(&context.root.join(PAGE))?;
    let all = blocks(&page, "swift").concat();
    let given = "modelPath: String, modelURL: URL, modelSHA256: String, \
        archiveURL: URL, archiveSHA256: String, unpackedSHA256: String, models: URL";
    update(tests, &program(&format!("documentation({given})"), &[all]))?;
    update(ios, &program("example()", &blocks(&page, "swift ios")))
}

/// A function for each of `bodies`, and before them what the bodies import.
fn program(signature: &str, bodies: &[String]) -> String {
    let is_import = |line: &&str| line.starts_with("import ");
    let lines = bodies.iter().flat_map(|body| body.lines());
    let imports = lines.filter(is_import).map(|line| format!("{line}\n"));
    let mut program = format!("// Made of {PAGE} by `cargo xtask test swift`.\n");
    program.extend(imports);
    for body in bodies {
        let body = body
            .lines()
            .filter(|line| !is_import(line))
            .map(|line| format!("{line}\n"));
        program += &format!("\nfunc {signature} async throws {{\n{}}}\n", body.collect::<String>());
    }
    program
}

/// The blocks of code between lines of three backticks, the first of which says `kind`.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("```") {
            let block = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .map(|line| format!("{line}\n"));
            let block: String = block.collect();
            if found == kind {
                blocks.push(block);
            }
        }
    }
    blocks
}

fn read(path: &Path) -> Outcome<String> {
    Ok(fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?)
}

/// Writes a file, but only when it differs, or Swift compiles it anew each time.
fn update(path: &Path, new: &str) -> Outcome {
    if fs::read_to_string(path).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let io = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(io)?;
    Ok(fs::write(path, new).map_err(io)?)
}

/// Looks at the syntax of what only Apple's compiler can compile, then `swift test`, with the library as cargo's dev build has it.
pub fn test(context: &Context, model: &Path) -> Outcome {
    let swift = Swift::open(context)?;
    generate(context)?;
    let library = context.target().join("debug");
    let package = context.root.join("ios");
    let for_ios = library.join("swift/ios.swift");
    take_out_examples(
        context,
        &package.join("Tests/HalfpiTests/Documentation.swift"),
        &for_ios,
    )?;
    let mut parse = swift.command(&package, &[&context.root, &library], ["swiftc", "-frontend", "-parse"]);
    run(parse.args(APPLE).arg(for_ios).env_remove("LD_LIBRARY_PATH"))?;

    let models = model.parent().unwrap_or(Path::new("/"));
    let visible = [&context.root, &library, models];
    let mut test = swift.command(&package, &visible, ["swift", "test"]);
    build_options(&mut test, &library);
    run(test.env("HALFPI_TEST_MODEL", model))?;
    release_build(&swift, &package, &visible, &library)
}

/// Builds what apps ship, which goes through Swift's optimizer: that has its own opinions, and crashes.
fn release_build(swift: &Swift, package: &Path, visible: &[&Path], library: &Path) -> Outcome {
    let product = ["swift", "build", "--configuration", "release", "--product", "Overhead"];
    let mut build = swift.command(package, visible, product);
    build_options(&mut build, library);
    Ok(run(&mut build)?)
}

/// Where to build, and how to link with the library in `directory`.
fn build_options(swift: &mut Command, directory: &Path) {
    swift.arg("--scratch-path").arg(directory.join("swift"));
    swift.args(["-Xswiftc", "-warnings-as-errors"]);
    for option in ["-L", "-rpath"] {
        swift.args(["-Xlinker", option, "-Xlinker"]).arg(directory);
    }
    if cfg!(target_os = "linux") {
        // Debian's libswiftObservation.so, which the sample app needs, refers to a function that no library has.
        swift.args(["-Xlinker", "--allow-shlib-undefined"]);
    }
    // Cargo's, for the programs that it runs.
    swift.env_remove("LD_LIBRARY_PATH");
}

/// Builds both sides of benches/swift.py and runs it.
pub fn bench(context: &Context, model: &Path, options: &[String]) -> Outcome {
    let swift = Swift::open(context)?;
    generate(context)?;
    run(&mut context.cargo([
        "build",
        "--release",
        "--package",
        "halfpi-cli",
        "--package",
        "halfpi-ffi",
    ]))?;
    let release = context.target().join("release");
    let visible = [&context.root, &release, model.parent().unwrap_or(Path::new("/"))];
    let package = context.root.join("ios");
    release_build(&swift, &package, &visible, &release)?;
    let overhead = swift.command(&package, &visible, [release.join("swift/release/Overhead")]);
    let words = std::iter::once(overhead.get_program()).chain(overhead.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let mut bench = Command::new("python3");
    bench
        .arg(context.root.join("benches/swift.py"))
        .arg(model)
        .args(options);
    bench.arg("--halfpi").arg(release.join("halfpi"));
    Ok(run(bench
        .arg("--swift")
        .arg(words.join(" "))
        .env_remove("LD_LIBRARY_PATH"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_by_their_kind() {
        let page =
            "text\n```swift\nlet a = 1\n```\n```swift ios\nlet b = 2\n```\n```sh\nls\n```\n```swift\nlet c = 3\n```\n";
        assert_eq!(blocks(page, "swift"), ["let a = 1\n", "let c = 3\n"]);
        assert_eq!(blocks(page, "swift ios"), ["let b = 2\n"]);
    }

    #[test]
    fn imports_come_before_the_functions() {
        let program = program("f()", &["import A\nlet a = 1\n".to_string()]);
        let (head, body) = program.split_once("\n\n").unwrap();
        assert!(head.ends_with("\nimport A"));
        assert_eq!(body, "func f() async throws {\nlet a = 1\n}\n");
    }
}
