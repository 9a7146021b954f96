//! The Kotlin library and its sample app on a JVM: what they need, and their tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt;
use crate::bindings;
use crate::context::Context;
use crate::outcome::{Outcome, Stop, run};

/// How a JVM with -Xcheck:jni begins to complain about native code; the stack follows, innermost frame first.
const COMPLAINT: &str = "WARNING in native method";

/// The one class whose native code is ours. All others in the stacks are JNA's and what JNA generates: it does not ask
/// for exceptions after each of its calls, and says so by design.
const OURS: &str = "\tat dev.halfpi.NativeBridge.";

/// Every test of `android/`, with `model` for those that need one that makes sense.
pub fn test(context: &Context, model: &Path) -> Outcome {
    let mut maven = maven(context, "verify")?;
    run(&mut context.cargo(["build", "--package", "halfpi-android"]))?;
    watched(maven.env("HALFPI_TEST_MODEL", model))
}

/// Builds both sides of benches/kotlin.py and runs it.
pub fn bench(context: &Context, model: &Path, options: &[String]) -> Outcome {
    let mut maven = maven(context, "test-compile")?;
    run(maven.args(["--quiet", "--projects", "halfpi"]))?;
    let packages = ["--package", "halfpi-cli", "--package", "halfpi-android"];
    run(context.cargo(["build", "--release"]).args(packages))?;
    let mut bench = Command::new("python3");
    bench.arg(context.root.join("benches/kotlin.py")).arg(model);
    bench.arg("--target").arg(context.target().join("release"));
    Ok(run(bench.args(options))?)
}

/// `mvn GOAL`, once everything is there for it but the library.
fn maven(context: &Context, goal: &str) -> Outcome<Command> {
    apt::require(&[("javac", "openjdk-17-jdk-headless"), ("mvn", "maven")])?;
    bindings(context)?;
    let generated = context.target().join("bindings/guide");
    let guide = context.root.join("docs/kotlin.md");
    fs::create_dir_all(&generated).map_err(|e| format!("{}: {e}", generated.display()))?;
    let text = fs::read_to_string(&guide).map_err(|e| format!("{}: {e}", guide.display()))?;
    let tests = sources(&context.root.join("android/halfpi/src/test/kotlin"))?;
    fs::write(generated.join("Guide.kt"), snippets(&text, &tests)?)
        .map_err(|e| format!("{}: {e}", generated.display()))?;

    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--no-transfer-progress", "--file", "android/pom.xml"])
        .arg(format!("-Dhalfpi.library={}", context.target().join("debug").display()))
        .arg(format!("-Dhalfpi.docs.tests={}", generated.display()))
        .arg(goal)
        .current_dir(&context.root);
    Ok(maven)
}

/// Writes the Kotlin code that calls the native library to where Maven and Gradle expect it.
pub fn bindings(context: &Context) -> Outcome {
    let directory = "android/halfpi/generated/kotlin";
    let directory = context.root.join(directory).display().to_string();
    bindings::write(context, &["kotlin".to_string(), "--out-dir".to_string(), directory])
}

/// Runs Maven, and fails too if the JVM complained about our native code, which fails no test. Complaints about JNA's,
/// thousands of lines, are left out of the output.
fn watched(maven: &mut Command) -> Outcome {
    println!("$ mvn verify");
    let mut child = maven
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("mvn: {e}"))?;
    let stdout = child.stdout.take().ok_or("mvn has no output".to_string())?;
    let mut filter = Filter::default();
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        for line in filter.pass(String::from_utf8_lossy(&line).into_owned()) {
            println!("{line}");
        }
    }
    println!("{} complaints of -Xcheck:jni about JNA left out", filter.theirs);
    let status = child.wait().map_err(|e| format!("mvn: {e}"))?;
    match (status.success(), filter.ours) {
        (true, 0) => Ok(()),
        (true, ours) => Err(Stop::Failed(format!(
            "-Xcheck:jni complains {ours} times about our native code"
        ))),
        (false, _) => Err(Stop::Failed(format!("{status}: mvn verify"))),
    }
}

/// Drops the complaints about native code that is not ours.
#[derive(Default)]
struct Filter {
    /// A complaint whose first frame has not come yet.
    held: Option<String>,
    is_dropping: bool,
    ours: usize,
    theirs: usize,
}

impl Filter {
    /// What to show when `line` comes.
    fn pass(&mut self, line: String) -> Vec<String> {
        let is_frame = line.starts_with('\t');
        if let Some(complaint) = self.held.take() {
            if line.starts_with(OURS) {
                self.ours += 1;
                self.is_dropping = false;
                return vec![complaint, line];
            }
            self.theirs += 1;
            self.is_dropping = true;
        }
        if line.starts_with(COMPLAINT) {
            self.held = Some(line);
            return Vec::new();
        }
        if self.is_dropping && is_frame {
            return Vec::new();
        }
        self.is_dropping = false;
        vec![line]
    }
}

/// All files below a directory, one after the other.
fn sources(directory: &Path) -> Result<String, String> {
    let io = |e: std::io::Error| format!("{}: {e}", directory.display());
    let mut text = String::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        text += &match path.is_dir() {
            true => sources(&path)?,
            false => fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?,
        };
    }
    Ok(text)
}

/// The Kotlin code of a guide as one source file: each block a function, with the head that the comment before it gives
/// (`<!-- fun name(parameters) -->`). A block without one, or one that `tests` do not call, is an error, since nobody
/// would notice when it breaks.
fn snippets(guide: &str, tests: &str) -> Result<String, String> {
    let (mut imports, mut functions) = (Vec::new(), String::new());
    let mut lines = guide.lines().enumerate();
    let mut head = None;
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line
            .strip_prefix("<!-- fun ")
            .and_then(|line| line.strip_suffix(" -->"))
        {
            head = Some(comment);
        } else if line == "```kotlin" {
            let head = head.take();
            let is_called = |head: &&str| {
                let name = format!("dev.halfpi.guide.{}", head.split('(').next().unwrap_or(head));
                let mut found = tests.match_indices(&name);
                found.any(|(at, _)| !tests[at + name.len()..].starts_with(char::is_alphanumeric))
            };
            let head = head.filter(is_called);
            let head = head.ok_or_else(|| format!("line {}: a Kotlin block that no test calls", number + 1))?;
            functions += &format!("\nsuspend fun {head} {{\n");
            for (_, code) in lines.by_ref().take_while(|(_, line)| *line != "```") {
                if code.starts_with("import ") {
                    imports.push(code);
                } else {
                    functions += &format!("    {code}\n");
                }
            }
            functions += "}\n";
        }
    }
    imports.sort_unstable();
    imports.dedup();
    Ok(format!(
        "package dev.halfpi.guide\n\n{}\n{functions}",
        imports.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::{Filter, snippets};

    #[test]
    fn blocks_become_functions() {
        let guide = "# Guide\n<!-- fun a(n: Int) -->\n```kotlin\nimport x.Y\n\nY(n)\n```\ntext\n";
        let expected = "package dev.halfpi.guide\n\nimport x.Y\n\nsuspend fun a(n: Int) {\n    \n    Y(n)\n}\n";
        assert_eq!(snippets(guide, "import dev.halfpi.guide.a\n").unwrap(), expected);
    }

    #[test]
    fn complaints_about_others_are_dropped() {
        let mut filter = Filter::default();
        let lines = [
            "a test",
            "WARNING in native method: x",
            "\tat com.sun.jna.Native.invoke(Native Method)",
            "\tat dev.halfpi.NativeBridge.number(NativeBridge.kt:1)",
            "WARNING in native method: y",
            "\tat dev.halfpi.NativeBridge.descriptorNumber(Native Method)",
            "\tat more",
            "the end",
        ];
        let shown: Vec<String> = lines.iter().flat_map(|line| filter.pass(line.to_string())).collect();
        assert_eq!(shown, [lines[0], lines[4], lines[5], lines[6], lines[7]]);
        assert_eq!((filter.ours, filter.theirs), (1, 1));
    }

    #[test]
    fn a_block_that_no_test_calls_is_an_error() {
        assert!(snippets("```kotlin\nf()\n```\n", "").unwrap_err().contains("line 1"));
        let guide = "<!-- fun a() -->\n```kotlin\nf()\n```\n";
        assert!(
            snippets(guide, "import dev.halfpi.guide.about\n")
                .unwrap_err()
                .contains("line 2")
        );
    }
}
