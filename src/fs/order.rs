//! Saves of one target take effect in the order of their calls.
//!
//! Each call draws a number. The target remembers the newest one that has been renamed to
//! it, and an older one leaves it alone from then on. What is remembered of a target goes
//! when no save is left that could be older: none that runs for this target, and none,
//! wherever it is for, that has been called and has not started.

use crate::fork;
use crossbeam_queue::SegQueue;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Targets remembered for the sake of saves that have not started, at most. One of those
/// may then undo a later call's save: if it waits so long, nobody can want it any more.
const MOST_REMEMBERED: usize = 1024;

/// 0 is older than every call.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// Where calls announce themselves without a lock, as they are made on event loops.
static ANNOUNCED: SegQueue<Waiting> = SegQueue::new();

/// Locked for moments, on the pools' threads.
static SAVES: Mutex<Saves> = Mutex::new(Saves {
    waiting: VecDeque::new(),
    targets: BTreeMap::new(),
});

struct Saves {
    /// Called, not started; in the order of their calls but for those made at one time.
    waiting: VecDeque<Waiting>,
    /// By their canonical paths.
    targets: BTreeMap<PathBuf, Arc<Target>>,
}

struct Waiting {
    number: u64,
    /// Gone: it has started, or never will.
    alive: Weak<()>,
}

#[derive(Default)]
struct Target {
    /// The newest call that has been renamed to it; locked over the renaming.
    newest: Mutex<u64>,
}

impl Saves {
    fn hear(&mut self) {
        while let Some(call) = ANNOUNCED.pop() {
            if self.waiting.len() == self.waiting.capacity() {
                // Before it grows: one that waits for long does not keep those behind it.
                self.waiting.retain(|call| call.alive.strong_count() > 0);
            }
            self.waiting.push_back(call);
        }
        while let Some(first) = self.waiting.front() {
            if first.alive.strong_count() > 0 {
                break;
            }
            self.waiting.pop_front();
        }
    }

    fn forget(&mut self) {
        self.hear();
        let oldest = self.waiting.iter().map(|call| call.number).min();
        let oldest = oldest.unwrap_or(u64::MAX);
        let is_full = self.targets.len() > MOST_REMEMBERED;
        self.targets.retain(|_, target| {
            // Clones are made under our lock alone, so one that is not shared stays so.
            let idle = Arc::get_mut(target).map(|target| *target.newest.get_mut());
            idle.is_none_or(|newest| newest > oldest && !is_full)
        });
    }
}

/// A save's place in the order.
pub(super) struct Call {
    number: u64,
    alive: Arc<()>,
}

impl Call {
    pub(super) fn new() -> Self {
        let call = Self {
            number: CALLS.fetch_add(1, Ordering::Relaxed),
            alive: Arc::default(),
        };
        if !is_in_child() {
            ANNOUNCED.push(Waiting {
                number: call.number,
                alive: Arc::downgrade(&call.alive),
            });
            // Calls that never start must not add up. Whoever has the lock sees to it, too.
            if let Some(mut saves) = SAVES.try_lock() {
                saves.hear();
            }
        }
        call
    }

    /// The save runs, and is for the file at this canonical path.
    pub(super) fn start(self, target: &Path) -> Running {
        let target = (!is_in_child()).then(|| {
            let mut saves = SAVES.lock();
            saves.hear();
            let target = saves.targets.entry(target.to_owned()).or_default();
            Arc::clone(target)
        });
        Running {
            number: self.number,
            target,
        }
    }
}

/// In a forked child the locks may be held by threads that are not there.
fn is_in_child() -> bool {
    fork::generation() > 0
}

/// A save that runs.
pub(super) struct Running {
    number: u64,
    target: Option<Arc<Target>>,
}

impl Running {
    /// Calls `rename`, at most one at a time for a target, unless a later call's has been
    /// called by now.
    pub(super) fn in_order(&self, rename: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(target) = &self.target else {
            return rename();
        };
        let mut newest = target.newest.lock();
        if *newest < self.number {
            rename()?;
            *newest = self.number;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            let mut saves = SAVES.lock();
            drop(target);
            saves.forget();
        }
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
