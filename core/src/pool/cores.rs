//! How many cores are worth a thread.

use std::fs;
use std::path::Path;
use std::thread;

/// The fast cores that this process may use, at least 1.
pub(super) fn fast_cores() -> usize {
    let usable = thread::available_parallelism().map_or(1, usize::from);
    let fast = if cfg!(any(target_os = "linux", target_os = "android")) {
        fast_cores_in(Path::new("/sys/devices/system/cpu"))
    } else {
        None
    };
    fast.map_or(usable, |fast| fast.min(usable))
}

/// Counts the cores with at least half of the fastest one's capacity.
///
/// `cpu_capacity` is the kernel's own measure (1024 for the fastest core), which takes the core's design into account.
/// Where the kernel does not say, the highest clock has to do: a little core has about two thirds of a big one's, and
/// does less per cycle. None where a core has neither.
fn fast_cores_in(cpus: &Path) -> Option<usize> {
    let count = |file, percent| {
        let speeds = speeds(cpus, file)?;
        let limit = speeds.iter().max()?.saturating_mul(percent) / 100;
        Some(speeds.iter().filter(|&&speed| speed >= limit).count())
    };
    count("cpu_capacity", 50).or_else(|| count("cpufreq/cpuinfo_max_freq", 75))
}

/// The number in this file of every core's folder.
fn speeds(cpus: &Path, file: &str) -> Option<Vec<u64>> {
    let mut speeds = Vec::new();
    for entry in fs::read_dir(cpus).ok()? {
        let path = entry.ok()?.path();
        let number = path.file_name()?.to_str()?.strip_prefix("cpu");
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            speeds.push(fs::read_to_string(path.join(file)).ok()?.trim().parse().ok()?);
        }
    }
    Some(speeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the fast cores of a machine whose cores have these numbers in `file`.
    fn fast_cores_of(file: &str, cores: &[&str]) -> Option<usize> {
        let cpus = std::env::temp_dir().join(format!("halfpi-cores-{}", std::process::id()));
        let _ = fs::remove_dir_all(&cpus);
        // What else is in that folder on a real machine.
        fs::create_dir_all(cpus.join("cpufreq")).unwrap();
        fs::create_dir_all(cpus.join("cpuidle")).unwrap();
        for (i, core) in cores.iter().enumerate() {
            let path = cpus.join(format!("cpu{i}")).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{core}\n")).unwrap();
        }
        let fast = fast_cores_in(&cpus);
        fs::remove_dir_all(&cpus).unwrap();
        fast
    }

    #[test]
    fn slow_cores_do_not_count() {
        let capacity = |cores: &[&str]| fast_cores_of("cpu_capacity", cores);
        assert_eq!(capacity(&["1024", "1024"]), Some(2));
        assert_eq!(
            capacity(&["250", "250", "250", "250", "870", "870", "870", "1024"]),
            Some(4)
        );
        assert_eq!(
            capacity(&["380", "380", "380", "380", "380", "380", "1024", "1024"]),
            Some(2)
        );
        assert_eq!(capacity(&["1024", "", "1024"]), None);
        assert_eq!(capacity(&[]), None);

        let clock = |cores: &[&str]| fast_cores_of("cpufreq/cpuinfo_max_freq", cores);
        assert_eq!(clock(&["2000000", "2000000", "2800000", "2800000", "3200000"]), Some(3));
        assert_eq!(clock(&["0", "0"]), Some(2));
        assert_eq!(fast_cores_in(Path::new("/nowhere")), None);
    }
}
