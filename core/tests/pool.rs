//! Every task of every job runs exactly once and is over when `run` returns, whatever the threads are doing.

use halfpi::pool::Pool;
use halfpi_kernels::Parallel;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

/// Miri runs a thousand times slower.
const JOBS: u64 = if cfg!(miri) { 60 } else { 20_000 };

/// Small pseudorandom numbers (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn busy_for(nanoseconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_nanos(nanoseconds) {
        std::hint::spin_loop();
    }
}

/// Runs `jobs` jobs of random size. Each reads what the caller wrote before it, and the caller reads what it wrote.
fn check_jobs(pool: &Pool, jobs: u64, seed: u64) {
    let mut random = Random(seed);
    let in_use: Vec<_> = (0..pool.threads()).map(|_| AtomicBool::new(false)).collect();
    for job in 1..=jobs {
        let inputs: Vec<u64> = (0..random.below(40)).map(|_| random.below(1 << 40)).collect();
        let outputs: Vec<_> = inputs.iter().map(|_| AtomicU64::new(0)).collect();
        let nanoseconds = if random.below(4) == 0 { random.below(3000) } else { 0 };
        pool.run(inputs.len(), &|task, thread| {
            assert!(
                !in_use[thread].swap(true, Relaxed),
                "thread {thread} does two things at once"
            );
            busy_for(nanoseconds);
            // Added, so that a task that runs twice shows.
            outputs[task].fetch_add(inputs[task] + job, Relaxed);
            in_use[thread].store(false, Relaxed);
        });
        for (task, (input, output)) in inputs.iter().zip(&outputs).enumerate() {
            assert_eq!(
                output.load(Relaxed),
                input + job,
                "job {job}, task {task} of {}",
                inputs.len()
            );
        }
        if random.below(64) == 0 {
            // Around the time after which workers go to sleep.
            busy_for(random.below(100_000));
        }
    }
}

/// A job whose tasks wait for each other, so that it needs all threads awake.
fn meet(pool: &Pool) {
    let arrived = AtomicUsize::new(0);
    pool.run(pool.threads(), &|_, _| {
        arrived.fetch_add(1, Relaxed);
        let start = Instant::now();
        while arrived.load(Relaxed) < pool.threads() {
            assert!(start.elapsed() < Duration::from_secs(60), "a worker did not wake up");
            thread::yield_now();
        }
    });
}

#[test]
fn one_thread() {
    check_jobs(&Pool::new(1), JOBS, 1);
}

#[test]
fn two_threads() {
    check_jobs(&Pool::new(2), JOBS, 2);
}

#[test]
fn more_threads_than_cores() {
    check_jobs(&Pool::new(8), JOBS, 3);
}

#[test]
fn the_limit_can_change_at_any_time() {
    let pool = Pool::new(6);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(11);
            while !is_over.load(Relaxed) {
                pool.set_limit(random.below(9) as usize);
                busy_for(random.below(20_000));
            }
        });
        check_jobs(&pool, JOBS / 4, 12);
        is_over.store(true, Relaxed);
    });
    assert_eq!(pool.threads(), 6, "the limit is another thing");
    pool.set_limit(100);
    assert_eq!(pool.limit(), 6);
    meet(&pool);
}

#[test]
fn threads_over_the_limit_take_no_task() {
    let pool = Pool::new(4);
    for limit in [1, 2, 3] {
        pool.set_limit(limit);
        // Those that were looking for work when the limit came may have one last look.
        thread::sleep(Duration::from_millis(5));
        for _ in 0..JOBS / 40 {
            pool.run(20, &|_, thread| {
                assert!(thread < limit, "thread {thread}");
                busy_for(500);
            });
        }
    }
}

#[test]
fn many_pools_and_callers() {
    let shared = Pool::new(3);
    thread::scope(|scope| {
        for seed in 1..=3 {
            let shared = &shared;
            scope.spawn(move || {
                check_jobs(shared, JOBS / 10, seed);
                for job in 0..JOBS / 100 {
                    check_jobs(&Pool::new(4), 5, seed + job * 10);
                }
            });
        }
    });
}

#[test]
fn workers_wake_up_whenever_a_job_comes() {
    let pool = Pool::new(3);
    let mut random = Random(5);
    for _ in 0..JOBS / 20 {
        busy_for(random.below(150_000));
        meet(&pool);
    }
    thread::sleep(Duration::from_millis(20));
    meet(&pool);
}

#[test]
fn a_job_inside_a_task_runs() {
    let pool = Pool::new(4);
    let sum = AtomicUsize::new(0);
    pool.run(20, &|outer, _| {
        pool.run(10, &|inner, thread| {
            assert_eq!(thread, 0);
            sum.fetch_add(outer * inner, Relaxed);
        });
    });
    assert_eq!(sum.into_inner(), (0..20).sum::<usize>() * (0..10).sum::<usize>());
    // And the pool is free again: this needs all of it.
    meet(&pool);
}

#[test]
fn a_panic_reaches_the_caller() {
    let pool = Pool::new(3);
    for culprit in [|thread| thread == 0, |thread| thread != 0, |_| true] {
        for _ in 0..JOBS / 1000 + 2 {
            let (arrived, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(30, &|_, thread| {
                    // Nobody goes on before all threads have a task.
                    arrived.fetch_add(1, Relaxed);
                    while arrived.load(Relaxed) < pool.threads() {
                        thread::yield_now();
                    }
                    finished.fetch_add(1, Relaxed);
                    if culprit(thread) {
                        std::panic::resume_unwind(Box::new("a task's panic"));
                    }
                });
            }));
            let panic = outcome.expect_err("the panic was lost");
            assert_eq!(panic.downcast_ref(), Some(&"a task's panic"));
            assert_eq!(finished.into_inner(), 30, "the other tasks still run");
            meet(&pool);
        }
    }
}

#[test]
fn a_pool_ends_in_every_state() {
    let mut random = Random(6);
    for job in 0..JOBS / 40 {
        let pool = Pool::new(3);
        if job % 3 != 0 {
            check_jobs(&pool, random.below(3), job + 1);
        }
        busy_for(random.below(120_000));
    }
}

#[test]
fn thread_counts() {
    assert_eq!(Pool::new(0).threads(), 1);
    assert_eq!(Pool::new(1).threads(), 1);
    assert_eq!(Pool::new(5).threads(), 5);
    let most = Pool::new(usize::MAX);
    assert!(most.threads() <= 65, "{}", most.threads());
    check_jobs(&most, JOBS / 100, 7);
    assert!((1..=8).contains(&Pool::default_threads()));
}
