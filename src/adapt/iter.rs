//! [`OffloadedIter`]: a stream over a blocking iterator.

use super::drop_on_pool::DropOnPool;
use super::hand_over::{HandOver, Pulled};
use super::place::Place;
use crate::cancel::Stopped;
use crate::core::unwind::contain;
use crate::core::view::Job;
use crate::defaults::ITER_BUFFER;
use crate::error::OffloadError;
use crate::handle::Submitted;
use crate::lane::Lane;
use crate::offload::Offload;
use futures_core::{FusedStream, Stream};
use std::borrow::Cow;
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A stream of the items of a blocking iterator, whose `next` runs on the I/O pool.
///
/// For rows of a sync database driver, lines of a sync HTTP body, the receiver of a
/// `std::sync::mpsc` channel, a directory walk. The stream is lazy; see [`OffloadedIter`]
/// for outcome, buffering, backpressure and what a drop does.
///
/// ```
/// use futures::TryStreamExt;
/// use std::io::{BufRead, BufReader};
///
/// # futures::executor::block_on(async {
/// let file = offramp::offload_io(|| std::fs::File::open("Cargo.toml")).await??;
/// let mut lines = offramp::offload_iter(BufReader::new(file).lines());
/// let mut count = 0;
/// while let Some(line) = lines.try_next().await? {
///     assert!(!line?.contains('\n'));
///     count += 1;
/// }
/// assert!(count > 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn offload_iter<I>(iter: I) -> OffloadedIter<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    OffloadedIter {
        state: State::Fresh(iter),
        items: None,
        buffer: ITER_BUFFER,
        place: Place::default(),
    }
}

/// The stream made by [`offload_iter`].
///
/// # Outcome
///
/// Each item as soon as the iterator's `next` has returned it, however long the next one
/// takes, then `None`. If it goes wrong, one error after the last item that was pulled, and
/// then `None`, for ever:
///
/// - [`Panicked`](OffloadError::Panicked): the iterator panicked, in `next` or when it was
///   dropped at its end.
/// - What [`Offloaded`](crate::Offloaded) resolves to when it is refused or does not run:
///   [`Overloaded`](OffloadError::Overloaded), [`ShutDown`](OffloadError::ShutDown),
///   [`NoThreads`](OffloadError::NoThreads) and so on. The rest of the iterator is lost.
///
/// # Buffer and threads
///
/// The iterator is pulled in chunks, each a job like any other: it waits in turn and in its
/// lane, counts, and ends, giving its thread back, when the [buffer](Self::buffer) is full,
/// when it has run for [`ITER_SLICE`](crate::defaults::ITER_SLICE), or when the iterator has
/// ended. The next one is submitted by a poll, once half of the buffer is free. So
/// a consumer that does not come holds no thread, and no more than the buffer's items; an
/// iterator that blocks holds a thread, as long as its `next` does.
///
/// # Cancellation
///
/// Dropping the stream drops the items that wait here, and ends a running chunk after the
/// present item; while `next` blocks it is an orphan, as after any
/// [drop](crate::Offloaded#cancellation). The iterator is dropped on the I/O pool: if need be by a
/// job that must run, and if the pool has been shut down, by whoever drops it. Only one that
/// was never polled is dropped where the stream is, because it has never left.
///
/// # Cost
///
/// For each chunk what a call [costs](fn@crate::offload_io#cost); for each item its
/// way through a lock-free queue, and a wake-up if the consumer waits.
#[must_use = "streams do nothing unless they are polled"]
pub struct OffloadedIter<I: Iterator + Send + 'static> {
    state: State<I>,
    /// Made by the first poll.
    items: Option<Arc<HandOver<I::Item>>>,
    buffer: usize,
    place: Place,
}

enum State<I: Iterator + Send + 'static> {
    /// Never polled.
    Fresh(I),
    /// No chunk runs.
    Idle(DropOnPool<I>),
    Running(Chunk<I>),
    /// To be told after the items that wait.
    Failed(OffloadError),
    /// All that is to come waits in the buffer.
    Ended,
    Over,
}

/// A chunk's call: the iterator comes back, unless it has ended.
type Chunk<I> = Submitted<Option<DropOnPool<I>>>;

// Nothing in here is ever pinned: the iterator is moved between jobs.
impl<I: Iterator + Send + 'static> Unpin for OffloadedIter<I> {}

impl<I> OffloadedIter<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    /// Runs on `offload` instead of the process-wide default.
    ///
    /// Set before the first poll, like all options; later they change nothing.
    pub fn on(mut self, offload: &Offload) -> Self {
        if self.items.is_none() {
            self.place.on(offload);
        }
        self
    }

    /// Names the chunks: in [`Panicked`](crate::Panicked), and in a shutdown's
    /// [`Report`](crate::Report).
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        if self.items.is_none() {
            self.place.label = Some(label.into());
        }
        self
    }

    /// The chunks wait in `lane`, on its pools if no others are named.
    pub fn lane(mut self, lane: &Lane) -> Self {
        if self.items.is_none() {
            self.place.lane(lane);
        }
        self
    }

    /// The chunks wait in the line of this tenant, see [`tenant`](crate::Offloaded::tenant).
    pub fn tenant(mut self, key: impl Hash) -> Self {
        if self.items.is_none() {
            self.place.tenant(key);
        }
        self
    }

    /// How many items may wait for the consumer, at least 1; by default
    /// [`ITER_BUFFER`](crate::defaults::ITER_BUFFER). Room for all of them is allocated by the
    /// first poll.
    pub fn buffer(mut self, items: usize) -> Self {
        if self.items.is_none() {
            self.buffer = items.max(1);
        }
        self
    }

    /// Takes the end of a chunk that is over; else `waker` will be woken by it.
    fn settle(&mut self, waker: &Waker) {
        if let State::Running(chunk) = &mut self.state {
            self.state = match chunk.poll_here(waker) {
                None => return,
                Some(Ok(Some(iter))) => State::Idle(iter),
                Some(Ok(None)) => State::Ended,
                Some(Err(error)) => State::Failed(error),
            };
        }
    }

    /// After an item was taken: sees to it that there will be more.
    fn refill(&mut self, items: &Arc<HandOver<I::Item>>, waker: &Waker) {
        if let State::Running(chunk) = &mut self.state {
            chunk.free_clock();
        }
        if !items.is_low() {
            return;
        }
        if matches!(&self.state, State::Running(chunk) if chunk.is_finished()) {
            self.settle(waker);
        }
        if let State::Idle(_) = self.state {
            self.submit(items);
        }
    }

    /// Submits a chunk.
    fn submit(&mut self, items: &Arc<HandOver<I::Item>>) {
        self.state = match self.start(items) {
            Ok(chunk) => State::Running(chunk),
            Err(reason) => State::Failed(reason),
        };
    }

    fn start(&mut self, items: &Arc<HandOver<I::Item>>) -> Result<Chunk<I>, OffloadError> {
        let offload = self.place.offload()?;
        let iter = match mem::replace(&mut self.state, State::Over) {
            State::Fresh(iter) => DropOnPool::new(&offload, iter),
            State::Idle(iter) => iter,
            _ => unreachable!("a chunk needs the iterator"),
        };
        let items = Arc::clone(items);
        let chunk = move |job: &Job| run_chunk(iter, &items, job);
        self.place.call(chunk).start().map_err(|(closure, reason)| {
            // The iterator goes to the pool.
            drop(closure);
            reason
        })
    }
}

/// A chunk's job. The iterator back, unless it has ended.
fn run_chunk<I>(
    mut iter: DropOnPool<I>,
    items: &HandOver<I::Item>,
    job: &Job,
) -> Result<Option<DropOnPool<I>>, Stopped>
where
    I: Iterator + Send + 'static,
{
    match catch_unwind(AssertUnwindSafe(|| items.pull(&mut *iter, job))) {
        Ok(Ok(Pulled::Some)) => Ok(Some(iter)),
        Ok(Ok(Pulled::All)) => {
            // Here, so that a panic in it is told.
            drop(iter.into_inner());
            Ok(None)
        }
        Ok(Err(stopped)) => Err(stopped),
        Err(payload) => {
            // Not while unwinding: a second panic would abort the process.
            contain(|| drop(iter));
            resume_unwind(payload)
        }
    }
}

impl<I> Stream for OffloadedIter<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    type Item = Result<I::Item, OffloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let State::Over = this.state {
            return Poll::Ready(None);
        }
        let new = || Arc::new(HandOver::new(this.buffer));
        let items = Arc::clone(this.items.get_or_insert_with(new));
        let mut item = items.pop();
        while item.is_none() {
            this.settle(cx.waker());
            // After that: what a chunk that is over has pulled is there now.
            item = items.pop_or_register(cx.waker());
            match this.state {
                _ if item.is_some() => {}
                State::Running(_) => return Poll::Pending,
                State::Fresh(_) | State::Idle(_) => this.submit(&items),
                State::Failed(_) | State::Ended | State::Over => {
                    this.items = None;
                    return match mem::replace(&mut this.state, State::Over) {
                        State::Failed(error) => Poll::Ready(Some(Err(error))),
                        _ => Poll::Ready(None),
                    };
                }
            }
        }
        this.refill(&items, cx.waker());
        Poll::Ready(item.map(Ok))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let waiting = self.items.as_ref().map_or(0, |items| items.len());
        match self.state {
            State::Over => (0, Some(0)),
            State::Ended => (waiting, Some(waiting)),
            _ => (waiting, None),
        }
    }
}

impl<I> FusedStream for OffloadedIter<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

impl<I: Iterator + Send + 'static> fmt::Debug for OffloadedIter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Fresh(_) => "fresh",
            State::Idle(_) => "idle",
            State::Running(_) => "running",
            State::Failed(_) => "failed",
            State::Ended => "ended",
            State::Over => "over",
        };
        let waiting = self.items.as_ref().map_or(0, |items| items.len());
        f.debug_struct("OffloadedIter")
            .field("state", &state)
            .field("waiting", &waiting)
            .field("buffer", &self.buffer)
            .field("label", &self.place.label)
            .finish_non_exhaustive()
    }
}
