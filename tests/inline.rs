//! `backend::Inline`: jobs run where and when they are submitted, and no thread is started.

mod common;

use common::{Wakes, alone, threads, watchdog};
use offramp::backend::Inline;
use offramp::{Backlog, Offload, OffloadError, offload_cpu, offload_dedicated, offload_io};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(1_000);

fn inline() -> Offload {
    let builder = Offload::builder().io_backend(Inline::new());
    builder.cpu_backend(Inline::new()).build().unwrap()
}

#[test]
fn a_job_runs_in_the_first_poll_which_is_ready() {
    let offload = inline();
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let here = thread::current().id();
    let mut call = pin!(offload_io(move || thread::current().id()).on(&offload));
    assert_eq!(offload.stats().io.submitted, 0, "it is lazy");
    match call.as_mut().poll(&mut cx) {
        Poll::Ready(outcome) => assert_eq!(outcome.unwrap(), here),
        Poll::Pending => panic!("it has run by now"),
    }
    let cpu = offload_cpu(move || thread::current().id()).on(&offload);
    assert_eq!(cpu.wait().unwrap(), here);
}

#[test]
fn a_job_runs_in_try_spawn_and_cannot_be_cancelled_any_more() {
    let offload = inline();
    let handle = offload_io(|| 1).on(&offload).try_spawn().unwrap();
    assert!(handle.is_finished());
    handle.abort();
    assert_eq!(handle.wait().unwrap(), 1);
    drop(offload_io(|| 2).on(&offload).try_spawn().unwrap());
    let must = offload_io(|| 3).on(&offload).must_run();
    assert_eq!(must.wait().unwrap(), 3);
    let io = offload.stats().io;
    assert_eq!((io.completed, io.cancelled, io.orphans), (3, 0, 0));
}

#[test]
fn a_job_of_a_job_runs_right_there() {
    let _watchdog = watchdog("nested jobs");
    fn nest(offload: &Offload, depth: u32, how: u32) -> u32 {
        let inner = offload.clone();
        let below = move || match depth {
            0 => 0,
            depth => 1 + nest(&inner, depth - 1, how),
        };
        let call = offload_io(below).on(offload);
        match how {
            0 => call.wait().unwrap(),
            1 => pollster::block_on(call).unwrap(),
            _ => call.try_spawn().unwrap().wait().unwrap(),
        }
    }
    let offload = inline();
    for how in 0..3 {
        assert_eq!(nest(&offload, 20, how), 20);
    }
    assert_eq!(offload.stats().io.completed, 63);
}

#[test]
fn a_deadline_that_has_passed_is_seen_before_the_start_and_a_later_one_by_the_job() {
    let offload = inline();
    let late = offload_io(|| unreachable!("it is late")).on(&offload);
    let late: Result<(), _> = late.deadline(Instant::now()).wait();
    assert!(
        matches!(late, Err(OffloadError::DeadlineExceeded { ran, .. }) if ran.is_zero()),
        "{late:?}"
    );
    let job = || {
        while offramp::checkpoint().is_ok() {
            thread::yield_now();
        }
        "stopped"
    };
    let call = offload_io(job).on(&offload);
    // Nobody gave it up meanwhile: its value is there.
    let outcome = call.timeout(Duration::from_millis(10)).wait();
    assert_eq!(outcome.unwrap(), "stopped");
    assert_eq!(offload.stats().io.expired, 1);
}

#[test]
fn a_panic_is_an_outcome() {
    let offload = inline();
    let outcome: Result<(), _> = offload_io(|| panic!("expected")).on(&offload).wait();
    assert!(matches!(outcome, Err(OffloadError::Panicked(_))));
    assert_eq!(offload_io(|| 1).on(&offload).wait().unwrap(), 1);
}

/// Neither for jobs, nor for their deadlines, nor for the shutdown's, nor to log those that
/// run for too long.
#[test]
fn no_thread_is_started() {
    alone("no_thread_is_started", || {
        let before = threads();
        let builder = Offload::builder().io_backend(Inline::new());
        let builder = builder.warn_after(Duration::from_millis(1));
        let offload = builder.cpu_backend(Inline::new()).build().unwrap();
        for _ in 0..10 {
            let slow = || thread::sleep(Duration::from_millis(2));
            pollster::block_on(offload_io(slow).on(&offload).timeout(LONG)).unwrap();
            offload_cpu(slow).on(&offload).timeout(LONG).wait().unwrap();
            let handle = offload_io(slow).on(&offload).timeout(LONG);
            pollster::block_on(handle.try_spawn().unwrap()).unwrap();
            assert_eq!(threads(), before);
        }
        let report = pollster::block_on(offload.shutdown(LONG, Backlog::Drain));
        assert!(report.is_complete());
        assert_eq!((report.finished, threads()), (0, before));
    });
}

#[test]
fn a_dedicated_job_has_its_own_thread() {
    let offload = inline();
    let id = offload_dedicated(|| thread::current().id()).on(&offload);
    assert_ne!(id.wait().unwrap(), thread::current().id());
}

#[test]
fn submitters_on_many_threads_each_get_their_own_value() {
    let _watchdog = watchdog("many submitters");
    let offload = inline();
    thread::scope(|scope| {
        for submitter in 0..4 {
            let offload = &offload;
            scope.spawn(move || {
                for number in 0..2_000 {
                    let call = offload_io(move || (submitter, number)).on(offload);
                    assert_eq!(call.wait().unwrap(), (submitter, number));
                }
            });
        }
    });
    assert_eq!(offload.stats().io.completed, 8_000);
}

/// A job may do what code on a blocking thread may, though a task's poll is under way.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn in_a_tokio_task_a_job_may_wait_for_jobs() {
    let offload = inline();
    let inner = offload.clone();
    let job = move || {
        let id = tokio::runtime::Handle::current().id();
        (id, offload_io(|| 1).on(&inner).wait().unwrap())
    };
    let (id, value) = offload_io(job).on(&offload).await.unwrap();
    assert_eq!((id, value), (tokio::runtime::Handle::current().id(), 1));
    assert!(tokio::task::coop::has_budget_remaining());
}
