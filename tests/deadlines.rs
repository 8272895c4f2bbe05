//! Time-outs and deadlines: nothing starts after its own, everybody is answered.

mod common;

use common::{Occupied, Wakes, alone, threads, wait_until, watchdog};
use futures::future::join_all;
use offramp::{Offload, OffloadError, offload_cpu_with, offload_io, offload_io_with};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    builder.cpu_threads(1).build().unwrap()
}

fn is_expired<T>(outcome: &Result<T, OffloadError>) -> bool {
    matches!(outcome, Err(OffloadError::DeadlineExceeded { .. }))
}

/// How long a thread asks to sleep 50 ms and does: what this machine, now, adds to a time.
fn sleeps_of_50_ms() -> Duration {
    let start = Instant::now();
    thread::sleep(Duration::from_millis(50));
    start.elapsed()
}

/// Ten seconds of work for two threads, and callers that give it 50 ms, each a tenant whose line
/// is empty, so that none is refused. Half of them do not wait: only the workers can keep
/// their jobs from starting late.
#[test]
fn of_a_backlog_nothing_starts_late_and_every_caller_is_answered() {
    let _watchdog = watchdog("a backlog with time-outs");
    let builder = Offload::builder().io_max_threads(2).capacity(2_000);
    let offload = builder.build().unwrap();
    let started = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let call = |number: u64| {
        let started = Arc::clone(&started);
        let job = move || {
            started.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(10));
        };
        let call = offload_io(job).on(&offload).tenant(number);
        call.timeout(Duration::from_millis(50))
    };
    let calls: Vec<_> = (0..2_000)
        .filter_map(|number| {
            let handle = call(number).try_spawn().unwrap();
            if number % 2 == 0 {
                return Some(handle);
            }
            handle.detach();
            None
        })
        .collect();
    let submitted = calls.len();
    assert_eq!(submitted, 1_000);
    let outcomes = pollster::block_on(join_all(calls));
    let expired = outcomes
        .iter()
        .filter(|outcome| is_expired(outcome))
        .count();
    // Two threads have started five jobs each in 50 ms, or some more while the last of the
    // calls were made, but far from all.
    assert!(
        expired >= submitted - 100,
        "{expired} of {submitted} expired"
    );
    wait_until("nothing waits or runs", || {
        let stats = offload.stats().io;
        stats.queued + stats.running == 0
    });
    let stats = offload.stats().io;
    let started = started.load(Ordering::SeqCst) as u64;
    assert!(started <= 200, "{started} started");
    assert_eq!(started, stats.completed);
    assert_eq!(stats.submitted, stats.completed + stats.expired);
    // Ten seconds of backlog were not worked off.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn every_caller_is_answered_though_all_workers_are_stuck() {
    let _watchdog = watchdog("stuck workers");
    let offload = pool(2);
    let stuck = Occupied::io(&offload, 2);
    let answered_in = |number: u64| {
        let offload = offload.clone();
        thread::spawn(move || {
            let start = Instant::now();
            let call = offload_io(|| ()).on(&offload);
            let outcome = call.timeout(Duration::from_millis(50)).wait();
            assert!(is_expired(&outcome), "{number}: {outcome:?}");
            start.elapsed()
        })
    };
    let callers: Vec<_> = (0..8).map(answered_in).collect();
    let sleeps: Vec<_> = (0..8).map(|_| thread::spawn(sleeps_of_50_ms)).collect();
    let fastest = |threads: Vec<thread::JoinHandle<Duration>>| {
        threads.into_iter().map(|one| one.join().unwrap()).min()
    };
    let (answered, slept) = (fastest(callers).unwrap(), fastest(sleeps).unwrap());
    assert!(
        answered >= Duration::from_millis(50),
        "too early: {answered:?}"
    );
    // Two ticks later than a sleep of the same length beside it.
    assert!(
        answered <= slept + Duration::from_millis(10),
        "{answered:?} beside {slept:?}"
    );
    assert_eq!(offload.stats().io.queued, 0, "their room is free");
    stuck.release();
    assert_eq!(offload.stats().io.completed, 2);
}

#[test]
fn the_error_tells_how_long_it_waited_and_ran() {
    let _watchdog = watchdog("waited and ran");
    let offload = pool(1);
    let (go_on, held) = mpsc::channel::<()>();
    let runs = offload_io(move || held.recv().is_ok())
        .on(&offload)
        .timeout(Duration::from_millis(40));
    let Err(OffloadError::DeadlineExceeded { waited, ran, .. }) = runs.wait() else {
        panic!("it has no value yet");
    };
    assert!(ran > Duration::ZERO && waited + ran >= Duration::from_millis(39));
    assert_eq!(offload.stats().io.orphans, 1);

    let waits = offload_io(|| ()).on(&offload);
    let error = waits.timeout(Duration::from_millis(20)).wait().unwrap_err();
    let text = error.to_string();
    let OffloadError::DeadlineExceeded { waited, ran, .. } = error else {
        panic!("{error:?}");
    };
    assert!(waited >= Duration::from_millis(19), "{waited:?}");
    assert_eq!(ran, Duration::ZERO);
    assert!(text.contains("did not start"), "{text}");
    go_on.send(()).unwrap();
}

#[test]
fn a_call_whose_time_is_over_is_handed_back() {
    let offload = pool(1);
    let kept = String::from("kept");
    let call = offload_io(move || kept).on(&offload);
    let refused = call.timeout(Duration::ZERO).try_spawn().unwrap_err();
    let reason = refused.reason();
    assert!(
        matches!(reason, OffloadError::DeadlineExceeded { .. }),
        "{reason:?}"
    );
    assert_eq!(refused.into_inner()(), "kept");

    let past = Instant::now().checked_sub(Duration::from_secs(1));
    let call = offload_io(|| ()).on(&offload).deadline(past.unwrap());
    assert!(is_expired(&call.wait()));
    let stats = offload.stats().io;
    assert_eq!((stats.submitted, stats.expired, stats.threads), (2, 2, 0));
}

#[test]
fn a_value_in_time_is_not_lost_and_the_earlier_deadline_counts() {
    let _watchdog = watchdog("values in time");
    let offload = pool(1);
    for number in 0..1_000 {
        let call = offload_io(move || number).on(&offload);
        assert_eq!(
            call.timeout(Duration::from_secs(60)).wait().unwrap(),
            number
        );
    }
    let (_go_on, held) = mpsc::channel::<()>();
    let call = offload_io(move || held.recv().is_ok()).on(&offload);
    let call = call.timeout(Duration::from_millis(10));
    assert!(is_expired(&call.timeout(Duration::from_secs(60)).wait()));
}

#[test]
fn a_detached_job_does_not_start_late_either() {
    let _watchdog = watchdog("detached and late");
    let offload = pool(1);
    let stuck = Occupied::io(&offload, 1);
    let call = offload_io(|| panic!("it must not run")).on(&offload);
    let handle = call.timeout(Duration::from_millis(10)).try_spawn().unwrap();
    handle.detach();
    thread::sleep(Duration::from_millis(20));
    stuck.release();
    wait_until("it has been taken", || offload.stats().io.queued == 0);
    let stats = offload.stats().io;
    assert_eq!((stats.expired, stats.panicked), (1, 0));
}

#[test]
fn a_handle_is_finished_when_its_time_is_over() {
    let _watchdog = watchdog("a late handle");
    let offload = pool(1);
    let stuck = Occupied::io(&offload, 1);
    let call = offload_io(|| ()).on(&offload);
    let handle = call.timeout(Duration::from_millis(10)).try_spawn().unwrap();
    wait_until("its time is over", || handle.is_finished());
    let (_, waker) = Wakes::new();
    let mut handle = pin!(handle);
    match handle.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(outcome) => assert!(is_expired(&outcome)),
        Poll::Pending => panic!("it said that it is finished"),
    }
    stuck.release();
}

#[test]
fn a_running_job_sees_its_time_and_stops_at_a_checkpoint() {
    let _watchdog = watchdog("remaining time");
    let offload = pool(1);
    let plain = offload_io_with(|job| Ok((job.deadline(), job.remaining(), offramp::remaining())));
    assert_eq!(plain.on(&offload).wait().unwrap(), (None, None, None));

    let (told, seen) = mpsc::channel();
    let look = {
        let told = told.clone();
        move |job: &offramp::Job| {
            let left = job.remaining().unwrap();
            assert!(left <= Duration::from_millis(30) && offramp::remaining().unwrap() <= left);
            assert!(job.deadline().unwrap() <= Instant::now() + left);
            loop {
                if let Err(stopped) = job.checkpoint() {
                    told.send(stopped.to_string()).unwrap();
                    return Err::<(), _>(stopped);
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    };
    let io = offload_io_with(look.clone()).on(&offload);
    assert!(is_expired(&io.timeout(Duration::from_millis(30)).wait()));
    assert!(seen.recv().unwrap().contains("deadline"));
    // In deep code, whose signatures know nothing of it.
    let deep = offload_io(|| {
        while offramp::checkpoint().is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let deep = deep.on(&offload).timeout(Duration::from_millis(30));
    // It may well be through before its caller is woken: then there is a value.
    let outcome = deep.wait();
    assert!(outcome.is_ok() || is_expired(&outcome));
    wait_until("both have stopped", || offload.stats().io.running == 0);
    assert_eq!(offload.stats().io.orphans, 0);

    let cpu = offload_cpu_with(|job: &offramp::Job| {
        while job.checkpoint().is_ok() {
            std::hint::spin_loop();
        }
        job.checkpoint()
    });
    let cpu = cpu.on(&offload).timeout(Duration::from_millis(30));
    let cpu = cpu.try_spawn().unwrap();
    cpu.detach();
    wait_until("it has stopped", || offload.stats().cpu.cancelled == 1);
}

/// A closure that leaves at a checkpoint before anybody noticed that its time is over.
#[test]
fn a_stop_for_lateness_is_no_cancellation() {
    let _watchdog = watchdog("stopped for lateness");
    let offload = pool(1);
    let call = offload_io_with(|job| {
        while job.remaining().unwrap() > Duration::ZERO {
            thread::yield_now();
        }
        job.checkpoint()
    });
    let handle = call.on(&offload).timeout(Duration::from_millis(10));
    let handle = handle.try_spawn().unwrap();
    wait_until("it has left", || offload.stats().io.running == 0);
    match handle.wait() {
        Err(OffloadError::DeadlineExceeded { ran, .. }) => assert!(ran > Duration::ZERO),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_made_by_an_io_job_inherit_the_earlier_deadline() {
    let _watchdog = watchdog("inherited deadlines");
    let (outer, inner) = (pool(1), pool(1));
    let parent = |own: Duration| {
        let inner = inner.clone();
        let job = move |job: &offramp::Job| {
            let child = offload_io_with(|child| Ok(child.deadline()));
            let child = child.on(&inner).timeout(own);
            Ok((job.deadline().unwrap(), child.wait().unwrap().unwrap()))
        };
        let call = offload_io_with(job).on(&outer);
        call.timeout(Duration::from_secs(100)).wait().unwrap()
    };
    let (parents, childs) = parent(Duration::from_secs(1_000));
    assert_eq!(parents, childs);
    let (parents, childs) = parent(Duration::from_secs(10));
    assert!(childs < parents);
}

/// Disarmed long before they are due, alarms do not pile up; and the timer thread leaves.
#[test]
fn finished_calls_leave_no_alarm_behind_and_the_timer_leaves() {
    alone(
        "finished_calls_leave_no_alarm_behind_and_the_timer_leaves",
        || {
            let before = threads();
            let offload = pool(1);
            let day = Duration::from_secs(24 * 60 * 60);
            for _ in 0..20_000 {
                offload_io(|| ()).on(&offload).timeout(day).wait().unwrap();
            }
            let names = common::thread_names();
            assert!(
                names.iter().any(|name| name == "offramp-timer"),
                "{names:?}"
            );
            drop(offload);
            wait_until("no thread is left", || threads() == before);
        },
    );
}
