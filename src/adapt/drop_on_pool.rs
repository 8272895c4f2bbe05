//! Values whose destructors may block, dropped by the pool that has used them.

use crate::core::unwind::contain;
use crate::current;
use crate::future::Offloaded;
use crate::offload::Offload;
use crate::pool::Kind;
use std::mem;
use std::ops::{Deref, DerefMut};

/// Drops `value` on the I/O pool of `offload`, without waiting for it: at once on one of
/// its own threads, else by a job that must run.
///
/// A pool that was shut down takes no job any more: then `value` is dropped here. In a forked
/// child it is leaked, like all that belonged to the parent's pools. A panic in its
/// destructor ends there.
pub(crate) fn drop_on_pool<T: Send + 'static>(offload: &Offload, value: T) {
    let turns = offload.turns(Kind::Io);
    if turns.pool().is_forked() {
        mem::forget(value);
    } else if !mem::needs_drop::<T>() || current::is_in(turns) {
        contain(|| drop(value));
    } else {
        let call = Offloaded::new(Kind::Io, move || drop(value));
        match call.on(offload).must_run().start() {
            Ok(submitted) => submitted.detach(),
            Err((closure, _)) => drop(contain(|| drop(closure))),
        }
    }
}

/// A value that is dropped as [`drop_on_pool`] does, wherever it is let go: with the adapter
/// that owns it, with a job that never starts, with an output that nobody takes.
pub(crate) struct DropOnPool<T: Send + 'static> {
    /// `None` only while it is dropped.
    value: Option<T>,
    offload: Offload,
}

impl<T: Send + 'static> DropOnPool<T> {
    pub(crate) fn new(offload: &Offload, value: T) -> Self {
        Self {
            value: Some(value),
            offload: offload.clone(),
        }
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.value.take().expect("taken here alone, by value")
    }
}

impl<T: Send + 'static> Deref for DropOnPool<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until it is dropped")
    }
}

impl<T: Send + 'static> DerefMut for DropOnPool<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for DropOnPool<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            drop_on_pool(&self.offload, value);
        }
    }
}
