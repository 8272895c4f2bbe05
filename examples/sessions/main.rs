//! An agent server as it is in the field: every session fetches a document, reads and
//! embeds a knowledge file, keeps its turns in SQLite, asks a language model through a
//! client that only knows sync calls, and saves its state.
//!
//! The same sessions run twice: with the sync calls straight on the event loop, and with
//! each of them wrapped in `offload_io` or `offload_cpu`. The two versions stand one
//! below the other in `session.rs`.
//!
//! ```text
//! cargo run --release --example sessions
//! cargo run --release --example sessions -- --sessions 100 --mode offloaded
//! cargo run --release --example sessions -- --check
//! ```

mod advice;
mod args;
mod bench;
mod check;
mod corpus;
mod embed;
mod event_loop;
mod heartbeat;
mod legacy_sdk;
mod observer;
mod plan;
mod report;
mod run;
mod service;
mod session;
mod steps;
mod store;
mod usage;

use std::process::ExitCode;

use anyhow::ensure;
use args::{Args, Task};
use bench::Bench;
use run::{Mode, Scope};

fn main() -> ExitCode {
    let outcome = args::parse().and_then(|args| match &args.task {
        Task::Help => {
            print!("{}", args::USAGE);
            Ok(true)
        }
        Task::Serve(address) => service::serve(address, args.plan).map(|()| true),
        Task::Check => check::check(&args),
        Task::Run => compare(&args).map(|()| true),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(advice) = advice::advice(&error) {
                eprintln!("help: {advice}");
            }
            ExitCode::from(2)
        }
    }
}

/// The default: one table, both ways side by side.
fn compare(args: &Args) -> anyhow::Result<()> {
    let bench = Bench::prepare(args, args.plan)?;
    println!("{}\n", report::heading(args, &bench));
    let ids: Vec<usize> = (0..args.sessions).collect();
    let mut columns = Vec::new();
    for &mode in args.modes {
        columns.push((mode, bench.run(mode, Scope::Whole, &ids)?));
    }
    println!();
    print!("{}", report::table(&columns));
    if let [(Mode::Blocked, before), (Mode::Offloaded, after)] = &columns[..] {
        ensure!(
            before.answers == after.answers,
            "the two ways gave different answers"
        );
        print!("{}", report::comparison(before, after));
    }
    Ok(())
}
