//! The passes: what shares a process, on which CPUs, under which runtime.

use crate::runtimes::Kind;

/// One process' share of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    SameCap,
    OneCpu,
    CurrentThread,
    BlockOn,
    Smol,
    Hogs,
    Sleep,
    CpuPools,
    OneCpuPools,
    Defaults,
    Submitters,
    Push,
    Futexes,
    OneCpuFutexes,
    Flat,
    Least,
}

impl Pass {
    pub(crate) const ALL: [Pass; 16] = [
        Pass::SameCap,
        Pass::OneCpu,
        Pass::CurrentThread,
        Pass::BlockOn,
        Pass::Smol,
        Pass::Hogs,
        Pass::Sleep,
        Pass::CpuPools,
        Pass::OneCpuPools,
        Pass::Defaults,
        Pass::Submitters,
        Pass::Push,
        Pass::Futexes,
        Pass::OneCpuFutexes,
        Pass::Flat,
        Pass::Least,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pass::SameCap => "same-cap",
            Pass::OneCpu => "one-cpu",
            Pass::CurrentThread => "current-thread",
            Pass::BlockOn => "block-on",
            Pass::Smol => "smol",
            Pass::Hogs => "hogs",
            Pass::Sleep => "sleep",
            Pass::CpuPools => "cpu-pools",
            Pass::OneCpuPools => "one-cpu-pools",
            Pass::Defaults => "defaults",
            Pass::Submitters => "submitters",
            Pass::Push => "push",
            Pass::Futexes => "futexes",
            Pass::OneCpuFutexes => "one-cpu-futexes",
            Pass::Flat => "flat",
            Pass::Least => "least",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Pass::ALL.into_iter().find(|pass| pass.name() == name)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Pass::SameCap => "I/O pools with the same cap",
            Pass::OneCpu => "I/O pools with the same cap, on one CPU",
            Pass::CurrentThread => "I/O pools with the same cap, called from one thread's runtime",
            Pass::BlockOn => "I/O pools with the same cap, called without a runtime",
            Pass::Smol => "I/O pools with the same cap, called from smol",
            Pass::Hogs => "I/O pools with the same cap, beside a CPU hog for each CPU",
            Pass::Sleep => "I/O pools with the same cap, jobs that sleep",
            Pass::CpuPools => "pools for CPU work, and offramp's for I/O",
            Pass::OneCpuPools => "pools for CPU work, on one CPU",
            Pass::Defaults => {
                "I/O pools with their own number of threads (tokio 512, blocking 500)"
            }
            Pass::Submitters => "several tasks that submit batches of 16 and await them",
            Pass::Push => "16 threads that submit: how long one submission takes",
            Pass::Futexes => "futex calls (not for speed: counting them costs time)",
            Pass::OneCpuFutexes => "futex calls, on one CPU",
            Pass::Flat => "what a job costs by how many there are",
            Pass::Least => "the least there can be: a thread, a list and a channel",
        }
    }

    /// On the two, where there are more, for which the targets are.
    pub(crate) fn cpus(self) -> usize {
        match self {
            Pass::OneCpu | Pass::OneCpuPools | Pass::OneCpuFutexes => 1,
            _ => 2,
        }
    }

    pub(crate) fn runtime(self) -> Kind {
        match self {
            Pass::CurrentThread => Kind::CurrentThread,
            // `push` has threads of its own.
            Pass::BlockOn | Pass::Push => Kind::BlockOn,
            Pass::Smol => Kind::Smol,
            _ => Kind::Tokio,
        }
    }

    /// Threads of the I/O pools that have a cap.
    pub(crate) fn io_threads(self) -> usize {
        match self {
            Pass::Sleep => 64,
            _ => 4,
        }
    }

    pub(crate) fn counts_futexes(self) -> bool {
        matches!(self, Pass::Futexes | Pass::OneCpuFutexes)
    }

    pub(crate) fn hogs(self) -> usize {
        match self {
            Pass::Hogs => self.cpus(),
            _ => 0,
        }
    }
}
