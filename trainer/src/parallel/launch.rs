//! Several processes on this machine without a launcher.

use super::ParallelError;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the others may take to end by themselves once one has failed. They hear of it within a second; the rest is
/// for what they want to save.
const GRACE: Duration = Duration::from_secs(5);

/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(20);

/// The longest line of a rank's standard error that is passed on whole.
const MAX_LINE: u64 = 16 << 10;

/// Runs `program` in `processes` processes with torchrun's variables for a world on this machine, until all have ended.
///
/// Rank 0 has this process's standard streams. What the others write to their standard error appears here line by
/// line behind their rank; their standard output is dropped, because all ranks report the same. The processors are
/// divided among the ranks (`RAYON_NUM_THREADS`, unless it is set).
///
/// Once `interrupted` says so all ranks are interrupted as by Ctrl-C, and waited for. (At a terminal they have heard of
/// it; other programs interrupt only this process.)
///
/// # Errors
///
/// [`ParallelError::Local`] with the code of the first process that fails; the others are ended then.
/// [`ParallelError::Spawn`] if there is no such program.
pub fn spawn_local<S: AsRef<OsStr>>(
    processes: usize,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), ParallelError> {
    let program = program.as_ref();
    let args: Vec<S> = args.into_iter().collect();
    if processes == 0 {
        let problem = "a world has at least one process".to_string();
        return Err(ParallelError::Variable {
            name: "WORLD_SIZE",
            value: "0".to_string(),
            problem,
        });
    }
    let port = free_port().map_err(|source| ParallelError::System {
        action: "find a free port",
        source,
    })?;
    let job = format!("local-{}-{port}", std::process::id());
    let threads = (std::thread::available_parallelism().map_or(1, usize::from) / processes).max(1);
    let mut world = LocalWorld {
        ranks: Vec::with_capacity(processes),
    };
    for rank in 0..processes {
        let mut command = Command::new(program);
        command
            .args(&args)
            .env_remove("HALFPI_MASTER_PORT")
            .env_remove("TORCHELASTIC_USE_AGENT_STORE");
        for (name, value) in [
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", processes),
            ("LOCAL_WORLD_SIZE", processes),
            ("MASTER_PORT", usize::from(port)),
        ] {
            command.env(name, value.to_string());
        }
        command.env("MASTER_ADDR", "127.0.0.1").env("TORCHELASTIC_RUN_ID", &job);
        if std::env::var_os("RAYON_NUM_THREADS").is_none() {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        if rank > 0 {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
        }
        let spawned = command.spawn();
        let mut process = spawned.map_err(|source| ParallelError::Spawn {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
        let echo = process
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || echo(rank, stderr)));
        world.ranks.push(LocalRank {
            process,
            ended: None,
            echo,
        });
    }
    world.wait(interrupted)
}

/// A port that nobody has. Nothing keeps it until rank 0 takes it, so it lies below those that systems give to
/// connections; should another program take it all the same, rank 0 says so.
fn free_port() -> std::io::Result<u16> {
    let start = std::process::id();
    let mut failed = None;
    for port in (0..100).map(|next| 10_000 + (start.wrapping_mul(31).wrapping_add(next) % 20_000) as u16) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

/// The processes; none outlives it.
struct LocalWorld {
    ranks: Vec<LocalRank>,
}

struct LocalRank {
    process: Child,
    ended: Option<ExitStatus>,
    /// Gives the last line of its standard error.
    echo: Option<JoinHandle<String>>,
}

impl LocalWorld {
    fn wait(&mut self, interrupted: &dyn Fn() -> bool) -> Result<(), ParallelError> {
        let mut failed: Option<(usize, ExitStatus, Instant)> = None;
        let mut told = false;
        loop {
            if !told && interrupted() {
                told = true;
                self.interrupt();
            }
            for (rank, process) in self
                .ranks
                .iter_mut()
                .enumerate()
                .filter(|(_, process)| process.ended.is_none())
            {
                let status = process.process.try_wait();
                process.ended = status.map_err(|source| ParallelError::System {
                    action: "wait for a process",
                    source,
                })?;
                if let Some(status) = process.ended
                    && !status.success()
                    && failed.is_none()
                {
                    failed = Some((rank, status, Instant::now()));
                }
            }
            let ended = self.ranks.iter().all(|rank| rank.ended.is_some());
            match failed {
                // Whoever was interrupted may have much to save.
                Some((rank, status, since)) if ended || !told && since.elapsed() > GRACE => {
                    let echo = self.ranks[rank].echo.take().map(JoinHandle::join);
                    let message = echo.and_then(Result::ok).unwrap_or_default();
                    let code = code(status);
                    return Err(ParallelError::Local {
                        rank,
                        status: status.to_string(),
                        code,
                        message,
                    });
                }
                None if ended => return Ok(()),
                _ => std::thread::sleep(POLL),
            }
        }
    }
}

impl LocalWorld {
    /// Does to all that run what Ctrl-C does. Elsewhere than on Unix a console does it to all of them by itself.
    fn interrupt(&self) {
        #[cfg(unix)]
        for rank in self.ranks.iter().filter(|rank| rank.ended.is_none()) {
            use nix::sys::signal::{Signal, kill};
            // One that is gone by now needs nothing.
            let _ = kill(
                nix::unistd::Pid::from_raw(rank.process.id().cast_signed()),
                Signal::SIGINT,
            );
        }
    }
}

impl Drop for LocalWorld {
    fn drop(&mut self) {
        for rank in &mut self.ranks {
            if rank.ended.is_none() {
                let _ = rank.process.kill();
                let _ = rank.process.wait();
            }
            if let Some(echo) = rank.echo.take() {
                let _ = echo.join();
            }
        }
    }
}

/// Passes a rank's standard error on, and keeps its last line.
fn echo(rank: usize, stderr: ChildStderr) -> String {
    let (mut stderr, mut line, mut last) = (BufReader::new(stderr), Vec::new(), String::new());
    loop {
        line.clear();
        match std::io::Read::take(&mut stderr, MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {
                let text = String::from_utf8_lossy(&line);
                eprintln!("[rank {rank}] {}", text.trim_end());
                if !text.trim().is_empty() {
                    last = text.trim().to_string();
                }
            }
            Ok(0) | Err(_) => return last,
        }
    }
}

/// As a shell would have it.
fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1)
}
