//! A stand-in for rayon: what a worker runs while it waits, and on top of what.
//!
//! It keeps the four sources of jobs and their order, a stack for each worker, and the
//! two ways to wait: in `join`, and in `install` on another pool, here the bell's. One lock
//! has all of rayon's state: each look of a worker is one step of a model. Rayon's own sleep
//! loses nothing, so whoever finds nothing sleeps until that state changes.

use super::AGEING;
use crate::core::queue::Queue;
use crate::core::residents::{Released, Residents, Roots};
use crate::sync::{plain, planted};
use loom::sync::Mutex;
use loom::thread::{self, JoinHandle, Thread};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

type Job = Box<dyn FnOnce() + Send>;

/// What somebody waits for. Set, and looked at, under the lock.
pub(super) type Latch<T = ()> = Arc<OnceLock<T>>;

/// The CPU pool: rayon's part, and ours.
pub(super) struct Rayon {
    pub(super) queue: Queue,
    pub(super) residents: Residents,
    /// So often a resident looks once more before it waits.
    pub(super) lingers: plain::AtomicUsize,
    /// Whether one sleeps outside before that.
    pub(super) dozes: plain::AtomicBool,
    state: Mutex<State>,
}

struct State {
    deques: Vec<VecDeque<Job>>,
    broadcasts: Vec<VecDeque<Job>>,
    injector: VecDeque<Job>,
    /// The bell pool's injector: the latches of the waits to run there.
    waits: VecDeque<Latch<Released>>,
    /// The bell pool is dropped.
    is_over: bool,
    asleep: Vec<Thread>,
}

/// What a worker is in the midst of.
#[derive(Debug, PartialEq)]
enum Frame {
    Root,
    Piece,
}

loom::thread_local! {
    /// Which worker this thread is, if it is one.
    static INDEX: Cell<Option<usize>> = Cell::new(None);
    static STACK: RefCell<Vec<Frame>> = RefCell::new(Vec::new());
}

impl State {
    /// Rayon's order, in every wait (`take_local_job`, `steal`, `pop_injected_job`).
    fn find(&mut self, worker: usize) -> Option<Job> {
        self.deques[worker]
            .pop_back()
            .or_else(|| self.broadcasts[worker].pop_front())
            .or_else(|| self.steal(worker))
            .or_else(|| self.injector.pop_front())
    }

    /// Another worker's oldest job; never one of its broadcasts.
    fn steal(&mut self, thief: usize) -> Option<Job> {
        let mut others = (0..self.deques.len()).filter(|&victim| victim != thief);
        others.find_map(|victim| self.deques[victim].pop_front())
    }
}

impl Rayon {
    /// `workers` threads, and the bell's.
    pub(super) fn start(workers: usize) -> (Arc<Self>, Threads) {
        Self::start_beside(workers, 0)
    }

    /// The same, and `others` that the model plays itself.
    pub(super) fn start_beside(workers: usize, others: usize) -> (Arc<Self>, Threads) {
        let none = || (0..workers).map(|_| VecDeque::new()).collect();
        let rayon = Arc::new(Self {
            queue: Queue::new(usize::MAX, AGEING),
            residents: Residents::new(workers + others),
            lingers: plain::AtomicUsize::new(0),
            dozes: plain::AtomicBool::new(false),
            state: Mutex::new(State {
                deques: none(),
                broadcasts: none(),
                injector: VecDeque::new(),
                waits: VecDeque::new(),
                is_over: false,
                asleep: Vec::new(),
            }),
        });
        let bell = thread::spawn({
            let rayon = Arc::clone(&rayon);
            move || rayon.be_the_bell()
        });
        let worker = |index| {
            let rayon = Arc::clone(&rayon);
            // Rayon's start handler: residents live below everything else.
            thread::spawn(move || {
                INDEX.with(|mine| mine.set(Some(index)));
                rayon.residents.reside(&*rayon, || rayon.install(index));
            })
        };
        let workers = (0..workers).map(worker).collect();
        (rayon, Threads { workers, bell })
    }

    /// The same, with all of them parked: one wait runs on the bell thread.
    pub(super) fn start_parked(workers: usize) -> (Arc<Self>, Threads) {
        loom::stop_exploring();
        let (rayon, threads) = Self::start(workers);
        while rayon.state.lock().unwrap().asleep.len() < workers {
            thread::yield_now();
        }
        loom::explore();
        (rayon, threads)
    }

    /// Looks after every change, until something is found.
    fn look<R>(&self, mut found: impl FnMut(&mut State) -> Option<R>) -> R {
        loop {
            let mut state = self.state.lock().unwrap();
            if let Some(found) = found(&mut state) {
                return found;
            }
            state.asleep.push(thread::current());
            drop(state);
            thread::park();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        for thread in state.asleep.drain(..) {
            thread.unpark();
        }
    }

    pub(super) fn set<T>(&self, latch: &Latch<T>, value: T) {
        self.change(|_| assert!(latch.set(value).is_ok(), "set twice"));
    }

    /// A wait that rayon knows nothing of: the thread does nothing else.
    pub(super) fn block_on(&self, latch: &Latch) {
        self.look(|_| latch.get().copied());
    }

    /// Rayon's every wait: runs whatever there is, on top of what the worker is in the
    /// midst of, and looks at the latch between jobs only.
    fn wait_until<T: Copy>(&self, worker: usize, latch: &Latch<T>) -> T {
        enum Found<T> {
            Set(T),
            Job(Job),
        }

        loop {
            let found = self.look(|state| match latch.get() {
                Some(value) => Some(Found::Set(*value)),
                None => state.find(worker).map(Found::Job),
            });
            match found {
                Found::Set(value) => return value,
                Found::Job(job) => job(),
            }
            if planted("residents: root on a waiting worker") {
                self.run_next(|_| {});
            }
        }
    }

    /// The one thread of the bell pool: it runs the waits in their order.
    fn be_the_bell(&self) {
        while let Some(latch) = self.look(|state| match state.waits.pop_front() {
            Some(latch) => Some(Some(latch)),
            None => state.is_over.then_some(None),
        }) {
            self.set(&latch, self.residents.wait_for_bell(self));
        }
    }

    /// `install` on the bell pool: a wait for the bell, which serves this pool meanwhile.
    fn install(&self, worker: usize) -> Released {
        let latch = Latch::default();
        self.change(|state| state.waits.push_back(Latch::clone(&latch)));
        self.wait_until(worker, &latch)
    }

    /// `join` in a root or a piece: `there` may be stolen while `here` runs.
    pub(super) fn join(
        self: &Arc<Self>,
        here: impl FnOnce(),
        there: impl FnOnce() + Send + 'static,
    ) {
        let worker = INDEX.with(Cell::get).expect("a worker calls join");
        let latch = Latch::default();
        self.spawn({
            let (rayon, latch) = (Arc::clone(self), Latch::clone(&latch));
            move || {
                there();
                rayon.set(&latch, ());
            }
        });
        here();
        self.wait_until(worker, &latch);
    }

    /// Leaves a piece to whoever finds it first.
    pub(super) fn spawn(&self, piece: impl FnOnce() + Send + 'static) {
        self.push(Box::new(|| on_stack(Frame::Piece, piece)));
    }

    /// From a worker to its own deque, from elsewhere to the injector.
    fn push(&self, job: Job) {
        self.change(|state| match INDEX.with(Cell::get) {
            Some(worker) => state.deques[worker].push_back(job),
            None => state.injector.push_back(job),
        });
    }

    fn broadcast(&self, job: impl Fn() -> Job) {
        self.change(|state| {
            for broadcasts in &mut state.broadcasts {
                broadcasts.push_back(job());
            }
        });
    }

    /// After a push to the queue. The planted bugs leave the start of the root to jobs of
    /// rayon's, also to such that decline where a root is below them.
    pub(super) fn demand(self: &Arc<Self>) {
        let starts_root = |declines: bool| -> Job {
            let rayon = Arc::clone(self);
            Box::new(move || {
                if !(declines && is_on_a_root()) {
                    rayon.run_next(|_| {});
                }
            })
        };
        if planted("residents: roots spawned") {
            self.push(starts_root(false));
        } else if planted("residents: roots spawned, declined on roots") {
            self.push(starts_root(true));
        } else if planted("residents: roots broadcast") {
            self.broadcast(|| starts_root(false));
        } else if planted("residents: roots broadcast, declined on roots") {
            self.broadcast(|| starts_root(true));
        }
        self.residents.ring();
    }
}

fn is_on_a_root() -> bool {
    STACK.with(|stack| stack.borrow().contains(&Frame::Root))
}

/// Runs `f` as a frame of this worker's stack.
fn on_stack(frame: Frame, f: impl FnOnce()) {
    STACK.with(|stack| stack.borrow_mut().push(frame));
    f();
    STACK.with(|stack| stack.borrow_mut().pop());
}

impl Roots for Rayon {
    fn lingers(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        self.lingers.fetch_update(relaxed, relaxed, left).is_ok()
    }

    fn dozes(&self) -> bool {
        self.dozes.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn serve(&self) {
        let worker = INDEX.with(Cell::get).expect("a worker serves");
        loop {
            let found = self.state.lock().unwrap().find(worker);
            let Some(job) = found else {
                return;
            };
            job();
        }
    }

    fn has_work(&self) -> bool {
        self.queue.has_work()
    }

    fn waiting(&self) -> usize {
        self.queue.pending()
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        let Some(next) = self.queue.next(0) else {
            return false;
        };
        taken(next.more);
        STACK.with(|stack| {
            let stack = stack.borrow();
            assert!(stack.is_empty(), "a root starts on top of {stack:?}");
        });
        on_stack(Frame::Root, || {
            next.job.run(std::ptr::null(), |_| ()).0.complete();
        });
        true
    }
}

pub(super) struct Threads {
    workers: Vec<JoinHandle<()>>,
    bell: JoinHandle<()>,
}

impl Threads {
    /// Nothing is left when the residents are gone; the bell pool is dropped by the last.
    pub(super) fn join(self, rayon: &Rayon) {
        for worker in self.workers {
            worker.join().unwrap();
        }
        rayon.change(|state| state.is_over = true);
        self.bell.join().unwrap();
        assert_eq!(rayon.queue.pending(), 0);
    }
}
