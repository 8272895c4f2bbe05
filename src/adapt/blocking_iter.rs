//! [`BlockingIter`]: an iterator over a stream, for sync code.

use crate::waiting::block_on_lending;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;

/// An iterator over a stream: each `next` blocks its thread until the stream's next item.
///
/// For sync code in an async program: a parser that wants an iterator, a callback of a C
/// library, a test. It needs no runtime of its own; what the stream is made of, a socket of
/// tokio's say, needs the one it belongs to, running on another thread.
///
/// Once the stream has ended it is not polled again, and `next` answers `None` for ever.
/// Dropping the iterator drops the stream.
///
/// # Blocking
///
/// Never call `next` on an event loop. In a job the turn is lent meanwhile, as by
/// [`Job::block_on`](crate::Job::block_on), and within the same bounds: jobs that iterate over
/// what other jobs of their pool bring do not hang it.
///
/// # Panics
///
/// `next` panics with what the stream panics with; with the feature `tokio` also in a poll
/// of a tokio task, whose event loop would stand still.
///
/// # Cost
///
/// One allocation for the stream, and one for each `next`; a system call where the thread
/// has to sleep.
///
/// ```
/// use futures::{StreamExt, stream};
///
/// let stream = stream::iter(1..4).then(|n| async move { n * n });
/// let squares: Vec<u32> = offramp::BlockingIter::new(stream).collect();
/// assert_eq!(squares, [1, 4, 9]);
/// ```
pub struct BlockingIter<S> {
    /// `None` once it has ended.
    stream: Option<Pin<Box<S>>>,
}

impl<S: Stream> BlockingIter<S> {
    /// Takes the stream, which is not polled before the first `next`.
    pub fn new(stream: S) -> Self {
        Self {
            stream: Some(Box::pin(stream)),
        }
    }
}

impl<S: Stream> Iterator for BlockingIter<S> {
    type Item = S::Item;

    #[track_caller]
    fn next(&mut self) -> Option<S::Item> {
        #[cfg(feature = "tokio")]
        crate::tokio_runtime::refuse_to_block("BlockingIter::next");
        let stream = self.stream.as_mut()?;
        let item = block_on_lending(poll_fn(|cx| stream.as_mut().poll_next(cx)));
        if item.is_none() {
            self.stream = None;
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.stream {
            Some(stream) => stream.size_hint(),
            None => (0, Some(0)),
        }
    }
}

impl<S: Stream> FusedIterator for BlockingIter<S> {}

impl<S> fmt::Debug for BlockingIter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingIter")
            .field("is_over", &self.stream.is_none())
            .finish_non_exhaustive()
    }
}
