//! The attributes `#[offload_io]` and `#[offload_cpu]`: the async function does what the
//! sync one would, on a pool.
#![cfg(feature = "macros")]

mod common;
#[path = "macros/lines.rs"]
mod lines;
#[path = "macros/shapes.rs"]
mod shapes;

use common::{Gate, Occupied, PATIENCE, wait_until, watchdog};
use futures::FutureExt;
use offramp::{Backlog, Offload, OffloadError, Stats, checkpoint, offload_cpu, offload_io};
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, Location};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

fn one_worker() -> Offload {
    let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
    builder.build().unwrap()
}

fn closed() -> Offload {
    let offload = one_worker();
    pollster::block_on(offload.shutdown(PATIENCE, Backlog::Drain));
    offload
}

/// Runs `future` with `offload` for its calls.
fn run<F: Future>(offload: &Offload, future: F) -> F::Output {
    pollster::block_on(offload.scoped(future))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn completed(offload: &Offload) -> (u64, u64) {
    let Stats { io, cpu, .. } = offload.stats();
    (io.completed, cpu.completed)
}

// When it runs, and when it does not.

struct Notes(u8, mpsc::Sender<(u8, ThreadId)>);

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, thread::current().id()));
    }
}

#[offload_io(on = &offload)]
fn ignores_its_arguments(
    _notes: Notes,
    (_, _): (Notes, u8),
    _: Notes,
    offload: Offload,
) -> ThreadId {
    thread::current().id()
}

#[test]
fn arguments_are_dropped_on_the_pool_as_by_the_sync_function_also_those_it_ignores() {
    let _watchdog = watchdog("ignored arguments");
    let (sender, drops) = mpsc::channel();
    let notes = |number| Notes(number, sender.clone());
    let call = ignores_its_arguments(notes(1), (notes(2), 0), notes(3), one_worker());
    let worker = pollster::block_on(call);
    let drops: Vec<_> = drops.try_iter().collect();
    assert_eq!(drops, [(3, worker), (2, worker), (1, worker)]);
}

struct WithDrop {
    notes: Notes,
    number: u8,
}

impl WithDrop {
    #[offload_io]
    fn uses_a_field(self) -> (u8, ThreadId) {
        (self.number, thread::current().id())
    }
}

#[test]
fn the_receiver_goes_to_the_pool_whole() {
    let _watchdog = watchdog("the receiver");
    let (sender, drops) = mpsc::channel();
    let receiver = WithDrop {
        notes: Notes(1, sender),
        number: 3,
    };
    let _ = &receiver.notes;
    let (number, worker) = run(&one_worker(), receiver.uses_a_field());
    assert_eq!((number, drops.try_recv()), (3, Ok((1, worker))));
}

#[offload_io]
fn tells(ran: mpsc::Sender<()>) {
    ran.send(()).unwrap();
}

#[offload_io(on = {
    looks.fetch_add(1, SeqCst);
    &offload
})]
fn looks_for_its_pool(offload: Offload, looks: Arc<AtomicUsize>) -> usize {
    looks.load(SeqCst)
}

#[test]
fn nothing_happens_before_the_first_poll() {
    let _watchdog = watchdog("lazy");
    let (offload, looks) = (one_worker(), Arc::new(AtomicUsize::new(0)));
    let call = looks_for_its_pool(offload.clone(), Arc::clone(&looks));
    let happened = (looks.load(SeqCst), offload.stats().io.submitted);
    assert_eq!(happened, (0, 0));
    assert_eq!(pollster::block_on(call), 1);
    assert_eq!(offload.stats().io.submitted, 1);
}

#[test]
fn dropping_the_future_of_a_call_that_waits_drops_its_arguments_and_it_never_runs() {
    let _watchdog = watchdog("drop while waiting");
    let offload = one_worker();
    let busy = Occupied::io(&offload, 1);
    let (sender, ran) = mpsc::channel();
    let mut call = Box::pin(offload.scoped(tells(sender)));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(offload.stats().io.queued, 1);
    drop(call);
    assert_eq!(ran.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    busy.release();
    let io = offload.stats().io;
    assert_eq!((io.cancelled, io.completed), (1, 1));
}

#[offload_io]
fn waits_for_its_cancellation(stopped: mpsc::Sender<()>) {
    while checkpoint().is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    stopped.send(()).unwrap();
}

#[test]
fn dropping_the_future_of_a_call_that_runs_tells_it_to_stop() {
    let _watchdog = watchdog("drop while running");
    let offload = one_worker();
    let (sender, stopped) = mpsc::channel();
    let mut call = Box::pin(offload.scoped(waits_for_its_cancellation(sender)));
    assert!(poll_once(&mut call).is_pending());
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(call);
    stopped.recv_timeout(PATIENCE).expect("it stops");
}

// Failures.

#[derive(Debug, PartialEq)]
struct Payload(u8);

#[offload_cpu]
fn panics_without_a_result() -> Option<u8> {
    std::panic::panic_any(Payload(3))
}

/// An error that cannot say that a call failed.
#[offload_io]
fn panics_with_its_own_error() -> Result<(), String> {
    std::panic::panic_any(Payload(4))
}

#[offload_io]
fn panics_with_any_error<E: From<String> + Send + 'static>() -> Result<(), E> {
    std::panic::panic_any(Payload(5))
}

#[test]
fn where_a_failure_cannot_be_returned_a_panic_goes_on_with_its_payload() {
    let _watchdog = watchdog("panics go on");
    let offload = one_worker();
    let payload = |call: &mut dyn FnMut()| {
        let caught = std::panic::catch_unwind(AssertUnwindSafe(call));
        *caught.unwrap_err().downcast::<Payload>().unwrap()
    };
    let mut option = || _ = run(&offload, panics_without_a_result());
    assert_eq!(payload(&mut option), Payload(3));
    let mut result = || _ = run(&offload, panics_with_its_own_error());
    assert_eq!(payload(&mut result), Payload(4));
    // Within a generic function only its bounds count, not what the caller knows.
    let mut any = || _ = run(&offload, panics_with_any_error::<Mine>());
    assert_eq!(payload(&mut any), Payload(5));
}

#[offload_io]
fn r#type() {}

#[test]
fn where_a_failure_cannot_be_returned_it_is_a_panic_that_names_function_and_failure() {
    let _watchdog = watchdog("failures panic");
    let call = AssertUnwindSafe(closed().scoped(r#type())).catch_unwind();
    let payload = pollster::block_on(call).unwrap_err();
    let message = payload.downcast::<String>().unwrap();
    assert_eq!(
        *message,
        "`macros::type` has no result: the pool has been shut down"
    );
}

type Outcome<T> = Result<T, Mine>;

#[derive(Debug)]
struct Mine(OffloadError);

impl From<OffloadError> for Mine {
    fn from(error: OffloadError) -> Self {
        Self(error)
    }
}

impl From<String> for Mine {
    fn from(_: String) -> Self {
        Self(OffloadError::ShutDown)
    }
}

#[offload_io]
fn fails_as_io(text: String) -> io::Result<u8> {
    panic!("{text}")
}

#[offload_cpu]
fn fails_as_mine(text: String) -> Outcome<u8> {
    panic!("{text}")
}

#[offload_io]
fn fails_as_anyhow(text: String) -> anyhow::Result<u8> {
    panic!("{text}")
}

#[offload_io]
fn fails_as_box(text: String) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    panic!("{text}")
}

#[offload_io]
fn fails_as_bounded<T, E>(text: String) -> Result<T, E>
where
    T: Send + 'static,
    E: From<OffloadError> + Send + 'static,
{
    panic!("{text}")
}

fn message(error: impl Display) -> String {
    error.to_string()
}

#[test]
fn where_the_error_is_from_offload_error_every_failure_is_returned() {
    let _watchdog = watchdog("failures are returned");
    for (offload, says) in [
        (one_worker(), "the offloaded job panicked: oh"),
        (closed(), "the pool has been shut down"),
    ] {
        let oh = || "oh".to_owned();
        let messages = [
            run(&offload, fails_as_io(oh())).map_err(message),
            run(&offload, fails_as_mine(oh())).map_err(|Mine(error)| message(error)),
            run(&offload, fails_as_anyhow(oh())).map_err(message),
            run(&offload, fails_as_box(oh())).map_err(message),
            run(&offload, fails_as_bounded::<u8, OffloadError>(oh())).map_err(message),
        ];
        assert_eq!(messages, [(); 5].map(|()| Err(says.to_owned())));
    }
}

// Options.

#[offload_io(timeout = "30ms")]
fn in_time(ran: mpsc::Sender<()>) -> io::Result<()> {
    ran.send(()).map_err(io::Error::other)
}

#[test]
fn a_timeout_is_an_error_of_the_result_and_the_function_never_runs() {
    let _watchdog = watchdog("a timeout");
    let offload = one_worker();
    let busy = Occupied::io(&offload, 1);
    let (sender, ran) = mpsc::channel();
    let error = run(&offload, in_time(sender)).unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(OffloadError::DeadlineExceeded {
        waited, ran: time, ..
    }) = inner
    else {
        panic!("{error:?}");
    };
    assert!(*waited >= Duration::from_millis(30) && time.is_zero());
    busy.release();
    assert_eq!(ran.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[offload_io(timeout = "1000h", on = &offloads[index])]
fn on_one_of(offloads: Arc<[Offload]>, index: usize) -> io::Result<usize> {
    Ok(offloads.len())
}

#[test]
fn on_names_the_pool_by_an_expression_of_the_arguments() {
    let _watchdog = watchdog("on");
    let offloads: Arc<[_]> = [one_worker(), one_worker()].into();
    let call = on_one_of(Arc::clone(&offloads), 1);
    assert_eq!(pollster::block_on(call).unwrap(), 2);
    assert_eq!(completed(&offloads[0]), (0, 0));
    assert_eq!(completed(&offloads[1]), (1, 0));
}

#[offload_io(label = "of a test")]
fn labelled() -> Result<(), OffloadError> {
    panic!("nothing to count")
}

#[test]
fn label_names_the_call() {
    let _watchdog = watchdog("label");
    let error = run(&one_worker(), labelled()).unwrap_err();
    let OffloadError::Panicked(panicked) = error else {
        panic!("{error:?}");
    };
    assert_eq!(panicked.label(), Some("of a test"));
    assert_eq!(panicked.message(), Some("nothing to count"));
}

mod facade {
    pub(crate) use offramp::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    pub(crate) static CALLS: AtomicUsize = AtomicUsize::new(0);

    #[track_caller]
    pub(crate) fn offload_io<F, R>(f: F) -> Offloaded<F, R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        CALLS.fetch_add(1, SeqCst);
        offramp::offload_io(f)
    }
}

#[offload_io(crate = crate::facade, timeout = "100h", on = &offload)]
fn through_a_facade(offload: Offload) -> Result<usize, facade::OffloadError> {
    Ok(offload.stats().io.running as usize)
}

#[test]
fn crate_is_the_path_of_a_re_export() {
    let _watchdog = watchdog("crate");
    let running = pollster::block_on(through_a_facade(one_worker()));
    assert_eq!(running.unwrap(), 1);
    assert_eq!(facade::CALLS.load(SeqCst), 1);
}

// Reports.

const DEFINED: &Location<'_> = Location::caller();
#[offload_io(label = "stuck")]
fn stuck(gate: Gate) {
    gate.pass();
}

#[test]
fn reports_show_the_function_as_the_call_s_place() {
    let _watchdog = watchdog("the call's place");
    let offload = one_worker();
    let gate = Gate::new();
    let mut call = Box::pin(offload.scoped(stuck(gate.clone())));
    assert!(poll_once(&mut call).is_pending());
    wait_until("it runs", || offload.stats().io.running == 1);
    let report = pollster::block_on(offload.shutdown(Duration::from_millis(10), Backlog::Drain));
    gate.open();
    let [job] = &report.still_running[..] else {
        panic!("{report:?}");
    };
    assert_eq!(
        (job.call_site.file(), job.call_site.line()),
        (DEFINED.file(), DEFINED.line() + 2)
    );
}
