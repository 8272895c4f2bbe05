//! A stream of the items of an iterator.

use super::content::{Content, Done};
use super::failure::{Failure, raise};
use super::{State, Unblock};
use crate::adapt::hand_over::{HandOver, Pulled};
use crate::core::view::Job;
use crate::defaults::ITER_BUFFER;
use futures_core::Stream;
use std::any::Any;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// As `next` of the iterator: what comes after `None` is its own affair.
///
/// It is pulled in chunks, as by [`offload_iter`](crate::offload_iter). Items that have been
/// pulled are kept, whatever is called in between.
///
/// # Panics
///
/// `poll_next` panics with what the iterator panics with, and if it cannot be called (the
/// pool is overloaded, or shut down), after the items before. Then it is over.
impl<T> Stream for Unblock<T>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        let this = self.get_mut();
        let items = this.hand_over();
        if let Some(item) = items.pop() {
            this.refill(&items, cx);
            return Poll::Ready(Some(item));
        }
        loop {
            let settled = this.settle(cx);
            // After that: what a chunk that is over has pulled is there now.
            if let Some(item) = items.pop_or_register(cx.waker()) {
                this.keep_failure(settled);
                this.refill(&items, cx);
                return Poll::Ready(Some(item));
            }
            match settled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Failure::Closed | Failure::Lost(_))) => return Poll::Ready(None),
                Poll::Ready(Err(failure)) => raise(failure),
            }
            if mem::take(&mut this.outcomes.has_ended) {
                return Poll::Ready(None);
            }
            this.pull(&items).unwrap_or_else(raise);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let items = self.items.as_ref();
        let items = items.and_then(|items| items.downcast_ref::<Arc<HandOver<T::Item>>>());
        (items.map_or(0, |items| items.len()), None)
    }
}

impl<T> Unblock<T>
where
    T: Iterator + Send + 'static,
    T::Item: Send + 'static,
{
    fn hand_over(&mut self) -> Arc<HandOver<T::Item>> {
        let buffer = self.capacity.unwrap_or(ITER_BUFFER);
        let new = || -> Box<dyn Any + Send + Sync> {
            Box::new(Arc::new(HandOver::<T::Item>::new(buffer)))
        };
        let items = self.items.get_or_insert_with(new);
        let items = items.downcast_ref().expect("`T` has one type of items");
        Arc::clone(items)
    }

    /// After an item was taken: sees to it that there will be more.
    fn refill(&mut self, items: &Arc<HandOver<T::Item>>, cx: &mut Context<'_>) {
        if let State::Busy(call) = &mut self.state {
            call.free_clock();
        }
        let is_busy = matches!(&self.state, State::Busy(call) if !call.is_finished());
        if is_busy || !items.is_low() {
            return;
        }
        let settled = self.settle(cx);
        if settled.is_ready() && !self.keep_failure(settled) && !self.outcomes.has_ended {
            // If it is refused, so is the next one, which tells.
            drop(self.pull(items));
        }
    }

    /// What has failed is told after the items before it. Whether something has.
    fn keep_failure(&mut self, settled: Poll<Result<(), Failure>>) -> bool {
        match settled {
            Poll::Ready(Err(failure)) => {
                if let Failure::Offload(error) = failure {
                    self.outcomes.failure = Some(error);
                }
                true
            }
            _ => false,
        }
    }

    fn pull(&mut self, items: &Arc<HandOver<T::Item>>) -> Result<(), Failure> {
        let items = Arc::clone(items);
        let pull = move |content: &mut Content<T>, job: &Job| Done::Pulled {
            has_ended: items.pull(content.io(), job) == Ok(Pulled::All),
        };
        self.submit(pull, false)
    }
}
