//! A whole run: its passes, each in a process of its own, and what they come to.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::args::Options;
use crate::outcome::{self, Outcome};
use crate::passes::Pass;
use crate::verdict::{self, Row};
use crate::{machine, pictures, report, targets};

/// A fresh process can be asked for so many times about a row.
const PROCESSES: usize = 3;

/// A pass, and which of its cells; none named: all of them.
type Share = (Pass, Vec<String>);

/// False: something falls short, and `--check` was given.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let born = Instant::now();
    let mut rows: Vec<Row> = targets::all()
        .into_iter()
        .filter(|target| !options.quick || target.is_key)
        .map(Row::new)
        .collect();
    let mut processes = Vec::new();
    match &options.from {
        Some(path) => processes = outcome::read(path)?,
        None => {
            print_head(options);
            processes.push((0, run_shares(&all_shares(options), options, options.seed)?));
        }
    }
    for (process, outcomes) in &processes {
        judge(&mut rows, *process, outcomes);
    }
    // A filter leaves rows out; a whole run does not.
    if !options.only.is_empty() || !options.passes.is_empty() || !options.implementations.is_empty()
    {
        rows.retain(|row| !row.judgements.is_empty());
    }
    if options.check && options.from.is_none() {
        for process in 1..PROCESSES {
            if let Some(outcomes) = again(&rows, process, options)? {
                judge(&mut rows, process, &outcomes);
                processes.push((process, outcomes));
            }
        }
    }
    verdict::print(&rows);
    if options.from.is_none() {
        println!("\nin {} s", born.elapsed().as_secs());
    }
    if let Some(path) = &options.csv {
        outcome::write(path, &processes)?;
    }
    if let Some(folder) = &options.pictures {
        let first = processes.first().map_or(&[][..], |(_, outcomes)| outcomes);
        pictures::draw(folder, first)?;
    }
    let short: Vec<&Row> = rows.iter().filter(|row| row.verdict() == "SHORT").collect();
    for row in &short {
        println!("SHORT: {}", row.name());
    }
    if options.check && short.is_empty() {
        println!("check: passed");
    }
    Ok(short.is_empty() || !options.check)
}

/// What the options ask for.
fn all_shares(options: &Options) -> Vec<Share> {
    let is_asked_for = |pass: &Pass| {
        let is_named = options.passes.is_empty() || options.passes.contains(pass);
        let is_key = !options.quick || !options.only.is_empty() || is_key_pass(*pass);
        is_named && is_key
    };
    let passes = Pass::ALL.into_iter().filter(is_asked_for);
    passes.map(|pass| (pass, options.only.clone())).collect()
}

/// Of the first process all rows are judged, of the others those that were not settled before it.
fn judge(rows: &mut [Row], process: usize, outcomes: &[Outcome]) {
    for row in rows.iter_mut().filter(|row| process == 0 || row.is_open()) {
        let judgement = verdict::judge(&row.target, outcomes);
        row.judgements.extend(judgement);
    }
}

fn print_head(options: &Options) {
    machine::print_environment();
    println!(
        "pools: 4 I/O threads where capped (64 where jobs sleep), {} CPU threads; a runtime of the same kind for each",
        crate::CPU_THREADS
    );
    println!(
        "seed {}, {} run",
        options.seed,
        if options.quick { "quick" } else { "long" }
    );
    println!("{}", report::RULE);
}

fn is_key_pass(pass: Pass) -> bool {
    targets::all()
        .iter()
        .any(|target| target.is_key && target.pairs.iter().any(|pair| pair.pass == pass))
}

/// Measures the rows once more that are not settled. None: there is none.
fn again(rows: &[Row], process: usize, options: &Options) -> Result<Option<Vec<Outcome>>, String> {
    let open: Vec<&Row> = rows.iter().filter(|row| row.is_open()).collect();
    if open.is_empty() {
        return Ok(None);
    }
    let mut shares: Vec<Share> = Vec::new();
    for (pass, cell) in open.iter().flat_map(|row| row.places()) {
        if !options.passes.is_empty() && !options.passes.contains(&pass) {
            continue;
        }
        match shares.iter_mut().find(|(known, _)| *known == pass) {
            Some((_, cells)) if cells.iter().any(|known| known == cell) => {}
            Some((_, cells)) => cells.push(cell.into()),
            None => shares.push((pass, vec![cell.into()])),
        }
    }
    println!("\n== short: measured again, in new processes ==");
    let outcomes = run_shares(&shares, options, options.seed + process as u64)?;
    Ok(Some(outcomes))
}

fn run_shares(shares: &[Share], options: &Options, seed: u64) -> Result<Vec<Outcome>, String> {
    let mut outcomes = Vec::new();
    for (pass, cells) in shares {
        outcomes.extend(run_pass(*pass, cells, options, seed)?);
    }
    Ok(outcomes)
}

/// One pass, in a fresh process.
fn run_pass(
    pass: Pass,
    cells: &[String],
    options: &Options,
    seed: u64,
) -> Result<Vec<Outcome>, String> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find this executable: {e}"))?;
    let samples = Samples::new(pass);
    let mut command = Command::new(&this);
    command
        .args(["--pass", pass.name(), "--seed", &seed.to_string()])
        .arg("--samples")
        .arg(&samples.0)
        // `defaults` means the default.
        .env_remove("BLOCKING_MAX_THREADS");
    if options.quick {
        command.arg("--quick");
    }
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    for cell in cells {
        command.args(["--only", cell]);
    }
    for name in &options.implementations {
        command.args(["--impl", name]);
    }
    let status = command
        .status()
        .map_err(|e| format!("cannot run a pass: {e}"))?;
    if !status.success() {
        return Err(format!("pass {} ended with {status}", pass.name()));
    }
    let processes = outcome::read(&samples.0)?;
    Ok(processes
        .into_iter()
        .flat_map(|(_, outcomes)| outcomes)
        .collect())
}

/// The file in which a pass leaves its samples; gone with this.
struct Samples(PathBuf);

impl Samples {
    fn new(pass: Pass) -> Self {
        let name = format!("offramp-peers-{}-{}.csv", std::process::id(), pass.name());
        Samples(std::env::temp_dir().join(name))
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}
