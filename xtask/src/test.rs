//! `cargo xtask test`: runs the steps and says how each of them ended.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::outcome::{Outcome, Stop};
use crate::steps::{self, Step};

/// Runs the named steps, or all of them; every one is run even if an earlier one failed.
pub fn run(context: &Context, args: &[String]) -> Outcome<ExitCode> {
    let steps = steps::all(context);
    if args.iter().any(|arg| arg == "--list") {
        for step in &steps {
            println!("{:<22} {}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args.iter().find(|arg| !steps.iter().any(|step| is_named(step, arg))) {
        return Err(Stop::Failed(format!(
            "there is no step `{unknown}`; `cargo xtask test --list` names them"
        )));
    }
    let chosen = steps
        .iter()
        .filter(|step| args.is_empty() || args.iter().any(|arg| is_named(step, arg)));
    let results: Vec<_> = chosen
        .map(|step| {
            println!("\n== {}: {}", step.name, step.about);
            let start = Instant::now();
            let outcome = (step.run)(context);
            if let Err(stop) = &outcome {
                println!("== {}: {stop}", step.name);
            }
            (step.name.as_str(), start.elapsed(), outcome)
        })
        .collect();
    Ok(if summarize(&results, context.ci) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A step answers to its name and to its group's.
fn is_named(step: &Step, name: &str) -> bool {
    step.name
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Prints one line a step and the counts; returns whether nothing failed. On a CI machine, what could have been
/// installed and is missing is a failure too.
fn summarize(results: &[(&str, Duration, Outcome)], ci: bool) -> bool {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!("\n{:<22} {:>8}  result", "step", "seconds");
    for (name, time, outcome) in results {
        let (count, word, detail) = match outcome {
            Ok(()) => (&mut passed, "passed", String::new()),
            Err(stop @ Stop::Failed(_)) => (&mut failed, "FAILED", format!(": {stop}")),
            Err(stop @ Stop::Missing { .. }) if ci => (&mut failed, "FAILED", format!(": {stop}")),
            Err(stop) => (&mut skipped, "not run here", format!(": {stop}")),
        };
        *count += 1;
        println!("{name:<22} {:>8.1}  {word}{detail}", time.as_secs_f64());
    }
    let skips = if skipped > 0 {
        format!(", {skipped} skipped")
    } else {
        String::new()
    };
    println!("\n{passed} passed, {failed} failed{skips}");
    failed == 0
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::{env, fs};

    use super::*;
    use crate::outcome::output;

    fn results(outcome: Outcome) -> [(&'static str, Duration, Outcome); 2] {
        [("one", Duration::ZERO, Ok(())), ("two", Duration::ZERO, outcome)]
    }

    #[test]
    fn a_failed_step_fails_the_run() {
        assert!(!summarize(&results(Err(Stop::Failed("no".into()))), false));
    }

    #[test]
    fn a_step_that_cannot_run_fails_only_on_ci() {
        assert!(summarize(&results(Err(Stop::missing("no qemu", "qemu-user"))), false));
        assert!(!summarize(&results(Err(Stop::missing("no qemu", "qemu-user"))), true));
        assert!(summarize(&results(Err(Stop::Unsupported("another CPU".into()))), true));
    }

    #[test]
    fn the_check_of_a_fresh_machine_lets_nothing_be_left_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let bin = env::temp_dir().join(format!("halfpi-ci-{}", std::process::id()));
        fs::create_dir_all(&bin).unwrap();
        // Says what it is asked and whether it is on a CI machine, in the place of cargo.
        fs::write(bin.join("cargo"), "#!/bin/sh\necho $* $CI\n").unwrap();
        let executable = Command::new("chmod").arg("+x").arg(bin.join("cargo")).status();
        assert!(executable.unwrap().success());
        let path = env::var("PATH").unwrap();
        let ran = |ci: Option<&str>| {
            let mut command = Command::new("bash");
            command
                .arg(root.join(".ci/run"))
                .env_remove("CI")
                .envs(ci.map(|ci| ("CI", ci)));
            output(command.env("PATH", format!("{}:{path}", bin.display()))).unwrap()
        };
        assert_eq!(ran(None), "xtask test true");
        assert_eq!(ran(Some("0")), "xtask test 0");
        fs::remove_dir_all(&bin).unwrap();
    }

    #[test]
    fn a_group_names_its_steps() {
        let step = Step {
            name: "aarch64:max".into(),
            about: String::new(),
            run: Box::new(|_| Ok(())),
        };
        assert!(is_named(&step, "aarch64") && is_named(&step, "aarch64:max"));
        assert!(!is_named(&step, "aarch") && !is_named(&step, "max"));
    }
}
