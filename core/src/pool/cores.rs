//! How many cores are worth a thread.

use std::fs;
use std::path::Path;
use std::thread;

/// The fast cores that this process may use, at least 1.
pub(super) fn fast_cores() -> usize {
    let usable = thread::available_parallelism().map_or(1, usize::from);
    if cfg!(any(target_os = "linux", target_os = "android")) {
        fast_cores_in(Path::new("/sys/devices/system/cpu")).map_or(usable, |fast| fast.min(usable))
    } else {
        usable
    }
}

/// Counts the cores with at least half of the fastest one's capacity.
///
/// `cpu_capacity` is the kernel's own measure (1024 for the fastest core), which takes the core's design into account.
/// Where a core lacks it, the highest clock has to do; there, little cores are less than half as fast at two thirds of
/// the clock. None if a core has neither.
fn fast_cores_in(cpus: &Path) -> Option<usize> {
    let count = |file: &str, slowest: (u64, u64)| {
        let mut speeds = Vec::new();
        for entry in fs::read_dir(cpus).ok()? {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_prefix("cpu").unwrap_or_default();
            if number.parse::<u32>().is_ok() {
                speeds.push(fs::read_to_string(path.join(file)).ok()?.trim().parse::<u64>().ok()?);
            }
        }
        let fastest = *speeds.iter().max()?;
        let (part, whole) = slowest;
        Some(
            speeds
                .iter()
                .filter(|&&speed| u128::from(speed) * whole as u128 >= u128::from(fastest) * part as u128)
                .count(),
        )
    };
    count("cpu_capacity", (1, 2)).or_else(|| count("cpufreq/cpuinfo_max_freq", (3, 4)))
}
