//! Own threads: elastic between a minimum and a maximum, started on demand.

use super::{Backend, Threads, Turns};
use crate::clock;
use crate::core::crew::Crew;
use crate::core::host::{Host, Length, Size};
use crate::core::job::Failure;
use crate::core::queue::Taken;
use crate::core::unwind::contain;
use crate::saturation::Saturation;
use crate::stats::Counters;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Runs on each pool thread when it starts or stops.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;
/// Starts a thread for a [`ThreadTask`].
pub(crate) type Spawner = Arc<dyn Fn(ThreadTask) -> io::Result<()> + Send + Sync>;

/// What a new pool thread is to do, for a spawner of the user's own.
///
/// Dropping it unrun counts as a refusal.
#[must_use = "a thread task that is not run is a refused thread"]
pub struct ThreadTask {
    name: String,
    stack_size: Option<usize>,
    main: Option<Box<dyn FnOnce() + Send>>,
}

impl ThreadTask {
    /// The name that the thread should have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stack size in bytes; `None` for the platform's default.
    #[must_use]
    pub fn stack_size(&self) -> Option<usize> {
        self.stack_size
    }

    /// The thread's whole life: call it on the new thread.
    pub fn run(mut self) {
        if let Some(main) = self.main.take() {
            main();
        }
    }
}

impl fmt::Debug for ThreadTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadTask")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Starts a plain `std` thread; dropping its handle detaches it.
pub(crate) fn spawn_std(task: ThreadTask) -> io::Result<()> {
    let mut builder = thread::Builder::new().name(task.name.clone());
    if let Some(size) = task.stack_size {
        builder = builder.stack_size(size);
    }
    builder.spawn(move || task.run()).map(drop)
}

pub(crate) struct Settings {
    pub(crate) size: Size,
    pub(crate) name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
    pub(crate) spawner: Spawner,
}

/// The backend. Its threads hold it, and the pool, while they live; nothing waits
/// for them.
#[derive(Clone)]
pub(crate) struct OwnThreads {
    shared: Arc<Shared>,
}

struct Shared {
    crew: Crew,
    settings: Settings,
    saturation: Saturation,
}

impl OwnThreads {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                crew: Crew::new(settings.size),
                settings,
                saturation: Saturation::new(),
            }),
        }
    }
}

impl Backend for OwnThreads {
    fn demand(&self, turns: &Turns) {
        let shared = &self.shared;
        shared.crew.demand(&Seat::new(shared, turns));
    }

    fn close(&self, turns: &Turns) {
        self.shared.crew.close();
        if !turns.is_empty() {
            self.demand(turns);
        }
    }

    fn threads(&self) -> Threads {
        Threads {
            present: self.shared.crew.threads(),
            idle: self.shared.crew.idle(),
        }
    }

    fn size(&self) -> Option<usize> {
        Some(self.shared.crew.size())
    }

    fn lend(&self, turns: &Turns) -> bool {
        let shared = &self.shared;
        shared.crew.lend(&Seat::new(shared, turns))
    }

    fn take_back(&self) {
        self.shared.crew.take_back();
    }

    fn resize(&self, turns: &Turns, max: usize) -> bool {
        let shared = &self.shared;
        shared.crew.resize(max, &Seat::new(shared, turns));
        true
    }
}

/// The crew's view of the world, from one thread.
struct Seat<'a> {
    shared: &'a Arc<Shared>,
    turns: &'a Turns,
    /// When the job ended that ran here until now.
    ended: Cell<Option<u64>>,
}

impl<'a> Seat<'a> {
    fn new(shared: &'a Arc<Shared>, turns: &'a Turns) -> Self {
        Self {
            shared,
            turns,
            ended: Cell::new(None),
        }
    }
}

impl Host for Seat<'_> {
    fn has_work(&self) -> bool {
        self.turns.pool().queue.has_work()
    }

    fn waiting(&self) -> usize {
        self.turns.pool().queue.pending()
    }

    fn taken(&self) -> u64 {
        self.turns.pool().queue.taken()
    }

    fn length(&self) -> Length {
        self.turns.pool().queue.length()
    }

    fn is_closed(&self) -> bool {
        self.turns.is_closed()
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        // The one reading is the end of a job and the start of the next: in between lies no more
        // than telling the caller.
        let now = self.ended.take().unwrap_or_else(clock::now);
        let Some(Taken { job, more }) = self.turns.take(now) else {
            return false;
        };
        taken(more);
        self.ended.set(self.turns.run(job, now, false, more));
        true
    }

    /// Seldom: it need not stand in the way of each demand.
    #[cold]
    fn spawn(&self, slot: usize) {
        let settings = &self.shared.settings;
        let main = Main {
            shared: Arc::clone(self.shared),
            turns: self.turns.clone(),
            slot,
            started: false,
        };
        let task = ThreadTask {
            name: format!("{}-{slot}", settings.name),
            stack_size: settings.stack_size,
            main: Some(Box::new(move || main.run())),
        };
        let mut result = Err(io::Error::other("the spawner panicked"));
        contain(|| result = (settings.spawner)(task));
        if let Err(error) = result {
            let (name, exist) = (&settings.name, self.shared.crew.threads());
            contain(|| {
                log::warn!(
                    target: "offramp",
                    "no thread `{name}-{slot}` could be started: {error}; {exist} exist",
                );
            });
        }
    }

    fn fail_all(&self) {
        self.turns
            .fail_waiting(|| Failure::NoThreads, Counters::failed);
    }

    fn saturated(&self) {
        let settings = &self.shared.settings;
        self.shared.saturation.begin(
            &settings.name,
            settings.size.max,
            self.turns.pool().queue.pending(),
        );
    }

    fn now(&self) -> u64 {
        clock::now()
    }

    fn yield_now(&self) {
        thread::yield_now();
    }

    fn demand_at(&self, time: u64) {
        self.turns.demand_at(time);
    }

    fn back_in(&self) -> Option<Duration> {
        self.turns.pool().supervisor.stand_in()
    }
}

/// A thread's main function. Dropped before it has started, it is a refused spawn.
struct Main {
    shared: Arc<Shared>,
    turns: Turns,
    slot: usize,
    started: bool,
}

impl Main {
    fn run(mut self) {
        self.started = true;
        let (shared, settings) = (&self.shared, &self.shared.settings);
        clock::prepare();
        run_hook(settings.on_start.as_ref());
        let turns = &self.turns;
        shared.crew.work(self.slot, &Seat::new(shared, turns));
        run_hook(settings.on_stop.as_ref());
        if shared.crew.gone() {
            turns.left();
        }
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        if !self.started {
            let (shared, turns) = (&self.shared, &self.turns);
            shared.crew.refused(self.slot, &Seat::new(shared, turns));
            turns.left();
        }
    }
}

/// A hook that panics has said so through the panic hook; the thread goes on.
pub(crate) fn run_hook(hook: Option<&Hook>) {
    if let Some(hook) = hook {
        contain(|| hook());
    }
}
