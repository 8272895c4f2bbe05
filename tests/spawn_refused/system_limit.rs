//! The same with the kernel's own limit on threads, `RLIMIT_NPROC`.

use super::{assert_grows_to, is_no_threads};
use crate::common::{self, Gate, Occupied, Wakes, wait_until};
use futures::future::join_all;
use offramp::{Offload, OffloadError, offload_cpu, offload_io};
use std::future::Future;
use std::sync::mpsc;
use std::task::Context;
use std::time::{Duration, Instant};
use std::{hint, io, mem, process, thread};

/// Makes this process its user's only one, so that the limit, which is the user's,
/// counts our threads and nobody else's. Root is exempt from it.
fn become_nobody() {
    // SAFETY: no pointers; glibc changes the user of all threads.
    unsafe {
        if libc::geteuid() == 0 {
            let id = 100_000 + process::id();
            assert_eq!(libc::setgid(id), 0, "{}", io::Error::last_os_error());
            assert_eq!(libc::setuid(id), 0, "{}", io::Error::last_os_error());
        }
    }
}

/// Lets this process have `threads` threads; `None`: any number.
fn allow(threads: Option<usize>) {
    // SAFETY: an all-zero value is valid, and both calls get a valid pointer.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &mut limit), 0);
        limit.rlim_cur = match threads {
            Some(threads) => threads as libc::rlim_t,
            None => limit.rlim_max,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &limit), 0);
    }
}

/// Waits until the timer's thread has nothing to do any more.
fn no_timer_is_left() {
    wait_until("the timer has left", || {
        let names = common::thread_names();
        !names.iter().any(|name| name.ends_with("-timer"))
    });
}

/// CPU time that this process has used.
fn cpu_time() -> Duration {
    // SAFETY: an all-zero value is valid, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[test]
fn existing_workers_go_on_and_the_pool_grows_when_the_limit_is_lifted() {
    const TEST: &str =
        "system_limit::existing_workers_go_on_and_the_pool_grows_when_the_limit_is_lifted";
    common::alone(TEST, || {
        become_nobody();
        let offload = Offload::builder().io_max_threads(8).build().unwrap();
        let (busy, threads) = (Occupied::io(&offload, 2), offload.stats().io.threads);
        busy.release();
        allow(Some(0));
        let calls = (0..500).map(|number| offload_io(move || number).on(&offload));
        let outcomes = pollster::block_on(join_all(calls));
        assert!(outcomes.into_iter().map(Result::unwrap).eq(0..500));
        assert_eq!(offload.stats().io.threads, threads);
        allow(None);
        assert_grows_to(&offload, 8);
    });
}

#[test]
fn a_pool_that_gets_no_more_threads_burns_no_cpu() {
    common::alone(
        "system_limit::a_pool_that_gets_no_more_threads_burns_no_cpu",
        || {
            become_nobody();
            let offload = Offload::builder().io_max_threads(8).build().unwrap();
            let busy = Occupied::io(&offload, 1);
            allow(Some(0));
            let (start, used) = (Instant::now(), cpu_time());
            let mut waiting = Vec::new();
            for _ in 0..50 {
                waiting.push(offload_io(|| ()).on(&offload).try_spawn().unwrap());
                thread::sleep(Duration::from_millis(20));
            }
            let (wall, used) = (start.elapsed(), cpu_time() - used);
            assert!(used < wall / 10, "{used:?} of CPU in {wall:?}");
            assert!(waiting.iter().all(|handle| !handle.is_finished()));
            busy.release();
            for handle in waiting {
                handle.wait().unwrap();
            }
        },
    );
}

/// The timer's thread is refused, too: a worker that has nothing to do looks after times.
#[test]
fn deadlines_are_kept_without_a_thread_for_them() {
    const TEST: &str = "system_limit::deadlines_are_kept_without_a_thread_for_them";
    common::alone(TEST, || {
        become_nobody();
        let builder = Offload::builder().io_max_threads(2).io_min_threads(2);
        // The timer, which also looks for jobs that overstay, has soon nothing to do.
        let soon = Duration::from_millis(1);
        let offload = builder.warn_after(soon).build().unwrap();
        let busy = Occupied::io(&offload, 2);
        busy.release();
        wait_until("both sleep", || offload.stats().io.idle == 2);
        no_timer_is_left();
        allow(Some(0));
        let (go_on, held) = mpsc::channel::<()>();
        let stuck = offload_io(move || held.recv().is_ok()).on(&offload);
        let outcome = stuck.timeout(Duration::from_millis(30)).wait();
        let is_late = matches!(outcome, Err(OffloadError::DeadlineExceeded { .. }));
        assert!(is_late, "{outcome:?}");
        go_on.send(()).unwrap();
        let after = offload_io(|| 7).on(&offload).timeout(common::PATIENCE);
        assert_eq!(after.wait().unwrap(), 7);
    });
}

/// Wake-ups that would be put off are not, because nobody could see to it that they come.
#[test]
fn callers_of_brief_jobs_are_woken_without_a_thread_for_them() {
    const TEST: &str = "system_limit::callers_of_brief_jobs_are_woken_without_a_thread_for_them";
    common::alone(TEST, || {
        become_nobody();
        let builder = Offload::builder().io_max_threads(2).io_min_threads(2);
        let soon = Duration::from_millis(1);
        let offload = builder.warn_after(soon).build().unwrap();
        let brief = || {
            offload_io(|| {
                (0..1_000).fold(hint::black_box(1_u64), |all, one| all.wrapping_mul(7) ^ one)
            })
            .on(&offload)
        };
        Occupied::io(&offload, 2).release();
        for _ in 0..200 {
            brief().wait().unwrap();
        }
        no_timer_is_left();
        allow(Some(0));
        for _ in 0..10 {
            let busy = Occupied::io(&offload, 2);
            let mut calls: Vec<_> = (0..5).map(|_| Box::pin(brief())).collect();
            let wakes: Vec<_> = calls
                .iter_mut()
                .map(|call| {
                    let (wakes, waker) = Wakes::new();
                    let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
                    assert!(polled.is_pending());
                    wakes
                })
                .collect();
            let gate = Gate::new();
            let long = [(); 3].map(|()| {
                let gate = gate.clone();
                let call = offload_io(move || gate.pass()).on(&offload);
                call.try_spawn().unwrap_or_else(|_| panic!("there is room"))
            });
            busy.release();
            wait_until("all are woken", || {
                wakes.iter().all(|wakes| wakes.count() == 1)
            });
            gate.open();
            for call in long {
                call.wait().unwrap();
            }
        }
    });
}

#[test]
fn without_any_thread_every_call_is_no_threads_in_under_a_second() {
    const TEST: &str =
        "system_limit::without_any_thread_every_call_is_no_threads_in_under_a_second";
    common::alone(TEST, || {
        become_nobody();
        let offload = Offload::builder().cpu_threads(2).build().unwrap();
        allow(Some(0));
        let start = Instant::now();
        let io = (0..50).map(|_| offload_io(|| ()).on(&offload));
        let cpu = (0..50).map(|_| offload_cpu(|| ()).on(&offload));
        let calls = async { (join_all(io).await, join_all(cpu).await) };
        let (io, cpu) = pollster::block_on(calls);
        assert!(io.iter().all(is_no_threads), "{io:?}");
        assert!(cpu.iter().all(is_no_threads), "{cpu:?}");
        assert!(start.elapsed() < Duration::from_secs(1));
        allow(None);
        assert_grows_to(&offload, 8);
        offload_cpu(|| ()).on(&offload).wait().unwrap();
    });
}

#[test]
fn a_cpu_pool_that_gets_some_of_its_threads_gives_them_back_and_starts_later() {
    const TEST: &str =
        "system_limit::a_cpu_pool_that_gets_some_of_its_threads_gives_them_back_and_starts_later";
    common::alone(TEST, || {
        become_nobody();
        let offload = Offload::builder().cpu_threads(4).build().unwrap();
        let threads = common::threads();
        for more in 0..5 {
            allow(Some(threads + more));
            let outcome = offload_cpu(|| ()).on(&offload).wait();
            assert!(is_no_threads(&outcome), "with {more} threads: {outcome:?}");
            wait_until("the threads have left", || common::threads() == threads);
            assert_eq!(offload.stats().cpu.threads, 0);
        }
        // Four workers and their bell. One of before may still count for a moment.
        allow(Some(threads + 5));
        wait_until("the pool starts", || {
            offload_cpu(|| ()).on(&offload).wait().is_ok()
        });
        let (sender, names) = mpsc::channel();
        let job =
            move || rayon::broadcast(|_| sender.send(thread::current().name().map(str::to_owned)));
        let sent = offload_cpu(job).on(&offload).wait().unwrap();
        assert_eq!(sent.len(), 4);
        assert!(names.iter().all(|name| name.is_some()));
    });
}
