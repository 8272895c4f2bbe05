//! Each function of libc that is watched, by the call that users make; where Rust's standard
//! library has none, by the function itself.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;
#[path = "functions/files.rs"]
mod files;
#[path = "functions/paths.rs"]
mod paths;
#[path = "functions/processes.rs"]
mod processes;
#[path = "functions/sockets.rs"]
mod sockets;
#[path = "functions/waits.rs"]
mod waits;

use common::is_interposed;
use std::collections::BTreeSet;

/// The function's name, and the report on a poll that does nothing but call it.
type Case = (&'static str, fn() -> String);

/// A lock on a busy machine may be excused: then it is tried again, for as long as it takes
/// to be sure.
fn patiently(report: fn() -> String) -> String {
    for _ in 0..30 {
        if let Ok(report) = std::panic::catch_unwind(report) {
            return report;
        }
    }
    report()
}

fn caught(cases: &[Case]) {
    if !is_interposed() {
        return;
    }
    for (function, report) in cases {
        let report = patiently(*report);
        // The one system call that waits for other threads is told by its own name.
        let told = function.replace("syscall", "futex");
        let starts = format!("a poll made a blocking call: {told}(");
        assert!(report.starts_with(&starts), "{function}: {report}");
        let module = report.contains("in functions::");
        assert!(module, "{function} is not told with its caller: {report}");
        assert!(report.contains("wrap it in `offload_io`"), "{report}");
    }
}

#[test]
fn calls_on_paths_are_caught() {
    caught(paths::CASES);
}

#[test]
fn calls_on_files_are_caught() {
    caught(files::CASES);
}

#[test]
fn calls_on_sockets_are_caught() {
    caught(sockets::CASES);
}

#[test]
fn calls_on_processes_are_caught() {
    caught(processes::CASES);
}

#[test]
fn sleeps_and_waits_are_caught() {
    caught(waits::CASES);
}

#[test]
fn locks_and_channels_are_caught() {
    if !is_interposed() {
        return;
    }
    for (what, report) in waits::MORE {
        let report = patiently(*report);
        let starts = "a poll made a blocking call: futex()";
        assert!(report.starts_with(starts), "{what}: {report}");
        assert!(report.contains("in functions::waits::"), "{what}: {report}");
    }
}

/// A function that is added has to be tested, and a case that is no longer one to go.
#[test]
fn there_is_a_case_for_each_function() {
    let groups = [
        paths::CASES,
        files::CASES,
        sockets::CASES,
        processes::CASES,
        waits::CASES,
    ];
    let cases: BTreeSet<_> = groups.concat().into_iter().map(|(name, _)| name).collect();
    let functions: BTreeSet<_> = offramp_strict::functions().into_iter().collect();
    if is_interposed() {
        assert_eq!(cases, functions);
    }
    println!("{} functions", functions.len());
}
