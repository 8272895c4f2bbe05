//! [`Offloaded`], the future of a call, and its options.

use crate::builder::ConfigError;
use crate::clock;
use crate::closure::{Body, Closure, Plain};
use crate::core::extension::Extension;
use crate::core::unwind::contain;
use crate::core::view::Job;
use crate::current;
use crate::error::{OffloadError, Refused};
use crate::handle::{Handle, OnLeave, Submitted};
use crate::lane::Lane;
use crate::offload::Offload;
use crate::outcome::Flatten;
use crate::pool::Kind;
use crate::waiting::Inline;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A call that will run on a pool: the future made by
/// [`offload_io`](crate::offload_io) and its siblings.
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
    lane: Option<Lane>,
    deadline: Option<u64>,
    on_leave: OnLeave,
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
    #[track_caller]
    pub(crate) fn new(pool: Kind, closure: F) -> Self {
        Self {
            call: Call::Fresh(closure),
            call_site: Location::caller(),
            pool,
            on: None,
            label: None,
            lane: None,
            deadline: None,
            on_leave: OnLeave::default(),
            form: PhantomData,
        }
    }

    /// Runs on `offload` instead of the process-wide default.
    ///
    /// Set before the first poll; later it changes nothing.
    pub fn on(mut self, offload: &Offload) -> Self {
        self.on = Some(offload.clone());
        self
    }

    /// Names the call: in [`Panicked`](crate::Panicked), and for the closure in [`Job::label`].
    ///
    /// Costs one more allocation for the job.
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Waits in `lane` instead of the line that all other calls share. What an I/O job calls
    /// on its own pool inherits its lane.
    ///
    /// A lane of another instance than the call runs [`on`](Self::on) is an error
    /// ([`Config`](OffloadError::Config)). Costs one more allocation for the job.
    pub fn lane(mut self, lane: &Lane) -> Self {
        self.lane = Some(lane.clone());
        self
    }

    /// Gives the call so much time from now on, for waiting and running together.
    ///
    /// When it is over and there is no value yet, the future resolves as
    /// [`DeadlineExceeded`](OffloadError::DeadlineExceeded), at most some 5 ms later, also
    /// if every worker is stuck. A job that waits then never starts: its closure is dropped
    /// by the poll. One that runs sees it at its checkpoints, and in [`Job::remaining`]
    /// beforehand; it goes on as an orphan, as after a [drop](Self#cancellation). Nobody
    /// needs to poll for a job not to start after its deadline.
    ///
    /// The earlier of several deadlines counts, also that of an I/O job which makes the
    /// call.
    ///
    /// # Cost
    ///
    /// Two more allocations, and the pools' timer thread while such calls are pending. A
    /// system call only where it sleeps for longer than this call may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.due(clock::now().saturating_add(nanos))
    }

    /// The same with a point in time.
    pub fn deadline(self, deadline: Instant) -> Self {
        self.due(clock::at(deadline))
    }

    /// Once this call has been submitted (by the first poll, or `try_spawn`) the closure
    /// runs, exactly once, unless the process dies: for a commit, a flush.
    ///
    /// Dropping the future, or the handle, lets it go on; `abort` does nothing. It waits
    /// where [`max_pending`](crate::Builder::max_pending) jobs do already, it is not
    /// discarded by a [shutdown](Offload::shutdown), and if no thread can be started it
    /// waits until one can. It does not inherit a deadline. What refuses it says so, before
    /// it is submitted: [`ShutDown`](OffloadError::ShutDown),
    /// [`Forked`](OffloadError::Forked), and
    /// [`Config`](OffloadError::Config) for a call with a deadline of its own, which
    /// contradicts it. `try_spawn` still refuses at [`capacity`](crate::Builder::capacity),
    /// and hands the closure back.
    pub fn must_run(mut self) -> Self {
        self.on_leave = OnLeave::Run;
        self
    }

    /// If the call is cancelled, or its time is over, before it started, its closure is
    /// dropped by a thread of the pool: for captures whose destructors block.
    ///
    /// Until then it keeps its room in the queue. A [shutdown](Offload::shutdown) that
    /// discards drops it where it is awaited, though, like the others.
    pub fn drop_on_pool(mut self) -> Self {
        if self.on_leave == OnLeave::Cancel {
            self.on_leave = OnLeave::CancelOnPool;
        }
        self
    }

    /// Gives the call no more time than `job` has, which makes it: for calls of CPU jobs.
    /// Those of I/O jobs inherit the deadline by themselves.
    pub fn inherit(self, job: &Job) -> Self {
        match job.header().deadline() {
            Some(deadline) => self.due(deadline),
            None => self,
        }
    }

    fn due(mut self, due: u64) -> Self {
        self.deadline = Some(self.deadline.map_or(due, |earlier| earlier.min(due)));
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
        match self.launch(closure, None, |offload| offload.capacity()) {
            Ok(submitted) => Ok(Handle::new(submitted)),
            Err((closure, reason)) => Err(Refused::new(closure, reason)),
        }
    }

    /// Submits the call as the first poll does, for adapters, which keep calls of any
    /// closure, and take it back if it is refused. They poll it by
    /// [`poll_here`](Submitted::poll_here).
    pub(crate) fn start(mut self) -> Result<Submitted<R>, (F, OffloadError)> {
        let Call::Fresh(closure) = std::mem::replace(&mut self.call, Call::Over) else {
            unreachable!("`start` of a call that was polled");
        };
        let limit = self.waiting_limit();
        self.submit(closure, None, limit)
    }

    /// Runs the call and blocks this thread until it is over: for callers that are
    /// not async.
    ///
    /// Never call it on an event loop. Inside of a job of the same pool the closure runs
    /// right here, so that jobs that wait for jobs cannot hang their pool; inside of
    /// another job that one [lends its turn](Job::block_on) meanwhile.
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
                let inline = Inline::default();
                let _keeps = current::enter_inline(&inline);
                // It will wait for nothing, so there is no limit to its waiting.
                match self.submit(closure, None, |_| usize::MAX) {
                    Ok(submitted) => {
                        inline.run_next(offload.turns(self.pool));
                        return submitted.wait();
                    }
                    Err(refused) => refused,
                }
            }
            Ok(_) => {
                let limit = self.waiting_limit();
                match self.submit(closure, None, limit) {
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
    fn waiting_limit(&self) -> fn(&Offload) -> usize {
        match self.on_leave {
            OnLeave::Run => |_| usize::MAX,
            _ => Offload::waiting_limit,
        }
    }

    /// The pools it is for.
    fn resolve(&mut self) -> Result<Offload, OffloadError> {
        let offload = match self.on.take() {
            Some(offload) => offload,
            None => Offload::present().map_err(OffloadError::Config)?,
        };
        self.on = Some(offload.clone());
        Ok(offload)
    }

    /// Submits it for a caller that does not block, and that polls it until it is over.
    fn launch(
        &mut self,
        closure: F,
        cx: Option<&mut Context<'_>>,
        limit: impl FnOnce(&Offload) -> usize,
    ) -> Result<Submitted<R>, (F, OffloadError)> {
        #[cfg(feature = "tokio")]
        let clock = crate::tokio_runtime::ClockLook::new();
        let submitted = self.submit(closure, cx, limit);
        #[cfg(feature = "tokio")]
        let submitted = submitted.map(|submitted| submitted.hold_clock(clock));
        submitted
    }

    fn submit(
        &mut self,
        closure: F,
        cx: Option<&mut Context<'_>>,
        limit: impl FnOnce(&Offload) -> usize,
    ) -> Result<Submitted<R>, (F, OffloadError)> {
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
        let lane = match &self.lane {
            None => current::inherited_lane(turns),
            Some(lane) => match lane.state(&offload, self.pool) {
                Some(state) => Some(state),
                None => {
                    let (name, allowed) = (lane.name().to_owned(), "of the same `Offload`");
                    let error = ConfigError::new("lane", name, allowed);
                    return Err((closure, OffloadError::Config(error)));
                }
            },
        };
        let is_plain =
            self.label.is_none() && self.deadline.is_none() && !must_run && lane.is_none();
        let extension = (!is_plain).then(|| {
            let label = self.label.take();
            Box::new(Extension::new(label, self.deadline, must_run, lane))
        });
        let body = Body {
            closure,
            types: PhantomData::<fn() -> (R, Form)>,
        };
        let waker = cx.map(|cx| cx.waker().clone());
        let limit = limit(&offload);
        match turns.submit(body, limit, waker, extension, self.call_site) {
            Ok(caller) => {
                let (deadline, on_leave) = (self.deadline, self.on_leave);
                let submitted = Submitted::new(caller, offload, self.pool, deadline, on_leave);
                Ok(submitted)
            }
            Err((body, reason)) => Err((body.closure, reason)),
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
        match this.launch(closure, Some(cx), limit) {
            Ok(mut submitted) => match submitted.still_pending(cx.waker()) {
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
