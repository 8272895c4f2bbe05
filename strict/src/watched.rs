//! The future whose polls must not block.

use crate::options::{Options, Settings};
use crate::poll::{self, Poll};
use crate::run::Run;
use crate::verdict;
use std::any;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context};

/// A future that panics at the end of a poll that made a blocking call.
///
/// Made by [`watch`] and [`Options::watch`].
#[must_use = "futures do nothing unless polled"]
pub struct Watched<F> {
    future: Pin<Box<F>>,
    settings: Arc<Settings>,
    run: Arc<Run>,
    /// It is the future of the run's itself.
    leads: bool,
    place: &'static Location<'static>,
}

impl<F: Future> Watched<F> {
    #[track_caller]
    pub(crate) fn new(future: F, settings: Arc<Settings>, run: Arc<Run>) -> Self {
        Self {
            future: Box::pin(future),
            settings,
            run,
            leads: false,
            place: Location::caller(),
        }
    }

    /// Makes it the run's own.
    pub(crate) fn leading(mut self) -> Self {
        self.leads = true;
        self
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> task::Poll<F::Output> {
        if self.leads {
            self.run.register(context.waker());
            self.run.raise();
        }
        let poll = Poll::new(self.settings.clone(), self.run.clone());
        let output = poll.during(|| self.future.as_mut().poll(context));
        let took = poll.elapsed();
        let what = any::type_name::<F>();
        let report = poll::aside(|| verdict::on(&poll, took, what, self.place));
        if let Some(report) = report {
            if !self.leads {
                self.run.fail(&report);
            }
            panic!("{report}");
        }
        output
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("future", &any::type_name::<F>())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Makes the polls of `future` strict, whoever polls it: a task that is spawned from a strict
/// test, which would be outside of its polls.
///
/// In a strict poll it takes that one's options, and a blocking call of the task's also fails
/// the run, at once, whether anybody looks at the task or not. Elsewhere it has the default
/// options, and fails where it is polled.
///
/// ```
/// use offramp_strict::watch;
///
/// # fn main() {
/// # #[cfg(feature = "smol")]
/// offramp_strict::run(async {
///     let task = smol::spawn(watch(async { 6 * 7 }));
///     assert_eq!(task.await, 42);
/// });
/// # }
/// ```
#[track_caller]
pub fn watch<F: Future>(future: F) -> Watched<F> {
    match poll::inherited() {
        Some((settings, run)) => Watched::new(future, settings, run),
        None => Options::new().watch(future),
    }
}

/// `tokio::spawn` of the [`watch`]ed future.
#[cfg(feature = "tokio")]
#[track_caller]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(watch(future))
}
