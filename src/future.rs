//! [`Offloaded`], the future of a call.

pub(crate) mod at_once;
mod bulk;
pub(crate) mod line;
pub(crate) mod options;

pub use self::bulk::{AllOutcomes, OffloadedAll, offload_cpu_all, offload_io_all};
pub(crate) use self::line::Line;

use crate::adapt::interruption::Interruption;
use crate::builder::ConfigError;
use crate::closure::{Body, Closure, Plain};
use crate::core::extension::Extension;
use crate::core::unwind::contain;
use crate::current;
use crate::error::{OffloadError, Refused};
use crate::handle::{Handle, OnLeave, Submitted};
use crate::offload::Offload;
use crate::outcome::Flatten;
use crate::pool::Kind;
use crate::priority::Priority;
use crate::submit::Limit;
#[cfg(feature = "tokio")]
use crate::tokio_runtime::ClockLook;
use crate::waiting::Inline;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A call that will run on a pool: the future made by
/// [`offload_io`](fn@crate::offload_io) and its siblings.
///
/// Like every future it does nothing until it is polled: the first poll submits the
/// closure, and the future is ready when it has run. Awaiting several of these one
/// after the other runs them one after the other; `join!` and friends run them at
/// the same time. To start without awaiting there is [`try_spawn`](Self::try_spawn).
///
/// # Outcome
///
/// The closure's value, or an [`OffloadError`]. What the closure did
/// happens-before the await's return, and what the caller did before the first poll
/// happens-before the closure.
///
/// Where jobs take 1 to 200 µs, on average, and others wait behind them, callers are woken up to
/// 32 at a time, because switching to each one's thread would take a good part of its job's
/// time. That makes a call longer by an eighth at most, or by a tenth of a millisecond if that is more,
/// never by more than a millisecond, and by the end of one more job. If that and those on all other
/// threads should turn out to take long, it is a timer that wakes them, after 1 to 6 ms.
///
/// The first poll may be ready: on one CPU the job of a lone call has often run by the end of it.
/// After 16 such calls in a row on a thread the next one is pending, for other tasks' sake.
///
/// # Waiting and backpressure
///
/// While the future is pending its job waits in turn. Under [`Policy::Wait`](crate::Policy::Wait) it is
/// refused ([`Overloaded`](OffloadError::Overloaded)) only where
/// [`max_pending`](crate::Builder::max_pending) jobs wait already, under
/// [`Policy::Reject`](crate::Policy::Reject) where [`capacity`](crate::Builder::capacity) do.
///
/// # Cancellation
///
/// Dropping the future cancels the call. If the job still waits, its closure is
/// dropped there and then, on the dropping thread, and its room in the queue is
/// free. If it runs, its [`checkpoint`](crate::checkpoint)s say "stop", its result is
/// dropped on the pool's thread, and until it returns it counts as an *orphan* in
/// the statistics: a retry after a drop can run beside the original. If it has
/// finished, the result is dropped here.
///
/// # In a tokio runtime
///
/// With the feature `tokio` a call made in a runtime takes the runtime along: in the
/// closure, on the thread that runs it, `tokio::runtime::Handle::current()` is the
/// caller's. Parallel pieces that run on other threads are outside of it. Costs no
/// allocation, but some ten nanoseconds on either side, two readings of the clock where tokio can
/// pause it (its feature `test-util`), and 2 µs in a `wait` inside of a job.
///
/// # Panics
///
/// A poll after the future was ready panics.
#[must_use = "an offloaded call does nothing until it is awaited or spawned; \
              await several at once with `join!` to run them at the same time"]
pub struct Offloaded<F, R, Form = Plain> {
    call: Call<R, F>,
    call_site: &'static Location<'static>,
    pool: Kind,
    on: Option<Offload>,
    label: Option<Cow<'static, str>>,
    line: Option<Line>,
    priority: Option<Priority>,
    deadline: Option<u64>,
    on_leave: OnLeave,
    /// Its pools and its lane are given: it belongs to a value.
    is_placed: bool,
    interruption: Option<Arc<Interruption>>,
    /// Why it cannot be submitted.
    invalid: Option<Box<ConfigError>>,
    form: PhantomData<fn() -> Form>,
}

enum Call<R, F> {
    Fresh(F),
    Submitted(Submitted<R>),
    Over,
}

// Nothing in here is ever pinned: the closure is moved into its job.
impl<F, R, Form> Unpin for Offloaded<F, R, Form> {}

impl<F, R, Form> Offloaded<F, R, Form>
where
    F: Closure<R, Form>,
    R: Send + 'static,
    Form: 'static,
{
    #[inline]
    #[track_caller]
    pub(crate) fn new(pool: Kind, closure: F) -> Self {
        Self {
            call: Call::Fresh(closure),
            call_site: Location::caller(),
            pool,
            on: None,
            label: None,
            line: None,
            priority: None,
            deadline: None,
            on_leave: OnLeave::default(),
            is_placed: false,
            interruption: None,
            invalid: None,
            form: PhantomData,
        }
    }

    /// For adapters, whose own caller it is that made the call.
    pub(crate) fn called_at(mut self, call_site: &'static Location<'static>) -> Self {
        self.call_site = call_site;
        self
    }

    /// Submits the call now, without awaiting it, if fewer than
    /// [`capacity`](crate::Builder::capacity) jobs wait.
    ///
    /// # Errors
    ///
    /// [`Refused`] gives the closure back, unrun, with the reason.
    ///
    /// # Panics
    ///
    /// If the future was polled before.
    pub fn try_spawn(mut self) -> Result<Handle<R>, Refused<F>> {
        let Call::Fresh(closure) = std::mem::replace(&mut self.call, Call::Over) else {
            panic!("`try_spawn` after the future was polled");
        };
        match self.submit(closure, &mut None, Offload::spawning_limit) {
            Ok(submitted) => Ok(Handle::new(submitted)),
            Err((closure, reason)) => Err(Refused::new(closure, reason)),
        }
    }

    /// Submits the call now, under the limits of one that is awaited, for handles of other
    /// crates' kinds. The closure back if it is refused.
    pub(crate) fn launch(mut self) -> Result<Submitted<R>, (F, OffloadError)> {
        let Call::Fresh(closure) = std::mem::replace(&mut self.call, Call::Over) else {
            unreachable!("`launch` of a call that was polled");
        };
        let limit = self.waiting_limit();
        self.submit(closure, &mut None, limit)
    }

    /// The same for adapters, which may go elsewhere meanwhile, and poll it by
    /// [`poll_here`](Submitted::poll_here).
    pub(crate) fn start(self) -> Result<Submitted<R>, (F, OffloadError)> {
        let mut submitted = self.launch()?;
        submitted.free_clock();
        Ok(submitted)
    }

    /// Runs the call and blocks this thread until it is over: for callers that are
    /// not async.
    ///
    /// Never call it on an event loop. Inside of a job of the same pool the closure runs
    /// right here, so that jobs that wait for jobs cannot hang their pool; inside of
    /// another job that one [lends its turn](crate::Job::block_on) meanwhile.
    ///
    /// # Errors
    ///
    /// As for awaiting.
    ///
    /// # Panics
    ///
    /// If the future was polled before and was ready. With the feature `tokio`, in a poll
    /// of a tokio task: its event loop would stand still.
    #[track_caller]
    pub fn wait(mut self) -> Result<R, OffloadError> {
        #[cfg(feature = "tokio")]
        crate::tokio_runtime::refuse_to_block("wait");
        let closure = match std::mem::replace(&mut self.call, Call::Over) {
            Call::Fresh(closure) => closure,
            Call::Submitted(submitted) => return submitted.wait(),
            Call::Over => panic!("`wait` after the future was ready"),
        };
        let refused = match self.resolve() {
            Ok(offload) if current::is_in(offload.turns(self.pool)) => {
                self.on = Some(offload.clone());
                let inline = Inline::default();
                let _keeps = current::enter_inline(&inline);
                // It will wait for nothing, so there is no limit to its waiting.
                match self.submit(closure, &mut None, |_| Limit::NONE) {
                    Ok(submitted) => {
                        inline.run_next(offload.turns(self.pool));
                        return submitted.wait();
                    }
                    Err(refused) => refused,
                }
            }
            Ok(offload) => {
                self.on = Some(offload);
                let limit = self.waiting_limit();
                match self.submit(closure, &mut None, limit) {
                    Ok(submitted) => return submitted.wait(),
                    Err(refused) => refused,
                }
            }
            Err(error) => (closure, error),
        };
        let (closure, reason) = refused;
        contain(|| drop(closure));
        Err(reason)
    }

    /// Merges the call's failures into the closure's own error type.
    pub fn flatten<T, E>(self) -> Flatten<Self>
    where
        Self: Future<Output = Result<Result<T, E>, OffloadError>>,
        E: From<OffloadError>,
    {
        Flatten::new(self)
    }

    /// How many may wait before it is refused.
    #[inline]
    fn waiting_limit(&self) -> fn(&Offload) -> Limit {
        match self.on_leave {
            OnLeave::Run => |_| Limit::NONE,
            _ => Offload::waiting_limit,
        }
    }

    /// The pools it is for, for the one time that it is submitted.
    #[inline]
    fn resolve(&mut self) -> Result<Offload, OffloadError> {
        match self.on.take() {
            Some(offload) => Ok(offload),
            None => Offload::of(self.line.as_ref().and_then(Line::lane)),
        }
    }

    /// Takes the `waker` if it leaves it with the job.
    #[inline]
    fn submit(
        &mut self,
        closure: F,
        waker: &mut Option<&Waker>,
        limit: impl FnOnce(&Offload) -> Limit,
    ) -> Result<Submitted<R>, (F, OffloadError)> {
        if let Some(invalid) = self.invalid.take() {
            return Err((closure, OffloadError::Config(*invalid)));
        }
        let offload = match self.resolve() {
            Ok(offload) => offload,
            Err(error) => return Err((closure, error)),
        };
        let must_run = self.on_leave == OnLeave::Run;
        if must_run && self.deadline.is_some() {
            let allowed = "a call without a deadline: one that must run has no time";
            let error = ConfigError::new("must_run", "set".to_owned(), allowed);
            return Err((closure, OffloadError::Config(error)));
        }
        if let (Some(inherited), false) = (current::inherited_deadline(), must_run) {
            self.deadline = Some(self.deadline.map_or(inherited, |own| own.min(inherited)));
        }
        let turns = offload.turns(self.pool);
        let lane = match line::lane(self.line.as_ref(), self.priority, &offload, self.pool) {
            Ok(lane) => lane,
            Err(error) => return Err((closure, OffloadError::Config(error))),
        };
        let is_plain =
            self.label.is_none() && self.deadline.is_none() && !must_run && lane.is_none();
        let extension = (!is_plain).then(|| {
            let label = self.label.take();
            Extension::new(label, self.deadline, must_run, lane)
        });
        let body = Body::<F, R, Form>::new(closure, offload.hooks());
        #[cfg(feature = "tokio")]
        let clock = body.is_in_runtime().then(ClockLook::new);
        let looks_first = waker.is_some() && at_once::is_likely(turns.pool());
        let left = if looks_first {
            None
        } else {
            waker.take().cloned()
        };
        let limit = limit(&offload);
        match turns.submit(body, limit, left, extension, self.call_site) {
            Ok(caller) => {
                let (deadline, on_leave) = (self.deadline, self.on_leave);
                let interruption = self.interruption.take();
                let submitted = Submitted::new(caller, offload, self.pool, deadline, on_leave);
                let submitted = submitted.interrupted_by(interruption);
                #[cfg(feature = "tokio")]
                let submitted = submitted.hold_clock(clock);
                Ok(submitted)
            }
            Err((body, reason)) => Err((body.into_closure(), reason)),
        }
    }
}

impl<F, R, Form> Future for Offloaded<F, R, Form>
where
    F: Closure<R, Form>,
    R: Send + 'static,
    Form: 'static,
{
    type Output = Result<R, OffloadError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Call::Submitted(submitted) = &mut this.call {
            return match submitted.poll(cx.waker()) {
                None => Poll::Pending,
                Some(output) => {
                    this.call = Call::Over;
                    Poll::Ready(output)
                }
            };
        }
        let Call::Fresh(closure) = std::mem::replace(&mut this.call, Call::Over) else {
            panic!("`Offloaded` polled after it was ready");
        };
        let limit = this.waiting_limit();
        let mut waker = Some(cx.waker());
        match this.submit(closure, &mut waker, limit) {
            Ok(mut submitted) => match submitted.poll_first(cx.waker(), waker.is_none()) {
                None => {
                    this.call = Call::Submitted(submitted);
                    Poll::Pending
                }
                Some(output) => Poll::Ready(output),
            },
            Err((closure, reason)) => {
                // As with a dropped future: a panicking destructor ends there.
                contain(|| drop(closure));
                Poll::Ready(Err(reason))
            }
        }
    }
}

impl<F, R, Form> fmt::Debug for Offloaded<F, R, Form> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.call {
            Call::Fresh(_) => "fresh",
            Call::Submitted(_) => "submitted",
            Call::Over => "over",
        };
        f.debug_struct("Offloaded")
            .field("state", &state)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
