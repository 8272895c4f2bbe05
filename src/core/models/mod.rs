//! The models: loom runs each of them through every interleaving within its bound.
//!
//! Rules: a model awaits its outcome before it closes anything, because a
//! broadcast at the end would rescue a lost wake-up; time is an event that a model
//! thread fires; every guarded line has a planted bug in `planted.rs` that one of
//! these has to fail on.

mod alarms;
mod crew;
mod interrupt;
mod job;
mod lanes;
mod mark;
mod outbox;
mod planted;
mod queue;
mod rayon;
mod residents;

use super::caller::{Caller, Left};
use super::chain::Chain;
use super::crew::Crew;
use super::extension::Extension;
use super::host::{Host, Length, Size};
use super::job::{Ended, Failure, Header, Work, allocate, dismantle};
use super::lane_state::LaneState;
use super::queue::Queue;
use super::view::Job;
use crate::cancel::Stopped;
use crate::sync::{plain, planted};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use std::ptr::NonNull;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// For queues; only the models of ageing let time pass.
const AGEING: u64 = 100;

/// Explores `model` with at most `bound` preemptions (`None`: without a bound), or as
/// `LOOM_MAX_PREEMPTIONS` says.
fn check(name: &str, bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(bound);
    let executions = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    builder.check({
        let executions = Arc::clone(&executions);
        move || {
            executions.fetch_add(1, Ordering::Relaxed);
            model();
        }
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{name}: {executions} executions, {:?}", start.elapsed());
    assert!(executions > 1, "loom saw nothing to interleave");
}

struct Task<F>(F);

impl<F, R> Work for Task<F>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    fn run(self, job: &Job) -> Result<R, Stopped> {
        (self.0)(job)
    }
}

/// Pushes a job; `None` if the queue is full or sealed.
fn push<R: Send + 'static>(
    queue: &Queue,
    limit: usize,
    f: impl FnOnce() -> R + Send + 'static,
) -> Option<Caller<R>> {
    push_work(queue, limit, Task(move |_: &Job| Ok(f())), None)
}

fn push_work<W: Work>(
    queue: &Queue,
    limit: usize,
    work: W,
    extension: Option<Extension>,
) -> Option<Caller<W::Output>> {
    let lane = extension.as_ref().and_then(|own| own.lane.as_ref());
    let permit = queue.admit(limit, lane).ok()?;
    let job = allocate(work, 0, None, extension, std::panic::Location::caller());
    // SAFETY: new, and of this type; refused, it is still ours.
    unsafe {
        if queue.push(permit, job).is_err() {
            drop(dismantle::<W>(job));
            return None;
        }
        Some(Caller::new(job))
    }
}

type Boxed = Box<dyn FnOnce() + Send>;

/// Pushes jobs together; none if the queue is sealed.
fn push_all<const N: usize>(
    queue: &Queue,
    limit: usize,
    jobs: [Boxed; N],
) -> Option<[Caller<()>; N]> {
    let permit = queue.admit_all(limit, None, N);
    assert_eq!(permit.jobs(), N, "there is room");
    let mut chain = Chain::new();
    let allocated = jobs.map(|f| {
        let work = task(f);
        let job = allocate(work, 0, None, None, std::panic::Location::caller());
        // SAFETY: new.
        unsafe { chain.add(job) };
        job
    });
    // SAFETY: as many as were admitted, of this type; refused, they are still ours.
    unsafe {
        if let Err(mut chain) = queue.push_all(permit, chain) {
            while let Some(job) = chain.take_newest() {
                drop(taken_apart(job, task));
            }
            return None;
        }
        Some(allocated.map(|job| Caller::new(job)))
    }
}

fn task(f: Boxed) -> Task<impl FnOnce(&Job) -> Result<(), Stopped> + Send + 'static> {
    Task(move |_: &Job| {
        f();
        Ok(())
    })
}

/// # Safety
///
/// As [`dismantle`], for what `_make` makes.
unsafe fn taken_apart<W: Work>(job: NonNull<Header>, _make: fn(Boxed) -> W) -> W {
    // SAFETY: by contract.
    unsafe { dismantle::<W>(job) }
}

/// Takes one job and runs it; `false` if there was none.
fn run_one(queue: &Queue) -> bool {
    match queue.next(0) {
        Some(taken) => {
            let (finished, _ended): (_, Ended) = taken.job.run(std::ptr::null(), |_| ());
            finished.complete();
            true
        }
        None => false,
    }
}

/// Blocks until the job is over. loom reports a deadlock if nobody wakes us.
fn await_it<R>(mut caller: Caller<R>) -> Result<R, Failure> {
    struct Wakes(loom::sync::Notify);

    impl Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.notify();
        }
    }

    // A plain `Arc`, so that only the notification itself is a step of the model.
    let wakes = std::sync::Arc::new(Wakes(loom::sync::Notify::new()));
    let waker = Waker::from(std::sync::Arc::clone(&wakes));
    loop {
        if let Some(output) = caller.poll(&waker) {
            return output;
        }
        wakes.0.wait();
    }
}

/// Counts runs and drops of one closure.
#[derive(Clone)]
struct Fate {
    runs: Arc<AtomicUsize>,
    drops: Arc<AtomicUsize>,
}

struct Capture(Fate);

impl Drop for Capture {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl Fate {
    fn new() -> Self {
        Self {
            runs: Arc::new(AtomicUsize::new(0)),
            drops: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn closure(&self) -> impl FnOnce() + Send + 'static + use<> {
        let capture = Capture(self.clone());
        move || {
            capture.0.runs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it ran; it was dropped once in any case.
    fn runs(&self) -> usize {
        assert_eq!(
            self.drops.load(Ordering::Relaxed),
            1,
            "drops of the closure"
        );
        self.runs.load(Ordering::Relaxed)
    }
}

/// A pool as the shell puts it together, with loom's threads.
struct Pool {
    queue: Queue,
    crew: Crew,
    /// Spawns to be refused before one succeeds.
    refusals: plain::AtomicUsize,
    now: plain::AtomicU64,
    /// What `demand_at` asked for: an event that the model fires, or never.
    alarm: std::sync::Mutex<Option<u64>>,
    workers: std::sync::Mutex<Vec<loom::thread::JoinHandle<()>>>,
}

/// A pool's handle, and the crew's view of it.
#[derive(Clone)]
struct Seat(Arc<Pool>);

impl Seat {
    fn new(min: usize, max: usize, refusals: usize) -> Self {
        Self::with_orphans(min, max, refusals, usize::MAX)
    }

    fn with_orphans(min: usize, max: usize, refusals: usize, most_orphans: usize) -> Self {
        let keep_alive = Duration::from_secs(1);
        Self(Arc::new(Pool {
            queue: Queue::new(most_orphans, AGEING),
            crew: Crew::new(Size {
                min,
                max,
                most: max,
                extra: 1,
                cpus: 2,
                keep_alive,
            }),
            refusals: plain::AtomicUsize::new(refusals),
            now: plain::AtomicU64::new(0),
            alarm: std::sync::Mutex::default(),
            workers: std::sync::Mutex::default(),
        }))
    }

    fn submit<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> Option<Caller<R>> {
        let caller = push(&self.0.queue, usize::MAX, f)?;
        self.0.crew.demand(self);
        Some(caller)
    }

    fn submit_to<R: Send + 'static>(
        &self,
        lane: &std::sync::Arc<LaneState>,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> Caller<R> {
        let lane = Some(std::sync::Arc::clone(lane));
        let extension = Extension::new(None, None, false, lane);
        let work = Task(move |_: &Job| Ok(f()));
        let caller = push_work(&self.0.queue, usize::MAX, work, Some(extension));
        self.0.crew.demand(self);
        caller.expect("the queue is open")
    }

    fn run<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        let caller = self.submit(f).expect("the queue is open");
        await_it(caller).expect("the job ran")
    }

    fn abandon<R>(&self, caller: Caller<R>) {
        if let Left::Queued(true) = caller.abandon(&self.0.queue) {
            self.0.crew.demand(self);
        }
    }

    /// Runs one job without exploring the ways to do it: afterwards the worker is on its
    /// way to sleep.
    fn warm_up(&self) {
        loom::stop_exploring();
        self.run(|| ());
        loom::explore();
    }

    /// The time that `demand_at` asked for has come.
    fn ring(&self) {
        let Some(time) = self.0.alarm.lock().unwrap().take() else {
            return;
        };
        self.0.now.store(time, Ordering::Relaxed);
        // As in `Turns::is_empty`.
        fence(Ordering::SeqCst);
        if self.0.queue.has_work() && !planted("crew: no growth by time") {
            self.0.crew.demand(self);
        }
    }

    fn close(&self) {
        self.0.queue.close();
        self.0.crew.close();
        if self.0.queue.has_work() {
            self.0.crew.demand(self);
        }
    }

    /// Ends the model, whose outcome has been awaited: all workers leave, in one way
    /// of many, and every count is zero.
    fn finish(self) {
        loom::stop_exploring();
        self.close();
        loop {
            let Some(worker) = self.0.workers.lock().unwrap().pop() else {
                break;
            };
            worker.join().unwrap();
        }
        self.0.crew.assert_empty();
        assert_eq!(self.0.queue.pending(), 0);
    }
}

impl Host for Seat {
    fn has_work(&self) -> bool {
        self.0.queue.has_work()
    }

    fn waiting(&self) -> usize {
        self.0.queue.pending()
    }

    fn taken(&self) -> u64 {
        self.0.queue.taken()
    }

    fn length(&self) -> Length {
        self.0.queue.length()
    }

    fn is_closed(&self) -> bool {
        self.0.queue.is_closed()
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        let Some(next) = self.0.queue.next(0) else {
            return false;
        };
        taken(next.more);
        let (finished, _) = next.job.run(std::ptr::null(), |_| ());
        if let Some(freed) = finished.complete() {
            if self.0.queue.freed(&freed) {
                self.0.crew.demand(self);
            }
        }
        true
    }

    fn spawn(&self, slot: usize) {
        let refused = self
            .0
            .refusals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if refused {
            return self.0.crew.refused(slot, self);
        }
        let seat = self.clone();
        let worker = loom::thread::spawn(move || {
            seat.0.crew.work(slot, &seat);
            seat.0.crew.gone();
        });
        self.0.workers.lock().unwrap().push(worker);
    }

    fn fail_all(&self) {
        self.0.queue.fail_all(false, || Failure::NoThreads, || {});
    }

    fn saturated(&self) {}

    fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    /// A model's threads lose their CPU anywhere.
    fn yield_now(&self) {}

    fn demand_at(&self, time: u64) {
        *self.0.alarm.lock().unwrap() = Some(time);
    }

    fn back_in(&self) -> Option<Duration> {
        None
    }
}
