//! Shutdown is a value: what was finished, what was discarded, who is stuck.

mod common;

use common::{Gate, Occupied, PATIENCE, alone, threads, wait_until, watchdog};
use offramp::{
    Backlog, Job, Offload, OffloadError, offload_cpu, offload_dedicated, offload_dedicated_with,
    offload_io, offload_io_with,
};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    builder.cpu_threads(1).build().unwrap()
}

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_drain_runs_all_and_says_so() {
    let _watchdog = watchdog("a drain");
    let offload = pool(2);
    let occupied = Occupied::io(&offload, 2);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let ran = Arc::clone(&ran);
        let count = move || ran.fetch_add(1, SeqCst);
        offload_io(count).on(&offload).try_spawn().unwrap().detach();
    }
    let inner = offload.clone();
    let shutdown = thread::spawn(move || pollster::block_on(inner.shutdown(None, Backlog::Drain)));
    wait_until("closed", || {
        let call = offload_cpu(|| ()).on(&offload).wait();
        matches!(call, Err(OffloadError::ShutDown))
    });
    occupied.release();
    let report = shutdown.join().unwrap();
    assert_eq!(ran.load(SeqCst), 20);
    // The calls that looked whether it is closed may have been a little early.
    let early = offload.stats().cpu.completed;
    assert!((22..=22 + early).contains(&report.finished), "{report}");
    assert_eq!((report.discarded, report.waiting), (0, 0));
    assert!(report.is_complete(), "{report}");
}

#[test]
fn a_discard_answers_what_waits_and_runs_what_must() {
    let _watchdog = watchdog("a discard");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = || {
        let ran = Arc::clone(&ran);
        move || ran.fetch_add(1, SeqCst)
    };
    let spawn = || offload_io(count()).on(&offload).try_spawn().unwrap();
    let discarded: Vec<_> = (0..10).map(|_| spawn()).collect();
    spawn().detach();
    let must = offload_io(count()).on(&offload).must_run();
    let must = must.try_spawn().unwrap();
    let report = pollster::block_on(offload.shutdown(SHORT, Backlog::Discard));
    assert_eq!(
        (report.finished, report.discarded, report.waiting),
        (0, 11, 1)
    );
    assert_eq!(report.still_running.len(), 1, "{report}");
    for handle in discarded {
        let outcome = handle.wait();
        assert!(
            matches!(outcome, Err(OffloadError::ShutDown)),
            "{outcome:?}"
        );
    }
    occupied.release();
    must.wait().unwrap();
    assert_eq!(ran.load(SeqCst), 1);
    let report = pollster::block_on(offload.shutdown(None, Backlog::Drain));
    assert!(report.is_complete(), "{report}");
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.discarded, stats.queued), (2, 11, 0));
}

#[test]
fn a_job_blocked_for_ever_is_named_and_a_drop_returns_at_once() {
    let _watchdog = watchdog("a job blocked for ever");
    let offload = pool(2);
    let (_never, held) = mpsc::channel::<()>();
    let stuck = offload_io(move || held.recv().is_ok());
    let line = line!() - 1;
    let stuck = stuck.on(&offload).label("stuck").try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let start = Instant::now();
    let report = pollster::block_on(offload.shutdown(SHORT, Backlog::Drain));
    assert!(start.elapsed() >= SHORT);
    assert!(!report.is_complete());
    let [job] = &report.still_running[..] else {
        panic!("{report:?}");
    };
    assert_eq!(job.label.as_deref(), Some("stuck"));
    assert_eq!(
        (job.call_site.file(), job.call_site.line()),
        (file!(), line)
    );
    assert!(job.age >= SHORT && job.age < PATIENCE, "{report}");
    let text = report.to_string();
    assert!(
        text.contains("stuck") && text.contains("tests/shutdown.rs"),
        "{text}"
    );
    // The thread that drops the last handle is this one: were it to wait, it would hang.
    stuck.detach();
    drop(offload);
}

#[test]
fn from_inside_a_job_it_returns() {
    let _watchdog = watchdog("a shutdown from inside");
    for within in [None, Some(PATIENCE)] {
        for cpu in [false, true] {
            let offload = pool(2);
            let inner = offload.clone();
            let job = move || pollster::block_on(inner.shutdown(within, Backlog::Drain));
            let call = if cpu {
                offload_cpu(job).on(&offload).try_spawn()
            } else {
                offload_io(job).on(&offload).try_spawn()
            };
            let report = call.unwrap().wait().unwrap();
            // Itself.
            assert_eq!(report.still_running.len(), 1, "{report}");
            let after = pollster::block_on(offload.shutdown(None, Backlog::Drain));
            assert!(after.is_complete());
        }
    }
    // Two at once do not wait for each other, but for the rest.
    let offload = pool(3);
    let (gate, inner) = (Gate::new(), offload.clone());
    let held = gate.clone();
    let other = offload_io(move || held.pass())
        .on(&offload)
        .try_spawn()
        .unwrap();
    // Both run before either closes the pools.
    let both_run = Arc::new(Barrier::new(2));
    let job = move || {
        both_run.wait();
        pollster::block_on(inner.shutdown(None, Backlog::Drain))
    };
    let spawn = || offload_io(job.clone()).on(&offload).try_spawn().unwrap();
    let both = [spawn(), spawn()];
    thread::sleep(Duration::from_millis(20));
    assert!(both.iter().all(|one| !one.is_finished()), "one still runs");
    gate.open();
    for one in both {
        one.wait().unwrap();
    }
    other.wait().unwrap();
}

#[test]
fn a_thousand_must_run_jobs_run_exactly_once() {
    let _watchdog = watchdog("must-run jobs");
    for backlog in [Backlog::Drain, Backlog::Discard] {
        let offload = pool(4);
        let runs: Arc<Vec<AtomicUsize>> =
            Arc::new((0..1_000).map(|_| AtomicUsize::new(0)).collect());
        let (go, start) = mpsc::channel();
        let closer = {
            let offload = offload.clone();
            thread::spawn(move || {
                // In the midst of them.
                start.recv().unwrap();
                pollster::block_on(offload.shutdown(None, backlog))
            })
        };
        let mut accepted = vec![false; 1_000];
        for number in 0..1_000 {
            let job = {
                let runs = Arc::clone(&runs);
                move || runs[number].fetch_add(1, SeqCst)
            };
            if number == 100 {
                go.send(()).unwrap();
            }
            let call = offload_io(job).on(&offload).must_run();
            // Dropped, aborted and dropped, detached; refused only by the close.
            match call.try_spawn() {
                Ok(handle) => {
                    accepted[number] = true;
                    match number % 3 {
                        0 => drop(handle),
                        1 => handle.abort(),
                        _ => handle.detach(),
                    }
                }
                Err(refused) => match refused.reason() {
                    OffloadError::ShutDown => {}
                    OffloadError::Overloaded { .. } => thread::yield_now(),
                    reason => panic!("{reason:?}"),
                },
            }
        }
        closer.join().unwrap();
        assert!(accepted[..100].iter().any(|accepted| *accepted));
        for (runs, accepted) in runs.iter().zip(accepted) {
            assert_eq!(runs.load(SeqCst), usize::from(accepted), "{backlog:?}");
        }
        assert_eq!(offload.stats().io.cancelled, 0);
    }
}

#[test]
fn submissions_at_a_shutdown_all_resolve() {
    let _watchdog = watchdog("submit against shutdown");
    for round in 0..200 {
        let offload = pool(2);
        let (ran, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        match offload_io(|| ()).on(&offload).wait() {
                            Ok(()) => ran.fetch_add(1, SeqCst),
                            Err(OffloadError::ShutDown) => break closed.fetch_add(1, SeqCst),
                            Err(other) => panic!("{other:?}"),
                        };
                    }
                });
            }
            while ran.load(SeqCst) < round % 20 {
                thread::yield_now();
            }
            let backlog = [Backlog::Drain, Backlog::Discard][round % 2];
            let report = pollster::block_on(offload.shutdown(None, backlog));
            assert!(report.is_complete(), "{report}");
        });
        assert_eq!(closed.into_inner(), 3);
        let stats = offload.stats().io;
        assert_eq!(stats.completed, ran.into_inner() as u64);
        assert_eq!(stats.queued + stats.running, 0);
    }
}

#[test]
fn a_dedicated_job_has_a_thread_of_its_own_and_ends_with_the_pools() {
    alone(
        "a_dedicated_job_has_a_thread_of_its_own_and_ends_with_the_pools",
        || {
            let before = threads();
            let offload = pool(1);
            let (started, is_started) = mpsc::channel();
            let endless = |label: &'static str| {
                let started = started.clone();
                let job = move |job: &Job| {
                    started
                        .send(thread::current().name().unwrap().to_owned())
                        .unwrap();
                    while job.checkpoint().is_ok() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    assert!(offramp::checkpoint().is_err());
                    Ok(label)
                };
                let call = offload_dedicated_with(job).on(&offload);
                call.label(label).try_spawn().unwrap()
            };
            let handles = ["one", "two", "three"].map(endless);
            for _ in 0..3 {
                let name = is_started.recv_timeout(PATIENCE).unwrap();
                assert!(name.starts_with("offramp-own-"), "{name}");
            }
            // The pool's only thread is free.
            offload_io(|| ()).on(&offload).wait().unwrap();
            let stats = offload.stats();
            assert_eq!(stats.dedicated.running, 3);
            assert!(stats.dedicated.threads >= 3);
            assert_eq!((stats.io.submitted, stats.io.threads), (1, 1));

            // Dropped, it is asked to stop; the others are by the shutdown.
            let [first, second, third] = handles;
            drop(first);
            wait_until("it stops", || offload.stats().dedicated.running == 2);
            let shutdown = offload.shutdown(PATIENCE, Backlog::Drain);
            let report = pollster::block_on(shutdown);
            assert!(report.is_complete(), "{report}");
            assert_eq!(
                (second.wait().unwrap(), third.wait().unwrap()),
                ("two", "three")
            );
            drop(offload);
            wait_until("no thread is left", || threads() == before);
        },
    );
}

#[test]
fn a_dedicated_job_that_does_not_stop_is_in_the_report() {
    let _watchdog = watchdog("a dedicated job in the report");
    let offload = pool(1);
    let gate = Gate::new();
    let held = gate.clone();
    let call = offload_dedicated(move || held.pass()).on(&offload);
    let handle = call.label("accept loop").try_spawn().unwrap();
    wait_until("it runs", || offload.stats().dedicated.running == 1);
    let report = pollster::block_on(offload.shutdown(SHORT, Backlog::Discard));
    assert_eq!(
        report.still_running[0].label.as_deref(),
        Some("accept loop")
    );
    gate.open();
    handle.wait().unwrap();
}

#[test]
fn a_scope_has_a_default_of_its_own() {
    let (one, two) = (pool(1), pool(1));
    let count = |offload: &Offload| offload.stats().io.submitted;
    one.scoped_sync(|| {
        offload_io(|| ()).wait().unwrap();
        two.scoped_sync(|| offload_io(|| ()).wait().unwrap());
        offload_io(|| ()).wait().unwrap();
    });
    assert_eq!((count(&one), count(&two)), (2, 1));
    pollster::block_on(one.scoped(async {
        offload_io(|| ()).await.unwrap();
        two.scoped(offload_io(|| ())).await.unwrap();
        offload_io(|| ()).on(&two).await.unwrap();
    }));
    assert_eq!((count(&one), count(&two)), (3, 3));
}

#[test]
fn a_running_job_that_is_discarded_around_goes_on() {
    let _watchdog = watchdog("discard and a running job");
    let offload = pool(1);
    let gate = Gate::new();
    let held = gate.clone();
    let job = move |job: &Job| {
        held.pass();
        job.checkpoint()?;
        Ok(7)
    };
    let handle = offload_io_with(job).on(&offload).try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let report = pollster::block_on(offload.shutdown(SHORT, Backlog::Discard));
    assert_eq!(report.discarded, 0);
    gate.open();
    assert_eq!(handle.wait().unwrap(), 7);
}
