//! The cells, and the interleaving of their rounds.

use std::time::Duration;

use crate::args::{self, Options, Pass};
use crate::load::{self, Sample};
use crate::stats::Shuffler;
use crate::subjects::{self, Subject};
use crate::{machine, report};

/// Shape of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One job, awaited, again.
    RoundTrip,
    /// So many tasks, each awaiting job after job.
    Closed(usize),
    /// So many submitted, then awaited in order.
    Burst(usize),
}

/// What each job does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Noop,
    /// So many steps of arithmetic.
    Busy(u64),
}

/// One load that every implementation is put under.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) work: Work,
    /// How long one round measures.
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
}

/// When a cell is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// In a quick run not on one CPU.
    NotQuickOneCpu,
    LongOnly,
}

/// How long the busy jobs compute.
const BUSY: Duration = Duration::from_micros(10);

/// The cells are gone through this often, each time for a share of their rounds: a disturbance, or a placement of
/// threads, that lasts for a second must not hold for all rounds of a cell.
const SWEEPS: usize = 5;

/// Foreign load in percent up to which a pass counts as undisturbed.
const QUIET: f64 = 8.0;

/// All samples of a cell: `samples[i][r]` is implementation `i` in round `r`.
pub(crate) struct CellResult {
    pub(crate) cell: Cell,
    pub(crate) names: Vec<&'static str>,
    pub(crate) samples: Vec<Vec<Sample>>,
}

impl CellResult {
    fn new(cell: Cell, subjects: &[Box<dyn Subject>]) -> Self {
        CellResult {
            names: subjects.iter().map(|subject| subject.name()).collect(),
            samples: vec![Vec::with_capacity(cell.rounds); subjects.len()],
            cell,
        }
    }
}

/// Runs a pass and prints its tables.
pub(crate) fn run(pass: Pass, pin: Option<usize>, options: &Options) -> Vec<CellResult> {
    let machine_before = machine::machine_time();
    let busy_steps = load::calibrate(BUSY);
    let subjects = subjects::of_pass(pass, options);
    report::print_pass(pass, pin, busy_steps);

    let mut shuffler = Shuffler::new(options.seed);
    let mut results: Vec<CellResult> = cells(pass, options, busy_steps)
        .into_iter()
        .map(|cell| CellResult::new(cell, &subjects))
        .collect();
    for sweep in 0..SWEEPS {
        for result in &mut results {
            run_share(result, sweep, &subjects, &mut shuffler);
        }
    }
    for result in &results {
        report::print_cell(result);
    }
    let own = machine::usage().cpu;
    if let Some(percent) = machine_before.and_then(|before| machine::foreign_load(before, own)) {
        let verdict = if percent < QUIET {
            ""
        } else {
            ": DISTURBED, do not quote"
        };
        println!(
            "\nother processes used {percent:.0} % of the machine's CPU time in this pass{verdict}"
        );
    }
    results
}

/// One sweep's share of a cell's rounds.
fn run_share(
    result: &mut CellResult,
    sweep: usize,
    subjects: &[Box<dyn Subject>],
    shuffler: &mut Shuffler,
) {
    let rounds = result.cell.rounds;
    // The shares differ by one at most, and add up.
    let share = rounds * (sweep + 1) / SWEEPS - rounds * sweep / SWEEPS;
    if share == 0 {
        return;
    }
    // Threads get started, allocators filled, caches and predictors warmed.
    for subject in subjects {
        subject.round(&result.cell);
    }
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for _ in 0..share {
        shuffler.shuffle(&mut order);
        for &index in &order {
            let sample = subjects[index].round(&result.cell);
            result.samples[index].push(sample);
        }
    }
}

fn cells(pass: Pass, options: &Options, busy_steps: u64) -> Vec<Cell> {
    use When::{Always, LongOnly, NotQuickOneCpu};

    let noop = Work::Noop;
    let busy = Work::Busy(busy_steps);
    #[rustfmt::skip]
    let table = [
        ("round-trip", "one empty job at a time", Load::RoundTrip, noop, Always),
        ("closed-8", "8 empty jobs in flight", Load::Closed(8), noop, LongOnly),
        ("closed-64", "64 empty jobs in flight", Load::Closed(64), noop, Always),
        ("closed-1000", "1,000 empty jobs in flight", Load::Closed(1_000), noop, LongOnly),
        ("closed-10000", "10,000 empty jobs in flight", Load::Closed(10_000), noop, NotQuickOneCpu),
        ("burst-64", "bursts of 64 empty jobs", Load::Burst(64), noop, LongOnly),
        ("burst-10000", "bursts of 10,000 empty jobs", Load::Burst(10_000), noop, NotQuickOneCpu),
        ("busy-closed-64", "64 jobs of 10 us CPU in flight", Load::Closed(64), busy, NotQuickOneCpu),
        ("busy-burst-64", "bursts of 64 jobs of 10 us CPU", Load::Burst(64), busy, NotQuickOneCpu),
    ];
    let names = table.map(|(name, ..)| name);
    table
        .into_iter()
        .filter(|(name, .., when)| {
            // Naming a cell runs it.
            let now = !options.only.is_empty()
                || match when {
                    Always => true,
                    NotQuickOneCpu => !(options.quick && pass.is_one_cpu()),
                    LongOnly => !options.quick,
                };
            now && args::admits(&options.only, name, &names)
        })
        .map(|(name, title, load, work, _)| {
            let (window, rounds) = effort(load, options.quick);
            let rounds = options.rounds.unwrap_or(rounds).max(1);
            Cell {
                name,
                title,
                load,
                work,
                window,
                rounds,
            }
        })
        .collect()
}

/// Many short rounds where wake-ups decide: the kernel's placement of the two threads holds for milliseconds and makes
/// a round fast or slow as a whole, so only more rounds average over it.
fn effort(load: Load, quick: bool) -> (Duration, usize) {
    match (load, quick) {
        (Load::RoundTrip, true) => (Duration::from_millis(4), 61),
        (Load::RoundTrip, false) => (Duration::from_millis(4), 301),
        (_, true) => (Duration::from_millis(10), 21),
        (_, false) => (Duration::from_millis(20), 61),
    }
}
