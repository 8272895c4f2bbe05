//! Residents, bell, submitters and stop, with a stand-in for rayon.
//!
//! The stand-in keeps what matters: a worker that waits may first run what it finds in
//! rayon's queues. There are four (its own deque, its broadcasts, other deques, the
//! injector); one common queue, filled at any moment, has all their orders. So a released
//! resident may arrive late, by the length of a piece, and each worker has a stack whose
//! depth is known when a root starts.

use super::{Fate, check};
use crate::core::caller::Caller;
use crate::core::queue::Queue;
use crate::core::residents::{Released, Residents, Roots};
use crate::sync::planted;
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;
use std::cell::Cell;
use std::collections::VecDeque;

type Piece = Box<dyn FnOnce() + Send>;

/// What the workers share.
struct Rayon {
    queue: Queue,
    residents: Residents,
    pieces: Mutex<VecDeque<Piece>>,
    /// The bell pool has one thread, so one wait runs at a time. Who holds this lock
    /// plays the bell thread.
    bell: Mutex<()>,
}

/// A worker with the depth of its stack.
struct Worker {
    rayon: Arc<Rayon>,
    depth: Cell<usize>,
}

impl Rayon {
    fn start(workers: usize) -> (Arc<Self>, Vec<thread::JoinHandle<()>>) {
        let rayon = Arc::new(Self {
            queue: Queue::new(usize::MAX),
            residents: Residents::new(),
            pieces: Mutex::new(VecDeque::new()),
            bell: Mutex::new(()),
        });
        let worker = || {
            let worker = Worker {
                rayon: Arc::clone(&rayon),
                depth: Cell::new(0),
            };
            // Rayon's start handler: residents live below everything else.
            thread::spawn(move || {
                let residents = &worker.rayon.residents;
                residents.reside(&worker, || worker.install());
            })
        };
        let threads = (0..workers).map(|_| worker()).collect();
        (rayon, threads)
    }

    fn submit(&self, fate: &Fate) -> Caller<()> {
        let caller = super::push(&self.queue, 9, fate.closure()).unwrap();
        self.residents.ring();
        caller
    }

    fn stop(&self, workers: Vec<thread::JoinHandle<()>>) {
        self.queue.close();
        self.residents.ring();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(self.queue.pending(), 0);
    }
}

impl Worker {
    /// `install` on the bell pool: the wait runs there, and this worker, released or
    /// not, may be busy with a piece before it comes back.
    fn install(&self) -> Released {
        let released = {
            let _bell = self.rayon.bell.lock().unwrap();
            self.rayon.residents.wait_for_bell(&Seen(&self.rayon.queue))
        };
        let piece = self.rayon.pieces.lock().unwrap().pop_front();
        if let Some(piece) = piece {
            self.depth.set(self.depth.get() + 1);
            piece();
            if planted("residents: root on a waiting worker") {
                // What rayon does with a root that is in its queues.
                self.run_next(|_| {});
            }
            self.depth.set(self.depth.get() - 1);
        }
        released
    }
}

/// The queue as the bell thread sees it.
struct Seen<'a>(&'a Queue);

impl Roots for Seen<'_> {
    fn has_work(&self) -> bool {
        self.0.has_work()
    }

    fn waiting(&self) -> usize {
        self.0.pending()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn run_next(&self, _: impl FnOnce(bool)) -> bool {
        unreachable!("the bell thread runs no roots")
    }
}

impl Roots for Worker {
    fn has_work(&self) -> bool {
        self.rayon.queue.has_work()
    }

    fn waiting(&self) -> usize {
        self.rayon.queue.pending()
    }

    fn is_closed(&self) -> bool {
        self.rayon.queue.is_closed()
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        let Some(next) = self.rayon.queue.next() else {
            return false;
        };
        taken(next.more);
        assert_eq!(self.depth.get(), 0, "a root starts on an empty stack only");
        self.depth.set(1);
        next.job.run(std::ptr::null(), |_| ()).0.complete();
        self.depth.set(0);
        true
    }
}

#[test]
fn a_root_against_a_resident_going_to_wait() {
    check("a_root_against_a_resident_going_to_wait", Some(3), || {
        let (rayon, workers) = Rayon::start(1);
        let fate = Fate::new();
        super::await_it(rayon.submit(&fate)).unwrap();
        assert_eq!(fate.runs(), 1);
        loom::stop_exploring();
        rayon.stop(workers);
    });
}

#[test]
fn two_roots_one_after_the_other() {
    check("two_roots_one_after_the_other", Some(1), || {
        let (rayon, workers) = Rayon::start(1);
        for _ in 0..2 {
            let fate = Fate::new();
            super::await_it(rayon.submit(&fate)).unwrap();
            assert_eq!(fate.runs(), 1);
        }
        loom::stop_exploring();
        rayon.stop(workers);
    });
}

#[test]
fn a_root_against_stop() {
    check("a_root_against_stop", Some(2), || {
        let (rayon, workers) = Rayon::start(1);
        let fate = Fate::new();
        let caller = rayon.submit(&fate);
        rayon.stop(workers);
        super::await_it(caller).unwrap();
        assert_eq!(fate.runs(), 1);
    });
}

#[test]
fn two_roots_that_need_each_other() {
    check("two_roots_that_need_each_other", Some(1), || {
        loom::stop_exploring();
        let (rayon, workers) = Rayon::start(2);
        loom::explore();
        let met = Arc::new(Notify::new());
        let waits = super::push(&rayon.queue, 9, {
            let met = Arc::clone(&met);
            move || met.wait()
        });
        rayon.residents.ring();
        let comes = super::push(&rayon.queue, 9, move || met.notify());
        rayon.residents.ring();
        super::await_it(waits.unwrap()).unwrap();
        super::await_it(comes.unwrap()).unwrap();
        loom::stop_exploring();
        rayon.stop(workers);
    });
}

/// One worker (here the model's main thread) has drained the inbox and not yet said so;
/// the bell thread looks at the empty inbox and goes to sleep.
#[test]
fn roots_in_a_workers_hands_against_the_bell() {
    check("roots_in_a_workers_hands_against_the_bell", Some(2), || {
        let (rayon, workers) = Rayon::start(1);
        let met = Arc::new(Notify::new());
        let waits = super::push(&rayon.queue, 9, {
            let met = Arc::clone(&met);
            move || met.wait()
        });
        rayon.residents.ring();
        let comes = super::push(&rayon.queue, 9, move || met.notify());
        rayon.residents.ring();
        if let Some(next) = rayon.queue.next() {
            rayon.residents.taken(next.more);
            next.job.run(std::ptr::null(), |_| ()).0.complete();
        }
        super::await_it(waits.unwrap()).unwrap();
        super::await_it(comes.unwrap()).unwrap();
        loom::stop_exploring();
        rayon.stop(workers);
    });
}

/// The released resident is busy with a piece that waits for the root it was released
/// for: only the next release, by time, gets it going. Its late arrival must not count
/// as that of a later epoch.
#[test]
fn a_release_that_does_not_arrive() {
    check("a_release_that_does_not_arrive", Some(1), || {
        let (rayon, workers) = Rayon::start(2);
        let done = Arc::new(Notify::new());
        rayon.pieces.lock().unwrap().push_back({
            let done = Arc::clone(&done);
            Box::new(move || done.wait())
        });
        let fate = Fate::new();
        let caller = rayon.submit(&fate);
        rayon.residents.expire();
        super::await_it(caller).unwrap();
        done.notify();
        assert_eq!(fate.runs(), 1);
        loom::stop_exploring();
        rayon.stop(workers);
    });
}
