//! A tokio runtime's blocking pool as a backend.

use super::tickets::{Spawn, Tickets};
use super::{Backend, Threads, Turns};
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Runs jobs on the blocking pool of a tokio runtime: no threads beside the runtime's
/// own, and `Handle::current()` works inside of a job.
///
/// At most `max` of the pool's threads are used at a time. Jobs that wait when the
/// runtime is shut down still run, if one of its threads takes them, or resolve as
/// [`NoThreads`](crate::OffloadError::NoThreads), like all later ones.
pub struct Tokio {
    tickets: Arc<Tickets<Handle>>,
}

impl Tokio {
    /// Turns from `runtime`'s blocking pool, at most `max` at a time.
    ///
    /// # Panics
    ///
    /// If `max` is 0.
    #[must_use]
    #[track_caller]
    pub fn new(runtime: Handle, max: usize) -> Self {
        assert!(max > 0, "a backend needs at least one thread");
        Self {
            tickets: Tickets::new(runtime, max),
        }
    }
}

impl Spawn for Handle {
    fn spawn(&self, task: Box<dyn FnOnce() + Send>) {
        drop(self.spawn_blocking(task));
    }

    fn give_way(&self) -> bool {
        false
    }
}

impl Backend for Tokio {
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

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio").finish_non_exhaustive()
    }
}
