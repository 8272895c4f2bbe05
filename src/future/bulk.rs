//! Many calls at once: [`offload_io_all`], [`offload_cpu_all`] and what they make.

mod flight;
mod outcomes;

use self::flight::Flight;
pub use self::outcomes::AllOutcomes;
use crate::adapt::place::Place;
use crate::closure::{Body, Plain};
use crate::core::unwind::contain;
use crate::error::OffloadError;
use crate::future::{Offloaded, line};
use crate::offload::Offload;
use crate::pool::Kind;
use crate::priority::Priority;
use crate::submit::Alike;
use crate::{Lane, clock, current};
use futures_core::{FusedStream, Stream};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Runs many blocking calls on the I/O pool, which are handed over together.
///
/// For many short calls of one kind, whose hand-over one by one costs more than they do: stat a
/// list of files, look up a page of keys. Awaited it gives all outcomes; it is a stream of them,
/// too. See [`OffloadedAll`] for order, bounds, cancellation and cost.
///
/// ```
/// use offramp::offload_io_all;
///
/// # futures::executor::block_on(async {
/// let paths = ["Cargo.toml", "README.md", "no such file"];
/// let lengths = paths.map(|path| move || std::fs::metadata(path).map(|file| file.len()));
/// let lengths = offload_io_all(lengths).await;
/// assert_eq!(lengths.len(), 3);
/// for (path, length) in paths.iter().zip(lengths) {
///     match length? {
///         Ok(length) => println!("{path}: {length} bytes"),
///         Err(error) => println!("{path}: {error}"),
///     }
/// }
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
#[track_caller]
pub fn offload_io_all<I, F, R>(closures: I) -> OffloadedAll<I::IntoIter, R>
where
    I: IntoIterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    OffloadedAll::new(Kind::Io, closures.into_iter())
}

/// Runs many pieces of CPU-heavy code on the CPU pool, which are handed over together.
///
/// Each closure is a job of its own, as with [`fn@crate::offload_cpu`], and may use `par_iter`
/// and `join`. Where one closure with a `par_iter` over all pieces would do, that is better
/// still; this is for outcomes that are wanted one by one. See [`OffloadedAll`].
///
/// ```
/// use futures::TryStreamExt;
/// use offramp::offload_cpu_all;
///
/// # futures::executor::block_on(async {
/// let sum = |text: &'static str| move || text.bytes().map(u64::from).sum::<u64>();
/// let mut sums = offload_cpu_all(["a text", "another one"].map(sum));
/// let mut all = 0;
/// while let Some(sum) = sums.try_next().await? {
///     all += sum;
/// }
/// assert!(all > 1_000);
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
#[track_caller]
pub fn offload_cpu_all<I, F, R>(closures: I) -> OffloadedAll<I::IntoIter, R>
where
    I: IntoIterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    OffloadedAll::new(Kind::Cpu, closures.into_iter())
}

/// Calls that are submitted together: made by [`offload_io_all`] and [`offload_cpu_all`].
///
/// Awaited, or by [`collect_all`](Self::collect_all), it is a `Vec` with the outcome of each
/// closure, in their order. As a stream it gives the same, one by one, in the same order. It is
/// lazy: nothing is submitted before the first poll.
///
/// # Outcome
///
/// For each closure its value or its own [`OffloadError`], as for a call that is awaited by itself.
/// One that panics, or is refused, is one item; it ends nothing.
///
/// # Order, and what is submitted ahead
///
/// Jobs are submitted, and with a single thread run, in the order of the closures. At most so
/// many as [`ahead`](Self::ahead) says are submitted whose outcomes have not been taken; when
/// half of them have, the next ones are submitted, together. So closures are taken from the
/// iterator by and by, in polls, and it may be a long one, or endless; a stream that
/// nobody polls runs no more than that; and one slow call holds up those so far behind it.
///
/// # Backpressure
///
/// Where there is less room in the queue, or in the [`lane`](Self::lane), than there are
/// closures, as many are submitted as fit, and the rest when outcomes of these have come. So a pool
/// that is full is no error as long as some of the calls are in it. If none are, the next one is
/// treated like a call by itself: under [`Policy::Wait`](crate::Policy::Wait) it may take the
/// room of a lane that has more, else its outcome is [`Overloaded`](OffloadError::Overloaded).
/// How much room there is, is what it is for calls that are
/// [awaited](crate::Offloaded#waiting-and-backpressure).
///
/// # Cancellation
///
/// Dropping it, or the future that awaits it, drops the closures that have not started, there
/// and then, and what they took up in the queue is free. Calls that run see it at their
/// [`checkpoint`](crate::checkpoint())s, and until they return they are orphans, as after any
/// [drop](crate::Offloaded#cancellation). Outcomes that nobody took are dropped.
///
/// # Cost
///
/// One allocation for each job, and what its [options](crate::Offloaded) cost; of a tenant's lane
/// those that are submitted together share one. All are handed over by one exchange on the
/// queue and one wake-up, and the threads that are woken wake others if there is more to do.
/// Outcomes are taken without a wake-up for each: a stream waits for its next one, an awaited one
/// for the last, or where more are to be submitted for half of them. What a job costs the
/// thread that runs it is what it costs otherwise. So it saves the wake-ups of a `join_all`, but
/// nothing beside [`try_spawn`](crate::Offloaded::try_spawn)s that are awaited in order: of those
/// the first run while the last are submitted, so that tiny ones are over sooner. Where a closure has
/// nothing to wait for and is of less than a microsecond, one call with a loop in it is better.
///
/// # What there is not
///
/// What [must run](crate::Offloaded::must_run), or is dropped [on the
/// pool](crate::Offloaded::drop_on_pool), is called by itself, as is a closure that sees its
/// [`Job`](crate::Job).
#[must_use = "offloaded calls do nothing until they are awaited or polled"]
pub struct OffloadedAll<I: Iterator, R> {
    /// `None` when it has ended.
    closures: Option<I>,
    /// Taken out, and not submitted yet.
    waiting: VecDeque<I::Item>,
    flight: Flight<R>,
    pool: Kind,
    place: Place,
    priority: Option<Priority>,
    /// As it was set; what it is from the first poll on is in `most`.
    ahead: Option<usize>,
    /// 0 before the first poll.
    most: usize,
    is_over: bool,
    call_site: &'static Location<'static>,
}

// Nothing in here is ever pinned: closures are moved into their jobs.
impl<I: Iterator, R> Unpin for OffloadedAll<I, R> {}

impl<I, F, R> OffloadedAll<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    #[track_caller]
    fn new(pool: Kind, closures: I) -> Self {
        Self {
            closures: Some(closures),
            waiting: VecDeque::new(),
            flight: Flight::new(pool),
            pool,
            place: Place::default(),
            priority: None,
            ahead: None,
            most: 0,
            is_over: false,
            call_site: Location::caller(),
        }
    }

    /// Runs on `offload` instead of the process-wide default.
    ///
    /// Set before the first poll, like all options; later they change nothing.
    pub fn on(mut self, offload: &Offload) -> Self {
        if !self.has_started() {
            self.place.on(offload);
        }
        self
    }

    /// Names the calls: in [`Panicked`](crate::Panicked), and in a shutdown's
    /// [`Report`](crate::Report).
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        if !self.has_started() {
            self.place.label = Some(label.into());
        }
        self
    }

    /// The calls wait in `lane`, on its pools if no others are named, see
    /// [`lane`](crate::Offloaded::lane).
    pub fn lane(mut self, lane: &Lane) -> Self {
        if !self.has_started() {
            self.place.lane(lane);
        }
        self
    }

    /// The calls wait in the line of this tenant, see [`tenant`](crate::Offloaded::tenant).
    pub fn tenant(mut self, key: impl Hash) -> Self {
        if !self.has_started() {
            self.place.tenant(key);
        }
        self
    }

    /// Which calls go before these, and which after, see [`priority`](crate::Offloaded::priority).
    pub fn priority(mut self, class: Priority) -> Self {
        if !self.has_started() {
            self.priority = Some(class);
        }
        self
    }

    /// Gives all calls together so much time from now on, see
    /// [`timeout`](crate::Offloaded::timeout). Then those without a value resolve as
    /// [`DeadlineExceeded`](OffloadError::DeadlineExceeded), those that were not submitted, too.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        if !self.has_started() {
            self.flight.due(clock::now().saturating_add(nanos));
        }
        self
    }

    /// The same with a point in time.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        if !self.has_started() {
            self.flight.due(clock::at(deadline));
        }
        self
    }

    /// How many may be submitted whose outcomes have not been taken, at least 1. By default
    /// a quarter of the pool's [`capacity`](crate::Builder::capacity), so 256, which leaves
    /// room for others.
    pub fn ahead(mut self, calls: usize) -> Self {
        if !self.has_started() {
            self.ahead = Some(calls.max(1));
        }
        self
    }

    /// Submits what there is room for, if half of what may be ahead is free. Afterwards
    /// there is something in flight, or nothing is left.
    fn refill(&mut self) {
        if !self.has_started() {
            self.start();
        }
        if self.flight.len() > self.most / 2 {
            return;
        }
        let room = self.most - self.flight.len();
        if let Some(closures) = &self.closures {
            let (least, _) = closures.size_hint();
            self.waiting.reserve(least.min(room));
        }
        while self.waiting.len() < room {
            let Some(closure) = self.closures.as_mut().and_then(I::next) else {
                self.closures = None;
                break;
            };
            self.waiting.push_back(closure);
        }
        if self.waiting.is_empty() {
            return;
        }
        if let Some(inherited) = current::inherited_deadline() {
            self.flight.due(inherited);
        }
        self.submit(room);
        if self.flight.is_empty() {
            self.submit_one();
        }
    }

    fn has_started(&self) -> bool {
        self.most != 0
    }

    fn start(&mut self) {
        let offload = self.place.offload().ok();
        let default = || match &offload {
            Some(offload) => (offload.capacity() / 4).max(1),
            None => 1,
        };
        self.most = self.ahead.unwrap_or_else(default);
        self.flight.set_pools(offload);
    }

    /// Submits as many together as there is room for.
    fn submit(&mut self, most: usize) {
        let Some(offload) = self.flight.pools().cloned() else {
            return;
        };
        let line = self.place.line.as_ref();
        let Ok(lane) = line::lane(line, self.priority, &offload, self.pool) else {
            return;
        };
        let alike = Alike {
            limit: offload.waiting_limit(),
            label: self.place.label.as_ref(),
            deadline: self.flight.deadline(),
            lane,
            call_site: self.call_site,
        };
        let most = most.min(self.waiting.len());
        let (flight, waiting) = (&mut self.flight, &mut self.waiting);
        flight.reserve(most);
        let works = || {
            let closure = waiting.pop_front().expect("no more than there are");
            Body::<F, R, Plain>::new(closure, offload.hooks())
        };
        let turns = offload.turns(self.pool);
        let told = |caller| flight.push(caller);
        if let Err(refused) = turns.submit_all(&alike, most, works, told) {
            self.flight.refuse(refused);
        }
    }

    /// Submits one like a call by itself, which knows the reason if it is refused.
    fn submit_one(&mut self) {
        let Some(closure) = self.waiting.pop_front() else {
            return;
        };
        match self.place.offload() {
            // The same as before, if there were any: once found they stay.
            Ok(offload) => self.flight.set_pools(Some(offload)),
            Err(reason) => {
                contain(|| drop(closure));
                return self.flight.push_over(Err(reason));
            }
        }
        let call: Offloaded<F, R> = self.place.call_to(self.pool, closure);
        let mut call = call.called_at(self.call_site);
        if let Some(class) = self.priority {
            call = call.priority(class);
        }
        if let Some(deadline) = self.flight.deadline() {
            call = call.due(deadline);
        }
        match call.launch() {
            Ok(submitted) => self.flight.push_submitted(submitted),
            Err((closure, reason)) => {
                // As with a dropped future: a panicking destructor ends there.
                contain(|| drop(closure));
                self.flight.push_over(Err(reason));
            }
        }
    }

    /// Whether closures may be left.
    fn has_more(&self) -> bool {
        !self.waiting.is_empty() || self.closures.is_some()
    }
}

impl<I, F, R> Stream for OffloadedAll<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    type Item = Result<R, OffloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        this.refill();
        if this.flight.is_empty() {
            this.is_over = true;
            this.flight.end();
            return Poll::Ready(None);
        }
        loop {
            if let Some(outcome) = this.flight.pop() {
                return Poll::Ready(Some(outcome));
            }
            if !this.flight.wait_for(0, cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = match &self.closures {
            Some(closures) => closures.size_hint(),
            None => (0, Some(0)),
        };
        let out = self.waiting.len() + self.flight.len();
        let most = most.and_then(|most| most.checked_add(out));
        (least.saturating_add(out), most)
    }
}

impl<I, F, R> FusedStream for OffloadedAll<I, R>
where
    I: Iterator<Item = F>,
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl<I: Iterator, R> Drop for OffloadedAll<I, R> {
    fn drop(&mut self) {
        // Those that run are told first.
        self.flight.cancel();
        for closure in self.waiting.drain(..) {
            contain(|| drop(closure));
        }
    }
}

impl<I: Iterator, R> fmt::Debug for OffloadedAll<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadedAll")
            .field("submitted", &self.flight.len())
            .field("label", &self.place.label)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
