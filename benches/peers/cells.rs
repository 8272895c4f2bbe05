//! The cells of each pass: a load, a kind of job, and how much of it is measured.

use std::time::Duration;

use crate::args::{self, Options};
use crate::jobs::Work;
use crate::passes::Pass;
use crate::push::Between;
use crate::targets;

/// Shape of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// One job, awaited, again.
    RoundTrip,
    /// So many tasks, each awaiting job after job.
    Closed(usize),
    /// So many submitted, then awaited in order.
    Burst(usize),
    /// So many handed over together, where there is a call for that, and awaited together.
    Together(usize),
    /// So many tasks, each submitting and awaiting batch after batch.
    Batches(usize),
    /// Each submission timed.
    Push(Between),
}

/// One load that every implementation is put under.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) work: Work,
    /// How long one round measures.
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
}

type Line = (&'static str, &'static str, Load, Work);

const fn us(time: u64) -> Work {
    Work::Busy(Duration::from_micros(time))
}

const SLEEP: Work = Work::Sleep(Duration::from_micros(500));

/// What jobs that do nothing cost.
#[rustfmt::skip]
const NOOP: [Line; 7] = [
    ("round-trip", "one empty job, awaited", Load::RoundTrip, Work::Noop),
    ("closed-8", "8 empty jobs in flight", Load::Closed(8), Work::Noop),
    ("closed-64", "64 empty jobs in flight", Load::Closed(64), Work::Noop),
    ("closed-1000", "1,000 empty jobs in flight", Load::Closed(1_000), Work::Noop),
    ("closed-10000", "10,000 empty jobs in flight", Load::Closed(10_000), Work::Noop),
    ("burst-64", "bursts of 64 empty jobs", Load::Burst(64), Work::Noop),
    ("burst-10000", "bursts of 10,000 empty jobs", Load::Burst(10_000), Work::Noop),
];

/// What is left of that where jobs do something.
#[rustfmt::skip]
const BUSY: [Line; 6] = [
    ("1us-64", "64 jobs of 1 us CPU in flight", Load::Closed(64), us(1)),
    ("10us-64", "64 jobs of 10 us CPU in flight", Load::Closed(64), us(10)),
    ("100us-64", "64 jobs of 100 us CPU in flight", Load::Closed(64), us(100)),
    ("1us-burst-64", "bursts of 64 jobs of 1 us CPU", Load::Burst(64), us(1)),
    ("10us-burst-64", "bursts of 64 jobs of 10 us CPU", Load::Burst(64), us(10)),
    ("100us-burst-64", "bursts of 64 jobs of 100 us CPU", Load::Burst(64), us(100)),
];

#[rustfmt::skip]
const SLEEPING: [Line; 2] = [
    ("sleep-64", "64 jobs that sleep for 500 us in flight", Load::Closed(64), SLEEP),
    ("sleep-burst-64", "bursts of 64 jobs that sleep for 500 us", Load::Burst(64), SLEEP),
];

const TOGETHER: Line = (
    "bulk-64",
    "64 empty jobs, handed over together",
    Load::Together(64),
    Work::Noop,
);

#[rustfmt::skip]
const SUBMITTERS: [Line; 3] = [
    ("submit-1", "1 task that submits", Load::Batches(1), Work::Noop),
    ("submit-4", "4 tasks that submit", Load::Batches(4), Work::Noop),
    ("submit-16", "16 tasks that submit", Load::Batches(16), Work::Noop),
];

#[rustfmt::skip]
const PUSHES: [Line; 2] = [
    ("push", "a submission into a queue that does not run dry", Load::Push(Between::GoOn), Work::Noop),
    ("push-awaited", "a submission where each 100 are awaited", Load::Push(Between::Await), Work::Noop),
];

/// Cells of `flat`, with how many jobs each has.
pub(crate) const FLAT: [(&str, usize); 5] = [
    ("burst-1e2", 100),
    ("burst-1e3", 1_000),
    ("burst-1e4", 10_000),
    ("burst-1e5", 100_000),
    ("burst-1e6", 1_000_000),
];

fn lines(pass: Pass) -> Vec<Line> {
    let some = |names: &[&str]| -> Vec<Line> {
        let all = NOOP.into_iter().chain(BUSY);
        all.filter(|(name, ..)| names.contains(name)).collect()
    };
    match pass {
        Pass::SameCap => NOOP.into_iter().chain([TOGETHER]).chain(BUSY).collect(),
        Pass::OneCpu => {
            let busy = some(&["1us-64", "10us-64", "100us-64"]);
            NOOP.into_iter().chain(busy).collect()
        }
        Pass::CurrentThread | Pass::BlockOn | Pass::Smol => some(&[
            "round-trip",
            "closed-64",
            "closed-10000",
            "burst-10000",
            "1us-64",
            "10us-64",
            "100us-64",
        ]),
        Pass::Hogs => some(&["round-trip", "closed-64", "burst-10000", "10us-64"]),
        Pass::Sleep => SLEEPING.into(),
        Pass::CpuPools => {
            let busy = some(&["1us-64", "10us-64", "100us-64"]);
            NOOP.into_iter().chain(busy).collect()
        }
        Pass::OneCpuPools | Pass::Defaults => NOOP.into(),
        Pass::Submitters => SUBMITTERS.into(),
        Pass::Push => PUSHES.into(),
        Pass::Least => some(&["round-trip"])
            .into_iter()
            .chain([TOGETHER])
            .collect(),
        Pass::OneCpuFutexes => some(&["round-trip"]),
        Pass::Futexes => some(&["round-trip", "closed-64", "burst-10000"]),
        Pass::Flat => FLAT
            .map(|(name, jobs)| {
                (
                    name,
                    "bursts of so many empty jobs",
                    Load::Burst(jobs),
                    Work::Noop,
                )
            })
            .into(),
    }
}

/// Those that this run has.
pub(crate) fn of_pass(pass: Pass, options: &Options) -> Vec<Cell> {
    let lines = lines(pass);
    let names: Vec<&str> = lines.iter().map(|(name, ..)| *name).collect();
    let measured = |name: &str| {
        // Naming a cell runs it.
        let now = !options.quick || !options.only.is_empty() || targets::is_key_cell(pass, name);
        now && args::admits(&options.only, name, &names)
    };
    let cell = |(name, title, load, work): Line| {
        let (window, rounds) = effort(pass, load, options.quick);
        Cell {
            name,
            title,
            load,
            work,
            window,
            rounds: options.rounds.unwrap_or(rounds).max(1),
        }
    };
    lines
        .into_iter()
        .filter(|(name, ..)| measured(name))
        .map(cell)
        .collect()
}

/// Many short rounds where wake-ups decide: the kernel's placement of the two threads holds for milliseconds and makes
/// a round fast or slow as a whole, so only more rounds average over it. Beside hogs, and where a round takes long in
/// any case, fewer and longer ones.
fn effort(pass: Pass, load: Load, quick: bool) -> (Duration, usize) {
    let (window, rounds) = match (pass, load) {
        (Pass::Hogs, _) => (60, 25),
        (Pass::Defaults, Load::RoundTrip) => (4, 101),
        (Pass::Defaults, _) => (20, 15),
        (Pass::Flat, _) => (20, 11),
        (pass, _) if pass.counts_futexes() => (20, 15),
        (_, Load::Push(_)) => (0, 11),
        (_, Load::RoundTrip) => (4, 301),
        (_, _) => (20, 61),
    };
    if quick {
        let rounds = match load {
            Load::RoundTrip if !pass.counts_futexes() => 61,
            Load::Push(_) => 7,
            _ => 15,
        };
        return (Duration::from_millis(window / 2), rounds);
    }
    (Duration::from_millis(window), rounds)
}
