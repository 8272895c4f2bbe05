//! smol with every task watched: `use offramp::watch::smol;` is the whole swap.
//!
//! Everything is smol's own but [`spawn`], [`Executor`] and [`LocalExecutor`], whose tasks are
//! [`watch`](fn@super::watch)ed. A future given to `block_on` is not: under an executor's `run`
//! one poll of it is many polls of tasks. Watch it where it is no such thing.

#[doc(no_inline)]
#[allow(clippy::wildcard_imports)] // Those that are not ours, whatever there will be.
pub use ::smol::*;

use super::watch;
use std::future::Future;
use std::ops::Deref;

/// `smol::spawn`, watched.
///
/// ```
/// use offramp::watch::smol;
///
/// assert_eq!(smol::block_on(smol::spawn(async { 6 * 7 })), 42);
/// ```
#[track_caller]
pub fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> ::smol::Task<T> {
    ::smol::spawn(watch(future))
}

/// `smol::Executor`, to which it derefs, with watched tasks.
#[derive(Debug, Default)]
pub struct Executor<'a>(::smol::Executor<'a>);

impl<'a> Executor<'a> {
    /// `smol::Executor::new`.
    #[must_use]
    pub const fn new() -> Self {
        Self(::smol::Executor::new())
    }

    /// `smol::Executor::spawn`, watched.
    #[track_caller]
    pub fn spawn<T: Send + 'a>(
        &self,
        future: impl Future<Output = T> + Send + 'a,
    ) -> ::smol::Task<T> {
        self.0.spawn(watch(future))
    }
}

impl<'a> Deref for Executor<'a> {
    type Target = ::smol::Executor<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// `smol::LocalExecutor`, to which it derefs, with watched tasks.
#[derive(Debug, Default)]
pub struct LocalExecutor<'a>(::smol::LocalExecutor<'a>);

impl<'a> LocalExecutor<'a> {
    /// `smol::LocalExecutor::new`.
    #[must_use]
    pub const fn new() -> Self {
        Self(::smol::LocalExecutor::new())
    }

    /// `smol::LocalExecutor::spawn`, watched.
    #[track_caller]
    pub fn spawn<T: 'a>(&self, future: impl Future<Output = T> + 'a) -> ::smol::Task<T> {
        self.0.spawn(watch(future))
    }
}

impl<'a> Deref for LocalExecutor<'a> {
    type Target = ::smol::LocalExecutor<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
