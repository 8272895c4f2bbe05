//! [`Handle`], a call that was started without awaiting it.

use crate::adapt::interruption::Interruption;
use crate::backend::Turns;
use crate::clock;
use crate::core::alarms::Alarm;
use crate::core::caller::{Caller, Cancelled, Left};
use crate::core::job::{Failure, discard};
use crate::current;
use crate::error::OffloadError;
use crate::future::at_once;
use crate::offload::Offload;
use crate::outcome::{Flatten, outcome};
use crate::pool::Kind;
use crate::stats::Counters;
#[cfg(feature = "tokio")]
use crate::tokio_runtime::{ClockHold, ClockLook};
use crate::waiting::block_on;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A submitted call, shared by [`Offloaded`](crate::Offloaded) and [`Handle`].
/// Dropping it cancels.
pub(crate) struct Submitted<R> {
    /// `None` once the output is taken.
    caller: Option<Caller<R>>,
    offload: Offload,
    pool: Kind,
    deadline: Option<u64>,
    /// What its leaving does to the job.
    leave: OnLeave,
    /// Wakes the one who polls when the deadline passes.
    alarm: Option<Arc<Alarm>>,
    /// Ends it from outside when it is left running.
    interruption: Option<Arc<Interruption>>,
    #[cfg(feature = "tokio")]
    clock: Option<ClockHold>,
}

/// What happens to a job whose caller leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnLeave {
    /// It is cancelled, and its closure dropped by the one who leaves.
    #[default]
    Cancel,
    /// It is cancelled, and its closure dropped by the pool.
    CancelOnPool,
    /// It runs.
    Run,
}

impl<R> Submitted<R> {
    pub(crate) fn new(
        caller: Caller<R>,
        offload: Offload,
        pool: Kind,
        deadline: Option<u64>,
        leave: OnLeave,
    ) -> Self {
        Self {
            caller: Some(caller),
            offload,
            pool,
            deadline,
            leave,
            alarm: None,
            interruption: None,
            #[cfg(feature = "tokio")]
            clock: None,
        }
    }

    #[inline]
    pub(crate) fn interrupted_by(mut self, interruption: Option<Arc<Interruption>>) -> Self {
        self.interruption = interruption;
        self
    }

    /// For who keeps account of several, and looks at their deadline.
    pub(crate) fn into_caller(mut self) -> Option<Caller<R>> {
        self.caller.take()
    }

    /// A paused clock of tokio's stands still until this call is over.
    #[cfg(feature = "tokio")]
    pub(crate) fn hold_clock(mut self, look: Option<ClockLook>) -> Self {
        if look.is_some_and(|look| look.is_paused()) && !self.is_finished() {
            self.clock = ClockHold::new();
        }
        self
    }

    /// The poll that submitted it, and left its waker unless the call may be over
    /// [at once](at_once).
    #[inline]
    pub(crate) fn poll_first(
        &mut self,
        waker: &Waker,
        left_waker: bool,
    ) -> Option<Result<R, OffloadError>> {
        if left_waker {
            return self.still_pending(waker);
        }
        let output = self.poll(waker);
        at_once::looked(self.turns().pool(), output.is_some());
        output
    }

    /// [`poll`](Self::poll) for a caller who may go elsewhere before the call is over: the
    /// clock stands still only from here, while it waits, until [`free_clock`](Self::free_clock).
    pub(crate) fn poll_here(&mut self, waker: &Waker) -> Option<Result<R, OffloadError>> {
        #[cfg(feature = "tokio")]
        let look = self.clock.is_none().then(ClockLook::new);
        let polled = self.poll(waker);
        #[cfg(feature = "tokio")]
        if polled.is_none() && look.as_ref().is_some_and(ClockLook::is_paused) {
            self.clock = ClockHold::new();
        }
        polled
    }

    /// Nobody waits for the call, for the time being.
    pub(crate) fn free_clock(&mut self) {
        #[cfg(feature = "tokio")]
        drop(self.clock.take());
    }

    #[inline]
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Result<R, OffloadError>> {
        if self.is_forked() {
            return Some(self.forked());
        }
        let caller = self.caller.as_mut();
        let output = match caller.expect("polled after it was ready").poll(waker) {
            Some(output) => {
                // `poll` has ended the caller side: nothing is left to drop.
                self.caller = None;
                output
            }
            None => return self.still_pending(waker),
        };
        self.unset_alarm();
        self.turns().pool().outbox.help(waker);
        Some(outcome(output))
    }

    /// Nobody waits for it. `true`: it is over, and its output dropped. Else `waker` is woken
    /// when it is.
    #[cfg(feature = "tokio")]
    pub(crate) fn reap(&mut self, waker: &Waker) -> bool {
        if self.is_forked() {
            let _ = self.forked();
            return true;
        }
        self.unset_alarm();
        let Some(output) = self.caller.as_mut().and_then(|caller| caller.poll(waker)) else {
            return self.caller.is_none();
        };
        self.caller = None;
        discard(output);
        true
    }

    /// There is no output yet. Gives it up if its time is over, or if this thread would
    /// wait for it for ever.
    #[inline]
    fn still_pending(&mut self, waker: &Waker) -> Option<Result<R, OffloadError>> {
        self.set_alarm(waker);
        // After setting it: should it ring from here on, there is another poll.
        if let Some(now) = self.overdue() {
            let expired = Failure::Expired(self.caller.as_ref()?.progress(now));
            Some(self.give_up(Counters::expired, expired))
        } else if !self.may_be_waited_for() {
            Some(self.give_up(Counters::cancelled, Failure::WouldDeadlock))
        } else {
            None
        }
    }

    /// Leaves, with the output if there is one by now, else for this `reason`.
    fn give_up(&mut self, count: fn(&Counters), reason: Failure) -> Result<R, OffloadError> {
        self.unset_alarm();
        let caller = self.caller.take();
        let left = caller.and_then(|caller| self.leave(caller, count));
        outcome(left.unwrap_or(Err(reason)))
    }

    /// Whether this thread, if it works for a pool, may wait for it.
    #[inline]
    fn may_be_waited_for(&self) -> bool {
        let lane = self.caller.as_ref().and_then(Caller::lane);
        !lane.is_some_and(current::holds) && current::may_wait_for(self.turns(), lane)
    }

    /// Leaves, with the output if there is one by now.
    fn leave(&self, caller: Caller<R>, count: fn(&Counters)) -> Option<Result<R, Failure>> {
        match self.leave {
            OnLeave::Run => {
                caller.detach();
                None
            }
            cancel => {
                let to_pool = cancel == OnLeave::CancelOnPool;
                let left = self.turns().abandon(caller, to_pool, count);
                if let Left::Output(output) = left {
                    return Some(output);
                }
                if let Left::Running = left {
                    self.interrupt();
                }
                None
            }
        }
    }

    fn is_forked(&self) -> bool {
        self.turns().pool().is_forked()
    }

    /// The job is the parent's. What this process has of it is left as it is.
    fn forked(&mut self) -> Result<R, OffloadError> {
        // Without a destructor: forgotten.
        self.caller = None;
        std::mem::forget(self.alarm.take());
        Err(OffloadError::Forked)
    }

    /// Blocks this thread until the job is over. In its own pool the job runs right here,
    /// unless it has started.
    pub(crate) fn wait(mut self) -> Result<R, OffloadError> {
        if self.is_forked() {
            return self.forked();
        }
        if current::is_in(self.turns()) {
            if let Some(caller) = self.caller.take() {
                match self.turns().run_here(caller) {
                    Ok(output) => return outcome(output),
                    Err(caller) => self.caller = Some(caller),
                }
            }
        }
        let _waits = (!self.is_finished()).then(|| current::enter_wait(None));
        let lane = self.caller.as_ref().and_then(Caller::lane);
        let is_own = lane.is_some_and(current::holds);
        if (is_own || current::is_last_of(self.turns())) && !self.is_finished() {
            return self.give_up(Counters::cancelled, Failure::WouldDeadlock);
        }
        block_on(poll_fn(|cx| match self.poll(cx.waker()) {
            Some(output) => Poll::Ready(output),
            None => Poll::Pending,
        }))
    }

    /// A call with a deadline is polled when it passes, though nothing else happens.
    fn set_alarm(&mut self, waker: &Waker) {
        let Some(deadline) = self.deadline else {
            return;
        };
        match &self.alarm {
            Some(alarm) => {
                // One that has rung need not do it again: the deadline is looked at next.
                let _is_set = alarm.set_waker(waker);
            }
            None => {
                let supervisor = &self.turns().pool().supervisor;
                self.alarm = Some(supervisor.wake_at(deadline, waker.clone()));
            }
        }
    }

    fn unset_alarm(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.turns().pool().supervisor.disarm(&alarm);
        }
    }

    /// The time, if it is past the deadline.
    fn overdue(&self) -> Option<u64> {
        let deadline = self.deadline?;
        Some(clock::now()).filter(|now| *now >= deadline)
    }

    fn turns(&self) -> &Turns {
        self.offload.turns(self.pool)
    }

    pub(crate) fn is_finished(&self) -> bool {
        if self.is_forked() {
            return true;
        }
        let is_finished = self.caller.as_ref().is_none_or(Caller::is_finished);
        is_finished || self.overdue().is_some()
    }

    pub(crate) fn abort(&self) {
        if self.is_forked() {
            return;
        }
        if let (Some(caller), true) = (&self.caller, self.leave != OnLeave::Run) {
            let turns = self.turns();
            let cancelled = caller.cancel(&turns.pool().queue);
            if cancelled == Cancelled::Running {
                self.interrupt();
            }
            turns.cancelled(cancelled);
        }
    }

    fn interrupt(&self) {
        if let Some(interruption) = &self.interruption {
            interruption.start(&self.offload);
        }
    }

    pub(crate) fn detach(mut self) {
        if self.is_forked() {
            let _ = self.forked();
        }
        if let Some(caller) = self.caller.take() {
            caller.detach();
        }
    }
}

impl<R> Drop for Submitted<R> {
    #[inline]
    fn drop(&mut self) {
        if self.is_forked() {
            let _ = self.forked();
            return;
        }
        self.unset_alarm();
        let caller = self.caller.take();
        if let Some(output) = caller.and_then(|caller| self.leave(caller, Counters::cancelled)) {
            discard(output);
        }
    }
}

/// A call that has been submitted: made by
/// [`try_spawn`](crate::Offloaded::try_spawn).
///
/// Awaiting it gives the outcome, like awaiting the call itself. Dropping it cancels,
/// see [`Offloaded`](crate::Offloaded#cancellation); [`detach`](Self::detach) does not.
#[must_use = "dropping a handle cancels its call; `detach` it to let it run"]
pub struct Handle<R> {
    submitted: Submitted<R>,
}

impl<R> Handle<R> {
    pub(crate) fn new(submitted: Submitted<R>) -> Self {
        Self { submitted }
    }

    /// Asks the call to end.
    ///
    /// A job that waits is cancelled: its closure is dropped here, and awaiting the
    /// handle gives [`Cancelled`](OffloadError::Cancelled). A job that runs sees it at
    /// its next checkpoint, and the handle resolves when it returns: as `Cancelled` if
    /// it stopped at a checkpoint of a `_with` form, else with its value. On a finished
    /// one, and on one that [must run](crate::Offloaded::must_run), it does nothing.
    pub fn abort(&self) {
        self.submitted.abort();
    }

    /// Whether awaiting would be ready at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.submitted.is_finished()
    }

    /// Lets the call run without anybody waiting for it. Its result, also a panic, is
    /// dropped on the pool's thread.
    pub fn detach(self) {
        self.submitted.detach();
    }

    /// Blocks this thread until the call is over. Inside of a job of the same pool one that
    /// has not started runs right here. See [`Offloaded::wait`](crate::Offloaded::wait) for
    /// where not to.
    ///
    /// # Errors
    ///
    /// As for awaiting.
    ///
    /// # Panics
    ///
    /// With the feature `tokio`, in a poll of a tokio task.
    #[track_caller]
    pub fn wait(self) -> Result<R, OffloadError> {
        #[cfg(feature = "tokio")]
        crate::tokio_runtime::refuse_to_block("wait");
        self.submitted.wait()
    }

    /// Merges the call's failures into the closure's own error type.
    pub fn flatten<T, E>(self) -> Flatten<Self>
    where
        Self: Future<Output = Result<Result<T, E>, OffloadError>>,
        E: From<OffloadError>,
    {
        Flatten::new(self)
    }
}

impl<R> Future for Handle<R> {
    type Output = Result<R, OffloadError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut().submitted.poll(cx.waker()) {
            Some(output) => Poll::Ready(output),
            None => Poll::Pending,
        }
    }
}

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
