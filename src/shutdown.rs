//! Shutdown: what was finished, what was discarded, and who is stuck.

use crate::activity::RunningJob;
use crate::clock;
use crate::core::alarms::Alarm;
use crate::core::job::Failure;
use crate::current;
use crate::offload::Offload;
use crate::pool::Kind;
use crate::stats::Counters;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What becomes of the jobs that still wait when the pools are shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// They run.
    Drain,
    /// They resolve as [`ShutDown`](crate::OffloadError::ShutDown), their closures dropped,
    /// but for those that [must run](crate::Offloaded::must_run).
    Discard,
}

/// How a shutdown went. Counts are of all pools together, from its first poll on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Jobs that ended: with a value, a panic, or at a checkpoint.
    pub finished: u64,
    /// Jobs that never ran, by [`Backlog::Discard`].
    pub discarded: u64,
    /// Jobs that still wait, at the deadline. They are run when it is their turn.
    pub waiting: u64,
    /// Jobs that still run, the oldest first: those that were stuck at the deadline, and the
    /// one that made the call.
    pub still_running: Vec<RunningJob>,
}

impl Report {
    /// Whether nothing waits or runs any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.waiting == 0 && self.still_running.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            finished,
            discarded,
            waiting,
            still_running,
        } = self;
        write!(f, "{finished} finished, {discarded} discarded")?;
        if *waiting > 0 {
            write!(f, ", {waiting} still waiting")?;
        }
        for job in still_running {
            let label = job.label.as_deref().unwrap_or("a job");
            write!(f, "; still running for {:?}: {label}", job.age)?;
            write!(f, ", called at {}", job.call_site)?;
        }
        Ok(())
    }
}

/// The future made by [`Offload::shutdown`].
#[derive(Debug)]
#[must_use = "the pools go on until this is awaited"]
pub struct Shutdown {
    offload: Offload,
    within: Option<Duration>,
    backlog: Backlog,
    begun: Option<Begun>,
}

struct Begun {
    finished_before: u64,
    discarded_before: u64,
    deadline: Option<u64>,
    alarm: Option<Arc<Alarm>>,
    /// Called by a job of these pools, which is not waited for.
    is_inside: bool,
}

const POOLS: [Kind; 3] = [Kind::Io, Kind::Cpu, Kind::Dedicated];

impl Shutdown {
    pub(crate) fn new(offload: Offload, within: Option<Duration>, backlog: Backlog) -> Self {
        Self {
            offload,
            within,
            backlog,
            begun: None,
        }
    }

    fn begin(&self) -> Begun {
        let (finished_before, discarded_before) = self.counts();
        let is_inside = POOLS
            .iter()
            .any(|pool| current::has_turn_of(self.offload.turns(*pool)));
        if is_inside {
            self.offload.enter_shutdown();
        }
        for pool in POOLS {
            let turns = self.offload.turns(pool);
            turns.close();
            if self.backlog == Backlog::Discard {
                turns.fail_waiting(|| Failure::ShutDown, Counters::discarded);
                turns.pool().notify_if_ended();
            }
        }
        let deadline = self.within.map(|within| {
            let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            clock::now().saturating_add(nanos)
        });
        Begun {
            finished_before,
            discarded_before,
            deadline,
            alarm: None,
            is_inside,
        }
    }

    fn counts(&self) -> (u64, u64) {
        let stats = self.offload.stats();
        let pools = [&stats.io, &stats.cpu, &stats.dedicated];
        let finished = pools.iter().map(|pool| pool.run.count()).sum();
        let discarded = pools.iter().map(|pool| pool.discarded).sum();
        (finished, discarded)
    }

    /// Whether there is nothing to wait for any more.
    fn is_over(&self, is_inside: bool) -> bool {
        if !is_inside {
            let ended = |pool: &Kind| self.offload.turns(*pool).pool().is_ended();
            return POOLS.iter().all(ended);
        }
        // All that runs are jobs that wait for the same.
        let stats = self.offload.stats();
        let pools = [&stats.io, &stats.cpu, &stats.dedicated];
        let (queued, running) = pools.iter().fold((0, 0), |(queued, running), pool| {
            (queued + pool.queued, running + pool.running)
        });
        queued == 0 && running <= self.offload.shutdowns_inside()
    }

    fn report(&self, begun: &Begun, is_over: bool) -> Report {
        let (finished, discarded) = self.counts();
        let stats = self.offload.stats();
        // The gauge may show calls that are just being refused.
        let waiting = stats.io.queued + stats.cpu.queued + stats.dedicated.queued;
        let now = clock::now();
        let running = |pool| self.offload.turns(pool).pool().activity.running(now);
        let mut still_running: Vec<_> = POOLS.into_iter().flat_map(running).collect();
        still_running.sort_by_key(|job| std::cmp::Reverse(job.age));
        Report {
            finished: finished - begun.finished_before,
            discarded: discarded - begun.discarded_before,
            waiting: if is_over { 0 } else { waiting },
            still_running,
        }
    }

    /// The report, if there is nothing to wait for any more.
    fn finish(&self) -> Option<Report> {
        let begun = self.begun.as_ref()?;
        let is_late = begun.deadline.is_some_and(|due| clock::now() >= due);
        let is_over = self.is_over(begun.is_inside);
        (is_over || is_late).then(|| self.report(begun, is_over))
    }

    fn set_alarm(&mut self, waker: &Waker) {
        let supervisor = self.offload.supervisor().clone();
        if let Some(begun) = &mut self.begun {
            match (&begun.alarm, begun.deadline) {
                (Some(alarm), _) => {
                    // One that has rung need not: the deadline is looked at next.
                    let _is_set = alarm.set_waker(waker);
                }
                (None, Some(deadline)) => {
                    begun.alarm = Some(supervisor.wake_at(deadline, waker.clone()));
                }
                (None, None) => {}
            }
        }
    }
}

impl Future for Shutdown {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        if self.offload.turns(Kind::Io).pool().is_forked() {
            return Poll::Ready(Report::default());
        }
        if self.begun.is_none() {
            let begun = self.begin();
            self.begun = Some(begun);
        }
        for pool in POOLS {
            self.offload.turns(pool).pool().notify_me(cx.waker());
        }
        // After registering: what happens from here on wakes us. No timer is started for a
        // shutdown that is over by now.
        let mut report = self.finish();
        if report.is_none() {
            self.set_alarm(cx.waker());
            report = self.finish();
        }
        let Some(report) = report else {
            return Poll::Pending;
        };
        // No waker stays behind, neither this nor one of a former poll.
        for pool in POOLS {
            self.offload.turns(pool).pool().notify();
        }
        Poll::Ready(report)
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        if self.offload.turns(Kind::Io).pool().is_forked() {
            std::mem::forget(self.begun.take());
        }
        if let Some(begun) = &self.begun {
            if let Some(alarm) = &begun.alarm {
                self.offload.supervisor().disarm(alarm);
            }
            if begun.is_inside {
                self.offload.leave_shutdown();
            }
        }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("is_inside", &self.is_inside)
            .finish_non_exhaustive()
    }
}
