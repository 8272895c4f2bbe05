//! Calls of all kinds that block, and what has to be said about each.

#[cfg(panic = "unwind")]
use super::burning::unwind;
use super::burning::{allocate, compute, compute_inlined, sort};
use super::scene::{
    Scene, join_thread, lock_file, lock_mutex, read_fifo, read_socket, receive, run_command, sleep,
};
use offramp::watch::{Phase, Remedy, Report, State};
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

pub(crate) struct Planted {
    pub(crate) name: &'static str,
    /// A watched task that calls it.
    pub(crate) task: fn(Scene, &'static str) -> Body,
    /// Where that is watched.
    pub(crate) file: &'static str,
    /// The function that blocks.
    pub(crate) function: &'static str,
    /// What stacks have to show at least for its name to be there.
    pub(crate) named_with: Names,
    /// Those of which it is in one. Empty: it burns CPU.
    pub(crate) system_calls: &'static [&'static str],
    /// What the report says that it waits on, if anything.
    pub(crate) on: &'static str,
}

macro_rules! planted {
    ($($(#[$cfg:meta])* $name:literal: $function:ident, $named:ident, $system_calls:expr, $on:literal;)*) => {
        &[$($(#[$cfg])* $crate::planted::Planted {
            name: $name,
            task: |scene, name| {
                let task = async move { $function(&scene, name) };
                Box::pin(offramp::watch::Watch::watched(task, name))
            },
            file: file!(),
            function: stringify!($function),
            named_with: $crate::planted::Names::$named,
            system_calls: &$system_calls,
            on: $on,
        },)*]
    };
}
// `detector-tests` has no others.
#[allow(unused_imports)]
pub(crate) use planted;

pub(crate) const PLANTED: &[Planted] = planted! {
    "sleep": sleep, Functions, ["clock_nanosleep", "nanosleep"], "";
    "fifo": read_fifo, Functions, ["read"], "planted.fifo";
    "mutex": lock_mutex, Functions, ["futex"], "";
    "socket": read_socket, Functions, ["recvfrom", "read"], "127.0.0.1";
    "command": run_command, Functions, ["poll", "ppoll", "read"], "";
    "channel": receive, Functions, ["futex"], "";
    "join": join_thread, Functions, ["futex"], "";
    "flock": lock_file, Functions, ["flock"], "planted.lock";
    "compute": compute, Functions, [], "";
    "inlined": compute_inlined, Lines, [], "";
    "sort": sort, Functions, [], "";
    "allocations": allocate, Functions, [], "";
    #[cfg(panic = "unwind")]
    "panics": unwind, Functions, [], "";
};

/// Runs them one after the other, each as a task of its own. Gives their number.
pub(crate) fn all_are_reported(
    scene: &Scene,
    names: Names,
    calls: &[Planted],
    run: impl Fn(Body),
) -> usize {
    let before = scene.stats().incidents;
    for planted in calls {
        run((planted.task)(scene.clone(), planted.name));
        let reports = scene.whole_incident(planted.name);
        check(planted, names, &reports);
        scene.forget();
    }
    let stats = scene.stats();
    let incidents = stats.incidents - before;
    assert_eq!(incidents, calls.len() as u64, "{stats:?}");
    assert_eq!(stats.lost_reports, 0, "{stats:?}");
    calls.len()
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
    assert!(!blocking.is_empty(), "no report while it blocked:\n{text}");
    let with_stack = blocking.iter().find(|report| !report.frames.is_empty());
    let first = with_stack.unwrap_or_else(|| panic!("no stack:\n{text}"));
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
    assert!(task.contains("::PLANTED::"), "{text}");
    let spawned = first.task.watched_at.expect("and a place");
    assert_eq!(spawned.file(), planted.file, "{text}");

    assert!(!first.frames.is_empty(), "{text}");
    if names == Names::None {
        let is_in_module = first.frames.iter().all(|frame| frame.module.is_some());
        assert!(is_in_module, "{text}");
        return;
    }
    let blamed = first.blamed();
    let blamed = blamed.unwrap_or_else(|| panic!("nobody is blamed:\n{text}"));
    let function = blamed.function.as_deref().unwrap_or("");
    // Inlined into its task, it is the task that is named.
    let expected = match planted.named_with == Names::Lines && names == Names::Functions {
        true => "::PLANTED::",
        false => planted.function,
    };
    assert!(function.contains(expected), "{function} in\n{text}");
    let at = advice.at.as_deref().expect("the blamed place");
    if names == Names::Lines {
        assert!(at.contains("tests/watch/"), "{text}");
    }
    assert!(text.contains(at), "{text}");
}
