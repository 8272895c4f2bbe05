//! Start, stop, and threads that come and go.

use super::common::{Gate, PATIENCE, alone, wait_until};
use super::scene::{Scene, sleep};
use offramp::watch::{StartError, Watch, Watchdog, watch};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn one_watchdog_at_a_time() {
    alone("lifecycle::one_watchdog_at_a_time", || {
        let first = Watchdog::builder().start().unwrap();
        let second = Watchdog::builder().start();
        assert!(matches!(second, Err(StartError::AlreadyRunning)));
        assert!(second.unwrap_err().to_string().contains("already"));
        drop(first);
        for _ in 0..10 {
            let next = Watchdog::builder().start().unwrap();
            assert!(!next.mode().is_empty());
        }
        let last = Scene::new();
        pollster::block_on(async { sleep(&last, "last") }.watched("last"));
        last.whole_incident("last");
        last.end();
    });
}

#[test]
fn settings_out_of_range_are_named() {
    let zero = Duration::ZERO;
    for (builder, setting) in [
        (Watchdog::builder().threshold(zero), "threshold"),
        (Watchdog::builder().threshold(Duration::MAX), "threshold"),
        (
            Watchdog::builder().reports_per_minute(0),
            "reports_per_minute",
        ),
    ] {
        match builder.start() {
            Err(StartError::Config(error)) => assert_eq!(error.setting(), setting),
            other => panic!("{setting}: {other:?}"),
        }
    }
    for every in [zero, Duration::MAX] {
        let error = offramp::watch::LagMonitor::builder("x")
            .every(every)
            .build()
            .unwrap_err();
        assert_eq!(error.setting(), "every");
    }
}

/// Even while an output blocks.
#[test]
fn dropping_it_does_not_wait() {
    alone("lifecycle::dropping_it_does_not_wait", || {
        let (reported, reports) = mpsc::channel();
        let gate = Gate::new();
        let blocked = gate.clone();
        let output = move |_: &offramp::watch::Report| {
            reported.send(()).unwrap();
            blocked.pass();
        };
        let watchdog = Watchdog::builder().report_to(output).start().unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let polling = thread::spawn(move || {
            pollster::block_on(watch(async { held.recv() })).unwrap_err();
        });
        reports.recv_timeout(PATIENCE).expect("a report");
        // It would hang here: the gate is closed.
        drop(watchdog);
        let next = Watchdog::builder().start().unwrap();
        assert!(next.stop(PATIENCE), "nothing is left to be written");
        drop(hold);
        polling.join().unwrap();
        gate.open();
    });
}

#[test]
fn a_stop_waits_for_the_last_report_but_not_for_ever() {
    alone(
        "lifecycle::a_stop_waits_for_the_last_report_but_not_for_ever",
        || {
            let (reported, reports) = mpsc::channel();
            let gate = Gate::new();
            let blocked = gate.clone();
            let output = move |_: &offramp::watch::Report| {
                reported.send(()).unwrap();
                blocked.pass();
            };
            let watchdog = Watchdog::builder().report_to(output).start().unwrap();
            pollster::block_on(watch(async {
                reports.recv_timeout(PATIENCE).expect("a report");
            }));
            assert!(
                !watchdog.stop(Duration::from_millis(20)),
                "it is at the gate"
            );
            gate.open();
        },
    );
}

#[test]
fn nothing_is_reported_after_a_stop() {
    alone("lifecycle::nothing_is_reported_after_a_stop", || {
        let scene = Scene::new();
        pollster::block_on(async { sleep(&scene, "before") }.watched("before"));
        let count = scene.whole_incident("before").len();
        let reports = scene.end();
        assert_eq!(reports.len(), count);
        pollster::block_on(async { thread::sleep(Duration::from_millis(100)) }.watched("after"));
        let next = Scene::new();
        assert!(next.end().is_empty());
    });
}

/// Threads that end while they are looked at, or a moment after, with a watchdog that looks
/// all the time.
#[test]
fn threads_come_and_go() {
    alone("lifecycle::threads_come_and_go", || {
        let builder = Watchdog::builder().threshold(Duration::from_millis(1));
        let scene = Scene::with(builder.reports_per_minute(1_000_000));
        for round in 0..20 {
            let threads: Vec<_> = (0..16)
                .map(|number| {
                    thread::spawn(move || {
                        pollster::block_on(watch(async move {
                            thread::sleep(Duration::from_micros(300 * (number + round)));
                        }));
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        // This thread has polled nothing.
        wait_until("all have left", || scene.stats().threads == 0);
        assert!(scene.stats().incidents > 0, "{:?}", scene.stats());
        scene.end();
    });
}

#[test]
fn an_idle_watchdog_sleeps_and_the_next_poll_wakes_it() {
    alone(
        "lifecycle::an_idle_watchdog_sleeps_and_the_next_poll_wakes_it",
        || {
            let scene = Scene::new();
            wait_until("its thread runs", || switches_of("offramp-watch").is_some());
            for name in ["first", "second", "third"] {
                // Far longer than it stays awake.
                let before = switches_of("offramp-watch").unwrap();
                thread::sleep(Duration::from_secs(2));
                let idle = switches_of("offramp-watch").unwrap() - before;
                // It looks every 12.5 ms while it is awake, which makes 160; 8 more before it
                // goes to sleep, and then one each second.
                assert!(idle < 40, "{idle} looks before {name}");
                pollster::block_on(async { sleep(&scene, name) }.watched(name));
                scene.whole_incident(name);
            }
            scene.end();
        },
    );
}

/// How often the thread of this name went to sleep so far.
fn switches_of(name: &str) -> Option<u64> {
    // A listing may leave a thread out while another one ends.
    (0..10).find_map(|_| {
        let mut tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks.find_map(|task| {
            let path = task.unwrap().path();
            let comm = std::fs::read_to_string(path.join("comm")).ok()?;
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let mut lines = status.lines().filter(|_| comm.trim_end() == name);
            let line = lines.find(|line| line.starts_with("voluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
    })
}
