//! What a job does. The loads are compiled for each, so that an empty job is really empty.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A kind of job, as a cell names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Noop,
    /// Computes for so long, on a CPU that has nothing else to do.
    Busy(Duration),
    /// Sleeps for so long.
    Sleep(Duration),
}

pub(crate) trait Job: Copy + Send + Sync + 'static {
    fn run(self, input: u64) -> u64;
}

#[derive(Clone, Copy)]
pub(crate) struct Noop;

impl Job for Noop {
    fn run(self, input: u64) -> u64 {
        input + 1
    }
}

/// A fixed number of steps, not a fixed time: a preempted job must not count its wait as work.
#[derive(Clone, Copy)]
pub(crate) struct Busy(pub(crate) u64);

impl Job for Busy {
    fn run(self, input: u64) -> u64 {
        black_box(steps(self.0));
        input + 1
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Sleep(pub(crate) Duration);

impl Job for Sleep {
    fn run(self, input: u64) -> u64 {
        std::thread::sleep(self.0);
        input + 1
    }
}

fn steps(count: u64) -> u64 {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// How long a million steps take here. Asked for once in a pass.
pub(crate) fn calibrate() -> Duration {
    const PROBE: u32 = 20_000;
    let once = || {
        let start = Instant::now();
        black_box(steps(PROBE.into()));
        start.elapsed()
    };
    // The fastest of many: anything slower was disturbed.
    let fastest = (0..64).map(|_| once()).min().unwrap_or_default();
    fastest.max(Duration::from_nanos(1)) * (1_000_000 / PROBE)
}

/// How many steps take `time`, where a million take `million`.
pub(crate) fn steps_in(time: Duration, million: Duration) -> u64 {
    let steps = time.as_nanos() * 1_000_000 / million.as_nanos().max(1);
    (steps as u64).max(1)
}
