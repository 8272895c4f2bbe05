//! A backend as simple as can be, and what can be wrong with one.

use offramp::backend::{Backend, Threads, Turns};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    RunsNothing,
    /// Each hundredth.
    LosesDemands,
    /// Each tenth, unrun.
    DropsTurns,
    RunsInDemand,
    RunsOneAtATime,
    Reverses,
    ForgetsMore,
    NeverCallsLeft,
    DropsTurnsWhenClosed,
    HidesItsThreads,
    KeepsTurns,
}

/// A thread for each demand, which runs one job.
#[derive(Debug)]
pub(crate) struct ThreadPerDemand {
    shared: Arc<Shared>,
    kept: Mutex<Option<Turns>>,
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    present: AtomicUsize,
    demands: AtomicUsize,
    turns: AtomicUsize,
    one_at_a_time: Mutex<()>,
}

impl ThreadPerDemand {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            shared: Arc::new(Shared {
                fault,
                present: AtomicUsize::new(0),
                demands: AtomicUsize::new(0),
                turns: AtomicUsize::new(0),
                one_at_a_time: Mutex::new(()),
            }),
            kept: Mutex::new(None),
        }
    }
}

impl Backend for ThreadPerDemand {
    fn demand(&self, turns: &Turns) {
        let shared = &self.shared;
        if shared.fault == Fault::KeepsTurns {
            *self.kept.lock().unwrap() = Some(turns.clone());
        }
        shared.demand(turns);
    }

    fn close(&self, _: &Turns) {}

    fn threads(&self) -> Threads {
        let present = match self.shared.fault {
            Fault::HidesItsThreads => 0,
            _ => self.shared.present.load(Ordering::SeqCst),
        };
        Threads { present, idle: 0 }
    }
}

impl Shared {
    fn demand(self: &Arc<Self>, turns: &Turns) {
        let number = self.demands.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::RunsNothing => return,
            Fault::LosesDemands if number % 100 == 0 => return,
            _ => {}
        }
        self.present.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::RunsInDemand {
            return self.work(turns);
        }
        let (shared, turns) = (Arc::clone(self), turns.clone());
        thread::spawn(move || shared.work(&turns));
    }

    fn work(self: &Arc<Self>, turns: &Turns) {
        match self.fault {
            // Or all had their turn before it is closed.
            Fault::RunsOneAtATime | Fault::DropsTurnsWhenClosed => {
                let _alone = self.one_at_a_time.lock();
                self.run_one(turns);
            }
            Fault::Reverses => {
                let _alone = self.one_at_a_time.lock();
                let mut taken = Vec::new();
                taken.extend(std::iter::from_fn(|| turns.next()));
                while let Some(turn) = taken.pop() {
                    turn.run();
                }
            }
            _ => self.run_one(turns),
        }
        self.present.fetch_sub(1, Ordering::SeqCst);
        if self.fault != Fault::NeverCallsLeft {
            turns.left();
        }
    }

    fn run_one(self: &Arc<Self>, turns: &Turns) {
        let Some(turn) = turns.next() else {
            return;
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
    }
}
