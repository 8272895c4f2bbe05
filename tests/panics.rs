//! A panic anywhere in the user's code (closures, destructors, payloads, wakers,
//! hooks) ends that job and nothing else: the process lives, the same thread goes on,
//! and the next job runs.

mod common;
#[path = "panics/thread_exit.rs"]
mod thread_exit;

use common::{Gate, PATIENCE, wait_until, watchdog};
use offramp::{Backlog, Offload, OffloadError, Offloaded, Panicked};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::fmt;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Once, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Io,
    Cpu,
}

/// A pool of one thread whose identity is remembered: "thread count unchanged" is
/// "the same thread still takes the jobs, and no other has come".
struct Pool {
    offload: Offload,
    kind: Kind,
    name: String,
    thread: ThreadId,
    threads: usize,
}

impl Pool {
    fn new(kind: Kind, name: &str) -> Self {
        let name = quiet(name);
        let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
        let offload = builder.thread_name(&name).build().unwrap();
        let thread = call(&offload, kind, || thread::current().id()).wait();
        // A CPU pool has its bell beside the worker.
        let threads = if kind == Kind::Cpu { 2 } else { 1 };
        wait_until("the threads have their names", || named(&name) == threads);
        Self {
            thread: thread.unwrap(),
            threads,
            offload,
            kind,
            name,
        }
    }

    fn call<F, R>(&self, f: F) -> Offloaded<F, R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        call(&self.offload, self.kind, f)
    }

    /// Holds the thread, so that whatever comes waits in the queue.
    fn hold(&self) -> Gate {
        let (gate, (started, starts)) = (Gate::new(), mpsc::channel());
        let pass = gate.clone();
        let job = move || {
            started.send(()).unwrap();
            pass.pass();
        };
        self.call(job).try_spawn().unwrap().detach();
        starts.recv_timeout(PATIENCE).expect("the job starts");
        gate
    }

    /// Starts `f`, drops its future while it runs, and lets it end.
    fn abandon<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) {
        let (gate, (started, starts)) = (Gate::new(), mpsc::channel());
        let pass = gate.clone();
        let mut call = self.call(move || {
            started.send(()).unwrap();
            pass.pass();
            f()
        });
        assert!(poll_once(&mut call, Waker::noop()).is_pending());
        starts.recv_timeout(PATIENCE).expect("the job starts");
        drop(call);
        gate.open();
    }

    /// Whether the pool is as it was before.
    #[track_caller]
    fn assert_unharmed(&self) {
        let thread = self.call(|| thread::current().id()).wait();
        assert_eq!(thread.unwrap(), self.thread, "another thread runs the jobs");
        // Awaited: a listing of threads may miss some while others of the process leave.
        let are_there = || named(&self.name) == self.threads;
        wait_until("all threads of the pool are seen", are_there);
    }
}

fn call<F, R>(offload: &Offload, kind: Kind, f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    match kind {
        Kind::Io => offramp::offload_io(f).on(offload),
        Kind::Cpu => offramp::offload_cpu(f).on(offload),
    }
}

/// Runs `test` on a fresh I/O pool and on a fresh CPU pool.
fn on_both(name: &'static str, test: impl Fn(&Pool)) {
    for kind in [Kind::Io, Kind::Cpu] {
        let _watchdog = watchdog(name);
        let pool = Pool::new(kind, name);
        test(&pool);
        pool.assert_unharmed();
    }
}

/// A thread name whose panics are not reported: here they are expected. Those of the
/// tests' own threads are kept by the harness for the failures.
fn quiet(name: &str) -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_quiet = |name: &str| name.starts_with("quiet-");
            if !thread::current().name().is_some_and(is_quiet) {
                loud(info);
            }
        }));
    });
    format!("quiet-{name}")
}

/// Threads whose name starts so.
fn named(prefix: &str) -> usize {
    let prefix = format!("{prefix}-");
    let names = common::thread_names();
    names
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .count()
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn panicked<T: fmt::Debug>(outcome: Result<T, OffloadError>) -> Panicked {
    match outcome {
        Err(OffloadError::Panicked(panicked)) => panicked,
        other => panic!("expected a panic, got {other:?}"),
    }
}

/// Panics when it is dropped, and counts that.
struct Bomb(Arc<AtomicUsize>);

impl Bomb {
    fn new() -> (Self, impl Fn() -> usize) {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drops);
        (Self(drops), move || count.load(SeqCst))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("a destructor panics");
    }
}

#[test]
fn a_panicking_closure_resolves_as_panicked_with_its_message() {
    on_both("msg", |pool| {
        let plain = pool.call(|| -> () { panic!("a plain text") });
        assert_eq!(panicked(plain.wait()).message(), Some("a plain text"));
        let number = 7;
        let formatted = pool.call(move || -> () { panic!("number {number}") });
        let error = panicked(formatted.label("count").wait());
        assert_eq!(error.message(), Some("number 7"));
        assert_eq!(error.label(), Some("count"));
    });
}

#[test]
fn a_payload_of_any_type_arrives_and_resume_raises_it_again() {
    #[derive(Debug, PartialEq)]
    struct Custom(u32);

    on_both("any", |pool| {
        let call = || pool.call(|| -> () { panic_any(Custom(42)) });
        let error = panicked(call().wait());
        assert_eq!(error.message(), None);
        let payload = error.into_payload().downcast::<Custom>();
        assert_eq!(*payload.expect("the type is kept"), Custom(42));

        let error = panicked(call().wait());
        let raised = catch_unwind(AssertUnwindSafe(|| error.resume())).unwrap_err();
        assert_eq!(raised.downcast_ref(), Some(&Custom(42)));
    });
}

#[test]
fn a_panic_in_a_parallel_section_is_its_job_s() {
    let _watchdog = watchdog("a panic in a parallel section");
    let pool = Pool::new(Kind::Cpu, "par");
    let section = || {
        let check = |part| assert_ne!(part, 40, "part forty");
        (0..64).into_par_iter().for_each(check);
    };
    let error = panicked(pool.call(section).wait());
    assert!(error.message().unwrap().contains("part forty"));
    pool.assert_unharmed();
}

#[test]
fn two_hundred_panics_in_a_row_leave_the_pool_as_it_was() {
    on_both("row", |pool| {
        for _ in 0..200 {
            panicked(pool.call(|| -> () { panic_any(0_u8) }).wait());
        }
    });
}

#[test]
fn a_result_whose_drop_panics_may_be_left_behind_at_any_time() {
    on_both("result", |pool| {
        // While the job runs: it is dropped on the pool.
        let (bomb, drops) = Bomb::new();
        pool.abandon(move || bomb);
        wait_until("the result is dropped", || drops() == 1);

        // When it has ended: it is dropped here, and the panic stays inside.
        let (bomb, drops) = Bomb::new();
        let handle = pool.call(move || bomb).try_spawn().unwrap();
        wait_until("the job has ended", || handle.is_finished());
        drop(handle);
        assert_eq!(drops(), 1);

        let (bomb, drops) = Bomb::new();
        pool.call(move || bomb).try_spawn().unwrap().detach();
        wait_until("the detached result is dropped", || drops() == 1);
    });
}

#[test]
fn a_payload_whose_drop_panics_again_and_again_ends_with_its_job() {
    /// Its destructor panics with the next one.
    struct Chain(Option<Box<Chain>>, Arc<AtomicUsize>);

    impl Drop for Chain {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
            panic_any(self.0.take());
        }
    }

    on_both("payload", |pool| {
        let drops = Arc::new(AtomicUsize::new(0));
        let chain = || {
            let last = Chain(None, Arc::clone(&drops));
            Chain(Some(Box::new(last)), Arc::clone(&drops))
        };
        let payload = chain();
        pool.abandon(move || -> () { panic_any(payload) });
        wait_until("the payload is dropped", || drops.load(SeqCst) >= 1);
        pool.assert_unharmed();
        // The caller drops the error.
        let payload = chain();
        let error = pool.call(move || -> () { panic_any(payload) }).wait();
        drop(panicked(error));
    });
}

#[test]
fn a_capture_whose_drop_panics_after_the_run_makes_it_panicked() {
    on_both("capture", |pool| {
        let (bomb, drops) = Bomb::new();
        let outcome = pool.call(move || bomb.0.load(SeqCst)).wait();
        assert_eq!(panicked(outcome).message(), Some("a destructor panics"));
        assert_eq!(drops(), 1);
    });
}

#[test]
fn a_capture_whose_drop_panics_on_cancellation_stays_inside() {
    on_both("cancel", |pool| {
        let gate = pool.hold();
        let (bomb, drops) = Bomb::new();
        let mut call = pool.call(move || drop(bomb));
        assert!(poll_once(&mut call, Waker::noop()).is_pending());
        drop(call);
        assert_eq!(drops(), 1, "the closure is dropped with its future");

        let (bomb, drops) = Bomb::new();
        let handle = pool.call(move || drop(bomb)).try_spawn().unwrap();
        handle.abort();
        assert_eq!(drops(), 1, "the closure is dropped by the abort");
        assert!(matches!(handle.wait(), Err(OffloadError::Cancelled)));
        gate.open();
    });
}

#[test]
fn a_capture_whose_drop_panics_on_refusal_stays_inside() {
    on_both("refuse", |pool| {
        let closed = Offload::builder().build().unwrap();
        pollster::block_on(closed.shutdown(None, Backlog::Drain));
        let (bomb, drops) = Bomb::new();
        let mut call = call(&closed, pool.kind, move || drop(bomb));
        let outcome = catch_unwind(AssertUnwindSafe(|| poll_once(&mut call, Waker::noop())));
        assert_eq!(drops(), 1);
        let outcome = outcome.expect("a poll does not panic because a closure cannot be dropped");
        assert!(matches!(outcome, Poll::Ready(Err(OffloadError::ShutDown))));

        // Given back, it is not dropped at all.
        let (bomb, drops) = Bomb::new();
        let refused = self::call(&closed, pool.kind, move || drop(bomb)).try_spawn();
        let closure = refused.expect_err("it is closed").into_inner();
        assert_eq!(drops(), 0);
        std::mem::forget(closure);
    });
}

/// A waker whose clones, which the pool keeps, panic when they are woken or dropped.
struct Fuse(&'static RawWakerVTable);

/// How often one has panicked when it was dropped.
static BLOWN: AtomicUsize = AtomicUsize::new(0);

const WAKE: Fuse = {
    const CLONE: RawWaker = RawWaker::new(ptr::null(), &PANICS);
    const PANICS: RawWakerVTable = RawWakerVTable::new(|_| CLONE, woken, woken, ignore);
    Fuse(&RawWakerVTable::new(|_| CLONE, ignore, ignore, ignore))
};
const DROP: Fuse = {
    const CLONE: RawWaker = RawWaker::new(ptr::null(), &PANICS);
    const PANICS: RawWakerVTable = RawWakerVTable::new(|_| CLONE, ignore, ignore, dropped);
    Fuse(&RawWakerVTable::new(|_| CLONE, ignore, ignore, ignore))
};

fn ignore(_: *const ()) {}

fn woken(_: *const ()) {
    panic!("a waker panics");
}

fn dropped(_: *const ()) {
    BLOWN.fetch_add(1, SeqCst);
    panic!("a waker's destructor panics");
}

impl Fuse {
    fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        // SAFETY: the functions never look at the pointer and may run on any thread.
        let waker = unsafe { Waker::new(ptr::null(), self.0) };
        poll_once(future, &waker)
    }
}

#[test]
fn a_waker_that_panics_when_woken_delays_nobody() {
    on_both("wake", |pool| {
        let gate = pool.hold();
        let mut calls: Vec<_> = (0..10).map(|number| pool.call(move || number)).collect();
        for call in &mut calls {
            assert!(WAKE.poll(call).is_pending());
        }
        gate.open();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.wait().unwrap(), number);
        }
        // Woken by an abort, on this thread.
        let gate = pool.hold();
        let mut handle = pool.call(|| ()).try_spawn().unwrap();
        assert!(WAKE.poll(&mut handle).is_pending());
        handle.abort();
        gate.open();
        assert!(matches!(handle.wait(), Err(OffloadError::Cancelled)));
    });
}

#[test]
fn a_waker_whose_drop_panics_stays_inside() {
    on_both("waker", |pool| {
        let blown = || BLOWN.load(SeqCst);
        // On the pool, because the caller has left.
        let (gate, (ended, ends)) = (pool.hold(), mpsc::channel());
        let mut handle = pool.call(move || ended.send(())).try_spawn().unwrap();
        assert!(DROP.poll(&mut handle).is_pending());
        handle.detach();
        let before = blown();
        gate.open();
        ends.recv_timeout(PATIENCE).expect("the detached job runs");
        wait_until("the waker is dropped", || blown() > before);

        // Replaced by another one, then dropped by a cancellation.
        let (gate, before) = (pool.hold(), blown());
        let mut call = pool.call(|| ());
        assert!(DROP.poll(&mut call).is_pending());
        assert!(DROP.poll(&mut call).is_pending());
        assert!(blown() > before);
        drop(call);
        assert!(blown() > before + 1);
        gate.open();

        // With a call that is refused.
        let closed = Offload::builder().build().unwrap();
        pollster::block_on(closed.shutdown(None, Backlog::Drain));
        let mut call = self::call(&closed, pool.kind, || ());
        let outcome = catch_unwind(AssertUnwindSafe(|| DROP.poll(&mut call)));
        let outcome = outcome.expect("a poll does not panic because a waker cannot be dropped");
        assert!(matches!(outcome, Poll::Ready(Err(OffloadError::ShutDown))));
    });
}

#[test]
fn panicking_hooks_end_nothing_but_themselves() {
    let _watchdog = watchdog("panicking hooks");
    let (starts, stops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let hook = |count: Arc<AtomicUsize>| {
        move || {
            count.fetch_add(1, SeqCst);
            panic!("a hook panics");
        }
    };
    let builder = Offload::builder().io_keep_alive(Duration::from_millis(1));
    let builder = builder.io_max_threads(1).cpu_threads(2);
    let builder = builder.on_thread_start(hook(starts.clone()));
    let builder = builder.on_thread_stop(hook(stops.clone()));
    let offload = builder.thread_name(quiet("hook")).build().unwrap();
    assert_eq!(offramp::offload_io(|| 1).on(&offload).wait().unwrap(), 1);
    assert_eq!(offramp::offload_cpu(|| 2).on(&offload).wait().unwrap(), 2);
    let is_gone = || offload.stats().io.threads == 0;
    wait_until("the I/O thread has left", is_gone);
    assert_eq!(offramp::offload_io(|| 3).on(&offload).wait().unwrap(), 3);
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    drop(offload);
    assert_eq!(starts.load(SeqCst), 4);
    assert_eq!(stops.load(SeqCst), 4);
    wait_until("all threads have left", || named("quiet-hook") == 0);
}
