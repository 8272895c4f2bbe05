//! [`Unblock`]: a blocking reader, writer or iterator, as its async counterpart.

// Which parts of it are used is up to the traits, hence to the features.
#![cfg_attr(not(all(feature = "futures-io", feature = "tokio")), allow(dead_code))]

mod bytes;
mod content;
mod failure;
#[cfg(feature = "futures-io")]
mod futures_traits;
mod items;
#[cfg(feature = "tokio")]
mod tokio_traits;

use self::content::{Content, Done, Operation};
use self::failure::{Failure, gone, raise};
use super::drop_on_pool::DropOnPool;
use super::place::Place;
use crate::core::unwind::contain;
use crate::core::view::Job;
use crate::error::OffloadError;
use crate::handle::Submitted;
use crate::lane::Lane;
use crate::offload::Offload;
use parking_lot::Mutex;
use std::any::Any;
use std::borrow::Cow;
use std::future::poll_fn;
use std::hash::Hash;
use std::io::{self, SeekFrom};
use std::task::{Context, Poll};
use std::{fmt, mem};

/// A blocking reader, writer, or iterator, whose calls run on the I/O pool.
///
/// - Of a [`Read`](io::Read), [`Write`](io::Write) or [`Seek`](io::Seek) it is the
///   `AsyncRead`, `AsyncWrite` or `AsyncSeek`: that of `futures-io` with the feature
///   `futures-io`, tokio's with the feature `tokio`.
/// - Of an [`Iterator`] it is a [`Stream`](futures_core::Stream).
/// - Anything else can be called by [`with_mut`](Self::with_mut).
///
/// The methods are those of `Unblock` in the crate `blocking`; the options come before the
/// first use. For an iterator alone [`offload_iter`](crate::offload_iter) is the better
/// choice, because it says what goes wrong.
///
/// ```
/// # #[cfg(feature = "futures-io")]
/// # futures::executor::block_on(async {
/// use futures::AsyncReadExt;
/// use offramp::Unblock;
///
/// let file = offramp::offload_io(|| std::fs::File::open("Cargo.toml")).await??;
/// let mut text = String::new();
/// Unblock::new(file).read_to_string(&mut text).await?;
/// assert!(text.contains("offramp"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Calls and threads
///
/// One call runs at a time, each as a job like any other: a read waits for a write under
/// way. No thread is held in between.
///
/// # Reading
///
/// One call reads as much as there is, up to the [capacity](Self::with_capacity), and what
/// the caller has not asked for waits here for the next reads. Those bytes are kept whatever
/// is called in between: only a seek, which goes to where the caller is, drops them. So a
/// value of which more has been read than taken is ahead of the caller in
/// [`with_mut`](Self::with_mut), in [`get_mut`](Self::get_mut), and for writes at the same
/// position, as into a file: seek first. [`read_ahead`](Self::read_ahead) shows the bytes,
/// which [`into_inner`](Self::into_inner) would lose.
///
/// # Writing
///
/// Bytes that `poll_write` has accepted will be written, also if the adapter is dropped right
/// after: that job [must run](crate::Offloaded::must_run). Each write, of up to the capacity, is
/// a job, and the next one waits for it; many small ones are better collected (`BufWriter`).
/// An error comes at the next write, flush or close. After a drop nobody is there to be told:
/// flush, or close, first. If there was no flush after the last write, the pool does it before
/// it drops the value.
///
/// Closing (of `futures-io`) flushes and then drops the value on the pool; shutting down (of
/// tokio) flushes.
///
/// # Errors
///
/// Those of the value, as they are, and an [`OffloadError`] as an [`io::Error`]
/// ([`get_ref`](io::Error::get_ref) and a downcast show it). A call that was refused
/// ([`Overloaded`](OffloadError::Overloaded), [`ShutDown`](OffloadError::ShutDown)) has
/// changed nothing. After a panic in the value, or if a job did not run, the value has been
/// dropped, and from then on every call is an error of the kind
/// [`NotConnected`](io::ErrorKind::NotConnected), as after closing.
///
/// # Drop
///
/// Dropping the adapter never blocks. The value is dropped by the I/O pool, after what runs.
/// A call under way that blocks for ever, a read of the terminal say, keeps its thread and the
/// value until it returns, and what it reads is lost. If the pool has been shut down the value
/// is dropped by whoever drops the adapter, and so is one that was never used.
pub struct Unblock<T: Send + 'static> {
    state: State<T>,
    capacity: Option<usize>,
    place: Place,
    /// Of a stream: its `HandOver`, of the items' type.
    items: Option<Box<dyn Any + Send + Sync>>,
    outcomes: Outcomes,
    /// A seek that tokio's trait has started.
    seek: Option<SeekFrom>,
}

enum State<T: Send + 'static> {
    /// Never used.
    Fresh(Box<Content<T>>),
    Idle(DropOnPool<Box<Content<T>>>),
    Busy(Submitted<Finished<T>>),
    Closed,
    /// With what has failed, for the messages of later calls.
    Lost(String),
}

/// A call that is over.
type Finished<T> = (DropOnPool<Box<Content<T>>>, Done);

/// What finished calls have left for those who ask: the one who made a call may be gone.
#[derive(Default)]
struct Outcomes {
    read: Option<io::Error>,
    is_at_end: bool,
    write: Option<io::Error>,
    /// Something may have been written since the last flush.
    is_dirty: bool,
    seek: Option<(SeekFrom, io::Result<u64>)>,
    position: u64,
    /// Never locked: it makes the value, which need not be `Sync`, so.
    called: Mutex<Option<Box<dyn Any + Send>>>,
    has_ended: bool,
    /// That of a value which is lost, not yet told.
    failure: Option<OffloadError>,
}

impl<T: Send + 'static> Unblock<T> {
    /// Takes a blocking value. Nothing runs before the first use.
    pub fn new(io: T) -> Self {
        Self {
            state: State::Fresh(Box::new(Content::new(io))),
            capacity: None,
            place: Place::default(),
            items: None,
            outcomes: Outcomes::default(),
            seek: None,
        }
    }

    /// [`new`](Self::new) with another capacity, at least 1: the most bytes that one call
    /// reads or writes, and that may be read ahead
    /// ([`UNBLOCK_CAPACITY`](crate::defaults::UNBLOCK_CAPACITY)), or the most items that may
    /// wait ([`ITER_BUFFER`](crate::defaults::ITER_BUFFER)).
    pub fn with_capacity(capacity: usize, io: T) -> Self {
        Self {
            capacity: Some(capacity.max(1)),
            ..Self::new(io)
        }
    }

    /// Runs on `offload` instead of the process-wide default.
    ///
    /// Set before the first use, like all options; later they change nothing.
    #[must_use]
    pub fn on(mut self, offload: &Offload) -> Self {
        if self.is_fresh() {
            self.place.on(offload);
        }
        self
    }

    /// Names the calls: in [`Panicked`](crate::Panicked), and in a shutdown's
    /// [`Report`](crate::Report).
    #[must_use]
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        if self.is_fresh() {
            self.place.label = Some(label.into());
        }
        self
    }

    /// The calls wait in `lane`, on its pools if no others are named.
    #[must_use]
    pub fn lane(mut self, lane: &Lane) -> Self {
        if self.is_fresh() {
            self.place.lane(lane);
        }
        self
    }

    /// The calls wait in the line of this tenant, see [`tenant`](crate::Offloaded::tenant).
    #[must_use]
    pub fn tenant(mut self, key: impl Hash) -> Self {
        if self.is_fresh() {
            self.place.tenant(key);
        }
        self
    }

    /// The value, once no call is under way.
    ///
    /// Of bytes that have been read ahead it is past the end, see [above](Self#reading). An
    /// error of a write under way comes at the next write, flush or close.
    ///
    /// # Panics
    ///
    /// If the value is gone: closed, or lost (see [above](Self#errors)).
    pub async fn get_mut(&mut self) -> &mut T {
        poll_fn(|cx| self.settle(cx)).await.unwrap_or_else(gone);
        // It may write, and move.
        self.outcomes.is_dirty = true;
        self.outcomes.seek = None;
        match &mut self.state {
            State::Fresh(content) => content.io(),
            State::Idle(content) => content.io(),
            _ => unreachable!("settled"),
        }
    }

    /// Runs `op` on the pool, with the value.
    ///
    /// Once it was polled, dropping this future does not cancel it: the next call of the
    /// adapter waits for it.
    ///
    /// # Panics
    ///
    /// With what `op` panics; and if it cannot run, where
    /// [`try_with_mut`](Self::try_with_mut) gives an error.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let file = offramp::offload_io(|| std::fs::File::open("Cargo.toml")).await??;
    /// let mut file = offramp::Unblock::new(file);
    /// assert!(file.with_mut(|file| file.metadata()).await?.is_file());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn with_mut<R, F>(&mut self, op: F) -> R
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        match self.call(op).await {
            Ok(output) => output,
            Err(failure) => raise(failure),
        }
    }

    /// [`with_mut`](Self::with_mut) that does not panic.
    ///
    /// # Errors
    ///
    /// An [`OffloadError`] as an [`io::Error`], or
    /// [`NotConnected`](io::ErrorKind::NotConnected), see [above](Self#errors). If `op`
    /// panics, that is the error, and the value is dropped.
    pub async fn try_with_mut<R, F>(&mut self, op: F) -> io::Result<R>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        Ok(self.call(op).await?)
    }

    /// The value, once no call is under way. What was written is in it, though it may have to
    /// be flushed; what was [read ahead](Self::read_ahead) is lost.
    ///
    /// # Panics
    ///
    /// If the value is gone: closed, or lost (see [above](Self#errors)).
    pub async fn into_inner(mut self) -> T {
        poll_fn(|cx| self.settle(cx)).await.unwrap_or_else(gone);
        let mut content = match mem::replace(&mut self.state, State::Closed) {
            State::Fresh(content) => content,
            State::Idle(content) => content.into_inner(),
            _ => unreachable!("settled"),
        };
        content.take_io()
    }

    /// The bytes that have been read and not yet been taken. None while a call is under way.
    #[must_use]
    pub fn read_ahead(&self) -> &[u8] {
        match &self.state {
            State::Idle(content) => content.ahead.unread(),
            _ => &[],
        }
    }

    async fn call<R, F>(&mut self, op: F) -> Result<R, Failure>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        poll_fn(|cx| self.settle(cx)).await?;
        // It may write.
        self.outcomes.is_dirty = true;
        let op = move |content: &mut Content<T>, _: &Job| Done::Called(Box::new(op(content.io())));
        self.submit(op, false)?;
        poll_fn(|cx| self.settle(cx)).await?;
        let output = self.outcomes.called.get_mut().take();
        let output = output.and_then(|output| output.downcast().ok());
        Ok(*output.expect("the call that was submitted here"))
    }

    fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh(_))
    }

    /// Waits for the call under way, and puts down what it has left.
    fn settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match &mut self.state {
            State::Fresh(_) | State::Idle(_) => Poll::Ready(Ok(())),
            State::Closed => Poll::Ready(Err(Failure::Closed)),
            State::Lost(why) => Poll::Ready(Err(match self.outcomes.failure.take() {
                Some(error) => error.into(),
                None => Failure::Lost(why.clone()),
            })),
            State::Busy(call) => {
                let finished = match call.poll_here(cx.waker()) {
                    Some(finished) => finished,
                    None => return Poll::Pending,
                };
                match finished {
                    Ok((content, done)) => {
                        self.state = State::Idle(content);
                        Poll::Ready(self.put_down(done))
                    }
                    Err(error) => {
                        self.state = State::Lost(error.to_string());
                        Poll::Ready(Err(error.into()))
                    }
                }
            }
        }
    }

    fn put_down(&mut self, done: Done) -> Result<(), Failure> {
        let outcomes = &mut self.outcomes;
        match done {
            Done::Read(Ok(0)) => outcomes.is_at_end = true,
            Done::Read(Ok(_)) => {}
            Done::Read(Err(error)) => outcomes.read = Some(error),
            Done::Written(Ok(())) => {}
            Done::Written(Err(error)) | Done::Flushed(Err(error)) => outcomes.write = Some(error),
            Done::Flushed(Ok(())) => outcomes.is_dirty = false,
            Done::Sought(to, result) => {
                if let Ok(position) = result {
                    outcomes.position = position;
                    outcomes.is_at_end = false;
                    outcomes.read = None;
                }
                outcomes.seek = Some((to, result));
            }
            Done::Called(output) => *outcomes.called.get_mut() = Some(output),
            Done::Pulled { has_ended } => outcomes.has_ended = has_ended,
            Done::Closed => {
                self.state = State::Closed;
                return Err(Failure::Closed);
            }
        }
        Ok(())
    }

    /// Submits a call, after `settle`. If it is refused nothing has changed.
    fn submit<F>(&mut self, op: F, must_run: bool) -> Result<(), Failure>
    where
        F: FnOnce(&mut Content<T>, &Job) -> Done + Send + 'static,
    {
        let offload = self.place.offload()?;
        let content = match mem::replace(&mut self.state, State::Closed) {
            State::Fresh(content) => DropOnPool::new(&offload, content),
            State::Idle(content) => content,
            _ => unreachable!("settled"),
        };
        // What was left by calls whose callers are gone: a result nobody asks for any more.
        self.outcomes.seek = None;
        let stale = self.outcomes.called.get_mut().take();
        contain(|| drop(stale));
        let mut call = self.place.call(Operation { content, op });
        if must_run {
            call = call.must_run();
        }
        match call.start() {
            Ok(call) => {
                self.state = State::Busy(call);
                Ok(())
            }
            Err((operation, reason)) => {
                self.state = State::Idle(operation.content);
                contain(|| drop(operation.op));
                Err(reason.into())
            }
        }
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Unblock");
        match &self.state {
            State::Fresh(content) => f.field("io", &content.io),
            State::Idle(content) => f.field("io", &content.io),
            State::Busy(_) => f.field("io", &format_args!("<busy>")),
            State::Closed => f.field("io", &format_args!("<closed>")),
            State::Lost(why) => f.field("io", &format_args!("<lost: {why}>")),
        };
        f.finish_non_exhaustive()
    }
}
