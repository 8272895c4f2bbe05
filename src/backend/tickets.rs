//! Turns from somebody else's pool: a bounded number of tasks that take jobs.

use super::{Threads, Turns};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

/// How long one task goes on taking jobs before it gives way to the pool's other work.
const TICKET: Duration = Duration::from_millis(1);

/// Hands a task to a pool. Dropping the task means that it will never run.
pub(super) trait Spawn: Send + Sync + 'static {
    fn spawn(&self, task: Box<dyn FnOnce() + Send>);

    /// Runs some of the pool's other work here. `false`: it cannot, and the task is
    /// handed to the pool anew, behind that work.
    fn give_way(&self) -> bool;
}

/// At most `max` tasks at a time.
pub(super) struct Tickets<S> {
    pub(super) spawner: S,
    max: usize,
    count: AtomicUsize,
    /// Tickets whose job waits for another one.
    waiting: AtomicUsize,
}

impl<S: Spawn> Tickets<S> {
    pub(super) fn new(spawner: S, max: usize) -> Arc<Self> {
        Arc::new(Self {
            spawner,
            max,
            count: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(super) fn demand(self: &Arc<Self>, turns: &Turns) {
        // ORDERING: SeqCst fence, partner: `is_empty` in `Ticket::run`. Either the
        // ending ticket sees the push or we see its place free.
        fence(Ordering::SeqCst);
        if self.reserve() {
            self.spawn(Ticket {
                tickets: Arc::clone(self),
                turns: turns.clone(),
                is_over: false,
            });
        }
    }

    pub(super) fn threads(&self) -> Threads {
        Threads {
            // ORDERING: Acquire, partner: the AcqRel of a ticket's end.
            present: self.count.load(Ordering::Acquire),
            idle: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.max
    }

    /// All but one may wait: there is no thread to add.
    pub(super) fn lend(&self) -> bool {
        may_wait(&self.waiting, self.max)
    }

    pub(super) fn take_back(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn spawn(&self, ticket: Ticket<S>) {
        self.spawner.spawn(Box::new(move || ticket.run()));
    }

    fn reserve(&self) -> bool {
        // ORDERING: AcqRel, partner: a ticket's end.
        self.count
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| {
                (count < self.max).then_some(count + 1)
            })
            .is_ok()
    }
}

/// Counts one more that waits, unless all others of `threads` do.
pub(super) fn may_wait(waiting: &AtomicUsize, threads: usize) -> bool {
    // ORDERING: Relaxed: only the number counts.
    waiting
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting + 1 < threads).then_some(waiting + 1)
        })
        .is_ok()
}

thread_local! {
    /// Whose ticket gives way on this thread's stack, and whether another one of theirs has
    /// come here meanwhile. It must not run jobs on top: they would hold the place of the
    /// one below, too.
    static GIVES_WAY: Cell<(*const (), bool)> = const { Cell::new((ptr::null(), false)) };
}

/// One task, counted from its reservation on.
struct Ticket<S: Spawn> {
    tickets: Arc<Tickets<S>>,
    turns: Turns,
    is_over: bool,
}

impl<S: Spawn> Ticket<S> {
    fn run_one(&self) -> bool {
        let Some(turn) = self.turns.next() else {
            return false;
        };
        if turn.more() {
            self.tickets.demand(&self.turns);
        }
        turn.run();
        true
    }

    /// `false`: see [`Spawn::give_way`].
    fn give_way(&self) -> bool {
        let here = Arc::as_ptr(&self.tickets).cast();
        let mut has_met = false;
        // Others of ours are not the other work.
        for _ in 0..self.tickets.max {
            let before = GIVES_WAY.replace((here, false));
            let gave = self.tickets.spawner.give_way();
            let (_, met) = GIVES_WAY.replace(before);
            has_met |= met;
            if !gave {
                return false;
            }
            if !met {
                break;
            }
        }
        if has_met && !self.turns.is_empty() {
            // In their place.
            self.tickets.demand(&self.turns);
        }
        true
    }

    fn run(mut self) {
        let here = Arc::as_ptr(&self.tickets).cast();
        if GIVES_WAY.get().0 == here {
            // The one below looks for what waits.
            GIVES_WAY.set((here, true));
            self.tickets.count.fetch_sub(1, Ordering::AcqRel);
            self.is_over = true;
            return self.turns.left();
        }
        let mut start = Instant::now();
        loop {
            while self.run_one() {
                if start.elapsed() >= TICKET {
                    if !self.give_way() {
                        let tickets = Arc::clone(&self.tickets);
                        return tickets.spawn(self);
                    }
                    start = Instant::now();
                }
            }
            self.tickets.count.fetch_sub(1, Ordering::AcqRel);
            // Announced first, looked then: `is_empty` fences.
            if self.turns.is_empty() || !self.tickets.reserve() {
                self.is_over = true;
                return self.turns.left();
            }
        }
    }
}

impl<S: Spawn> Drop for Ticket<S> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The pool has dropped the task: others may have relied on it.
        let last = self.tickets.count.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && !self.turns.is_empty() {
            self.turns.fail_all();
        }
        self.turns.left();
    }
}
