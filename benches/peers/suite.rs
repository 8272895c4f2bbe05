//! One pass: its rounds interleaved, its tables printed.

use std::time::Duration;

use crate::args::Options;
use crate::cells::{self, Cell};
use crate::hogs::Hogs;
use crate::outcome::{Column, Outcome};
use crate::passes::Pass;
use crate::stats::Shuffler;
use crate::subjects::{self, Subject};
use crate::{futexes, jobs, machine, push, report};

/// The cells are gone through this often, each time for a share of their rounds: a disturbance, or a placement of
/// threads, that lasts for a second must not hold for all rounds of a cell.
const SWEEPS: usize = 5;

/// Runs a pass in this process, which has to be a fresh one.
pub(crate) fn run(pass: Pass, options: &Options) -> Result<Vec<Outcome>, String> {
    let machine_before = machine::machine_time();
    let million = jobs::calibrate();
    match pass {
        pass if pass.counts_futexes() => futexes::count(),
        Pass::Push => push::keep_memory(),
        _ => {}
    }
    let subjects = subjects::of_pass(pass, million, options);
    let cells = cells::of_pass(pass, options);
    if cells.is_empty() || subjects.is_empty() {
        return Ok(Vec::new());
    }
    report::print_pass(pass, million);
    // They live as long as this does.
    let _hogs = Hogs::start(pass.hogs())?;

    let mut shuffler = Shuffler::new(options.seed);
    let mut measured: Vec<_> = cells
        .into_iter()
        .map(|cell| {
            let columns = subjects.iter().map(|subject| Column::new(subject.name()));
            let outcome = Outcome::new(pass, cell.name, columns.collect());
            (cell, outcome)
        })
        .collect();
    for sweep in 0..SWEEPS {
        for (cell, outcome) in &mut measured {
            run_share(cell, outcome, sweep, &subjects, &mut shuffler, million);
        }
    }
    for (cell, outcome) in &measured {
        report::print_cell(cell, outcome);
    }
    // Hogs are foreign, and wanted.
    if pass.hogs() == 0 {
        let own = machine::usage().cpu;
        let load = machine_before.and_then(|before| machine::foreign_load(before, own));
        report::print_foreign_load(load);
    }
    Ok(measured.into_iter().map(|(_, outcome)| outcome).collect())
}

/// One sweep's share of a cell's rounds.
fn run_share(
    cell: &Cell,
    outcome: &mut Outcome,
    sweep: usize,
    subjects: &[Box<dyn Subject>],
    shuffler: &mut Shuffler,
    million: Duration,
) {
    // The shares differ by one at most, and add up.
    let share = cell.rounds * (sweep + 1) / SWEEPS - cell.rounds * sweep / SWEEPS;
    if share == 0 {
        return;
    }
    // Threads get started, allocators filled, caches and predictors warmed.
    for subject in subjects {
        subject.round(cell, million);
    }
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for _ in 0..share {
        shuffler.shuffle(&mut order);
        for &index in &order {
            let sample = subjects[index].round(cell, million);
            outcome.columns[index].samples.push(sample);
        }
    }
}
