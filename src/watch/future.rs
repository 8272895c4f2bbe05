//! The future that marks its polls.

use super::slot;
use super::task::Task;
use pin_project::pin_project;
use std::any::type_name;
use std::future::Future;
use std::hint::black_box;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future whose polls the [`Watchdog`](super::Watchdog) watches. Made by
/// [`watch`](fn@super::watch) and [`Watch::watched`].
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited or spawned"]
pub struct Watched<F> {
    #[pin]
    future: F,
    task: &'static Task,
}

/// Watches `future`: a poll of it that blocks its thread is reported while it blocks.
///
/// To be put around what is spawned. It works on every runtime. Reports name the task by its
/// type and by the line of this call; [`Watch::watched`] gives it a name as well.
///
/// # Cost
///
/// Some nanoseconds for each poll, and none that anybody waits for: no clock, no lock, no
/// allocation. Until a [`Watchdog`](super::Watchdog) is started polls are not even marked.
///
/// ```
/// use offramp::watch::{Watchdog, watch};
///
/// let _watchdog = Watchdog::builder().start()?;
/// # futures::executor::block_on(async {
/// assert_eq!(watch(async { 6 * 7 }).await, 42);
/// # });
/// # Ok::<_, offramp::watch::StartError>(())
/// ```
#[track_caller]
pub fn watch<F: Future>(future: F) -> Watched<F> {
    Watched::new(future, None, Some(Location::caller()))
}

/// Adds [`watched`](Self::watched) to futures.
pub trait Watch: Future + Sized {
    /// [`watch`](fn@super::watch) with a name for the reports.
    #[track_caller]
    fn watched(self, name: &'static str) -> Watched<Self> {
        Watched::new(self, Some(name), Some(Location::caller()))
    }
}

impl<F: Future> Watch for F {}

impl<F: Future> Watched<F> {
    pub(super) fn new(
        future: F,
        name: Option<&'static str>,
        location: Option<&'static Location<'static>>,
    ) -> Self {
        let task = Task::of(Some(type_name::<F>()), name, location);
        Self { future, task }
    }

    /// With what [`Task::of`] said about it.
    #[cfg(feature = "tower")]
    pub(super) fn of(task: &'static Task, future: F) -> Self {
        Self { future, task }
    }
}

impl<F> Watched<F> {
    /// The lane that the task belongs to, for the reports: the name of the
    /// [`Lane`](crate::Lane) that its calls wait in, or what else tells one kind of session
    /// from another.
    pub fn in_lane(mut self, lane: &'static str) -> Self {
        self.task = self.task.in_lane(lane);
        self
    }

    /// The future itself, no more watched.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _polling = slot::poll(this.task);
        // Through a pointer that the compiler does not see through: so the async fn stays a
        // function of its own, with its name in stacks, instead of being part of this one.
        let poll: fn(Pin<&mut F>, &mut Context<'_>) -> Poll<F::Output> = black_box(F::poll);
        poll(this.future, cx)
    }
}

/// Runs `f`, which may block, without being watched: what blocks in it is meant to.
///
/// For the few places that may: `tokio::task::block_in_place`, a start-up that reads its
/// configuration. It makes nothing better for the other tasks of this thread.
///
/// ```
/// # futures::executor::block_on(offramp::watch::watch(async {
/// let name = offramp::watch::unwatched(|| std::fs::read_to_string("Cargo.toml"));
/// # assert!(name.is_ok());
/// # }));
/// ```
pub fn unwatched<R>(f: impl FnOnce() -> R) -> R {
    slot::unwatched(f)
}
