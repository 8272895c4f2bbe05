//! Rayon as a backend: CPU work, with `par_iter` inside of a job on the same pool.

mod linger;

use self::linger::Linger;
use super::threads::{Hook, run_hook};
use super::tickets::{Spawn, Tickets, may_wait};
use super::{Backend, Threads, Turns};
use crate::clock;
use crate::core::residents::{Released, Residents, Roots};
use crate::core::unwind::{contain, drop_payload};
use crate::current;
use parking_lot::{Condvar, Mutex};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A rayon pool of the user's own as the CPU backend.
///
/// Its promise is weaker than that of the pool the crate makes itself: a worker that
/// waits in `join` may start another root on top of the one it waits in. If the first
/// one holds a lock that the second one wants, both hang. Roots are handed over as
/// tasks of the pool, beside its other work, and give way to it after a millisecond. A
/// worker that does so counts among those that run jobs, until it is back.
pub struct Rayon {
    tickets: Arc<Tickets<Arc<ThreadPool>>>,
}

impl Rayon {
    /// Runs CPU jobs on `pool`, as many at a time as it has threads.
    #[must_use]
    pub fn shared(pool: Arc<ThreadPool>) -> Self {
        let max = pool.current_num_threads();
        Self {
            tickets: Tickets::new(pool, max),
        }
    }
}

impl Spawn for Arc<ThreadPool> {
    fn spawn(&self, task: Box<dyn FnOnce() + Send>) {
        self.spawn_fifo(task);
    }

    /// Not by spawning: a worker prefers its own tasks to those from outside. No root is
    /// on this stack now, so whatever runs here stands on none.
    fn give_way(&self) -> bool {
        rayon::yield_now();
        true
    }
}

impl Backend for Rayon {
    fn demand(&self, turns: &Turns) {
        self.tickets.demand(turns);
    }

    fn close(&self, turns: &Turns) {
        if !turns.is_empty() {
            self.tickets.demand(turns);
        }
    }

    fn threads(&self) -> Threads {
        self.tickets.threads()
    }

    fn size(&self) -> Option<usize> {
        Some(self.tickets.size())
    }

    fn lend(&self, _: &Turns) -> bool {
        self.tickets.lend()
    }

    fn take_back(&self) {
        self.tickets.take_back();
    }
}

impl fmt::Debug for Rayon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rayon")
            .field("pool", &self.tickets.spawner)
            .finish_non_exhaustive()
    }
}

/// The pool that the crate makes for itself. Root depth on a stack is always 1.
pub(crate) struct OwnRayon {
    settings: Arc<Settings>,
    residents: Arc<Residents>,
    /// Threads in the resident loop, or about to enter it.
    present: Arc<AtomicUsize>,
    /// Set with the first job, and for good once the pool stands.
    is_started: AtomicBool,
    /// Residents whose root waits for another one.
    waiting: AtomicUsize,
    pool: Arc<Mutex<Option<ThreadPool>>>,
}

pub(crate) struct Settings {
    pub(crate) threads: usize,
    /// How many of them get a CPU at the same time.
    pub(crate) cpus: usize,
    pub(crate) name: String,
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
}

impl OwnRayon {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            residents: Arc::new(Residents::new(settings.threads)),
            settings: Arc::new(settings),
            present: Arc::new(AtomicUsize::new(0)),
            is_started: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            pool: Arc::default(),
        }
    }

    /// Builds the pool with the first job. Whoever comes second leaves its job to the
    /// residents, which look into the queue when they start.
    fn start(&self, turns: &Turns) {
        // ORDERING: AcqRel, partner: the Release store below, after a refusal.
        if self.is_started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.present.store(self.settings.threads, Ordering::Release);
        match self.build(turns) {
            Ok(pool) => {
                *self.pool.lock() = Some(pool);
                // A pool closed at once: its last resident may have found nothing to end.
                if self.present.load(Ordering::Acquire) == 0 {
                    drop(self.pool.lock().take());
                }
            }
            Err(error) => {
                self.present.store(0, Ordering::Release);
                contain(|| {
                    log::warn!(
                        target: "offramp",
                        "the CPU pool `{}` could not be started: {error}",
                        self.settings.name,
                    );
                });
                // The next call tries again; the jobs of those that relied on us are
                // seen after that store, because `is_empty` fences.
                self.is_started.store(false, Ordering::Release);
                if !turns.is_empty() {
                    turns.fail_all();
                }
                turns.left();
            }
        }
    }

    fn build(&self, turns: &Turns) -> Result<ThreadPool, ThreadPoolBuildError> {
        let bell_name = format!("{}-bell", self.settings.name);
        let bell = ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(move |_| bell_name.clone())
            .build()?;
        let gate = Arc::new(Gate::new(self.settings.threads));
        let seat = Seat {
            gate: Arc::clone(&gate),
            pool: Arc::clone(&self.pool),
            bell: Arc::new(bell),
            residents: Arc::clone(&self.residents),
            present: Arc::clone(&self.present),
            settings: Arc::clone(&self.settings),
        };
        let name = self.settings.name.clone();
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.settings.threads)
            .thread_name(move |index| format!("{name}-{index}"))
            .start_handler(move |_| seat.reside())
            // For `rayon::spawn` inside of a job: without a handler rayon aborts. The
            // panic hook has reported it.
            .panic_handler(drop_payload)
            .build();
        // Rayon gives up a pool of which one thread failed to start; those that did
        // start must not become residents.
        gate.open(pool.is_ok().then(|| turns.clone()));
        pool
    }
}

impl Backend for OwnRayon {
    fn demand(&self, turns: &Turns) {
        self.residents.ring();
        // ORDERING: Relaxed: `start` looks again.
        if !self.is_started.load(Ordering::Relaxed) {
            self.start(turns);
        }
    }

    fn close(&self, turns: &Turns) {
        self.residents.close();
        if !turns.is_empty() && !self.is_started.load(Ordering::Relaxed) {
            self.start(turns);
        }
    }

    fn threads(&self) -> Threads {
        Threads {
            present: self.present.load(Ordering::Acquire),
            idle: 0,
        }
    }

    fn size(&self) -> Option<usize> {
        Some(self.settings.threads)
    }

    /// All but one may wait: rayon's threads are fixed.
    fn lend(&self, _: &Turns) -> bool {
        may_wait(&self.waiting, self.settings.threads)
    }

    fn take_back(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What each worker of the pool needs to become a resident.
struct Seat {
    gate: Arc<Gate>,
    /// To end the pool with its last resident.
    pool: Arc<Mutex<Option<ThreadPool>>>,
    bell: Arc<ThreadPool>,
    residents: Arc<Residents>,
    present: Arc<AtomicUsize>,
    settings: Arc<Settings>,
}

impl Seat {
    /// Rayon's start handler: on the worker, below its main loop.
    fn reside(&self) {
        let Some(turns) = self.gate.pass() else {
            return;
        };
        clock::prepare();
        run_hook(self.settings.on_start.as_ref());
        let (residents, bell) = (&self.residents, &self.bell);
        let member = current::enter_pool(&turns);
        let cpus = self.settings.cpus;
        residents.reside(&Queued::new(&turns, cpus), || -> Released {
            bell.install(|| residents.wait_for_bell(&Queued::new(&turns, cpus)))
        });
        drop(member);
        run_hook(self.settings.on_stop.as_ref());
        // ORDERING: AcqRel, partner: each other, and the Acquire loads of `present`.
        if self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Rayon's threads end when its pool is dropped; nobody waits for them.
            drop(self.pool.lock().take());
            turns.left();
        }
    }
}

/// The pool's queue, from one thread.
struct Queued<'a> {
    turns: &'a Turns,
    /// When the root ended that ran here until now.
    ended: Cell<Option<u64>>,
    linger: Linger,
}

impl<'a> Queued<'a> {
    fn new(turns: &'a Turns, cpus: usize) -> Self {
        Self {
            turns,
            ended: Cell::new(None),
            linger: Linger::new(cpus),
        }
    }
}

impl Roots for Queued<'_> {
    fn has_work(&self) -> bool {
        self.turns.pool().queue.has_work()
    }

    fn waiting(&self) -> usize {
        self.turns.pool().queue.pending()
    }

    fn is_closed(&self) -> bool {
        self.turns.is_closed()
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        // The one reading is the end of a root and the start of the next.
        let now = self.ended.take().unwrap_or_else(clock::now);
        let Some(turn) = self.turns.next_at(now) else {
            self.linger.begin(now);
            return false;
        };
        self.linger.end(turn.queued_at(), now);
        taken(turn.more());
        self.ended.set(turn.run_to_its_end());
        true
    }

    fn lingers(&self) -> bool {
        self.linger.goes_on()
    }

    /// Where to stay awake would take the CPU from those that it waits for.
    fn dozes(&self) -> bool {
        self.turns.pool().is_on_one_cpu
    }

    fn serve(&self) {
        while rayon::yield_now() == Some(Yield::Executed) {}
    }
}

/// Holds the workers until it is known whether all of them could be started.
struct Gate {
    state: Mutex<Passing>,
    opened: Condvar,
}

enum Passing {
    Closed {
        workers: usize,
    },
    /// So many have still to pass. A strong handle, or the jobs of a pool that is dropped
    /// at once were lost; gone with the last to pass, or the pool would own itself.
    Open {
        workers: usize,
        turns: Turns,
    },
    /// Given up, or all have passed.
    Over,
}

impl Gate {
    fn new(workers: usize) -> Self {
        Self {
            state: Mutex::new(Passing::Closed { workers }),
            opened: Condvar::new(),
        }
    }

    /// With `None` the workers are sent away.
    fn open(&self, turns: Option<Turns>) {
        let mut state = self.state.lock();
        *state = match (&*state, turns) {
            (&Passing::Closed { workers }, Some(turns)) => Passing::Open { workers, turns },
            _ => Passing::Over,
        };
        self.opened.notify_all();
    }

    fn pass(&self) -> Option<Turns> {
        let mut state = self.state.lock();
        loop {
            match &mut *state {
                Passing::Closed { .. } => self.opened.wait(&mut state),
                Passing::Over => return None,
                Passing::Open { workers, turns } => {
                    *workers -= 1;
                    let (last, turns) = (*workers == 0, turns.clone());
                    if last {
                        *state = Passing::Over;
                    }
                    return Some(turns);
                }
            }
        }
    }
}

impl fmt::Debug for OwnRayon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRayon")
            .field("threads", &self.settings.threads)
            .finish_non_exhaustive()
    }
}
