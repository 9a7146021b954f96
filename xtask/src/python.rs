//! Python 3: scripts are checked with it, and its packages carry the demo model and the corpus.

use std::process::{Command, Stdio};

use crate::apt;
use crate::outcome::{Outcome, Stop};

/// Makes sure that there is a `python3`.
pub fn require() -> Outcome {
    apt::require(&[("python3", "python3")])
}

/// Makes sure that `python3 -m pip` works: the first `python3` in PATH need not be Debian's, nor `pip3` its pip.
pub fn require_pip() -> Outcome {
    require()?;
    if has_pip() {
        return Ok(());
    }
    apt::require(&[("/usr/lib/python3/dist-packages/pip", "python3-pip")])?;
    match has_pip() {
        true => Ok(()),
        false => Err(Stop::missing(
            "the python3 in PATH has no pip, and Debian's does not serve it",
            "python3 -m ensurepip",
        )),
    }
}

fn has_pip() -> bool {
    let mut pip = Command::new("python3");
    let quiet = pip
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
