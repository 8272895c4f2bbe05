//! Context hooks: what is bound to the caller's thread goes with its calls.

mod common;

use common::{Occupied, wait_until, watchdog};
use offramp::{Backlog, ContextHook, Offload, offload_cpu, offload_dedicated, offload_io};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

thread_local! {
    /// The contexts that this thread is in.
    static INSIDE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn inside() -> String {
    INSIDE.with_borrow(|inside| inside.join("/"))
}

/// Carries the caller's contexts under a name of its own.
#[derive(Clone, Default)]
struct Name {
    name: &'static str,
    /// The step that panics.
    panics_in: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    alive: Arc<AtomicUsize>,
}

struct Carried {
    name: String,
    alive: Arc<AtomicUsize>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

impl Name {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// The same log, for the order among several.
    fn beside(&self, name: &'static str, panics_in: &'static str) -> Self {
        Self {
            name,
            panics_in,
            ..self.clone()
        }
    }

    fn step(&self, step: &str) {
        self.log
            .lock()
            .unwrap()
            .push(format!("{step} {}", self.name));
        assert_ne!(self.panics_in, step, "a hook's panic");
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl ContextHook for Name {
    type Context = Carried;

    fn capture(&self) -> Option<Carried> {
        self.step("capture");
        if inside().is_empty() {
            return None;
        }
        self.alive.fetch_add(1, SeqCst);
        Some(Carried {
            name: format!("{}:{}", self.name, inside()),
            alive: Arc::clone(&self.alive),
        })
    }

    fn enter(&self, context: &mut Carried) {
        self.step("enter");
        INSIDE.with_borrow_mut(|inside| inside.push(context.name.clone()));
    }

    fn exit(&self, context: &mut Carried) {
        let left = INSIDE.with_borrow_mut(Vec::pop);
        assert_eq!(left.as_ref(), Some(&context.name));
        self.step("exit");
    }
}

/// Runs `body` as a caller who is in a context.
fn caller<R>(body: impl FnOnce() -> R) -> R {
    INSIDE.with_borrow_mut(|inside| inside.push("caller".to_owned()));
    let output = body();
    INSIDE.with_borrow_mut(Vec::pop);
    output
}

#[test]
fn every_pool_runs_calls_in_their_callers_context() {
    let _watchdog = watchdog("contexts");
    let hook = Name::new("a");
    let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
    let offload = builder.context_hook(hook.clone()).build().unwrap();
    for _ in 0..3 {
        let io = caller(|| offload_io(inside).on(&offload).wait().unwrap());
        let cpu = caller(|| offload_cpu(inside).on(&offload).wait().unwrap());
        let own = caller(|| offload_dedicated(inside).on(&offload).wait().unwrap());
        assert_eq!([&*io, &*cpu, &*own], ["a:caller"; 3]);
        // A caller without one leaves nothing, and finds nothing of the one before.
        assert_eq!(offload_io(inside).on(&offload).wait().unwrap(), "");
    }
    assert_eq!(hook.alive.load(SeqCst), 0);
}

#[test]
fn it_is_captured_where_the_call_is_submitted() {
    let _watchdog = watchdog("captured at the first poll");
    let builder = Offload::builder().context_hook(Name::new("a"));
    let offload = builder.build().unwrap();
    let call = caller(|| offload_io(inside).on(&offload));
    assert_eq!(pollster::block_on(call).unwrap(), "");
    let call = offload_io(inside).on(&offload);
    assert_eq!(caller(|| pollster::block_on(call).unwrap()), "a:caller");
    let handle = caller(|| offload_io(inside).on(&offload).try_spawn().unwrap());
    assert_eq!(handle.wait().unwrap(), "a:caller");
}

#[test]
fn contexts_are_exited_in_reverse_also_by_a_panic() {
    let _watchdog = watchdog("order of contexts");
    let first = Name::new("first");
    let builder = Offload::builder().context_hook(first.clone());
    let builder = builder.context_hook(first.beside("second", ""));
    let offload = builder.io_max_threads(1).build().unwrap();
    let steps = [
        "capture first",
        "capture second",
        "enter first",
        "enter second",
        "exit second",
        "exit first",
    ];
    let seen = caller(|| offload_io(inside).on(&offload).wait().unwrap());
    assert_eq!(seen, "first:caller/second:caller");
    assert_eq!(first.log(), steps);
    let panics = caller(|| offload_io(|| panic!("inside")).on(&offload).wait());
    assert!(panics.is_err());
    assert_eq!(first.log(), steps);
    assert_eq!(offload_io(inside).on(&offload).wait().unwrap(), "");
    assert_eq!(first.alive.load(SeqCst), 0);
}

#[test]
fn a_hook_that_panics_loses_nothing_but_its_context() {
    let _watchdog = watchdog("panics of hooks");
    for step in ["capture", "enter", "exit"] {
        let bad = Name::new("").beside("bad", step);
        let good = bad.beside("good", "");
        let builder = Offload::builder().context_hook(bad.clone());
        let builder = builder.context_hook(good).io_max_threads(1);
        let offload = builder.build().unwrap();
        for _ in 0..3 {
            let seen = caller(|| offload_io(inside).on(&offload).wait().unwrap());
            let expected = match step {
                "exit" => "bad:caller/good:caller",
                _ => "good:caller",
            };
            assert_eq!(seen, expected, "panic in {step}");
        }
        let log = bad.log();
        let exits = log.iter().filter(|step| *step == "exit bad").count();
        assert_eq!(exits, if step == "exit" { 3 } else { 0 }, "{log:?}");
        wait_until("the contexts are dropped", || bad.alive.load(SeqCst) == 0);
        assert_eq!(offload.stats().io.completed, 3);
    }
}

#[test]
fn a_call_that_never_starts_drops_its_context() {
    let _watchdog = watchdog("contexts of calls that never start");
    let hook = Name::new("a");
    let builder = Offload::builder().io_max_threads(1).capacity(1);
    let offload = builder.context_hook(hook.clone()).build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let waiting = caller(|| offload_io(inside).on(&offload).try_spawn().unwrap());
    assert_eq!(hook.alive.load(SeqCst), 1);
    let refused = caller(|| offload_io(inside).on(&offload).try_spawn().unwrap_err());
    assert_eq!(hook.alive.load(SeqCst), 1, "with the closure back");
    assert_eq!(refused.into_inner()(), "");
    drop(waiting);
    assert_eq!(hook.alive.load(SeqCst), 0);
    occupied.release();
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    let late = caller(|| offload_io(inside).on(&offload).wait());
    assert!(late.is_err());
    assert_eq!(hook.alive.load(SeqCst), 0);
}

#[test]
fn a_job_that_runs_inside_of_another_has_its_own() {
    let _watchdog = watchdog("nested contexts");
    let builder = Offload::builder().io_max_threads(1);
    let offload = builder.context_hook(Name::new("a")).build().unwrap();
    let own = offload.clone();
    let nested = move || {
        let inner = offload_io(inside).on(&own).wait().unwrap();
        (inner, inside())
    };
    let (inner, outer) = caller(|| offload_io(nested).on(&offload).wait().unwrap());
    assert_eq!(inner, "a:caller/a:a:caller");
    assert_eq!(outer, "a:caller");
}

#[test]
fn pieces_of_a_job_on_other_threads_have_none() {
    let _watchdog = watchdog("contexts of pieces");
    let builder = Offload::builder().cpu_threads(3);
    let offload = builder.context_hook(Name::new("a")).build().unwrap();
    let everywhere = || rayon::broadcast(|_| inside());
    let mut seen = caller(|| offload_cpu(everywhere).on(&offload).wait().unwrap());
    seen.sort();
    assert_eq!(seen, ["", "", "a:caller"]);
}

#[cfg(feature = "tracing")]
mod spans {
    use super::common::{Gate, watchdog};
    use offramp::{Offload, offload_cpu, offload_io};
    use std::sync::{Arc, Mutex};
    use tracing::span::{Attributes, Id};
    use tracing::{Event, Instrument, Subscriber, info, info_span};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry::LookupSpan;

    /// Each event's span, and each span's end.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Seen {
        fn push(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }
    }

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
        fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            let name = context.span(id).unwrap().name();
            self.push(format!("new {name}"));
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            if event.metadata().target() == module_path!() {
                let span = context.event_span(event);
                let name = span.map_or("nowhere", |span| span.name());
                self.push(format!("event in {name}"));
            }
        }

        fn on_close(&self, id: Id, context: Context<'_, S>) {
            let name = context.span(&id).unwrap().name();
            self.push(format!("end of {name}"));
        }
    }

    #[test]
    fn calls_run_in_their_callers_span() {
        let _watchdog = watchdog("spans");
        let seen = Seen::default();
        let subscriber = tracing_subscriber::registry().with(seen.clone());
        // For all threads: the pool's have no subscriber of their own.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
        let offload = builder.build().unwrap();
        let session = async {
            let io = offload_io(|| info!("read")).on(&offload);
            io.await.unwrap();
            let cpu = offload_cpu(|| info!("embed")).on(&offload);
            cpu.await.unwrap();
            let panics = offload_io(|| panic!("in a span")).on(&offload);
            assert!(panics.await.is_err());
        };
        pollster::block_on(session.instrument(info_span!("session")));
        pollster::block_on(offload_io(|| info!("outside")).on(&offload)).unwrap();
        assert_eq!(
            *seen.0.lock().unwrap(),
            [
                "new session",
                "event in session",
                "event in session",
                "end of session",
                "event in nowhere",
            ]
        );
        // Its end waits for the job's.
        seen.0.lock().unwrap().clear();
        let gate = Gate::new();
        let pass = gate.clone();
        let handle = info_span!("detached").in_scope(|| {
            let job = offload_io(move || {
                pass.pass();
                info!("late");
            });
            job.on(&offload).try_spawn().unwrap()
        });
        assert_eq!(*seen.0.lock().unwrap(), ["new detached"]);
        gate.open();
        handle.wait().unwrap();
        let lines = ["new detached", "event in detached", "end of detached"];
        assert_eq!(*seen.0.lock().unwrap(), lines);
    }
}
