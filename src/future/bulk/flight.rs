//! Calls in flight: submitted, and their outcomes not taken yet, in their order.
//!
//! Of many jobs one has a waker at a time: the one that is waited for. The others complete
//! without, and are looked at when their turn has come.

use crate::backend::Turns;
use crate::clock;
use crate::core::alarms::Alarm;
use crate::core::caller::{Caller, Left};
use crate::core::job::{Failure, discard};
use crate::core::unwind::contain;
use crate::current;
use crate::error::OffloadError;
use crate::handle::Submitted;
use crate::offload::Offload;
use crate::outcome::outcome;
use crate::pool::Kind;
use crate::stats::Counters;
#[cfg(feature = "tokio")]
use crate::tokio_runtime::{ClockHold, ClockLook};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

/// Dropping it cancels.
pub(super) struct Flight<R> {
    calls: VecDeque<Call<R>>,
    /// Whose they are, from the first submission on.
    offload: Option<Offload>,
    pool: Kind,
    /// Of all of them.
    deadline: Option<u64>,
    /// Wakes the one who polls when the deadline passes.
    alarm: Option<Arc<Alarm>>,
    #[cfg(feature = "tokio")]
    clock: Option<ClockHold>,
}

enum Call<R> {
    Submitted(Caller<R>),
    Over(Result<R, OffloadError>),
}

impl<R> Call<R> {
    /// Whether it is over; else `waker` is woken when it is.
    fn poll(&mut self, waker: &Waker) -> bool {
        if let Self::Submitted(caller) = self {
            let Some(output) = caller.poll(waker) else {
                return false;
            };
            // `poll` has ended the caller side: nothing is left to drop.
            *self = Self::Over(outcome(output));
        }
        true
    }
}

impl<R> Flight<R> {
    pub(super) fn new(pool: Kind) -> Self {
        Self {
            calls: VecDeque::new(),
            offload: None,
            pool,
            deadline: None,
            alarm: None,
            #[cfg(feature = "tokio")]
            clock: None,
        }
    }

    pub(super) fn pools(&self) -> Option<&Offload> {
        self.offload.as_ref()
    }

    pub(super) fn set_pools(&mut self, offload: Option<Offload>) {
        self.offload = offload;
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Of several deadlines the earliest counts.
    pub(super) fn due(&mut self, due: u64) {
        self.deadline = Some(self.deadline.map_or(due, |earlier| earlier.min(due)));
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn reserve(&mut self, calls: usize) {
        self.calls.reserve(calls);
    }

    pub(super) fn push(&mut self, caller: Caller<R>) {
        self.calls.push_back(Call::Submitted(caller));
    }

    pub(super) fn push_submitted(&mut self, submitted: Submitted<R>) {
        if let Some(caller) = submitted.into_caller() {
            self.push(caller);
        }
    }

    pub(super) fn push_over(&mut self, outcome: Result<R, OffloadError>) {
        self.calls.push_back(Call::Over(outcome));
    }

    /// So many of those pushed last never came into the queue, which has been closed.
    pub(super) fn refuse(&mut self, calls: usize) {
        let first = self.calls.len() - calls;
        for call in self.calls.range_mut(first..) {
            // A caller without its job: nothing is left to drop.
            *call = Call::Over(Err(OffloadError::ShutDown));
        }
    }

    /// The first one's outcome, if it is over.
    pub(super) fn pop(&mut self) -> Option<Result<R, OffloadError>> {
        let is_forked = self.turns().is_some_and(|turns| turns.pool().is_forked());
        let over = match self.calls.front_mut()? {
            Call::Over(_) => None,
            // The job is the parent's: left as it is.
            Call::Submitted(_) if is_forked => Some(Err(OffloadError::Forked)),
            Call::Submitted(caller) if caller.is_finished() => {
                // Then this waker is not stored, and `poll` has ended the caller side.
                Some(outcome(caller.poll(Waker::noop())?))
            }
            Call::Submitted(_) => return None,
        };
        #[cfg(feature = "tokio")]
        drop(self.clock.take());
        match (over, self.calls.pop_front()?) {
            (None, Call::Over(outcome)) => Some(outcome),
            (over, _) => over,
        }
    }

    /// Whether there is something to [`pop`](Self::pop). If not, `waker` is woken when the call
    /// at `place` is over, or if that is by now, the last one before it that is not.
    pub(super) fn wait_for(&mut self, place: usize, waker: &Waker) -> bool {
        #[cfg(feature = "tokio")]
        let look = self.clock.is_none().then(ClockLook::new);
        let mut before = self.calls.range_mut(..=place).rev();
        if before.all(|call| call.poll(waker)) || self.gives_up(waker) {
            return true;
        }
        #[cfg(feature = "tokio")]
        if look.as_ref().is_some_and(ClockLook::is_paused) {
            self.clock = ClockHold::new();
        }
        false
    }

    /// There is an outcome to wait for. `true`: not for the first one's, because its time is
    /// over, or because this thread would wait for it for ever.
    fn gives_up(&mut self, waker: &Waker) -> bool {
        self.set_alarm(waker);
        let (Some(Call::Submitted(caller)), Some(turns)) = (self.calls.front(), self.turns())
        else {
            return true;
        };
        // After setting it: should it ring from here on, there is another poll.
        let now = clock::now();
        let (count, reason): (fn(&Counters), _) = if self.deadline.is_some_and(|due| now >= due) {
            (Counters::expired, Failure::Expired(caller.progress(now)))
        } else if !may_be_waited_for(caller, turns) {
            (Counters::cancelled, Failure::WouldDeadlock)
        } else {
            return false;
        };
        if let Some(Call::Submitted(caller)) = self.calls.pop_front() {
            let output = self.leave(caller, count).unwrap_or(Err(reason));
            self.calls.push_front(Call::Over(outcome(output)));
        }
        true
    }

    /// Leaves a job, with the output if there is one by now.
    fn leave(&self, caller: Caller<R>, count: fn(&Counters)) -> Option<Result<R, Failure>> {
        match self.turns()?.abandon(caller, false, count) {
            Left::Output(output) => Some(output),
            Left::Queued(_) | Left::OnPool | Left::Running => None,
        }
    }

    fn turns(&self) -> Option<&Turns> {
        Some(self.offload.as_ref()?.turns(self.pool))
    }

    /// With a deadline there is a poll when it passes, though nothing else happens.
    fn set_alarm(&mut self, waker: &Waker) {
        let (Some(deadline), Some(turns)) = (self.deadline, self.turns()) else {
            return;
        };
        match &self.alarm {
            Some(alarm) => {
                // One that has rung need not do it again: the deadline is looked at next.
                let _is_set = alarm.set_waker(waker);
            }
            None => {
                let supervisor = &turns.pool().supervisor;
                self.alarm = Some(supervisor.wake_at(deadline, waker.clone()));
            }
        }
    }

    /// Leaves all jobs, and drops the outcomes that nobody took.
    pub(super) fn cancel(&mut self) {
        if self.turns().is_some_and(|turns| turns.pool().is_forked()) {
            // What this process has of the jobs is left as it is: callers have no destructor.
            mem::forget(self.alarm.take());
            self.calls.clear();
            return;
        }
        self.end();
        while let Some(call) = self.calls.pop_front() {
            match call {
                Call::Submitted(caller) => {
                    if let Some(output) = self.leave(caller, Counters::cancelled) {
                        discard(output);
                    }
                }
                Call::Over(outcome) => drop(contain(|| drop(outcome))),
            }
        }
    }

    /// Nothing will be waited for any more.
    pub(super) fn end(&mut self) {
        if let (Some(alarm), Some(turns)) = (self.alarm.take(), self.turns()) {
            turns.pool().supervisor.disarm(&alarm);
        }
    }
}

/// Whether this thread, if it works for a pool, may wait for it.
fn may_be_waited_for<R>(caller: &Caller<R>, turns: &Turns) -> bool {
    let lane = caller.lane();
    !lane.is_some_and(current::holds) && current::may_wait_for(turns, lane)
}

impl<R> Drop for Flight<R> {
    fn drop(&mut self) {
        self.cancel();
    }
}
