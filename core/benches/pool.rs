//! How fast jobs of a few microseconds go through halfpi's pool, and through two simpler ones, on idle cores and on
//! cores that other processes keep busy.
//!
//! `cargo bench -p halfpi --bench pool` prints one table each, on Linux. The pools take turns within every row, so
//! their ratios hold on a noisy machine too; the absolute figures do not.

use halfpi::pool::Pool;
use halfpi_kernels::{Parallel, Serial};
use std::hint::{black_box, spin_loop};
use std::process::{Child, Command};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const TASKS_PER_RUN: usize = 8;
const TASK_MICROSECONDS: [u32; 4] = [0, 1, 5, 20];
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_millis(100);
const LOAD: &str = "--load";

/// Runs a job of [`TASKS_PER_RUN`] tasks of so many work units once.
type Run<'a> = &'a dyn Fn();
/// Sets up a pool of so many threads, hands it over and takes it down.
type Contender = fn(usize, u64, &mut dyn FnMut(Run<'_>));

const CONTENDERS: [(&str, Contender); 4] = [
    ("serial", |_, units, measure| {
        measure(&|| Serial.run(TASKS_PER_RUN, &|_, _| work(units)))
    }),
    ("pool", |threads, units, measure| {
        let pool = Pool::new(threads);
        measure(&|| pool.run(TASKS_PER_RUN, &|_, _| work(units)));
    }),
    ("condvar", condvar_pool),
    ("barrier", barrier_pool),
];

fn main() {
    if std::env::args().any(|argument| argument == LOAD) {
        return keep_busy();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let units_per_microsecond = calibrate();
    println!("{cores} cores; microseconds for a run of {TASKS_PER_RUN} tasks, median of {ROUNDS} rounds");
    for busy in [0, cores] {
        let _load: Vec<_> = (0..busy).map(Load::start).collect();
        println!("\n{busy} busy processes");
        print!("{:<24}", "a task, threads");
        for (name, _) in CONTENDERS {
            print!("{name:>10}");
        }
        println!("{:>13}{:>13}", "pool: runs/s", "serial/pool");
        let row = |microseconds, threads, pause: Duration| {
            let units = (f64::from(microseconds) * units_per_microsecond) as u64;
            let times = compare(threads, units, pause);
            let after = if pause.is_zero() { "" } else { ", after a pause" };
            print!("{:<24}", format!("{microseconds} us, {threads}{after}"));
            for time in times {
                print!("{time:>10.2}");
            }
            println!("{:>13.0}{:>13.2}", 1e6 / times[1], times[0] / times[1]);
        };
        for microseconds in TASK_MICROSECONDS {
            row(microseconds, 1, Duration::ZERO);
            row(microseconds, 2, Duration::ZERO);
        }
        row(5, 2, Duration::from_millis(1));
    }
}

/// The median time of a run for each contender, in microseconds; a pause before each run puts workers to sleep.
fn compare(threads: usize, units: u64, pause: Duration) -> [f64; CONTENDERS.len()] {
    let mut times = [[0.0; ROUNDS]; CONTENDERS.len()];
    for round in 0..ROUNDS {
        for (times, (_, contender)) in times.iter_mut().zip(CONTENDERS) {
            contender(threads, units, &mut |run| {
                for _ in 0..10 {
                    run();
                }
                let (start, mut runs, mut running) = (Instant::now(), 0, Duration::ZERO);
                while start.elapsed() < WINDOW {
                    if pause.is_zero() {
                        // Several runs to a reading of the clock, which costs as much as the shortest run.
                        let before = Instant::now();
                        (0..10).for_each(|_| run());
                        running += before.elapsed();
                        runs += 10;
                    } else {
                        std::thread::sleep(pause);
                        let before = Instant::now();
                        run();
                        running += before.elapsed();
                        runs += 1;
                    }
                }
                times[round] = running.as_secs_f64() * 1e6 / f64::from(runs);
            });
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

/// A fixed amount of arithmetic, not of time: being off the core must not count as work.
fn work(units: u64) {
    let mut x = 1u64;
    for i in 0..units {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
    }
    black_box(x);
}

/// Work units that take a microsecond.
fn calibrate() -> f64 {
    let units = 100_000;
    let fastest = (0..50)
        .map(|_| {
            let start = Instant::now();
            work(units);
            start.elapsed()
        })
        .min()
        .expect("50 measurements");
    units as f64 / (fastest.as_secs_f64() * 1e6)
}

/// The simple pool: workers sleep on a condition variable, and a job is over when every worker has checked in.
fn condvar_pool(threads: usize, units: u64, measure: &mut dyn FnMut(Run<'_>)) {
    #[derive(Default)]
    struct State {
        job: usize,
        working: usize,
        stop: bool,
    }
    let (state, started, ended) = (Mutex::new(State::default()), Condvar::new(), Condvar::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| {
                let mut seen = 0;
                loop {
                    let waiting = |state: &mut State| state.job == seen && !state.stop;
                    let guard = started.wait_while(state.lock().unwrap(), waiting).unwrap();
                    if guard.stop {
                        break;
                    }
                    seen = guard.job;
                    drop(guard);
                    share_tasks(&next, units);
                    let mut guard = state.lock().unwrap();
                    guard.working -= 1;
                    if guard.working == 0 {
                        ended.notify_one();
                    }
                }
            });
        }
        measure(&|| {
            next.store(0, SeqCst);
            let mut guard = state.lock().unwrap();
            guard.job += 1;
            guard.working = threads - 1;
            drop(guard);
            started.notify_all();
            share_tasks(&next, units);
            drop(
                ended
                    .wait_while(state.lock().unwrap(), |state| state.working > 0)
                    .unwrap(),
            );
        });
        state.lock().unwrap().stop = true;
        started.notify_all();
    });
}

/// The fastest pool on idle cores: nobody ever sleeps, and a job is over when every worker has checked in.
fn barrier_pool(threads: usize, units: u64, measure: &mut dyn FnMut(Run<'_>)) {
    let (job, working, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| {
                for seen in 0.. {
                    while job.load(Acquire) == seen {
                        spin_loop();
                    }
                    if stop.load(Relaxed) {
                        break;
                    }
                    share_tasks(&next, units);
                    working.fetch_sub(1, Release);
                }
            });
        }
        measure(&|| {
            next.store(0, Relaxed);
            working.store(threads - 1, Relaxed);
            job.fetch_add(1, Release);
            share_tasks(&next, units);
            while working.load(Acquire) > 0 {
                spin_loop();
            }
        });
        stop.store(true, Relaxed);
        job.fetch_add(1, Release);
    });
}

fn share_tasks(next: &AtomicUsize, units: u64) {
    while next.fetch_add(1, Relaxed) < TASKS_PER_RUN {
        work(units);
    }
}

/// Another process, that wants a core.
struct Load(Child);

impl Load {
    /// Held to one core, or all of these could end up on the same.
    fn start(core: usize) -> Self {
        let this = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(this).arg(LOAD);
        Load(command.spawn().expect("taskset (util-linux) starts"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a [`Load`] does: it ends by itself if the benchmark could not end it.
fn keep_busy() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        work(100_000);
    }
}
