//! Futures on other threads than the test's.
#![cfg(all(
    feature = "tokio",
    feature = "smol",
    target_os = "linux",
    target_env = "gnu"
))]

mod common;

use common::{is_interposed, report_with};
use offramp_strict::{Flavor, Options, spawn, watch};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const WORKERS: Flavor = Flavor::MultiThread { workers: Some(2) };

#[inline(never)]
fn nap() {
    thread::sleep(Duration::from_millis(1));
    // No tail call, which would not be on the stack.
    std::hint::black_box(());
}

async fn blocks() {
    nap();
}

#[test]
fn a_task_of_tokio_that_blocks_fails_the_run() {
    if !is_interposed() {
        return;
    }
    for flavor in [Flavor::CurrentThread, WORKERS] {
        let report = report_with(Options::new().flavor(flavor), async {
            spawn(blocks()).await
        });
        assert!(
            report.starts_with("a poll made a blocking call: "),
            "{report}"
        );
        assert!(report.contains("in tasks::nap\n"), "{report}");
        assert!(report.contains("polled: tasks::blocks::"), "{report}");
    }
}

#[test]
fn also_if_nobody_looks_at_it() {
    if !is_interposed() {
        return;
    }
    let report = report_with(Options::new().flavor(WORKERS), async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(async move {
            blocks().await;
            let _ = sender.send(());
        });
        let _ = receiver.await;
    });
    assert!(report.contains("in tasks::nap\n"), "{report}");
}

/// What the test waits for never comes: it fails at once all the same.
#[test]
fn a_test_that_waits_for_ever_is_failed() {
    if !is_interposed() {
        return;
    }
    let (done, failed) = mpsc::channel();
    thread::spawn(move || {
        let report = report_with(Options::new().flavor(WORKERS), async {
            spawn(blocks());
            std::future::pending::<()>().await;
        });
        done.send(report)
    });
    let report = failed.recv_timeout(Duration::from_secs(20));
    let report = report.expect("it ends");
    assert!(report.contains("in tasks::nap\n"), "{report}");
}

#[test]
fn a_task_of_smol_that_blocks_fails_the_run() {
    if !is_interposed() {
        return;
    }
    let report = report_with(Options::new().flavor(Flavor::Smol), async {
        let _task = smol::spawn(watch(blocks()));
        std::future::pending::<()>().await;
    });
    assert!(report.contains("in tasks::nap\n"), "{report}");
}

/// A task takes the options of the test that it is spawned in, and those that it spawns do.
#[test]
fn options_go_with_tasks() {
    let options = Options::new().flavor(WORKERS);
    let options = options.allow_in("tasks::nap", "a test of it");
    options.run(async {
        let inner = async { spawn(blocks()).await };
        spawn(inner).await.unwrap().unwrap();
    });
}

#[test]
fn a_task_without_a_test_fails_by_itself() {
    if !is_interposed() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let task = runtime.block_on(async { tokio::spawn(watch(blocks())).await });
    let message = common::message(task.unwrap_err().into_panic());
    assert!(message.contains("in tasks::nap\n"), "{message}");
}

/// What is not watched is not: its own poll is another one.
#[test]
fn a_plain_task_is_not_looked_at() {
    for flavor in [Flavor::CurrentThread, WORKERS] {
        Options::new().flavor(flavor).run(async {
            tokio::spawn(blocks()).await.unwrap();
            tokio::task::spawn_blocking(|| thread::sleep(Duration::from_millis(1)))
                .await
                .unwrap();
        });
    }
}

/// Tests of one process at once, of which every second one blocks: each gets its own report,
/// and nobody another's.
#[test]
fn tests_do_not_hear_of_each_other() {
    if !is_interposed() {
        return;
    }
    let failed = Arc::new(AtomicUsize::new(0));
    let tests: Vec<_> = (0..16)
        .map(|number| {
            let failed = failed.clone();
            thread::spawn(move || {
                for round in 0..20 {
                    let options = Options::new().flavor(WORKERS);
                    let time = Duration::from_nanos(1_000 * number + round + 1);
                    let test = async move {
                        let mut sum = 0;
                        for _ in 0..10 {
                            sum += spawn(async { 1 }).await.unwrap();
                        }
                        assert_eq!(sum, 10);
                        if number % 2 == 0 {
                            thread::sleep(time);
                        }
                    };
                    if number % 2 == 0 {
                        let report = report_with(options, test);
                        let starts =
                            format!("a poll made a blocking call: clock_nanosleep({time:?})");
                        assert!(report.starts_with(&starts), "{report}");
                        assert!(!report.contains("more in this poll"), "{report}");
                        failed.fetch_add(1, SeqCst);
                    } else {
                        options.run(test);
                    }
                }
            })
        })
        .collect();
    for test in tests {
        test.join().unwrap();
    }
    assert_eq!(failed.load(SeqCst), 8 * 20);
}
