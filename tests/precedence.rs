//! Who wins: calls that must run against everything that ends other calls; closures left to
//! the pool; the limit on orphans; jobs that overstay.

mod common;

use common::{Gate, Occupied, PATIENCE, wait_until, watchdog};
use offramp::{Backlog, Offload, OffloadError, offload_io, offload_io_with};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

fn one_thread() -> Offload {
    Offload::builder().io_max_threads(1).build().unwrap()
}

/// What is done to a call that waits, and to one that runs.
#[derive(Debug, Clone, Copy)]
enum Against {
    Drop,
    Abort,
    Detach,
    Discard,
    Drain,
    LastHandle,
}

/// The grid of the table at `Offloaded::must_run`: whether the closure ran.
fn runs(must: bool, against: Against) -> bool {
    let offload = one_thread();
    let occupied = Occupied::io(&offload, 1);
    let ran = Arc::new(AtomicBool::new(false));
    let job = {
        let ran = Arc::clone(&ran);
        move || ran.store(true, SeqCst)
    };
    let mut call = offload_io(job).on(&offload);
    if must {
        call = call.must_run();
    }
    let handle = call.try_spawn().unwrap();
    let short = Duration::from_millis(5);
    match against {
        Against::Drop => drop(handle),
        Against::Abort => {
            handle.abort();
            handle.detach();
        }
        Against::Detach => handle.detach(),
        Against::Discard => {
            pollster::block_on(offload.shutdown(short, Backlog::Discard));
            handle.detach();
        }
        Against::Drain => {
            pollster::block_on(offload.shutdown(short, Backlog::Drain));
            handle.detach();
        }
        Against::LastHandle => handle.detach(),
    }
    let after = offload.clone();
    if matches!(against, Against::LastHandle) {
        drop(offload);
    }
    occupied.release();
    pollster::block_on(after.shutdown(None, Backlog::Drain));
    ran.load(SeqCst)
}

#[test]
fn what_must_run_does_and_the_rest_as_documented() {
    let _watchdog = watchdog("the grid");
    for (against, plain) in [
        (Against::Drop, false),
        (Against::Abort, false),
        (Against::Detach, true),
        (Against::Discard, false),
        (Against::Drain, true),
        (Against::LastHandle, true),
    ] {
        assert!(runs(true, against), "must run, {against:?}");
        assert_eq!(runs(false, against), plain, "{against:?}");
    }
}

#[test]
fn what_must_run_has_no_deadline() {
    let offload = one_thread();
    let call = offload_io(|| ()).on(&offload).must_run();
    let refused = call.timeout(PATIENCE).try_spawn().unwrap_err();
    let OffloadError::Config(error) = refused.reason() else {
        panic!("{refused:?}");
    };
    assert_eq!(error.setting(), "must_run");
    assert!(error.to_string().contains("deadline"), "{error}");
    // Nor does it inherit one.
    let inner = offload.clone();
    let job = move || {
        let child = offload_io_with(|job| Ok(job.deadline())).on(&inner);
        child.must_run().wait().unwrap()
    };
    let call = offload_io(job).on(&offload).timeout(PATIENCE);
    assert_eq!(call.wait().unwrap(), None);
}

#[test]
fn what_must_run_waits_where_others_are_refused() {
    let _watchdog = watchdog("a full queue");
    let builder = Offload::builder().io_max_threads(1).max_pending(1);
    let offload = builder.capacity(1).build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let ran = Arc::new(AtomicUsize::new(0));
    let mut calls: Vec<_> = (0..10)
        .map(|number| {
            let ran = Arc::clone(&ran);
            let call = offload_io(move || ran.fetch_add(1, SeqCst)).on(&offload);
            let call = if number == 0 { call } else { call.must_run() };
            Box::pin(call)
        })
        .collect();
    for call in &mut calls {
        assert!(futures::poll_now(call).is_pending());
    }
    let plain = offload_io(|| ()).on(&offload).wait();
    assert!(matches!(plain, Err(OffloadError::Overloaded { .. })));
    // Polled once, they run though nobody wants to know.
    drop(calls);
    occupied.release();
    wait_until("they have run", || ran.load(SeqCst) == 9);
}

/// The rest of the table's rows.
#[test]
fn what_must_run_against_reject_capacity_orphans_and_a_wait_that_would_hang() {
    let _watchdog = watchdog("the rest of the table");
    let builder = Offload::builder().io_max_threads(1).io_extra_threads(0);
    let builder = builder.capacity(1).policy(offramp::Policy::Reject);
    let offload = builder.max_orphans(1).build().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let must = || {
        let ran = Arc::clone(&ran);
        let call = offload_io(move || ran.fetch_add(1, SeqCst)).on(&offload);
        call.must_run()
    };
    // Awaited it waits where others are rejected; spawned it is handed back, too.
    let occupied = Occupied::io(&offload, 1);
    let mut calls = [Box::pin(must()), Box::pin(must())];
    for call in &mut calls {
        assert!(futures::poll_now(call).is_pending());
    }
    let plain = offload_io(|| ()).on(&offload).wait();
    assert!(matches!(plain, Err(OffloadError::Overloaded { .. })));
    assert!(must().try_spawn().unwrap_err().into_inner()() == 0);
    drop(calls);
    occupied.release();
    wait_until("they have run", || ran.load(SeqCst) == 3);

    // It waits for the orphans of its lane like others.
    let gate = Gate::new();
    let held = gate.clone();
    let orphan = offload_io(move || held.pass()).on(&offload).try_spawn();
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(orphan.unwrap());
    let waits = must().try_spawn().unwrap();
    thread::sleep(Duration::from_millis(10));
    assert!(!waits.is_finished());
    gate.open();
    waits.wait().unwrap();

    // A wait that would hang is told, and the call runs all the same.
    let child = must();
    let job = move || pollster::block_on(child);
    let outcome = offload_io(job).on(&offload).wait().unwrap();
    assert!(matches!(outcome, Err(OffloadError::WouldDeadlock)));
    wait_until("it has run", || ran.load(SeqCst) == 5);

    // After a shutdown it is refused like others.
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    assert!(matches!(must().wait(), Err(OffloadError::ShutDown)));
}

/// A poll without a waker worth anything.
mod futures {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    pub(crate) fn poll_now<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }
}

#[test]
fn what_must_run_outlasts_a_time_without_threads() {
    let _watchdog = watchdog("no threads, for a while");
    let refuses = Arc::new(AtomicBool::new(true));
    let spawner = {
        let refuses = Arc::clone(&refuses);
        move |task: offramp::backend::ThreadTask| {
            if refuses.load(SeqCst) {
                return Err(std::io::Error::other("no more threads today"));
            }
            thread::Builder::new().spawn(move || task.run()).map(drop)
        }
    };
    let offload = Offload::builder().io_spawner(spawner).build().unwrap();
    let must = offload_io(|| 7)
        .on(&offload)
        .must_run()
        .try_spawn()
        .unwrap();
    let plain = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    assert!(matches!(plain.wait(), Err(OffloadError::NoThreads)));
    assert!(!must.is_finished());
    refuses.store(false, SeqCst);
    // Nobody submits anything any more.
    assert_eq!(must.wait().unwrap(), 7);
}

/// Notes the thread on which it is dropped.
struct Dropped(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn a_closure_left_to_the_pool_is_dropped_there() {
    let _watchdog = watchdog("drop_on_pool");
    let offload = one_thread();
    let worker = offload_io(|| thread::current().id()).on(&offload);
    let worker = worker.wait().unwrap();
    let drops = Arc::new(Mutex::new(Vec::new()));
    let call = |timeout: Option<Duration>| {
        let capture = Dropped(Arc::clone(&drops));
        let job = move || {
            drop(capture);
            panic!("it must not run");
        };
        let call = offload_io(job).on(&offload).drop_on_pool();
        match timeout {
            Some(timeout) => call.timeout(timeout),
            None => call,
        }
    };
    let occupied = Occupied::io(&offload, 1);
    drop(call(None).try_spawn().unwrap());
    let mut polled = Box::pin(call(None));
    assert!(futures::poll_now(&mut polled).is_pending());
    drop(polled);
    let late = call(Some(Duration::from_millis(5))).wait();
    assert!(matches!(late, Err(OffloadError::DeadlineExceeded { .. })));
    assert!(drops.lock().unwrap().is_empty());
    assert_eq!(offload.stats().io.queued, 3, "they keep their room");
    occupied.release();
    offload_io(|| ()).on(&offload).wait().unwrap();
    assert_eq!(*drops.lock().unwrap(), [worker; 3]);
    wait_until("it is over", || offload.stats().io.running == 0);
    let stats = offload.stats().io;
    assert_eq!((stats.cancelled, stats.expired, stats.panicked), (2, 1, 0));
    assert_eq!(stats.orphans, 0);

    // Unsubmitted, there is nothing to leave to anybody.
    drop(call(None));
    assert_eq!(drops.lock().unwrap().last(), Some(&thread::current().id()));
}

/// A thousand callers give a slow dependency 10 ms each.
#[test]
fn orphans_are_limited_and_the_rest_is_told() {
    let _watchdog = watchdog("the limit on orphans");
    const LIMIT: usize = 8;
    const ROUND: usize = 10;
    // Far more threads than the limit lets start: without it each would get its orphan.
    let builder = Offload::builder().io_max_threads(256).max_orphans(LIMIT);
    let offload = builder.build().unwrap();
    let gate = Gate::new();
    let mut outcomes = Vec::new();
    // In rounds, so that what one leaves behind is there for the next.
    for _ in 0..1_000 / ROUND {
        let calls: Vec<_> = (0..ROUND)
            .map(|_| {
                let held = gate.clone();
                let call = offload_io(move || held.pass()).on(&offload);
                call.timeout(Duration::from_millis(10)).try_spawn().unwrap()
            })
            .collect();
        outcomes.extend(calls.into_iter().map(offramp::Handle::wait));
    }
    for outcome in &outcomes {
        assert!(matches!(
            outcome,
            Err(OffloadError::DeadlineExceeded { .. })
        ));
    }
    let stats = offload.stats().io;
    let started = stats.wait.count() as usize;
    println!("{started} started, {} orphans", stats.orphans);
    // A round's calls may all have been running when the first of them gave up.
    assert!((1..LIMIT + ROUND).contains(&started), "{started} started");
    assert_eq!(stats.orphans as usize, started);
    assert_eq!(stats.expired as usize, 1_000 - started);
    gate.open();
    // When they end there are places again.
    offload_io(|| ()).on(&offload).wait().unwrap();
    wait_until("all have ended", || offload.stats().io.running == 0);
    assert_eq!(offload.stats().io.orphans, 0);
}

/// With jobs as slow one after the other the limit is exact.
#[test]
fn one_orphan_after_the_other_up_to_the_limit() {
    let _watchdog = watchdog("orphans one by one");
    let builder = Offload::builder().io_max_threads(64).max_orphans(8);
    let offload = builder.build().unwrap();
    let gate = Gate::new();
    let call = || {
        let held = gate.clone();
        offload_io(move || held.pass()).on(&offload)
    };
    for orphans in 1..=8 {
        let handle = call().try_spawn().unwrap();
        wait_until("it runs", || offload.stats().io.running == orphans);
        drop(handle);
        assert_eq!(offload.stats().io.orphans, orphans);
    }
    let waits = call().try_spawn().unwrap();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(offload.stats().io.queued, 1, "no job starts");
    gate.open();
    waits.wait().unwrap();
}

/// Log lines of this process.
mod log_lines {
    use std::sync::{Mutex, Once};

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Collect;

    impl log::Log for Collect {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            LINES.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    pub(crate) fn collect() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&Collect).unwrap();
            log::set_max_level(log::LevelFilter::Warn);
        });
    }

    pub(crate) fn with(text: &str) -> Vec<String> {
        let lines = LINES.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }
}

#[test]
fn a_job_that_overstays_is_logged_once_with_label_and_call_site() {
    let _watchdog = watchdog("a job that overstays");
    log_lines::collect();
    let age = Duration::from_millis(20);
    let builder = Offload::builder().warn_after(age).io_max_threads(2);
    let offload = builder.build().unwrap();
    let (go_on, held) = mpsc::channel::<()>();
    let call = offload_io(move || held.recv().is_ok());
    let site = format!("tests/precedence.rs:{}", line!() - 1);
    let call = call.on(&offload).label("overstayer").try_spawn().unwrap();
    wait_until("it is logged", || !log_lines::with("overstayer").is_empty());
    for _ in 0..20 {
        offload_io(|| ())
            .on(&offload)
            .label("quick")
            .wait()
            .unwrap();
        thread::sleep(age / 4);
    }
    let lines = log_lines::with("overstayer");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert!(line.contains(&site) && line.contains("`io`"), "{line}");
    assert!(line.contains("offload_dedicated"), "{line}");
    assert!(log_lines::with("quick").is_empty());
    go_on.send(()).unwrap();
    assert!(call.wait().unwrap());
}
