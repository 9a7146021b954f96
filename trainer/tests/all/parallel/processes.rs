//! The processes of a test.

use super::{FAILED, PATIENCE, WORKER};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

/// [`PATIENCE`] in naps: a machine that stops all processes for a while, this one too, does not use it up.
struct Patience(u32);

impl Patience {
    fn new() -> Self {
        Self(0)
    }

    /// Waits a little; whether there is patience left.
    fn nap(&mut self) -> bool {
        const NAP: Duration = Duration::from_millis(10);
        std::thread::sleep(NAP);
        self.0 += 1;
        NAP * self.0 < PATIENCE
    }
}

/// The processes of one test.
pub struct Processes {
    pub scenario: &'static str,
    pub size: usize,
    pub port: u16,
    pub directory: PathBuf,
    pub running: Vec<(usize, Child)>,
    /// Set for every process that is started.
    pub variables: Vec<(&'static str, String)>,
}

impl Processes {
    pub fn new(scenario: &'static str, size: usize) -> Self {
        let port = free_port();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("parallel-{scenario}-{port}"));
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            scenario,
            size,
            port,
            directory,
            running: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// All ranks.
    pub fn all(scenario: &'static str, size: usize) -> Self {
        let mut processes = Self::new(scenario, size);
        (0..size).for_each(|rank| processes.start(rank));
        processes
    }

    pub fn start(&mut self, rank: usize) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(self.args())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("MASTER_ADDR", "127.0.0.1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        for (name, value) in [
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", self.size),
            ("MASTER_PORT", self.port.into()),
        ] {
            command.env(name, value.to_string());
        }
        self.running.push((rank, command.spawn().unwrap()));
    }

    pub fn args(&self) -> Vec<String> {
        let directory = self.directory.to_str().unwrap();
        ["--ignored", "--exact", "--nocapture", WORKER, self.scenario, directory]
            .map(str::to_string)
            .to_vec()
    }

    /// Returns when all ranks have met.
    pub fn met(&self) {
        let mut patience = Patience::new();
        while (0..self.size).any(|rank| !self.directory.join(format!("met-{rank}")).exists()) {
            assert!(patience.nap(), "the ranks did not meet");
        }
    }

    pub fn signal(&self, rank: usize, signal: &str) {
        let id = self
            .running
            .iter()
            .find(|(running, _)| *running == rank)
            .unwrap()
            .1
            .id();
        assert!(
            Command::new("kill")
                .args([signal, &id.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How every process ended.
    pub fn ended(&mut self) -> Vec<(usize, ExitStatus)> {
        let mut patience = Patience::new();
        let mut ended = Vec::new();
        for (rank, process) in &mut self.running {
            let status = loop {
                if let Some(status) = process.try_wait().unwrap() {
                    break status;
                }
                assert!(patience.nap(), "rank {rank} did not end");
            };
            ended.push((*rank, status));
        }
        ended
    }

    /// Whether every process ended well.
    pub fn succeed(&mut self) {
        for (rank, status) in self.ended() {
            assert!(status.success(), "rank {rank}: {status}: {}", self.error(rank));
        }
    }

    /// Whether these ranks and no others ended with an error that holds all of these words.
    pub fn fail(&mut self, ranks: &[usize], words: &[&str]) {
        for (rank, status) in self.ended() {
            assert_eq!(
                status.code() == Some(FAILED),
                ranks.contains(&rank),
                "rank {rank}: {status}"
            );
            if ranks.contains(&rank) {
                let error = self.error(rank);
                println!("{error}");
                assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error:?}");
            }
        }
    }

    pub fn error(&self, rank: usize) -> String {
        std::fs::read_to_string(self.directory.join(format!("error-{rank}"))).unwrap_or_default()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, process) in &mut self.running {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A port that is free, is no other test's, and lies below those that systems give to connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 12_000 + ((std::process::id() * 37) as u16).wrapping_add(NEXT.fetch_add(1, Relaxed)) % 18_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
