//! Every way a call can go: where it stands when its caller does something, what the
//! caller does, and how the closure ends; with captures, outputs (or panic payloads),
//! runs and wake-ups counted after every step.

use crate::common::{Gate, PATIENCE, Random, Wakes, wait_until, watchdog};
use offramp::{
    Handle, Job, Offload, OffloadError, Offloaded, Stopped, WithJob, offload_cpu_with,
    offload_io_with,
};
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Running,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A handle that was never polled: no waker is stored.
    Handle,
    PolledHandle,
    Future,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Await,
    Drop,
    Abort,
    AbortTwice,
    AbortThenDrop,
    AbortThenDetach,
    Detach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Returns,
    Panics,
    /// Looks at its checkpoint, and returns if that says nothing.
    Checks,
}

/// Counts its instances and their drops.
struct Item(Arc<Count>);

#[derive(Default)]
struct Count {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

impl Item {
    fn new(count: &Arc<Count>) -> Self {
        count.made.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

impl Count {
    fn get(&self) -> (usize, usize) {
        (self.made.load(SeqCst), self.dropped.load(SeqCst))
    }
}

type Work = Box<dyn FnOnce(&Job) -> Result<Item, Stopped> + Send>;
type Call = Offloaded<Work, Item, WithJob>;

/// The closure of a case, and its counters.
#[derive(Default)]
struct Counts {
    runs: Arc<AtomicUsize>,
    captures: Arc<Count>,
    outputs: Arc<Count>,
}

impl Counts {
    fn work(&self, gate: &Gate, started: mpsc::Sender<()>, ending: Ending) -> Work {
        let capture = Item::new(&self.captures);
        let (runs, outputs) = (Arc::clone(&self.runs), Arc::clone(&self.outputs));
        let gate = gate.clone();
        Box::new(move |job| {
            let _capture = capture;
            runs.fetch_add(1, SeqCst);
            let _ = started.send(());
            gate.pass();
            if ending == Ending::Checks {
                job.checkpoint()?;
            }
            let output = Item::new(&outputs);
            if ending == Ending::Panics {
                // Past the panic hook, which would print it.
                resume_unwind(Box::new(output));
            }
            Ok(output)
        })
    }

    /// Runs, captures dropped, outputs made and dropped.
    fn get(&self) -> (usize, usize, (usize, usize)) {
        let captures = self.captures.get();
        assert_eq!(captures.0, 1);
        (self.runs.load(SeqCst), captures.1, self.outputs.get())
    }
}

enum Caller {
    Future(Call),
    Handle(Handle<Item>),
}

impl Caller {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<Item, OffloadError>> {
        let cx = &mut Context::from_waker(waker);
        match self {
            Self::Future(call) => Pin::new(call).poll(cx),
            Self::Handle(handle) => Pin::new(handle).poll(cx),
        }
    }

    fn handle(&self) -> &Handle<Item> {
        match self {
            Self::Handle(handle) => handle,
            Self::Future(_) => unreachable!("only handles are aborted"),
        }
    }

    fn detach(self) {
        match self {
            Self::Handle(handle) => handle.detach(),
            Self::Future(_) => unreachable!("only handles are detached"),
        }
    }
}

/// What `outcome` is, with the item in it dropped.
fn ending_of(outcome: Result<Item, OffloadError>) -> &'static str {
    match outcome {
        Ok(_) => "value",
        Err(OffloadError::Cancelled) => "cancelled",
        Err(OffloadError::Panicked(panicked)) => {
            assert!(panicked.into_payload().is::<Item>());
            "panic"
        }
        Err(error) => panic!("{error}"),
    }
}

struct Pool {
    offload: Offload,
    call: fn(Work) -> Call,
}

impl Pool {
    /// Has the only worker wait at the gate.
    fn occupy(&self) -> (Gate, Handle<Item>) {
        let (gate, (started, start)) = (Gate::new(), mpsc::channel());
        let work = Counts::default().work(&gate, started, Ending::Returns);
        let handle = (self.call)(work).on(&self.offload).try_spawn().unwrap();
        start.recv_timeout(PATIENCE).unwrap();
        (gate, handle)
    }

    fn case(&self, stage: Stage, form: Form, action: Action, ending: Ending) {
        let (counts, gate) = (Counts::default(), Gate::new());
        let (started, start) = mpsc::channel();
        let mut occupied = Some(self.occupy());
        let mut free_the_worker = || {
            if let Some((gate, handle)) = occupied.take() {
                gate.open();
                handle.wait().unwrap();
            }
        };
        let (wakes, waker) = Wakes::new();

        // The call.
        let call = (self.call)(counts.work(&gate, started, ending)).on(&self.offload);
        let mut caller = match form {
            Form::Future => Caller::Future(call),
            Form::Handle | Form::PolledHandle => Caller::Handle(call.try_spawn().unwrap()),
        };
        let has_waker = form != Form::Handle;
        if has_waker {
            assert!(caller.poll(&waker).is_pending());
        }
        assert_eq!(counts.get(), (0, 0, (0, 0)));

        // Where it stands.
        if stage != Stage::Queued {
            free_the_worker();
            start.recv_timeout(PATIENCE).unwrap();
            assert_eq!(counts.get(), (1, 0, (0, 0)));
        }
        if stage == Stage::Finished {
            gate.open();
            let is_finished = || match &caller {
                Caller::Handle(handle) => handle.is_finished(),
                Caller::Future(_) => wakes.count() > 0,
            };
            wait_until("the job is finished", is_finished);
            assert_eq!(counts.get(), (1, 1, (1, 0)));
        }

        // What the caller does.
        let aborts = !matches!(action, Action::Await | Action::Drop | Action::Detach);
        if aborts {
            caller.handle().abort();
            if action == Action::AbortTwice {
                caller.handle().abort();
            }
        }
        let awaiting = match action {
            Action::Drop | Action::AbortThenDrop => {
                drop(caller);
                None
            }
            Action::Detach | Action::AbortThenDetach => {
                caller.detach();
                None
            }
            Action::Await | Action::Abort | Action::AbortTwice => Some(caller),
        };

        // What that did at once.
        let cancels = aborts || action == Action::Drop;
        let is_cancelled_queued = cancels && stage == Stage::Queued;
        let gone = usize::from(awaiting.is_none());
        let at_once = match stage {
            Stage::Queued => (0, usize::from(cancels), (0, 0)),
            Stage::Running => (1, 0, (0, 0)),
            // Whoever leaves a finished job drops its output.
            Stage::Finished => (1, 1, (1, gone)),
        };
        assert_eq!(counts.get(), at_once);
        // A waker that was stored has been called if there is something to fetch.
        let is_woken = stage == Stage::Finished || (is_cancelled_queued && aborts);
        let called = usize::from(has_waker && is_woken);
        wait_until("the waker is called", || wakes.count() == called);

        // How it goes on.
        free_the_worker();
        gate.open();
        let stops = cancels && stage == Stage::Running && ending == Ending::Checks;
        let makes_output = !is_cancelled_queued && !stops;
        if let Some(mut caller) = awaiting {
            let outcome = loop {
                let before = wakes.count();
                match caller.poll(&waker) {
                    Poll::Ready(outcome) => break outcome,
                    Poll::Pending => wait_until("woken", || wakes.count() > before),
                }
            };
            let made = usize::from(makes_output);
            let run = usize::from(!is_cancelled_queued);
            assert_eq!(counts.get(), (run, 1, (made, 0)));
            let expected = match ending {
                _ if !makes_output => "cancelled",
                Ending::Panics => "panic",
                Ending::Returns | Ending::Checks => "value",
            };
            assert_eq!(ending_of(outcome), expected);
        }
        let run = usize::from(!is_cancelled_queued);
        let made = usize::from(makes_output);
        let at_last = (run, 1, (made, made));
        wait_until("all is dropped", || counts.get() == at_last);
        // And nothing keeps the task alive.
        wait_until("the waker is dropped", || Arc::strong_count(&wakes) == 2);
    }
}

fn grid(pool: &Pool) {
    let _watchdog = watchdog("the grid");
    use Action::*;
    for stage in [Stage::Queued, Stage::Running, Stage::Finished] {
        for form in [Form::Handle, Form::PolledHandle, Form::Future] {
            for action in [
                Await,
                Drop,
                Abort,
                AbortTwice,
                AbortThenDrop,
                AbortThenDetach,
                Detach,
            ] {
                if form == Form::Future && !matches!(action, Await | Drop) {
                    continue;
                }
                for ending in [Ending::Returns, Ending::Panics, Ending::Checks] {
                    // In the captured output of a failure the last line is the case.
                    println!("{stage:?}, {form:?}, {action:?}, {ending:?}");
                    pool.case(stage, form, action, ending);
                }
            }
        }
    }
    let stats = pool.offload.stats();
    assert_eq!(
        (stats.io.queued, stats.io.running, stats.io.orphans),
        (0, 0, 0)
    );
    assert_eq!(
        (stats.cpu.queued, stats.cpu.running, stats.cpu.orphans),
        (0, 0, 0)
    );
}

fn one_thread() -> Offload {
    let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
    builder.build().unwrap()
}

#[test]
fn an_io_call_drops_everything_exactly_once_whatever_happens() {
    grid(&Pool {
        offload: one_thread(),
        call: offload_io_with,
    });
}

#[test]
fn a_cpu_call_drops_everything_exactly_once_whatever_happens() {
    grid(&Pool {
        offload: one_thread(),
        call: offload_cpu_with,
    });
}

/// The same without gates: caller and worker meet at any point of the way.
fn race(call: fn(Work) -> Call, seed: u64) {
    let _watchdog = watchdog("caller against worker");
    const ROUNDS: usize = 20_000;
    let offload = Offload::builder()
        .io_max_threads(2)
        .cpu_threads(2)
        .build()
        .unwrap();
    let gate = Gate::new();
    gate.open();
    let mut random = Random(seed);
    let (mut ran, mut outputs) = (0, 0);
    for _ in 0..ROUNDS {
        let counts = Counts::default();
        let (started, _) = mpsc::channel();
        let ending = match random.below(3) {
            0 => Ending::Returns,
            1 => Ending::Panics,
            _ => Ending::Checks,
        };
        let call = call(counts.work(&gate, started, ending)).on(&offload);
        let (wakes, waker) = Wakes::new();
        // On one CPU the first poll may find the outcome.
        let mut is_over = false;
        let mut caller = if random.below(2) == 0 {
            Caller::Handle(call.try_spawn().unwrap())
        } else {
            let mut caller = Caller::Future(call);
            is_over = caller.poll(&waker).map(ending_of).is_ready();
            caller
        };
        for _ in 0..random.below(200) {
            std::hint::spin_loop();
        }
        if random.below(8) == 0 {
            thread::yield_now();
        }
        let is_handle = matches!(caller, Caller::Handle(_));
        let aborts = is_handle && random.below(2) == 0;
        if aborts {
            caller.handle().abort();
        }
        match random.below(3) {
            0 => drop(caller),
            _ if is_over => drop(caller),
            1 if is_handle => caller.detach(),
            _ => {
                let _ = loop {
                    let before = wakes.count();
                    match caller.poll(&waker) {
                        Poll::Ready(outcome) => break ending_of(outcome),
                        Poll::Pending => wait_until("woken", || wakes.count() > before),
                    }
                };
            }
        }
        let is_settled = || {
            let (_, captures, (made, dropped)) = counts.get();
            captures == 1 && made == dropped && Arc::strong_count(&counts.captures) == 1
        };
        wait_until("all is dropped", is_settled);
        ran += counts.get().0;
        outputs += counts.get().2.0;
        assert!(counts.get().0 <= 1);
    }
    wait_until("the pool is at rest", || {
        let stats = offload.stats();
        stats.io.running + stats.cpu.running == 0
    });
    let stats = offload.stats();
    let sum = |f: fn(&offramp::PoolStats) -> u64| f(&stats.io) + f(&stats.cpu);
    assert_eq!(sum(|pool| pool.submitted), ROUNDS as u64);
    assert_eq!(sum(|pool| pool.completed + pool.panicked), outputs as u64);
    let stopped = ran - outputs;
    let unrun = ROUNDS - ran;
    assert_eq!(sum(|pool| pool.cancelled), (stopped + unrun) as u64);
    // Else this raced against nothing.
    println!("{ran} ran, {stopped} of them stopped; {unrun} were cancelled before");
    assert!(unrun > 0 && outputs > 0);
}

#[test]
fn a_caller_that_races_with_an_io_worker_drops_everything_exactly_once() {
    race(offload_io_with, 11);
}

#[test]
fn a_caller_that_races_with_a_cpu_worker_drops_everything_exactly_once() {
    race(offload_cpu_with, 12);
}
