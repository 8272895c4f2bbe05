//! Planted calls of all kinds, under several runtimes: each is reported while it blocks, once,
//! as what it is, and with the right advice.

use super::common::{PATIENCE, alone};
use super::scene::{Block, Scene, compute, lock_mutex, read_fifo, read_socket, run_command, sleep};
use offramp::watch::{Phase, Remedy, Report, State, Watch};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Planted {
    name: &'static str,
    block: Block,
    /// The function that blocks, as it is called in the source.
    function: &'static str,
    /// Those of which it is in one. Empty: it burns CPU.
    system_calls: &'static [&'static str],
    /// What the report says that it waits on, if anything.
    on: &'static str,
}

const PLANTED: &[Planted] = &[
    Planted {
        name: "sleep",
        block: sleep,
        function: "scene::sleep",
        system_calls: &["clock_nanosleep", "nanosleep"],
        on: "",
    },
    Planted {
        name: "fifo",
        block: read_fifo,
        function: "scene::read_fifo",
        system_calls: &["read"],
        on: "planted.fifo",
    },
    Planted {
        name: "mutex",
        block: lock_mutex,
        function: "scene::lock_mutex",
        system_calls: &["futex"],
        on: "",
    },
    Planted {
        name: "compute",
        block: compute,
        function: "scene::compute",
        system_calls: &[],
        on: "",
    },
    Planted {
        name: "socket",
        block: read_socket,
        function: "scene::read_socket",
        system_calls: &["recvfrom", "read"],
        on: "127.0.0.1",
    },
    Planted {
        name: "command",
        block: run_command,
        function: "scene::run_command",
        system_calls: &["poll", "read", "ppoll"],
        on: "",
    },
];

/// Runs them one after the other, each as a task of its own.
fn all_are_reported(run: impl Fn(Body)) {
    let scene = Scene::new();
    for planted in PLANTED {
        let (block, name) = (planted.block, planted.name);
        let inside = scene.clone();
        run(Box::pin(async move { block(&inside, name) }.watched(name)));
        let reports = scene.whole_incident(planted.name);
        check(planted, &reports);
    }
    let stats = scene.stats();
    assert!(stats.incidents >= PLANTED.len() as u64, "{stats:?}");
    assert_eq!(stats.lost_reports, 0, "{stats:?}");
    let all = scene.end();
    let stray = all.iter().find(|report| report.task.name.is_none());
    assert!(stray.is_none(), "{}", stray.unwrap());
}

#[track_caller]
fn check(planted: &Planted, reports: &[Report]) {
    let text: String = reports.iter().map(|report| format!("{report}\n")).collect();
    // One incident: its first report, perhaps others at 2, 4 .. times the threshold, its end.
    let (last, blocking) = reports.split_last().unwrap();
    assert_eq!(last.phase, Phase::Over, "{text}");
    let mut before = 0;
    for report in blocking {
        assert_eq!(report.incident, reports[0].incident, "{text}");
        let Phase::Blocking { times } = report.phase else {
            panic!("over before its end:\n{text}");
        };
        assert!(times > before && times.is_power_of_two(), "{text}");
        before = times;
        assert!(report.duration >= report.threshold * times, "{text}");
    }
    assert!(last.duration >= blocking.last().unwrap().duration, "{text}");

    let first = &blocking[0];
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
    assert!(task.contains("watch::calls::all_are_reported"), "{text}");
    let spawned = first.task.watched_at.expect("and a place");
    assert!(spawned.file().ends_with("tests/watch/calls.rs"), "{text}");
    let blamed = first.blamed().expect("a frame to blame");
    let function = blamed.function.as_deref().unwrap_or("");
    assert!(function.contains(planted.function), "{function} in\n{text}");
    let at = advice.at.as_deref().expect("the blamed line");
    assert!(at.contains("tests/watch/scene.rs:"), "{text}");
    assert!(text.contains(at), "{text}");
}

#[test]
fn under_tokio_with_one_thread() {
    alone("calls::under_tokio_with_one_thread", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        all_are_reported(|body| runtime.block_on(async { tokio::spawn(body).await.unwrap() }));
    });
}

#[test]
fn under_tokio_with_many_threads() {
    alone("calls::under_tokio_with_many_threads", || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).build().unwrap();
        all_are_reported(|body| runtime.block_on(async { tokio::spawn(body).await.unwrap() }));
        runtime.shutdown_timeout(PATIENCE);
    });
}

#[test]
fn under_smol() {
    alone("calls::under_smol", || {
        all_are_reported(|body| smol::block_on(smol::spawn(body)));
    });
}

#[test]
fn under_no_runtime() {
    alone("calls::under_no_runtime", || {
        all_are_reported(|body| pollster::block_on(body));
    });
}

/// A call that is short enough is none.
#[test]
fn what_returns_before_the_threshold_is_not_reported() {
    alone(
        "calls::what_returns_before_the_threshold_is_not_reported",
        || {
            let scene = Scene::with(
                offramp::watch::Watchdog::builder().threshold(Duration::from_secs(3600)),
            );
            pollster::block_on(
                async { std::thread::sleep(Duration::from_millis(50)) }.watched("short"),
            );
            assert!(scene.end().is_empty());
        },
    );
}
