//! From a look at a thread, and its times, to why it does not come back.

use super::stack::{Doing, Times};
use std::time::Duration;

/// What is the matter with a thread that has been in one poll for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits in the system call that was seen.
    Waits,
    /// It computes.
    Computes,
    /// On a machine of its own the poll would not have taken so long: nobody here is to blame.
    HostPressure,
    /// It may be waiting for a CPU, or have woken from one of many short sleeps.
    LookAgain,
    /// The system does not tell.
    Unknown,
}

/// A thread's time since the poll began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) in_all: Duration,
    pub(super) on_cpu: Duration,
    pub(super) run_queue: Duration,
}

impl Spent {
    pub(super) fn between(in_all: Duration, from: &Times, to: &Times) -> Self {
        Self {
            in_all,
            on_cpu: to.on_cpu.saturating_sub(from.on_cpu),
            run_queue: to.run_queue.saturating_sub(from.run_queue),
        }
    }
}

/// `spent` is `None` where the system has no times. The kernel's account of a thread is complete
/// while it sleeps. Of one that can run it lacks how long it has been waiting for a CPU this
/// time, and some milliseconds of running.
pub(super) fn judge(doing: &Doing, spent: Option<Spent>, threshold: Duration) -> Verdict {
    let Some(spent) = spent else {
        return match doing {
            Doing::SystemCall(_) => Verdict::Waits,
            Doing::OnCpu => Verdict::Computes,
            Doing::Unknown | Doing::Gone => Verdict::Unknown,
        };
    };
    // What it would have taken with a CPU to itself.
    let own = spent.in_all.saturating_sub(spent.run_queue);
    if own < threshold {
        return Verdict::HostPressure;
    }
    let asleep = own.saturating_sub(spent.on_cpu);
    match doing {
        Doing::SystemCall(_) if asleep >= spent.on_cpu => Verdict::Waits,
        Doing::SystemCall(_) => Verdict::Computes,
        Doing::OnCpu if spent.on_cpu >= threshold.max(asleep) => Verdict::Computes,
        Doing::OnCpu => Verdict::LookAgain,
        Doing::Unknown | Doing::Gone if spent.on_cpu >= threshold => Verdict::Computes,
        Doing::Unknown | Doing::Gone => Verdict::Unknown,
    }
}

/// When it has been looked at often enough, and always could run.
pub(super) fn judge_at_last(spent: Option<Spent>, threshold: Duration) -> Verdict {
    match spent {
        Some(spent) if spent.on_cpu < threshold => Verdict::HostPressure,
        _ => Verdict::Computes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::stack::SystemCall;

    const CALL: Doing = Doing::SystemCall(SystemCall {
        number: 0,
        arguments: [0; 6],
        stack_pointer: 0,
        address: 0,
    });

    fn of(on_cpu: u64, run_queue: u64) -> Option<Spent> {
        Some(Spent {
            in_all: Duration::from_millis(100),
            on_cpu: Duration::from_millis(on_cpu),
            run_queue: Duration::from_millis(run_queue),
        })
    }

    #[test]
    fn verdicts() {
        for (doing, spent, verdict) in [
            (&CALL, of(0, 0), Verdict::Waits),
            (&CALL, of(30, 10), Verdict::Waits),
            (&CALL, of(0, 70), Verdict::Waits),
            (&CALL, of(5, 80), Verdict::HostPressure),
            (&CALL, of(90, 5), Verdict::Computes),
            (&CALL, None, Verdict::Waits),
            (&Doing::OnCpu, of(90, 5), Verdict::Computes),
            (&Doing::OnCpu, of(30, 60), Verdict::Computes),
            (&Doing::OnCpu, of(15, 80), Verdict::HostPressure),
            (&Doing::OnCpu, of(15, 60), Verdict::LookAgain),
            (&Doing::OnCpu, of(30, 10), Verdict::LookAgain),
            (&Doing::OnCpu, of(1, 1), Verdict::LookAgain),
            (&Doing::OnCpu, None, Verdict::Computes),
            (&Doing::Unknown, None, Verdict::Unknown),
            (&Doing::Unknown, of(10, 0), Verdict::Unknown),
            (&Doing::Unknown, of(60, 0), Verdict::Computes),
        ] {
            let judged = judge(doing, spent, Duration::from_millis(25));
            assert_eq!(judged, verdict, "{doing:?} {spent:?}");
        }
        let threshold = Duration::from_millis(25);
        assert_eq!(judge_at_last(of(30, 10), threshold), Verdict::Computes);
        assert_eq!(judge_at_last(of(1, 1), threshold), Verdict::HostPressure);
    }
}
