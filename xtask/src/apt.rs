//! Debian's packages: tools that tests need, and packages of another suite unpacked without being installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::find_program;
use crate::outcome::{Outcome, Stop, output, run};

/// A file that must be there, by absolute path or as a program's name, and the package that brings it.
pub type Tool = (&'static str, &'static str);

/// Installs the packages of those tools that are missing, if this machine lets us.
pub fn require(tools: &[Tool]) -> Outcome {
    let missing = || {
        tools
            .iter()
            .filter(|(file, _)| !is_present(file))
            .map(|(_, package)| *package)
    };
    let packages: Vec<&str> = missing().collect();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !is_available() {
        return Err(Stop::missing(
            format!("{names} not found"),
            format!("{names} (the names of Debian's packages)"),
        ));
    }
    if !is_root() {
        return Err(Stop::missing(
            format!("{names} not installed"),
            format!("sudo apt-get install {names}"),
        ));
    }
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(install)
        .args(packages))?;
    match missing().next() {
        None => Ok(()),
        Some(package) => Err(Stop::Failed(format!(
            "{package} is installed but does not bring what was expected"
        ))),
    }
}

/// Whether this machine's apt knows Debian. (Ubuntu's does not.)
pub fn has_debian() -> bool {
    is_available() && mirrors().is_ok()
}

/// Whether this machine has apt at all.
pub fn is_available() -> bool {
    find_program("apt-get").is_some()
}

/// Downloads `package` in a version that starts with `version` from the first of `suites` that has it, and unpacks it
/// into `directory`. The machine's own lists and installed packages are not touched, so no root is needed.
pub fn unpack(package: &str, version: &str, suites: &[&str], directory: &Path) -> Outcome {
    let mirrors = mirrors()?;
    let places = mirrors
        .iter()
        .flat_map(|mirror| suites.iter().map(move |suite| (mirror, *suite)));
    for (mirror, suite) in places {
        match download(package, version, mirror, suite, &directory.join("apt")) {
            Ok(deb) => return Ok(run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(directory))?),
            Err(message) => println!("{suite} does not have {package} {version}: {message}"),
        }
    }
    Err(Stop::Failed(format!(
        "none of {} has {package} {version}",
        suites.join(", ")
    )))
}

/// Downloads `packages` and all that they depend on from the first of this machine's mirrors that has `suite`, and
/// unpacks them into `directory`: a file system of that suite, to be entered with chroot. No package's scripts run, and
/// nothing on this machine is touched.
pub fn unpack_system(packages: &[&str], suite: &str, directory: &Path) -> Outcome {
    let state = directory.with_extension("apt");
    let mut why = format!("no mirror of Debian has {suite}");
    for mirror in mirrors()? {
        let apt = match Apt::open(&mirror, suite, &state) {
            Ok(apt) => apt,
            Err(message) => {
                why = message;
                continue;
            }
        };
        let install = ["install", "--yes", "--no-install-recommends", "--download-only"];
        run(apt.get().args(install).args(packages))?;
        for deb in debs(&state.join("cache/archives"))? {
            output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(directory))?;
            // What is unpacked takes gigabytes; both at once would take half as much again.
            fs::remove_file(&deb).map_err(|e| format!("{}: {e}", deb.display()))?;
        }
        return Ok(fs::remove_dir_all(&state).map_err(|e| format!("{}: {e}", state.display()))?);
    }
    Err(Stop::Failed(why))
}

/// Downloads one package from one suite of one mirror, with `state` in the place of /var/lib/apt.
fn download(package: &str, version: &str, mirror: &str, suite: &str, state: &Path) -> Result<PathBuf, String> {
    let apt = Apt::open(mirror, suite, state)?;
    run(apt.get().arg("download").arg(format!("{package}={version}*")))?;
    let deb = debs(state)?.pop();
    deb.ok_or_else(|| format!("apt-get downloaded no {package}"))
}

/// The packages in a directory.
fn debs(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let files = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let paths = files.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect())
}

/// An apt that knows one suite of one mirror and no installed package. It checks signatures as the machine's own does.
struct Apt {
    state: PathBuf,
}

impl Apt {
    /// With `state`, which is emptied, in the place of /var/lib/apt and the packages' cache.
    fn open(mirror: &str, suite: &str, state: &Path) -> Result<Self, String> {
        const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let io = |e: std::io::Error| format!("{}: {e}", state.display());
        // Lists of another suite would let apt pick the package from there.
        if state.exists() {
            fs::remove_dir_all(state).map_err(io)?;
        }
        fs::create_dir_all(state.join("lists/partial")).map_err(io)?;
        fs::create_dir_all(state.join("cache/archives/partial")).map_err(io)?;
        fs::write(state.join("status"), "").map_err(io)?;
        let signed = if is_present(KEYRING) {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        fs::write(
            state.join("sources.list"),
            format!("deb {signed}{mirror} {suite} main\n"),
        )
        .map_err(io)?;

        let settings = [
            ("Dir::Etc::sourcelist", state.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State", state.into()),
            ("Dir::State::lists", state.join("lists")),
            ("Dir::State::status", state.join("status")),
            ("Dir::Cache", state.join("cache")),
            // Otherwise root's apt downloads as a user who may not be able to write here.
            ("APT::Sandbox::User", "root".into()),
        ];
        let settings: String = settings
            .map(|(name, value)| format!("{name} \"{}\";\n", value.display()))
            .concat();
        fs::write(state.join("apt.conf"), settings).map_err(io)?;
        let apt = Self { state: state.into() };
        run(apt.get().arg("update"))?;
        Ok(apt)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .current_dir(&self.state)
            .env("APT_CONFIG", self.state.join("apt.conf"))
            .arg("--quiet");
        command
    }
}

/// The mirrors of Debian that this machine is set up with.
fn mirrors() -> Outcome<Vec<String>> {
    let list = || output(Command::new("apt-get").args(["indextargets", "--format", "$(LABEL) $(REPO_URI)"]));
    let mut lines = list()?;
    if lines.is_empty() && is_root() {
        // A new container has no lists yet.
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        lines = list()?;
    }
    let mut mirrors: Vec<String> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .map(String::from)
        .collect();
    mirrors.sort_unstable();
    mirrors.dedup();
    if mirrors.is_empty() {
        return Err(Stop::missing(
            "apt knows no mirror of Debian",
            "apt-get update, on Debian",
        ));
    }
    Ok(mirrors)
}

fn is_present(file: &str) -> bool {
    if file.starts_with('/') {
        Path::new(file).exists()
    } else {
        find_program(file).is_some()
    }
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}
