//! From an iterator on a pool's thread to a consumer on an event loop, item by item.

use crate::cancel::Stopped;
use crate::clock;
use crate::core::unwind::contain;
use crate::core::view::Job;
use crate::defaults::ITER_SLICE;
use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use std::task::Waker;

/// Items that have been pulled and not yet consumed. One side pushes at a time, one pops.
///
/// No wake-up is lost: the producer pushes, then takes the waker; the consumer registers its
/// waker, then looks again. `AtomicWaker` orders the two, so that either the producer finds
/// the waker or the consumer the item.
pub(crate) struct HandOver<T> {
    items: ArrayQueue<T>,
    consumer: AtomicWaker,
}

impl<T> HandOver<T> {
    pub(crate) fn new(buffer: usize) -> Self {
        Self {
            items: ArrayQueue::new(buffer),
            consumer: AtomicWaker::new(),
        }
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    /// The next item, or `None` after storing `waker` to be woken by it.
    pub(crate) fn pop_or_register(&self, waker: &Waker) -> Option<T> {
        self.consumer.register(waker);
        let item = self.items.pop()?;
        // Who got its item does not wait: the next one need not wake it.
        let unused = self.consumer.take();
        contain(|| drop(unused));
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it is worth a job to pull more: half of the room is free, so that a job pulls
    /// several items where there can be several.
    pub(crate) fn is_low(&self) -> bool {
        self.items.len() <= self.items.capacity() / 2
    }

    /// Pulls items until there is no room for one more, the time slice is over, or `iter`
    /// has ended.
    ///
    /// An item is there for the consumer as soon as `iter` has returned it, however long the
    /// next one takes.
    pub(crate) fn pull(
        &self,
        iter: &mut impl Iterator<Item = T>,
        job: &Job,
    ) -> Result<Pulled, Stopped> {
        let slice = u64::try_from(ITER_SLICE.as_nanos()).unwrap_or(u64::MAX);
        let end = clock::now().saturating_add(slice);
        while !self.items.is_full() {
            job.checkpoint()?;
            let Some(item) = iter.next() else {
                return Ok(Pulled::All);
            };
            let pushed = self.items.push(item);
            assert!(pushed.is_ok(), "there was room, and nobody else pushes");
            if let Some(waker) = self.consumer.take() {
                contain(|| waker.wake());
            }
            if clock::now() >= end {
                break;
            }
        }
        Ok(Pulled::Some)
    }
}

impl<T> Drop for HandOver<T> {
    fn drop(&mut self) {
        // One by one: a panic in a destructor ends there.
        while let Some(item) = self.items.pop() {
            contain(|| drop(item));
        }
    }
}

/// What [`HandOver::pull`] has left of the iterator.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// There may be more.
    Some,
    /// Nothing: it has ended.
    All,
}
