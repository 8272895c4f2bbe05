//! Cancelling: what is dropped where and when, who is told, and that nothing of a
//! cancelled call stays behind.

mod common;
#[path = "cancellation/grid.rs"]
mod grid;
#[path = "common/heap.rs"]
mod heap;

use common::{Gate, Occupied, PATIENCE, Wakes, alone, wait_until, watchdog};
use futures::FutureExt;
use offramp::{
    Handle, Offload, OffloadError, checkpoint, offload_cpu, offload_cpu_with, offload_io,
    offload_io_with,
};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Records where it is dropped.
struct Traced(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Traced {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<ThreadId>>>);

impl Trace {
    fn item(&self) -> Traced {
        Traced(Arc::clone(&self.0))
    }

    /// The threads on which items were dropped so far.
    fn drops(&self) -> Vec<ThreadId> {
        self.0.lock().unwrap().clone()
    }
}

fn one_worker(capacity: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(1).cpu_threads(2);
    builder.capacity(capacity).build().unwrap()
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn dropping_the_futures_of_a_full_queue_makes_room_at_once() {
    let _watchdog = watchdog("a full queue is dropped");
    let offload = one_worker(10);
    let occupied = Occupied::io(&offload, 1);
    let (trace, ran) = (Trace::default(), Arc::new(AtomicUsize::new(0)));
    let mut waiting: Vec<_> = (0..10)
        .map(|_| {
            let (item, ran) = (trace.item(), Arc::clone(&ran));
            let work = move || {
                ran.fetch_add(1, SeqCst);
                drop(item);
            };
            offload_io(work).on(&offload)
        })
        .collect();
    for call in &mut waiting {
        assert!(poll_once(call).is_pending());
    }
    let spawn = || offload_io(|| 7).on(&offload).try_spawn();
    assert!(spawn().is_err());
    assert!(trace.drops().is_empty());

    // On a thread of its own, so that its number tells.
    let dropping = thread::spawn(move || {
        drop(waiting);
        thread::current().id()
    });
    let dropper = dropping.join().unwrap();
    assert_eq!(trace.drops(), [dropper; 10]);
    let stats = offload.stats().io;
    assert_eq!((stats.cancelled, stats.queued, stats.running), (10, 0, 1));
    // The worker still stands at its gate, and yet:
    let next = spawn().expect("room for the next one");

    occupied.release();
    assert_eq!(next.wait().unwrap(), 7);
    assert_eq!(ran.load(SeqCst), 0);
}

#[test]
fn nothing_happens_before_the_first_poll() {
    let _watchdog = watchdog("lazy futures");
    let offload = one_worker(10);
    let trace = Trace::default();
    let item = trace.item();
    let call = offload_io(move || drop(item)).on(&offload);
    let stats = offload.stats().io;
    assert_eq!((stats.submitted, stats.threads), (0, 0));
    // Dropped unpolled it takes its closure along, here.
    drop(call);
    assert_eq!(trace.drops(), [thread::current().id()]);
    assert_eq!(offload.stats().io.submitted, 0);
}

#[test]
fn a_finished_output_is_dropped_where_the_future_is() {
    let _watchdog = watchdog("a finished future is dropped");
    let offload = one_worker(10);
    let trace = Trace::default();
    let item = trace.item();
    let handle = offload_io(move || item).on(&offload).try_spawn().unwrap();
    wait_until("the job has finished", || handle.is_finished());
    assert!(trace.drops().is_empty());
    drop(handle);
    assert_eq!(trace.drops(), [thread::current().id()]);
    // It was not cancelled: it had run.
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.cancelled, stats.orphans), (1, 0, 0));
}

#[test]
fn a_running_job_whose_future_is_dropped_is_an_orphan_until_it_returns() {
    let _watchdog = watchdog("an orphan");
    let offload = one_worker(10);
    let (trace, gate) = (Trace::default(), Gate::new());
    let (started, start) = mpsc::channel();
    let (item, hold) = (trace.item(), gate.clone());
    let work = move || {
        started.send(thread::current().id()).unwrap();
        hold.pass();
        item
    };
    let handle = offload_io(work).on(&offload).try_spawn().unwrap();
    let worker = start.recv_timeout(PATIENCE).unwrap();
    drop(handle);
    let stats = offload.stats().io;
    assert_eq!((stats.running, stats.orphans), (1, 1));
    // The closure still needs what it captured.
    assert!(trace.drops().is_empty());

    gate.open();
    wait_until("the orphan is gone", || offload.stats().io.orphans == 0);
    wait_until("the output is dropped", || trace.drops() == [worker]);
    // Its closure took no notice, so it ran to its end.
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.cancelled, stats.running), (1, 0, 0));
    // A later job, with a caller, is not taken for it.
    let occupied = Occupied::io(&offload, 1);
    let stats = offload.stats().io;
    assert_eq!((stats.running, stats.orphans), (1, 0));
    occupied.release();
}

/// A loop that goes round until it is told to stop.
struct Endless {
    started: mpsc::Sender<()>,
    ended: mpsc::Sender<()>,
}

impl Endless {
    fn run<E>(self, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        self.started.send(()).unwrap();
        let stopped = loop {
            if let Err(stopped) = check() {
                break stopped;
            }
            thread::yield_now();
        };
        self.ended.send(()).unwrap();
        Err(stopped)
    }
}

/// Runs an endless loop as `spawn` starts it, and checks that a dropped and an aborted
/// handle stop it. Answers what the aborted one resolved to.
fn is_stopped<R>(spawn: impl Fn(Endless) -> Handle<R>) -> Result<R, OffloadError> {
    let start = || {
        let (started, start) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let handle = spawn(Endless { started, ended });
        start.recv_timeout(PATIENCE).expect("the loop starts");
        (handle, end)
    };
    let (handle, end) = start();
    drop(handle);
    end.recv_timeout(PATIENCE).expect("the loop ends");

    let (handle, end) = start();
    handle.abort();
    end.recv_timeout(PATIENCE).expect("the loop ends");
    handle.wait()
}

#[test]
fn a_checkpoint_deep_in_an_io_job_stops_it() {
    let _watchdog = watchdog("checkpoint()");
    let offload = one_worker(10);
    let spawn = |endless: Endless| {
        let call = offload_io(|| endless.run(checkpoint).is_err());
        call.on(&offload).try_spawn().unwrap()
    };
    // The closure has no error type that says so: it has returned a value.
    assert!(is_stopped(spawn).unwrap());
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.cancelled, stats.running), (2, 0, 0));

    // The same thread's next job is nobody's victim.
    let next = offload_io(|| checkpoint().is_ok()).on(&offload);
    assert!(next.wait().unwrap());
    assert!(checkpoint().is_ok());
}

#[test]
fn a_checkpoint_of_the_job_stops_io_and_cpu_work() {
    let _watchdog = watchdog("Job::checkpoint");
    let offload = one_worker(10);
    let on_io = |endless: Endless| {
        let call = offload_io_with(|job| endless.run(|| job.checkpoint()));
        call.on(&offload).try_spawn().unwrap()
    };
    let on_cpu = |endless: Endless| {
        let call = offload_cpu_with(|job| endless.run(|| job.checkpoint()));
        call.on(&offload).try_spawn().unwrap()
    };
    assert!(matches!(is_stopped(on_io), Err(OffloadError::Cancelled)));
    assert!(matches!(is_stopped(on_cpu), Err(OffloadError::Cancelled)));
    let stats = offload.stats();
    for pool in [&stats.io, &stats.cpu] {
        assert_eq!((pool.completed, pool.cancelled, pool.running), (0, 2, 0));
    }
}

#[test]
fn a_cpu_job_is_not_stopped_by_the_thread_it_runs_on() {
    let _watchdog = watchdog("checkpoint() in a CPU job");
    let offload = one_worker(10);
    let (started, start) = mpsc::channel();
    let work = move |job: &offramp::Job| {
        started.send(()).unwrap();
        while !job.is_cancelled() {
            thread::yield_now();
        }
        // It is cancelled by now, but `checkpoint` only knows threads.
        Ok(checkpoint().is_ok())
    };
    let handle = offload_cpu_with(work).on(&offload).try_spawn().unwrap();
    start.recv_timeout(PATIENCE).unwrap();
    handle.abort();
    assert!(handle.wait().unwrap());
}

#[test]
fn a_task_that_waits_is_woken_when_somebody_else_aborts() {
    let _watchdog = watchdog("abort from elsewhere");
    let offload = one_worker(10);
    let occupied = Occupied::io(&offload, 1);
    let trace = Trace::default();
    let item = trace.item();
    let handle = offload_io(move || drop(item)).on(&offload).try_spawn();
    let handle = Arc::new(Mutex::new(handle.unwrap()));
    let (wakes, waker) = Wakes::new();
    let poll = || {
        handle
            .lock()
            .unwrap()
            .poll_unpin(&mut Context::from_waker(&waker))
    };
    assert!(poll().is_pending());

    let shared = Arc::clone(&handle);
    let aborting = thread::spawn(move || {
        shared.lock().unwrap().abort();
        // A second time it has nothing to do.
        shared.lock().unwrap().abort();
        thread::current().id()
    });
    let aborter = aborting.join().unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(trace.drops(), [aborter]);
    assert!(handle.lock().unwrap().is_finished());
    assert!(matches!(poll(), Poll::Ready(Err(OffloadError::Cancelled))));
    assert_eq!(offload.stats().io.cancelled, 1);
    occupied.release();
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let _watchdog = watchdog("wakers are replaced");
    let offload = one_worker(10);
    // Replaced while the job waits and while it runs.
    for is_running in [false, true] {
        let mut occupied = Some(Occupied::io(&offload, 1));
        let gate = Gate::new();
        let hold = gate.clone();
        let mut call = offload_io(move || hold.pass()).on(&offload);
        let (first_wakes, first) = Wakes::new();
        let (last_wakes, last) = Wakes::new();
        let mut poll = |waker: &Waker| pin!(&mut call).poll(&mut Context::from_waker(waker));
        assert!(poll(&first).is_pending());
        if is_running {
            occupied.take().unwrap().release();
            wait_until("it runs", || offload.stats().io.running == 1);
        }
        assert!(poll(&last).is_pending());
        assert!(poll(&last).is_pending());
        // Nothing keeps the task of the first poll.
        drop(first);
        assert_eq!(Arc::strong_count(&first_wakes), 1);
        drop(occupied);
        gate.open();
        wait_until("the waker is called", || last_wakes.count() > 0);
        assert!(poll(&last).is_ready());
        assert_eq!((first_wakes.count(), last_wakes.count()), (0, 1));
    }
}

#[test]
fn a_detached_job_runs_to_its_end() {
    let _watchdog = watchdog("detach");
    let offload = one_worker(10);
    let occupied = Occupied::io(&offload, 1);
    let (trace, was_stopped) = (Trace::default(), Arc::new(AtomicBool::new(false)));
    for _ in 0..3 {
        let (item, was_stopped) = (trace.item(), Arc::clone(&was_stopped));
        let work = move || {
            was_stopped.fetch_or(checkpoint().is_err(), SeqCst);
            item
        };
        let handle = offload_io(work).on(&offload).try_spawn().unwrap();
        handle.detach();
    }
    assert_eq!(offload.stats().io.queued, 3);
    occupied.release();
    let worker = offload_io(|| thread::current().id()).on(&offload);
    let worker = worker.wait().unwrap();
    // What nobody waits for is dropped by the worker.
    assert_eq!(trace.drops(), [worker; 3]);
    assert!(!was_stopped.load(SeqCst));
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.cancelled, stats.orphans), (5, 0, 0));
}

/// Submits and cancels while every worker is stuck, `window` calls at a time, the
/// oldest first. A call is refused, and made again, only for too many shells.
fn submit_and_cancel(offload: &Offload, calls: usize, window: usize) {
    let ran = Arc::new(AtomicUsize::new(0));
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..calls {
        let ran = Arc::clone(&ran);
        let captured = [n; 8];
        let work = move || ran.fetch_add(captured[0], SeqCst);
        let call = loop {
            let mut call = offload_io(work.clone()).on(offload);
            match poll_once(&mut call) {
                Poll::Pending => break call,
                Poll::Ready(Err(OffloadError::Overloaded { limit: PENDING, .. })) => {}
                Poll::Ready(other) => panic!("{other:?}"),
            }
            // Whoever holds the lock, and what waits to be freed, waits for a CPU.
            thread::yield_now();
        };
        waiting.push_back(call);
        if waiting.len() == window {
            waiting.pop_front();
        }
    }
    drop(waiting);
    assert_eq!(ran.load(SeqCst), 0);
}

/// A pool with all workers stuck, some jobs that stay, and what is live by then.
fn stuck_pool() -> (Offload, Occupied, Vec<Handle<()>>, usize) {
    let builder = Offload::builder().io_max_threads(2);
    let offload = builder.max_pending(PENDING).build().unwrap();
    let occupied = Occupied::io(&offload, 2);
    // The cancelled ones are amidst a lane, too.
    let stays = || offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let staying: Vec<_> = (0..50).map(|_| stays()).collect();
    heap::reset_peak();
    (offload, occupied, staying, heap::live())
}

fn all_were_cancelled(offload: &Offload, occupied: Occupied, staying: Vec<Handle<()>>) {
    let stats = offload.stats().io;
    assert_eq!((stats.cancelled, stats.queued), (CALLS as u64, 50));
    assert_eq!(stats.submitted, stats.cancelled + stats.refused + 52);
    occupied.release();
    for handle in staying {
        handle.wait().unwrap();
    }
}

const CALLS: usize = 1_000_000;
/// Twice as many calls as are ever made at once.
const PENDING: usize = 4_000;
/// A shell of these jobs is larger than 100 bytes, so that all of them are 100 MB.
const FEW_BYTES: usize = 200_000;

#[test]
fn a_million_cancelled_jobs_behind_stuck_workers_leave_no_memory_behind() {
    alone(
        "a_million_cancelled_jobs_behind_stuck_workers_leave_no_memory_behind",
        || {
            let (offload, occupied, staying, base) = stuck_pool();
            submit_and_cancel(&offload, CALLS / 2, 1);
            submit_and_cancel(&offload, CALLS / 2, 100);
            let peak = heap::peak() - base;
            assert!(peak < FEW_BYTES, "peak {peak} bytes");
            all_were_cancelled(&offload, occupied, staying);
        },
    );
}

#[test]
fn what_many_threads_cancel_behind_stuck_workers_is_freed_when_they_are_done() {
    alone(
        "what_many_threads_cancel_behind_stuck_workers_is_freed_when_they_are_done",
        || {
            const THREADS: usize = 16;
            let (offload, occupied, staying, base) = stuck_pool();
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| submit_and_cancel(&offload, CALLS / THREADS, 100));
                }
            });
            // Who finds the queue's lock taken leaves its shell to the holder; while that
            // one waits for a CPU, shells pile up, to 1,024 more than may wait.
            let peak = heap::peak() - base;
            let most = (PENDING + 1_024 + THREADS * 100) * 500;
            println!("peak {peak} bytes of at most {most}");
            assert!(peak < most, "peak {peak} bytes");
            // But then they are freed, though no worker comes.
            let left = heap::live().saturating_sub(base);
            assert!(left < FEW_BYTES, "left {left} bytes");
            all_were_cancelled(&offload, occupied, staying);
        },
    );
}

#[test]
fn waiting_without_a_runtime_gives_the_outcome() {
    let _watchdog = watchdog("wait");
    let offload = one_worker(10);
    assert_eq!(offload_io(|| 1).on(&offload).wait().unwrap(), 1);
    assert_eq!(offload_cpu(|| 2).on(&offload).wait().unwrap(), 2);
    let slow = || {
        thread::sleep(Duration::from_millis(20));
        3
    };
    let handle = offload_io(slow).on(&offload).try_spawn().unwrap();
    assert_eq!(handle.wait().unwrap(), 3);
    let _occupied = Occupied::io(&offload, 1);
    let handle = offload_io(|| 4).on(&offload).try_spawn().unwrap();
    handle.abort();
    assert!(matches!(handle.wait(), Err(OffloadError::Cancelled)));
}
