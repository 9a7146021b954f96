//! A Swift toolchain: the machine's own, or Debian's unpacked into the cache and run through chroot.
//!
//! Debian has Swift in a later release than the one whose C library many machines have. So it is unpacked with all that
//! it depends on into a directory that is a small system of its own; nothing is installed. The directories that a
//! command needs are mounted in it at their own paths, in a mount namespace that ends with the command.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::context::{Context, find_program};
use crate::outcome::{Outcome, Stop};

/// The Debian release that has Swift 6.
const SUITE: &str = "trixie";

/// Swift, and what its package manager and linker run that Debian's dependencies do not name.
const PACKAGES: [&str; 9] = [
    "swiftlang",
    "libc6-dev",
    "libstdc++-14-dev",
    "libncurses-dev",
    "binutils",
    "git",
    "ca-certificates",
    "bash",
    "coreutils",
];

/// Where Swift is.
pub enum Swift {
    /// On the machine, as it is on every Mac with Xcode.
    Installed,
    /// In a directory to enter with chroot.
    Unpacked {
        /// The directory.
        root: PathBuf,
        /// The script that enters it.
        enter: PathBuf,
    },
}

impl Swift {
    /// The machine's own, or else Debian's (574 MB to download and 2.6 GB unpacked, once).
    ///
    /// # Errors
    /// [`Stop::Missing`] if there is none and this machine has no apt or this user is not root.
    pub fn open(context: &Context) -> Outcome<Self> {
        if find_program("swiftc").is_some() {
            return Ok(Self::Installed);
        }
        let wanted = "Swift 6 or later, with `swift` and `swiftc` in PATH";
        if !apt::is_available() {
            return Err(Stop::missing("no swift", wanted));
        }
        if !apt::is_root() {
            return Err(Stop::missing(
                "no swift, and Debian's is run through chroot, which only root may",
                wanted,
            ));
        }
        let directory = context.cache.join("swift").join(SUITE);
        let io = |e: std::io::Error| format!("{}: {e}", directory.display());
        fs::create_dir_all(context.cache.join("swift")).map_err(io)?;
        let lock = File::create(directory.with_extension("lock")).map_err(io)?;
        lock.lock().map_err(io)?;
        if !directory.exists() {
            println!("getting Swift from Debian, once");
            let unfinished = directory.with_extension("unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(io)?;
            }
            fs::create_dir_all(&unfinished).map_err(io)?;
            apt::unpack_system(&PACKAGES, SUITE, &unfinished)?;
            fs::rename(&unfinished, &directory).map_err(io)?;
        }
        let enter = context.root.join("xtask/swift/enter.sh");
        Ok(Self::Unpacked { root: directory, enter })
    }

    /// `ARGS…` (`swift` or one of its tools first) in `directory`, able to see `visible` directories, which must exist.
    /// Set variables with [`env`](Command::env) as usual.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        visible: &[&Path],
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        match self {
            Self::Installed => {
                let mut command = Command::new("env");
                command.args(args).current_dir(directory);
                command
            }
            Self::Unpacked { root, enter } => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh"]).arg(enter).arg(root);
                command.arg(visible.len().to_string()).args(visible);
                command.arg(directory).args(args);
                command
            }
        }
    }
}
