//! Saves of one target take effect in the order of their calls.
//!
//! Each call draws a number. A target remembers the newest one that has been renamed to it,
//! and an older one leaves it alone from then on. What is remembered is bounded: of more
//! targets than that the ones saved longest ago are forgotten.

use crate::fork;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Targets remembered. An older call has to wait for so many other saves before it may undo
/// a newer one's: by then nobody can want it any more.
const MOST_REMEMBERED: usize = 1024;

/// 0 is older than every call.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// By their canonical paths. Locked for moments, on the pools' threads.
static TARGETS: Mutex<BTreeMap<PathBuf, Arc<Target>>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Target {
    /// The newest call that has been renamed to it; locked over the renaming.
    newest: Mutex<u64>,
}

/// A save's place in the order.
#[derive(Clone, Copy)]
pub(super) struct Call(u64);

impl Call {
    pub(super) fn new() -> Self {
        Self(CALLS.fetch_add(1, Ordering::Relaxed))
    }

    /// The save runs, and is for the file at this canonical path.
    pub(super) fn start(self, target: &Path) -> Running {
        // In a forked child the locks may be held by threads that are not there.
        let target = (fork::generation() == 0).then(|| {
            let mut targets = TARGETS.lock();
            Arc::clone(targets.entry(target.to_owned()).or_default())
        });
        Running { call: self, target }
    }
}

/// A save that runs.
pub(super) struct Running {
    call: Call,
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
        if *newest < self.call.0 {
            rename()?;
            *newest = self.call.0;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(target) = self.target.take() else {
            return;
        };
        let mut targets = TARGETS.lock();
        drop(target);
        if targets.len() <= MOST_REMEMBERED {
            return;
        }
        // Clones are made under our lock alone, so one that is not shared stays so.
        let idle = targets.iter_mut().filter_map(|(path, target)| {
            let newest = Arc::get_mut(target)?.newest.get_mut();
            Some((*newest, path))
        });
        let oldest = idle.min().map(|(_, path)| path.clone());
        if let Some(path) = oldest {
            targets.remove(&path);
        }
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
