//! offramp beside its peers: what one job costs, measured in the same process, round by round.
//!
//! ```text
//! cargo bench --bench peers                      # every table: a quarter of an hour
//! cargo bench --bench peers -- --check           # fails, naming each row that falls short
//! cargo bench --bench peers -- --quick --check   # the key rows, in a minute
//! cargo bench --bench peers -- --csv samples.csv --pictures docs/img
//! cargo bench --bench peers -- --help
//! ```
//!
//! A run is several *passes* (`passes.rs`), each in a process of its own, because what is interleaved disturbs each
//! other in some ways that belong to none of it:
//!
//! - rayon's idle threads call `sched_yield`, which changes the scheduling of everybody else's (seen on one CPU: a factor
//!   of two, either way), so the pools for CPU work are apart;
//! - the pool of `blocking` is global, so its default size and its cap are apart;
//! - on one CPU no wake-up crosses CPUs. On virtual machines that crossing costs anything from 1 to 60 us and drowns
//!   the pools' own cost.
//!
//! Inside a pass, a *cell* (`cells.rs`) is one load. Its rounds are interleaved: each round runs every implementation
//! once, in shuffled order, and a ratio is formed inside the round, so a disturbance hits both sides of it. The rounds of
//! a cell are spread over the whole pass. What stays the same for a process' life (where its memory and threads lie) is
//! not averaged over, so a row (`targets.rs`) that falls short under `--check` is measured again, in new processes, and
//! counts as short if it is in two of three.

use std::process::ExitCode;

use crate::args::{Action, Options};

#[path = "peers/args.rs"]
mod args;
#[path = "peers/bare.rs"]
mod bare;
#[path = "peers/cells.rs"]
mod cells;
#[path = "peers/futexes.rs"]
mod futexes;
#[path = "peers/hogs.rs"]
mod hogs;
#[path = "peers/jobs.rs"]
mod jobs;
#[path = "peers/load.rs"]
mod load;
#[path = "common/machine.rs"]
mod machine;
#[path = "peers/outcome.rs"]
mod outcome;
#[path = "peers/passes.rs"]
mod passes;
#[path = "peers/pictures.rs"]
mod pictures;
// The other benches use the rest of them.
#[allow(dead_code)]
#[path = "common/pools.rs"]
mod pools;
#[path = "peers/push.rs"]
mod push;
#[path = "peers/report.rs"]
mod report;
#[path = "peers/runtimes.rs"]
mod runtimes;
#[path = "peers/sample.rs"]
mod sample;
#[path = "peers/session.rs"]
mod session;
#[allow(dead_code)]
#[path = "common/stats.rs"]
mod stats;
#[path = "peers/subjects.rs"]
mod subjects;
#[path = "peers/suite.rs"]
mod suite;
#[path = "peers/targets.rs"]
mod targets;
#[path = "peers/verdict.rs"]
mod verdict;
#[path = "peers/yields.rs"]
mod yields;

/// Threads of the two CPU pools.
const CPU_THREADS: usize = 2;
/// Worker threads of each runtime that has such.
const RUNTIME_WORKERS: usize = 2;

/// Exit code of a run in which offramp fell short.
const SHORT: u8 = 1;
/// Exit code of a run that could not be made.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let outcome = match args::parse() {
        Ok(Action::Help) => {
            print!("{}\npasses:\n", args::HELP);
            for pass in passes::Pass::ALL {
                println!("  {:<15} {}", pass.name(), pass.title());
            }
            Ok(true)
        }
        Ok(Action::Burn) => {
            hogs::burn();
            Ok(true)
        }
        Ok(Action::Run(options)) => match &options.samples {
            Some(_) => run_pass(&options).map(|()| true),
            None => session::run(&options),
        },
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(SHORT),
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// One pass, in this process.
fn run_pass(options: &Options) -> Result<(), String> {
    let (Some(path), [pass]) = (&options.samples, &options.passes[..]) else {
        return Err("samples are those of one pass".into());
    };
    // Before the first thread: they inherit the mask.
    let outcomes = match machine::pin_to(pass.cpus()) {
        // Two are as many as there are, or the bench says how many.
        Err(error) if pass.cpus() == 1 => {
            println!("\n== {}: left out: {error} ==", pass.name());
            Vec::new()
        }
        _ => suite::run(*pass, options)?,
    };
    outcome::write(path, &[(0, outcomes)])
}
