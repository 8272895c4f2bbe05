//! The tables of a pass.

use std::time::Duration;

use crate::cells::{Cell, Load};
use crate::jobs::{Work, steps_in};
use crate::outcome::{Column, Outcome};
use crate::passes::Pass;
use crate::sample::{Push, Sample};
use crate::stats::{self, Spread};
use crate::subjects::{OFFRAMP_CPU, OFFRAMP_DEFAULT, OFFRAMP_IO};

/// How to read the tables.
pub(crate) const RULE: &str = "\
how to read: ns/job is wall time, median of the rounds (min..max). CPU and context switches are those of the whole
process, per job, over all rounds. `x` is the peer's time over offramp's in the same round: above 1 offramp is faster;
median, and [95 % interval of it by order statistics of the paired rounds].";

/// Foreign load in percent up to which a pass counts as undisturbed.
const QUIET: f64 = 8.0;

/// Rows that the others are divided by, where they are part of a pass.
const REFERENCES: [&str; 3] = [OFFRAMP_IO, OFFRAMP_CPU, OFFRAMP_DEFAULT];

pub(crate) fn print_pass(pass: Pass, million: Duration) {
    println!("\n== {}: {} ==", pass.name(), pass.title());
    let hogs = match pass.hogs() {
        0 => String::new(),
        hogs => format!(", {hogs} hogs"),
    };
    println!(
        "{}; {} I/O threads where capped; on {} CPU{hogs}; 10 us of CPU are {} steps",
        pass.runtime().title(),
        pass.io_threads(),
        pass.cpus(),
        steps_in(Duration::from_micros(10), million),
    );
}

pub(crate) fn print_foreign_load(percent: Option<f64>) {
    let Some(percent) = percent else { return };
    let verdict = if percent < QUIET {
        ""
    } else {
        ": DISTURBED, do not quote"
    };
    println!(
        "\nother processes used {percent:.0} % of the machine's CPU time in this pass{verdict}"
    );
}

pub(crate) fn print_cell(cell: &Cell, outcome: &Outcome) {
    let work = match cell.work {
        Work::Noop => "",
        Work::Busy(_) => ", busy",
        Work::Sleep(_) => ", asleep",
    };
    println!(
        "\n{}: {}{work} ({} rounds)",
        cell.name, cell.title, cell.rounds
    );
    match cell.load {
        Load::Push(_) => print_pushes(outcome),
        _ => print_times(outcome),
    }
}

fn print_times(outcome: &Outcome) {
    let references: Vec<&Column> = outcome
        .columns
        .iter()
        .filter(|column| REFERENCES.contains(&column.name.as_str()))
        .collect();
    print!(
        "  {:<17}{:>30}{:>10}{:>10}",
        "", "ns/job", "CPU ns", "switches"
    );
    let has_futexes = outcome
        .columns
        .iter()
        .any(|column| column.samples.iter().any(|s| s.futexes.is_some()));
    if has_futexes {
        print!("{:>10}", "futexes");
    }
    for reference in &references {
        print!("{:>26}", format!("x {}", reference.name));
    }
    println!();
    for column in &outcome.columns {
        let samples = &column.samples;
        let times: Vec<f64> = samples.iter().map(Sample::ns_per_job).collect();
        let time = stats::range(&times).map_or_else(String::new, range_text);
        let cpu = grouped(per_job(samples, |s| s.cpu_ns));
        let switches = per_job(samples, |s| s.switches);
        print!("  {:<17}{time:>30}{cpu:>10}{switches:>10.3}", column.name);
        if has_futexes {
            print!("{:>10.3}", per_job(samples, |s| s.futexes.unwrap_or(0)));
        }
        for reference in &references {
            let cell = if reference.name == column.name {
                "1".into()
            } else {
                ratio_text(&reference.samples, samples)
            };
            print!("{cell:>26}");
        }
        println!();
    }
}

fn print_pushes(outcome: &Outcome) {
    println!(
        "  {:<17}{:>10}{:>10}{:>30}{:>18}{:>13}",
        "", "p50, ns", "p99", "p99.99", "with preempted", "worst"
    );
    for column in &outcome.columns {
        let pushes: Vec<_> = column.samples.iter().filter_map(|s| s.push).collect();
        let spread = |of: fn(&Push) -> u64| {
            let values: Vec<f64> = pushes.iter().map(|push| of(push) as f64).collect();
            stats::range(&values)
        };
        let median = |of| spread(of).map_or_else(String::new, |s| grouped(s.median));
        println!(
            "  {:<17}{:>10}{:>10}{:>30}{:>18}{:>13}",
            column.name,
            median(|push| push.median),
            median(|push| push.p99),
            spread(|push| push.p9999).map_or_else(String::new, range_text),
            median(|push| push.with_preempted),
            spread(|push| push.worst).map_or_else(String::new, |s| grouped(s.high)),
        );
    }
}

/// Median, and (min..max).
fn range_text(s: Spread) -> String {
    let (median, low, high) = (grouped(s.median), grouped(s.low), grouped(s.high));
    format!("{median} ({low}..{high})")
}

fn ratio_text(ours: &[Sample], theirs: &[Sample]) -> String {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(our, their)| their.ns_per_job() / our.ns_per_job())
        .collect();
    let interval = stats::confidence(&ratios).map(spread_text);
    interval
        .or_else(|| stats::range(&ratios).map(|s| format!("{:.2} [too few rounds]", s.median)))
        .unwrap_or_default()
}

pub(crate) fn spread_text(x: Spread) -> String {
    format!("{:.2} [{:.2}, {:.2}]", x.median, x.low, x.high)
}

/// Over all rounds together: the kernel's accounting is too coarse for a single one.
fn per_job(samples: &[Sample], figure: impl Fn(&Sample) -> u64) -> f64 {
    let jobs = samples.iter().map(|s| s.jobs).sum::<u64>().max(1);
    samples.iter().map(figure).sum::<u64>() as f64 / jobs as f64
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
