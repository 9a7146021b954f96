//! How a step ends, and the two ways of running a program that every step uses.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why a step did not pass.
pub enum Stop {
    /// It ran and something is wrong.
    Failed(String),
    /// It could not run: something is missing that a person can install.
    Missing {
        /// What is missing.
        why: String,
        /// What to install, or the command that does it.
        install: String,
    },
    /// It could not run, and nothing that could be installed would help, or that cannot be had here.
    Unsupported(String),
}

/// The end of a step.
pub type Outcome<T = ()> = Result<T, Stop>;

impl Stop {
    /// Something that a person can install is missing.
    pub fn missing(why: impl Into<String>, install: impl Into<String>) -> Self {
        Stop::Missing {
            why: why.into(),
            install: install.into(),
        }
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Failed(message)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Failed(message) => f.write_str(message),
            Stop::Missing { why, install } => write!(f, "{why}; to install: {install}"),
            Stop::Unsupported(why) => f.write_str(why),
        }
    }
}

/// Runs a program whose output goes to the terminal.
pub fn run(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}: {}", shown(command))),
        Err(error) => Err(format!("{error}: {}", shown(command))),
    }
}

/// Runs a program and returns what it printed on its standard output; its standard error goes to the terminal.
pub fn output(command: &mut Command) -> Result<String, String> {
    match command.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_string()),
        Ok(output) => Err(format!("{}: {}", output.status, shown(command))),
        Err(error) => Err(format!("{error}: {}", shown(command))),
    }
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    command
        .get_args()
        .fold(program.into_owned(), |line, arg| line + " " + &arg.to_string_lossy())
}
