//! Work on several threads, with results in the order of the jobs.

use std::collections::VecDeque;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Jobs that each thread has at most, done or not: one under way while the result of another is taken.
const JOBS: usize = 2;
/// More threads than this are not started, whatever is asked for.
const MOST_THREADS: usize = 256;

/// Does every job that `next` gives, and hands the results to `take` in the order of the jobs.
///
/// `next` and `take` run on the calling thread, while `threads` others work, or as many as the system gives. With one
/// thread, or none, it is the calling one that works too. Any error ends it; of several, that of the earliest job is
/// returned, however many threads there are.
///
/// # Errors
/// What `next`, `work` or `take` return.
pub(super) fn in_order<J: Send, R: Send, E: Send>(
    threads: usize,
    mut next: impl FnMut() -> Result<Option<J>, E>,
    work: impl Fn(J) -> Result<R, E> + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let mut workers = Vec::new();
        let wanted = if threads > 1 { threads.min(MOST_THREADS) } else { 0 };
        for _ in 0..wanted {
            let (jobs, given) = sync_channel::<J>(JOBS);
            let (done, results) = sync_channel(JOBS);
            let work = &work;
            let worker = move || given.into_iter().map(work).try_for_each(|result| done.send(result));
            // What the system refuses is done without.
            if thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                break;
            }
            workers.push((jobs, results));
        }
        if workers.is_empty() {
            while let Some(job) = next()? {
                take(work(job)?)?;
            }
            return Ok(());
        }
        // The oldest job is the front one's.
        let mut pending = VecDeque::new();
        let mut turn = workers.iter().cycle();
        // What `next` ended with.
        let mut end = None;
        loop {
            if end.is_none() && pending.len() < workers.len() * JOBS {
                match next() {
                    Ok(Some(job)) => {
                        if let Some((jobs, results)) = turn.next()
                            && jobs.send(job).is_ok()
                        {
                            pending.push_back(results);
                        }
                    }
                    Ok(None) => end = Some(Ok(())),
                    Err(error) => end = Some(Err(error)),
                }
            } else if let Some(results) = pending.pop_front() {
                // A worker ends early only by a panic, which the scope passes on.
                if let Ok(result) = results.recv() {
                    take(result?)?;
                }
            } else {
                return end.unwrap_or(Ok(()));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::Command;

    fn count_to(end: u32) -> impl FnMut() -> Result<Option<u32>, &'static str> {
        let mut numbers = 0..end;
        move || Ok(numbers.next())
    }

    #[test]
    fn results_come_in_order() {
        for threads in [0, 1, 2, 5] {
            for end in [0, 1, 7, 1000] {
                let mut found = Vec::new();
                let done = in_order(
                    threads,
                    count_to(end),
                    |n| Ok(n * 3),
                    |n| {
                        found.push(n);
                        Ok(())
                    },
                );
                assert_eq!(done, Ok(()));
                assert_eq!(found, (0..end).map(|n| n * 3).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let refuse = |at: u32| move |n: u32| if n == at { Err("refused") } else { Ok(n) };
        let mut taken = Vec::new();
        let result = in_order(3, count_to(1000), refuse(20), |n| {
            taken.push(n);
            Ok(())
        });
        assert_eq!((result, taken), (Err("refused"), (0..20).collect()));

        let check = refuse(5);
        assert_eq!(in_order(3, count_to(1000), Ok, |n| check(n).map(drop)), Err("refused"));
        let (mut numbers, check, mut taken) = (count_to(1000), refuse(9), 0);
        let next = || numbers()?.map(&check).transpose();
        let take = |_| {
            taken += 1;
            Ok(())
        };
        assert_eq!((in_order(3, next, Ok, take), taken), (Err("refused"), 9));
    }

    #[test]
    fn the_error_of_the_earliest_job_counts() {
        for threads in 1..5 {
            let mut numbers = count_to(9);
            let next = || match numbers()? {
                Some(8) => Err("next"),
                number => Ok(number),
            };
            let work = |n| if n == 7 { Err("work") } else { Ok(n) };
            let take = |n| if n == 6 { Err("take") } else { Ok(()) };
            assert_eq!(in_order(threads, next, work, take), Err("take"), "{threads} threads");
        }
    }

    /// In a process of its own, where stacks are so large that no thread can be had.
    #[test]
    fn threads_that_are_refused_are_done_without() {
        const STACK: &str = "RUST_MIN_STACK";
        if env::var_os("QEMU_CPU").is_some() {
            println!("SKIPPED: an emulator's threads are not those of the system");
            return;
        }
        if env::var(STACK).is_ok_and(|bytes| bytes == (1u64 << 60).to_string()) {
            let refused = thread::Builder::new().spawn(|| ());
            assert!(refused.is_err(), "this process must have no second thread");
            let mut sum = 0;
            let add = |n| {
                sum += n;
                Ok::<_, &str>(())
            };
            assert_eq!((in_order(4, count_to(100), Ok, add), sum), (Ok(()), 4950));
            return;
        }
        let name = "archive::pipeline::tests::threads_that_are_refused_are_done_without";
        let child = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(STACK, (1u64 << 60).to_string())
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{output}");
    }

    #[test]
    fn nobody_starts_threads_without_end() {
        let mut found = 0;
        let count = |_| {
            found += 1;
            Ok(())
        };
        assert_eq!(in_order(usize::MAX, count_to(1000), Ok, count), Ok(()));
        assert_eq!(found, 1000);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_does_not_hang() {
        let _ = in_order(
            2,
            count_to(100),
            |n| if n == 30 { panic!() } else { Ok::<_, &str>(n) },
            |_| Ok(()),
        );
    }
}
