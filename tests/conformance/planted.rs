//! A backend as simple as can be, and what can be wrong with one.

use offramp::backend::{Backend, Threads, Turns};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    RunsNothing,
    /// Each tenth, unrun.
    DropsTurns,
    /// Of those that come when all threads are gone each tenth.
    LosesDemands,
    RunsInDemand,
    RunsOneAtATime,
    /// Takes all turns at once, and runs the last one first.
    Reverses,
    ForgetsMore,
    NeverCallsLeft,
    DropsTurnsWhenClosed,
    HidesItsThreads,
    KeepsTurns,
}

/// Threads that leave as soon as there is nothing to do.
#[derive(Debug)]
pub(crate) struct Brief {
    shared: Arc<Shared>,
    kept: Mutex<Option<Turns>>,
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    most: usize,
    present: AtomicUsize,
    demands: AtomicUsize,
    turns: AtomicUsize,
}

impl Brief {
    pub(crate) fn new(most: usize, fault: Fault) -> Self {
        Self {
            shared: Arc::new(Shared {
                fault,
                most: if fault == Fault::RunsOneAtATime {
                    1
                } else {
                    most
                },
                present: AtomicUsize::new(0),
                demands: AtomicUsize::new(0),
                turns: AtomicUsize::new(0),
            }),
            kept: Mutex::new(None),
        }
    }
}

impl Backend for Brief {
    fn demand(&self, turns: &Turns) {
        if self.shared.fault == Fault::KeepsTurns {
            *self.kept.lock().unwrap() = Some(turns.clone());
        }
        self.shared.demand(turns);
    }

    fn close(&self, turns: &Turns) {
        if !turns.is_empty() {
            self.demand(turns);
        }
    }

    fn threads(&self) -> Threads {
        let present = match self.shared.fault {
            Fault::HidesItsThreads => 0,
            _ => self.shared.present.load(Ordering::SeqCst),
        };
        Threads { present, idle: 0 }
    }
}

impl Shared {
    fn reserve(&self) -> bool {
        let more = |present| (present < self.most).then_some(present + 1);
        let reserved = self
            .present
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        reserved.is_ok()
    }

    fn demand(self: &Arc<Self>, turns: &Turns) {
        if self.fault == Fault::RunsNothing {
            return;
        }
        if self.fault == Fault::LosesDemands && self.present.load(Ordering::SeqCst) == 0 {
            let number = self.demands.fetch_add(1, Ordering::SeqCst) + 1;
            if number % 10 == 0 {
                return;
            }
        }
        if !self.reserve() {
            return;
        }
        if self.fault == Fault::RunsInDemand {
            return self.work(turns);
        }
        let (shared, turns) = (Arc::clone(self), turns.clone());
        thread::spawn(move || shared.work(&turns));
    }

    fn work(self: &Arc<Self>, turns: &Turns) {
        loop {
            while self.run_some(turns) {}
            if self.fault == Fault::NeverCallsLeft && turns.is_closed() {
                // Or the end of the last job might be taken for that of its thread.
                thread::sleep(Duration::from_millis(200));
            }
            self.present.fetch_sub(1, Ordering::SeqCst);
            // Announced first, looked then: `is_empty` fences.
            if turns.is_empty() || !self.reserve() {
                break;
            }
        }
        if self.fault != Fault::NeverCallsLeft {
            turns.left();
        }
    }

    fn run_some(self: &Arc<Self>, turns: &Turns) -> bool {
        if self.fault == Fault::Reverses {
            let mut taken: Vec<_> = std::iter::from_fn(|| turns.next()).collect();
            let has_run = !taken.is_empty();
            while let Some(turn) = taken.pop() {
                turn.run();
            }
            return has_run;
        }
        let Some(turn) = turns.next() else {
            return false;
        };
        if turn.more() && self.fault != Fault::ForgetsMore {
            self.demand(turns);
        }
        let number = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::DropsTurns if number % 10 == 0 => drop(turn),
            Fault::DropsTurnsWhenClosed if turns.is_closed() => drop(turn),
            _ => turn.run(),
        }
        true
    }
}
