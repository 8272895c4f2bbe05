//! The tables, and the rule by which offramp counts as behind.

use crate::args::Pass;
use crate::load::Sample;
use crate::stats::{self, Spread};
use crate::subjects::{OFFRAMP_CPU, OFFRAMP_DEFAULT, OFFRAMP_IO, TOKIO_CAPPED};
use crate::suite::CellResult;
use crate::{CPU_THREADS, IO_THREADS};

/// How to read the tables.
pub(crate) const RULE: &str = "\
how to read: ns/job is wall time, median of the rounds (min..max). CPU and context switches are those of the whole
process, per job, over all rounds. `x` is the peer's time over offramp's in the same round: above 1 offramp is faster;
median, and [95 % interval of it by order statistics of the paired rounds].
behind: offramp-io against tokio-capped in same-cap and one-cpu, where the median `x` is below 1 and so is the
interval's upper end.";

/// Rows that the others are divided by, where they are part of a pass.
const REFERENCES: [&str; 3] = [OFFRAMP_IO, OFFRAMP_CPU, OFFRAMP_DEFAULT];

pub(crate) fn print_pass(pass: Pass, pin: Option<usize>, busy_steps: u64) {
    let what = match pass {
        Pass::SameCap | Pass::OneCpu => "I/O pools with the same cap",
        Pass::CpuPools | Pass::OneCpuPools => "pools for CPU work",
        Pass::Defaults => "I/O pools with their own number of threads (tokio 512, blocking 500)",
    };
    let threads = match pass {
        Pass::SameCap | Pass::OneCpu => format!("{IO_THREADS} threads each"),
        Pass::CpuPools | Pass::OneCpuPools => format!("{CPU_THREADS} threads each"),
        Pass::Defaults => format!("offramp-io: {IO_THREADS} threads"),
    };
    let pinned = pin.map_or_else(String::new, |cpus| format!(", pinned to {cpus} CPU"));
    println!("\n== {}: {what}{pinned} ==", pass.name());
    println!("{threads}; a 10 us job is {busy_steps} steps");
}

pub(crate) fn print_cell(result: &CellResult) {
    let references: Vec<usize> = REFERENCES
        .iter()
        .filter_map(|name| index_of(result, name))
        .collect();
    println!(
        "\n{}: {} ({} rounds of {} ms)",
        result.cell.name,
        result.cell.title,
        result.cell.rounds,
        result.cell.window.as_millis()
    );
    print!(
        "  {:<17}{:>30}{:>10}{:>9}",
        "", "ns/job", "CPU ns", "switches"
    );
    for &reference in &references {
        print!("{:>26}", format!("x {}", result.names[reference]));
    }
    println!();
    for (row, name) in result.names.iter().enumerate() {
        let samples = &result.samples[row];
        let times: Vec<f64> = samples.iter().map(Sample::ns_per_job).collect();
        let time = stats::range(&times).map_or_else(String::new, |s| {
            format!(
                "{} ({}..{})",
                grouped(s.median),
                grouped(s.low),
                grouped(s.high)
            )
        });
        let (cpu, switches) = usage_per_job(samples);
        print!("  {name:<17}{time:>30}{:>10}{switches:>9.3}", grouped(cpu));
        for &reference in &references {
            let cell = if reference == row {
                "1".into()
            } else {
                ratio_text(result, reference, row)
            };
            print!("{cell:>26}");
        }
        println!();
    }
}

/// Names each cell where offramp is behind. False: none.
pub(crate) fn print_behind(pass: Pass, results: &[CellResult]) -> bool {
    let (mut behind, mut compared) = (false, 0);
    for result in results {
        let (Some(ours), Some(theirs)) =
            (index_of(result, OFFRAMP_IO), index_of(result, TOKIO_CAPPED))
        else {
            continue;
        };
        // Without an interval (too few rounds) nothing is claimed.
        let Some(x) = stats::confidence(&ratios(result, ours, theirs)) else {
            continue;
        };
        compared += 1;
        if x.median < 1.0 && x.high < 1.0 {
            behind = true;
            println!(
                "BEHIND {TOKIO_CAPPED} in {} ({}): x {}",
                result.cell.name,
                pass.name(),
                spread_text(x)
            );
        }
    }
    if !behind && compared > 0 {
        println!(
            "not behind {TOKIO_CAPPED} in any cell of {} ({compared} compared)",
            pass.name()
        );
    }
    behind
}

fn index_of(result: &CellResult, name: &str) -> Option<usize> {
    result.names.iter().position(|&n| n == name)
}

/// The peer's time over ours, round by round.
fn ratios(result: &CellResult, ours: usize, theirs: usize) -> Vec<f64> {
    result.samples[ours]
        .iter()
        .zip(&result.samples[theirs])
        .map(|(our, their)| their.ns_per_job() / our.ns_per_job())
        .collect()
}

fn ratio_text(result: &CellResult, ours: usize, theirs: usize) -> String {
    let ratios = ratios(result, ours, theirs);
    let interval = stats::confidence(&ratios).map(spread_text);
    interval
        .or_else(|| stats::range(&ratios).map(|s| format!("{:.2} [too few rounds]", s.median)))
        .unwrap_or_default()
}

fn spread_text(x: Spread) -> String {
    format!("{:.2} [{:.2}, {:.2}]", x.median, x.low, x.high)
}

/// Over all rounds together: the kernel's accounting is too coarse for a single one.
fn usage_per_job(samples: &[Sample]) -> (f64, f64) {
    let jobs = samples.iter().map(|s| s.jobs).sum::<u64>().max(1) as f64;
    let cpu: f64 = samples.iter().map(|s| s.usage.cpu.as_nanos() as f64).sum();
    let switches: f64 = samples.iter().map(|s| s.usage.switches as f64).sum();
    (cpu / jobs, switches / jobs)
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
