//! offramp beside its peers: what one job costs, measured in the same process, round by round.
//!
//! ```text
//! cargo bench --bench peers -- --quick     # under a minute
//! cargo bench --bench peers                # more rounds, more cells
//! cargo bench --bench peers -- --check     # fails, naming each cell, where offramp is behind
//! cargo bench --bench peers -- --help
//! ```
//!
//! A run is several *passes*, each in a process of its own:
//!
//! - `same-cap`: I/O pools with the same number of threads. The comparison that counts.
//! - `cpu-pools`: the pools for CPU work. Apart, because rayon's idle threads call `sched_yield`, and interleaving
//!   rounds with them changes the scheduling of everybody else's (seen on one CPU: a factor of two, either way).
//! - `defaults`: the I/O pools as they come (512 and 500 threads). Apart, because the pool of `blocking` is global.
//! - `one-cpu`, `one-cpu-pools`: the first two on one CPU, where no wake-up crosses CPUs. On virtual machines that
//!   crossing costs anything from 1 to 60 us and drowns the pools' own cost.
//!
//! Inside a pass, a *cell* is one load. Its rounds are interleaved: each round runs every implementation once, in
//! shuffled order, and a ratio is formed inside the round, so a disturbance hits both sides of it. The rounds of a cell
//! are spread over the whole pass. What stays the same for a process' life (where its memory and threads lie) is not
//! averaged over: ratios near 1 want several runs. So a pass in which `--check` finds offramp behind is run twice more,
//! in new processes, and counts as behind if it is in two of the three.

use std::process::{Command, ExitCode};

use crate::args::{Action, Options, Pass};

#[path = "peers/args.rs"]
mod args;
#[path = "peers/load.rs"]
mod load;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/pools.rs"]
mod pools;
#[path = "peers/report.rs"]
mod report;
// `fairness` uses the rest of it.
#[allow(dead_code)]
#[path = "common/stats.rs"]
mod stats;
#[path = "peers/subjects.rs"]
mod subjects;
#[path = "peers/suite.rs"]
mod suite;

/// I/O threads of every pool that has a cap.
const IO_THREADS: usize = 4;
/// Threads of the two CPU pools.
const CPU_THREADS: usize = 2;
/// Worker threads of each tokio runtime.
const RUNTIME_WORKERS: usize = 2;

/// Exit code of a pass in which offramp was behind.
const BEHIND: u8 = 1;
/// Exit code of a run that could not be made.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let outcome = match args::parse() {
        Ok(Action::Help) => {
            print!("{}", args::HELP);
            Ok(true)
        }
        Ok(Action::Run(options)) => match options.pass {
            Some(pass) => run_pass(pass, &options),
            None => run_all(&options),
        },
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BEHIND),
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// One pass, in this process. False: offramp is behind somewhere and `--check` was given.
fn run_pass(pass: Pass, options: &Options) -> Result<bool, String> {
    let pin = if pass.is_one_cpu() {
        Some(1)
    } else {
        options.pin
    };
    if let Some(cpus) = pin {
        // Before the first thread: they inherit the mask.
        machine::pin_to(cpus)?;
    }
    let results = suite::run(pass, pin, options);
    let behind = report::print_behind(pass, &results);
    Ok(!(options.check && behind))
}

/// Every pass, each in a fresh process.
fn run_all(options: &Options) -> Result<bool, String> {
    machine::print_environment();
    println!(
        "pools: {IO_THREADS} I/O threads where capped, {CPU_THREADS} CPU threads; tokio runtime: \
         {RUNTIME_WORKERS} workers, one runtime of the same kind for each implementation"
    );
    println!(
        "seed {}, {} run",
        options.seed,
        if options.quick { "quick" } else { "long" }
    );
    println!("{}", report::RULE);

    let this = std::env::current_exe().map_err(|e| format!("cannot find this executable: {e}"))?;
    let mut behind = false;
    for pass in Pass::ALL {
        if pass.is_one_cpu() && options.pin.is_some() {
            continue;
        }
        let is_behind = |seed: u64| {
            let status = Command::new(&this)
                .args(std::env::args_os().skip(1))
                .args(["--pass", pass.name(), "--seed", &seed.to_string()])
                // `defaults` means the default.
                .env_remove("BLOCKING_MAX_THREADS")
                .status()
                .map_err(|e| format!("cannot run a pass: {e}"))?;
            match status.code() {
                Some(0) => Ok(false),
                Some(code) if code == i32::from(BEHIND) => Ok(true),
                _ => Err(format!("pass {} ended with {status}", pass.name())),
            }
        };
        if is_behind(options.seed)? {
            println!("\nbehind in one process: twice more, in others");
            let again = [options.seed + 1, options.seed + 2].map(is_behind);
            let [one, other] = again;
            behind |= one? || other?;
        }
    }
    if options.check {
        println!(
            "\ncheck: {}",
            if behind {
                "BEHIND, see the lines above"
            } else {
                "passed"
            }
        );
    }
    Ok(!behind)
}
