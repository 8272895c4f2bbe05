//! What every [`Backend`](crate::backend::Backend) promises, as a suite that yours can run
//! through.
//!
//! ```
//! use offramp::testing::conformance::{self, Subject};
//! use offramp::{Offload, backend};
//!
//! // One that makes a new backend each time, and how many jobs that runs at the same time.
//! let subject = Subject::io(1, || Offload::builder().io_backend(backend::Inline::new()));
//! conformance::run_all(&subject);
//! ```
//!
//! For one test each, iterate over [`PROMISES`]. A promise that is not kept is a panic that
//! begins with its name. A hang is one, too, after the subject's
//! [`patience`](Subject::patience); what hangs is left behind, with its threads.
//!
//! Not in here: that a backend has no more threads than it should, that they leave when
//! they are idle, and [`lend`](crate::backend::Backend::lend), which is optional.

mod ends;
mod jobs;

use self::ends::{
    a_dropped_pool_ends, a_shutdown_discards, a_shutdown_drains, nothing_runs_after_the_end,
    the_statistics_add_up, two_pools_are_apart,
};
use self::jobs::{
    a_cancelled_job_never_runs, a_job_after_a_pause_runs, a_job_may_submit_jobs,
    a_panic_ends_its_job_only, a_submission_does_not_wait_for_its_job, every_job_runs_once,
    jobs_run_at_the_same_time, jobs_start_in_order, many_submitters_are_served,
    what_is_left_behind_is_run,
};
use crate::backend::Turns;
use crate::builder::Builder;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Handle;
use crate::offload::Offload;
use crate::pool::Kind;
use crate::stats::PoolStats;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A backend to be tested.
#[derive(Clone)]
#[must_use = "a subject does nothing until a promise is checked"]
pub struct Subject {
    make: Arc<dyn Fn() -> Builder + Send + Sync>,
    pool: Kind,
    at_once: usize,
    patience: Duration,
}

impl Subject {
    /// The I/O backend of what `make` answers: a new one with each call. It runs `at_once`
    /// jobs at the same time, or more; an inline one runs 1.
    ///
    /// Of a backend that says 1 it is also checked that jobs start in their order.
    ///
    /// # Panics
    ///
    /// If `at_once` is 0.
    #[track_caller]
    pub fn io(at_once: usize, make: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        Self::new(Kind::Io, at_once, make)
    }

    /// The same for the CPU backend.
    ///
    /// # Panics
    ///
    /// If `at_once` is 0.
    #[track_caller]
    pub fn cpu(at_once: usize, make: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        Self::new(Kind::Cpu, at_once, make)
    }

    #[track_caller]
    fn new(pool: Kind, at_once: usize, make: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        assert!(at_once > 0, "a backend runs at least one job at a time");
        Self {
            make: Arc::new(make),
            pool,
            at_once,
            patience: Duration::from_secs(60),
        }
    }

    /// How long a promise may take before it counts as a hang: by default a minute, of
    /// which a good backend uses well below a second.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("pool", &self.pool)
            .field("at_once", &self.at_once)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// One thing that every backend promises.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    name: &'static str,
    text: &'static str,
    keep: fn(&Trial) -> Outcome,
}

impl Promise {
    /// Its name, with which a panic begins.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is promised.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Whether `subject` keeps it.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn check(&self, subject: &Subject) {
        let (keep, subject) = (self.keep, subject.clone());
        let patience = subject.patience;
        let (sender, outcome) = mpsc::channel();
        // A thread of its own, because a submission may hang.
        let started = thread::Builder::new()
            .name("conformance".to_owned())
            .spawn(move || {
                let trial = Trial {
                    until: Instant::now() + subject.patience,
                    subject,
                };
                let kept = catch_unwind(AssertUnwindSafe(|| keep(&trial)));
                let panicked = |_| Err("the suite's own thread panicked, see above".to_owned());
                let _ = sender.send(kept.unwrap_or_else(panicked));
            });
        let broken = match started {
            // What waits inside gives up first, and knows more.
            Ok(_) => match outcome.recv_timeout(patience + patience / 4) {
                Ok(Ok(())) => return,
                Ok(Err(broken)) => broken,
                Err(_) => format!("a call to the backend has hung for {patience:?}"),
            },
            Err(error) => format!("no thread for the suite: {error}"),
        };
        panic!("{}: {broken} (promised: {})", self.name, self.text);
    }
}

/// Checks all [`PROMISES`], one after the other.
///
/// # Panics
///
/// With the first one that is broken.
#[track_caller]
pub fn run_all(subject: &Subject) {
    for promise in PROMISES {
        promise.check(subject);
    }
}

macro_rules! promises {
    ($($name:ident: $text:literal,)*) => {
        /// What is promised, the basics first:
        ///
        $(#[doc = concat!("- `", stringify!($name), "`: ", $text, ";")])*
        pub static PROMISES: &[Promise] = &[$(Promise {
            name: stringify!($name),
            text: $text,
            keep: $name,
        },)*];
    };
}

promises! {
    every_job_runs_once: "each job runs, once, and resolves with its value",
    a_submission_does_not_wait_for_its_job: "unless jobs run inline, a submission returns while its job runs",
    jobs_run_at_the_same_time: "as many jobs as stated run at the same time, whenever they are submitted",
    jobs_start_in_order: "where one runs at a time, jobs start in the order of their submission",
    a_job_after_a_pause_runs: "a job that comes when all threads are about to sleep, or sleep, runs",
    many_submitters_are_served: "jobs from many threads at the same time all run",
    what_is_left_behind_is_run: "jobs for which `demand` is called once together all start, by `Turn::more`",
    a_job_may_submit_jobs: "jobs run that are submitted, or waited for, inside of jobs",
    a_panic_ends_its_job_only: "after a panic all other jobs run",
    a_cancelled_job_never_runs: "a job that resolves as cancelled has not run and will not",
    the_statistics_add_up: "at rest every job is counted once, and none waits or runs",
    two_pools_are_apart: "two pools at the same time do not disturb each other, nor does the end of one the other",
    a_shutdown_drains: "a shutdown resolves when all jobs have run and all threads have left, and not before",
    a_shutdown_discards: "one that discards lets what runs go on and runs nothing else but what must run",
    nothing_runs_after_the_end: "after a shutdown jobs are refused, and no thread comes back",
    a_dropped_pool_ends: "detached jobs run when the last handle is gone, and then the pool is dropped, and the backend",
}

type Outcome = Result<(), String>;

/// One check of one promise.
#[derive(Debug)]
struct Trial {
    subject: Subject,
    until: Instant,
}

impl Trial {
    fn at_once(&self) -> usize {
        self.subject.at_once
    }

    fn pool(&self) -> Result<Offload, String> {
        self.build((self.subject.make)())
    }

    fn build(&self, builder: Builder) -> Result<Offload, String> {
        let wrong = |error| format!("the subject cannot be built: {error}");
        builder.build().map_err(wrong)
    }

    fn turns<'a>(&self, offload: &'a Offload) -> &'a Turns {
        offload.turns(self.subject.pool)
    }

    fn is_inline(&self, offload: &Offload) -> bool {
        self.turns(offload).pool().is_inline
    }

    fn stats(&self, offload: &Offload) -> PoolStats {
        self.turns(offload).pool().stats()
    }

    fn call<F, R>(&self, offload: &Offload, f: F) -> Offloaded<F, R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        Offloaded::new(self.subject.pool, f).on(offload)
    }

    fn spawn<F, R>(&self, offload: &Offload, f: F) -> Result<Handle<R>, String>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let call = self.call(offload, f).try_spawn();
        call.map_err(|refused| refused.to_string())
    }

    /// Awaits `future`, which has to wake its waker.
    fn ready<F: Future>(&self, what: &str, future: F) -> Result<F::Output, String> {
        let mut future = pin!(future);
        let (bell, rung) = mpsc::channel();
        let waker = Waker::from(Arc::new(Bell(bell)));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(output);
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if rung.recv_timeout(left).is_err() {
                return Err(self.hang(what));
            }
        }
    }

    fn value<R>(&self, handle: Handle<R>) -> Result<R, String> {
        let output = self.ready("a job resolves", handle)?;
        output.map_err(|error| format!("a job resolved without its value: {error}"))
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
        while !condition() {
            if Instant::now() >= self.until {
                return Err(self.hang(what));
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn hang(&self, what: &str) -> String {
        format!("waited for {:?} until {what}", self.subject.patience)
    }

    /// Holds as many turns as there are at once.
    fn occupy(&self, offload: &Offload) -> Result<Occupied, String> {
        let mut occupied = Occupied {
            gate: Gate::default(),
            handles: Vec::new(),
        };
        let (started, starts) = mpsc::channel();
        for _ in 0..self.at_once() {
            let (gate, started) = (occupied.gate.clone(), started.clone());
            let hold = move || {
                let _ = started.send(());
                gate.pass();
            };
            occupied.handles.push(self.spawn(offload, hold)?);
        }
        for _ in 0..self.at_once() {
            let left = self.until.saturating_duration_since(Instant::now());
            if starts.recv_timeout(left).is_err() {
                return Err(self.hang("as many jobs as stated run at the same time"));
            }
        }
        Ok(occupied)
    }
}

struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// Holds jobs until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        opened.notify_all();
    }

    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        let mut guard = is_open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            guard = opened.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Jobs held at a gate, which opens at the latest when this is dropped.
struct Occupied {
    gate: Gate,
    handles: Vec<Handle<()>>,
}

impl Occupied {
    /// Lets them go on, and answers them.
    fn release(mut self) -> Vec<Handle<()>> {
        std::mem::take(&mut self.handles)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.gate.open();
    }
}

/// What ran is what resolved with a value.
fn ran_as_told<R>(ran: usize, outcome: &Result<R, OffloadError>) -> Outcome {
    if ran == usize::from(outcome.is_ok()) {
        return Ok(());
    }
    let outcome = outcome.as_ref().map(|_| "a value");
    Err(format!(
        "a job that ran {ran} times resolved with {outcome:?}"
    ))
}
