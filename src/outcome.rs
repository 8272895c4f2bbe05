//! From a job's output to what the user gets, and [`Flatten`].

use crate::core::job::Failure;
use crate::error::{OffloadError, Panicked};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future made by [`Offloaded::flatten`](crate::Offloaded::flatten) and
/// [`Handle::flatten`](crate::Handle::flatten).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
#[pin_project]
pub struct Flatten<Fut> {
    #[pin]
    call: Fut,
}

impl<Fut> Flatten<Fut> {
    pub(crate) fn new(call: Fut) -> Self {
        Self { call }
    }
}

impl<Fut, T, E> Future for Flatten<Fut>
where
    Fut: Future<Output = Result<Result<T, E>, OffloadError>>,
    E: From<OffloadError>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = std::task::ready!(self.project().call.poll(cx));
        Poll::Ready(output.unwrap_or_else(|error| Err(E::from(error))))
    }
}

/// A submitted job's output as the user sees it.
#[inline]
pub(crate) fn outcome<R>(output: Result<R, Failure>) -> Result<R, OffloadError> {
    output.map_err(|failure| match failure {
        Failure::Panicked(panic) => {
            OffloadError::Panicked(Panicked::new(panic.payload, panic.label))
        }
        Failure::Stopped(stopped) => stopped.into(),
        Failure::Cancelled => OffloadError::Cancelled,
        Failure::Expired(expired) => expired.into(),
        Failure::Overloaded { limit } => OffloadError::Overloaded {
            limit,
            expected: None,
        },
        Failure::ShutDown => OffloadError::ShutDown,
        Failure::NoThreads => OffloadError::NoThreads,
        Failure::WouldDeadlock => OffloadError::WouldDeadlock,
    })
}
