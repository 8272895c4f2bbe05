//! The lag monitor, on several runtimes.

use super::common::{alone, wait_until, watchdog};
use futures::future::{Either, select};
use offramp::watch::LagMonitor;
use std::future::Future;
use std::pin::{Pin, pin};
use std::thread;
use std::time::Duration;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

const BLOCKED: Duration = Duration::from_millis(400);

/// A heartbeat beats while the loop is free, and tells of a call that blocks it.
fn measures(spawn: impl FnOnce(Body), run: impl FnOnce(Body)) {
    let monitor = LagMonitor::builder("test").build().unwrap();
    spawn(Box::pin(monitor.heartbeat()));
    run(Box::pin(async move {
        while monitor.lag().beats < 5 {
            yield_now().await;
        }
        monitor.reset();
        assert_eq!(
            (monitor.lag().beats, monitor.lag().max),
            (0, Duration::ZERO)
        );
        while monitor.lag().beats == 0 {
            yield_now().await;
        }
        thread::sleep(BLOCKED);
        let beats = monitor.lag().beats;
        while monitor.lag().beats == beats {
            yield_now().await;
        }
        let lag = monitor.lag();
        // The beat was due some 15 ms into the sleep, at the latest.
        assert!(lag.max >= BLOCKED / 2, "{lag}");
        assert!(lag.p50 <= lag.p99 && lag.p99 <= lag.max, "{lag}");
        // It stands for the beats that could not be made meanwhile.
        assert!(lag.p99 >= BLOCKED / 8, "{lag}");
    }));
}

async fn yield_now() {
    let mut is_second = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_second, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn on_tokio() {
    let _watchdog = watchdog("a lag monitor on tokio");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    measures(
        |body| drop(runtime.spawn(body)),
        |body| runtime.block_on(body),
    );
}

#[test]
fn on_smol() {
    let _watchdog = watchdog("a lag monitor on smol");
    let executor = smol::LocalExecutor::new();
    measures(
        |body| executor.spawn(body).detach(),
        |body| smol::block_on(executor.run(body)),
    );
}

#[test]
fn on_the_block_on_of_futures() {
    let _watchdog = watchdog("a lag monitor on futures");
    let mut pool = futures::executor::LocalPool::new();
    let spawner = pool.spawner();
    use futures::task::LocalSpawnExt;
    measures(
        |body| spawner.spawn_local(body).unwrap(),
        |body| pool.run_until(body),
    );
}

#[test]
fn a_heartbeat_ends_with_its_monitor() {
    let _watchdog = watchdog("the end of a heartbeat");
    let monitor = LagMonitor::builder("ends").build().unwrap();
    let mut beat = pin!(monitor.heartbeat());
    {
        let other = pin!(async {
            while monitor.lag().beats == 0 {
                yield_now().await;
            }
        });
        let first = pollster::block_on(select(&mut beat, other));
        assert!(
            matches!(first, Either::Right(_)),
            "it ended before its monitor"
        );
    }
    drop(monitor);
    pollster::block_on(beat);
}

/// Lines for the log, at most one a second, of the worst.
#[test]
fn late_beats_are_logged() {
    alone("lag::late_beats_are_logged", || {
        use std::sync::Mutex;
        static LINES: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());
        struct Lines;
        impl log::Log for Lines {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                let line = (record.level(), record.args().to_string());
                LINES.lock().unwrap().push(line);
            }
            fn flush(&self) {}
        }
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        let monitor = LagMonitor::builder("logged");
        let monitor = monitor
            .debug_above(Duration::from_millis(1))
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.spawn(monitor.heartbeat());
        let has = |level| LINES.lock().unwrap().iter().any(|line| line.0 == level);
        wait_until("there are both kinds", || {
            runtime.block_on(async {
                // Not late enough for a warning, as a rule; then late enough.
                for pause in [10, 300] {
                    let beats = monitor.lag().beats;
                    while monitor.lag().beats == beats {
                        tokio::task::yield_now().await;
                    }
                    thread::sleep(Duration::from_millis(pause + 15));
                    // The log takes one line a second.
                    let until = std::time::Instant::now() + Duration::from_millis(1_100);
                    while std::time::Instant::now() < until {
                        tokio::task::yield_now().await;
                    }
                }
            });
            has(log::Level::Warn) && has(log::Level::Debug)
        });
        let lines = LINES.lock().unwrap();
        assert!(
            lines.iter().all(|(_, line)| line.contains("`logged`")),
            "{lines:?}"
        );
    });
}
