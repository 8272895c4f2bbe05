//! Calls of all kinds that block, and what has to be said about each.

use super::scene::{
    Block, Scene, compute, join_thread, lock_file, lock_mutex, read_fifo, read_socket, receive,
    run_command, sleep,
};
use offramp::watch::{Phase, Remedy, Report, State, Watch};
use std::future::Future;
use std::pin::Pin;

/// What stacks can show in a build.
// The tests have one, `detector-tests` all.
#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Functions and lines.
    Lines,
    /// Functions that are not inlined.
    Functions,
    /// Nothing.
    None,
}

pub(crate) type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Planted {
    name: &'static str,
    block: Block,
    /// The function that blocks.
    function: &'static str,
    /// Those of which it is in one. Empty: it burns CPU.
    system_calls: &'static [&'static str],
    /// What the report says that it waits on, if anything.
    on: &'static str,
}

macro_rules! planted {
    ($($name:literal: $function:ident, $system_calls:expr, $on:literal;)*) => {
        &[$(Planted {
            name: $name,
            block: $function,
            function: stringify!($function),
            system_calls: &$system_calls,
            on: $on,
        },)*]
    };
}

const PLANTED: &[Planted] = planted! {
    "sleep": sleep, ["clock_nanosleep", "nanosleep"], "";
    "fifo": read_fifo, ["read"], "planted.fifo";
    "mutex": lock_mutex, ["futex"], "";
    "compute": compute, [], "";
    "socket": read_socket, ["recvfrom", "read"], "127.0.0.1";
    "command": run_command, ["poll", "ppoll", "read"], "";
    "channel": receive, ["futex"], "";
    "join": join_thread, ["futex"], "";
    "flock": lock_file, ["flock"], "planted.lock";
};

/// Runs them one after the other, each as a task of its own. Gives their number.
pub(crate) fn all_are_reported(scene: &Scene, names: Names, run: impl Fn(Body)) -> usize {
    let before = scene.stats().incidents;
    for planted in PLANTED {
        let (block, name) = (planted.block, planted.name);
        let inside = scene.clone();
        run(Box::pin(async move { block(&inside, name) }.watched(name)));
        let reports = scene.whole_incident(planted.name);
        check(planted, names, &reports);
        scene.forget();
    }
    let stats = scene.stats();
    let incidents = stats.incidents - before;
    assert_eq!(incidents, PLANTED.len() as u64, "{stats:?}");
    assert_eq!(stats.lost_reports, 0, "{stats:?}");
    PLANTED.len()
}

#[track_caller]
fn check(planted: &Planted, names: Names, reports: &[Report]) {
    let text: String = reports.iter().map(|report| format!("{report}\n")).collect();
    // One incident: its first report, perhaps others at 2, 4 .. times the threshold, its end.
    let (last, blocking) = reports.split_last().unwrap();
    assert_eq!(last.phase, Phase::Over, "{text}");
    let mut before = 0;
    for report in blocking {
        assert_eq!(report.incident, last.incident, "{text}");
        let Phase::Blocking { times } = report.phase else {
            panic!("over before its end:\n{text}");
        };
        assert!(times > before && times.is_power_of_two(), "{text}");
        before = times;
        assert!(report.duration >= report.threshold * times, "{text}");
    }
    let first = blocking.first().expect("a report while it blocked");
    assert!(last.duration >= blocking.last().unwrap().duration, "{text}");

    let advice = first.advice.as_ref().expect("advice");
    if planted.system_calls.is_empty() {
        assert_eq!(first.state, State::BurningCpu, "{text}");
        assert_eq!(advice.wrap_in, Remedy::OffloadCpu, "{text}");
    } else {
        let State::SystemCall(call) = &first.state else {
            panic!("not in a system call:\n{text}");
        };
        assert!(planted.system_calls.contains(&&*call.name), "{text}");
        let on = call.on.as_deref().unwrap_or("");
        assert!(on.contains(planted.on), "{text}");
        assert_eq!(advice.wrap_in, Remedy::OffloadIo, "{text}");
    }
    let task = first.task.type_name.expect("a watched task has a type");
    assert!(task.contains("planted::all_are_reported"), "{text}");
    let spawned = first.task.watched_at.expect("and a place");
    assert!(spawned.file().ends_with("watch/planted.rs"), "{text}");

    assert!(!first.frames.is_empty(), "{text}");
    if names == Names::None {
        let is_in_module = first.frames.iter().all(|frame| frame.module.is_some());
        assert!(is_in_module, "{text}");
        return;
    }
    let blamed = first.blamed().expect("a frame to blame");
    let function = blamed.function.as_deref().unwrap_or("");
    assert!(function.contains(planted.function), "{function} in\n{text}");
    let at = advice.at.as_deref().expect("the blamed place");
    if names == Names::Lines {
        assert!(at.contains("tests/watch/scene.rs:"), "{text}");
    }
    assert!(text.contains(at), "{text}");
}
