//! What every command needs to know about the machine it runs on.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where things are, found once.
pub struct Context {
    /// The workspace.
    pub root: PathBuf,
    /// What is worth keeping between clones: the demo model, the standard library for other targets, cargo-fuzz.
    pub cache: PathBuf,
    /// Whether this is a CI machine, where nothing may be left out.
    pub ci: bool,
}

impl Context {
    /// Reads the environment.
    pub fn new() -> Result<Self, String> {
        // Cargo sets it when it runs this program; the path compiled in serves when it is run by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest)
            .parent()
            .ok_or("xtask is not inside a workspace")?
            .to_path_buf();
        let cache = match env::var_os("HALFPI_CACHE") {
            Some(directory) => std::path::absolute(directory).map_err(|e| format!("HALFPI_CACHE: {e}"))?,
            None => match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
                (Some(directory), _) => PathBuf::from(directory).join("halfpi"),
                (None, Some(home)) => PathBuf::from(home).join(".cache/halfpi"),
                (None, None) => root.join("target/cache"),
            },
        };
        let ci = env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
        Ok(Self { root, cache, ci })
    }

    /// Where cargo puts what it builds.
    pub fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), |directory| self.root.join(directory))
    }

    /// `cargo ARGS…` in the workspace, with the same toolchain that runs this program.
    pub fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).current_dir(&self.root);
        command
    }
}

/// The path of a program, if the machine has it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
