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
    /// It gets no CPU: nobody here is to blame.
    HostPressure,
    /// It slept for most of the time, but not when it was looked at.
    LookAgain,
    /// The system does not tell.
    Unknown,
}

/// Times since a poll, or since the last report of it.
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

/// `None`: the system has no times.
pub(super) fn judge(doing: &Doing, spent: Option<Spent>) -> Verdict {
    let Some(spent) = spent else {
        return match doing {
            Doing::SystemCall(_) => Verdict::Waits,
            Doing::OnCpu => Verdict::Computes,
            Doing::Unknown | Doing::Gone => Verdict::Unknown,
        };
    };
    let half = spent.in_all / 2;
    if spent.run_queue >= half {
        return Verdict::HostPressure;
    }
    if spent.on_cpu >= half {
        return Verdict::Computes;
    }
    match doing {
        // Most of the time neither computing nor waiting for a CPU, that is, asleep.
        Doing::SystemCall(_) if spent.on_cpu + spent.run_queue < half => Verdict::Waits,
        // Some of each: what it spent more on.
        Doing::SystemCall(_) if spent.run_queue > spent.on_cpu => Verdict::HostPressure,
        Doing::SystemCall(_) => Verdict::Waits,
        // It could run: how long it has been waiting for a CPU this time is in no account yet.
        // Or it has just woken from one of many short sleeps.
        Doing::OnCpu => Verdict::LookAgain,
        Doing::Unknown | Doing::Gone => Verdict::Unknown,
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
            (&CALL, of(10, 45), Verdict::HostPressure),
            (&CALL, of(5, 60), Verdict::HostPressure),
            (&CALL, of(90, 5), Verdict::Computes),
            (&CALL, None, Verdict::Waits),
            (&Doing::OnCpu, of(90, 5), Verdict::Computes),
            (&Doing::OnCpu, of(30, 60), Verdict::HostPressure),
            (&Doing::OnCpu, of(1, 1), Verdict::LookAgain),
            (&Doing::OnCpu, None, Verdict::Computes),
            (&Doing::Unknown, None, Verdict::Unknown),
            (&Doing::Unknown, of(60, 0), Verdict::Computes),
        ] {
            assert_eq!(judge(doing, spent), verdict, "{doing:?} {spent:?}");
        }
    }
}
