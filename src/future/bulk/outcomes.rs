//! [`AllOutcomes`]: the future of calls made together.

use super::OffloadedAll;
use crate::error::OffloadError;
use futures_core::Stream;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

/// For so many outcomes room is made beforehand, if the iterator says that there will be.
const MOST_EXPECTED: usize = 1024;

impl<I, F, R> OffloadedAll<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    /// The outcomes of all calls, in the order of the closures: what an `.await` of this gives,
    /// as a future by name, for `join!` and the like.
    pub fn collect_all(self) -> AllOutcomes<I, R> {
        let (expected, _) = self.size_hint();
        AllOutcomes {
            outcomes: Vec::with_capacity(expected.min(MOST_EXPECTED)),
            calls: self,
        }
    }
}

impl<I, F, R> IntoFuture for OffloadedAll<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = Vec<Result<R, OffloadError>>;
    type IntoFuture = AllOutcomes<I, R>;

    fn into_future(self) -> AllOutcomes<I, R> {
        self.collect_all()
    }
}

/// The future made by awaiting an [`OffloadedAll`], and by
/// [`collect_all`](OffloadedAll::collect_all): the outcomes of all its calls, in the order of
/// the closures.
///
/// # Panics
///
/// A poll after the future was ready panics.
#[must_use = "offloaded calls do nothing until they are awaited or polled"]
pub struct AllOutcomes<I: Iterator, R> {
    calls: OffloadedAll<I, R>,
    outcomes: Vec<Result<R, OffloadError>>,
}

// As the stream.
impl<I: Iterator, R> Unpin for AllOutcomes<I, R> {}

impl<I, F, R> Future for AllOutcomes<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = Vec<Result<R, OffloadError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { calls, outcomes } = self.get_mut();
        assert!(!calls.is_over, "`AllOutcomes` polled after it was ready");
        loop {
            calls.refill();
            while let Some(outcome) = calls.flight.pop() {
                outcomes.push(outcome);
            }
            let flight = calls.flight.len();
            if flight == 0 {
                if calls.has_more() {
                    continue;
                }
                calls.is_over = true;
                calls.flight.end();
                return Poll::Ready(mem::take(outcomes));
            }
            // For the last one, or for half of them, to submit more then.
            let place = if calls.has_more() {
                flight / 2
            } else {
                flight - 1
            };
            if !calls.flight.wait_for(place, cx.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl<I: Iterator, R> fmt::Debug for AllOutcomes<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllOutcomes")
            .field("calls", &self.calls)
            .field("outcomes", &self.outcomes.len())
            .finish()
    }
}
