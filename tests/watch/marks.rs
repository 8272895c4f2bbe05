//! Which poll is meant: nested ones, ones that panic, ones that are allowed to block.

use super::common::{alone, wait_until};
use super::scene::{Scene, sleep};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use offramp::watch::{Phase, Watch, unwatched};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

#[test]
fn the_innermost_of_nested_polls_is_named() {
    alone("marks::the_innermost_of_nested_polls_is_named", || {
        let scene = Scene::new();
        let task = async {
            async {}.watched("before").await;
            async { sleep(&scene, "inner") }.watched("inner").await;
            async {}.watched("after").await;
            // The same poll still, and so the same incident; but after the inner one.
            let is_over = |report: &offramp::watch::Report| report.phase == Phase::Over;
            assert!(!scene.reports().iter().any(is_over));
        };
        pollster::block_on(task.watched("outer"));
        let reports = scene.whole_incident("inner");
        assert!(scene.reports_of("before").is_empty());
        assert!(scene.reports_of("after").is_empty());
        let incidents: Vec<_> = scene.end().iter().map(|report| report.incident).collect();
        assert!(
            incidents
                .iter()
                .all(|&incident| incident == reports[0].incident)
        );
    });
}

/// Each of them is short, all together are not: the loop is blocked.
#[test]
fn one_poll_of_many_short_ones_is_one_poll() {
    alone("marks::one_poll_of_many_short_ones_is_one_poll", || {
        let scene = Scene::new();
        let part = |_| async { thread::sleep(Duration::from_millis(2)) }.watched("part");
        let whole = async {
            while scene.reports().is_empty() {
                let parts: FuturesUnordered<_> = (0..16).map(part).collect();
                parts.collect::<Vec<()>>().await;
            }
        };
        pollster::block_on(whole.watched("whole"));
        wait_until("it is over", || {
            scene
                .reports()
                .iter()
                .any(|report| report.phase == Phase::Over)
        });
        let names: Vec<_> = scene.end().iter().map(|report| report.task.name).collect();
        let is_known = |name: &Option<_>| [Some("part"), Some("whole")].contains(name);
        assert!(names.iter().all(is_known), "{names:?}");
    });
}

#[test]
fn a_poll_that_panics_is_over() {
    alone("marks::a_poll_that_panics_is_over", || {
        let scene = Scene::new();
        let inner = async {
            sleep(&scene, "panics");
            panic!("as planned");
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pollster::block_on(async { inner.watched("panics").await }.watched("around"));
        }));
        assert!(outcome.is_err());
        scene.whole_incident("panics");
        // Outside of all polls.
        thread::sleep(Duration::from_millis(200));
        let incidents = scene.stats().incidents;
        assert_eq!(incidents, 1);
        pollster::block_on(async { sleep(&scene, "next") }.watched("next"));
        scene.whole_incident("next");
        scene.end();
    });
}

#[test]
fn what_is_meant_to_block_is_not_reported() {
    alone("marks::what_is_meant_to_block_is_not_reported", || {
        let scene = Scene::new();
        let task = async {
            let slept = unwatched(|| {
                thread::sleep(Duration::from_millis(300));
                // A poll inside of it is one again.
                pollster::block_on(async { sleep(&scene, "inside") }.watched("inside"));
                thread::sleep(Duration::from_millis(300));
                "slept"
            });
            assert_eq!(slept, "slept");
            scene.whole_incident("inside");
            assert_eq!(scene.stats().incidents, 1);
            // And after it the poll goes on.
            sleep(&scene, "outside");
        };
        pollster::block_on(task.watched("outside"));
        scene.whole_incident("outside");
        assert_eq!(unwatched(|| 1), 1);
        scene.end();
    });
}

#[test]
fn block_in_place_is_allowed_to_block() {
    alone("marks::block_in_place_is_allowed_to_block", || {
        let scene = Scene::new();
        let inside = scene.clone();
        let task = async move {
            tokio::task::block_in_place(|| {
                // Long ones: what has gone on when it is looked at has no stack, which tells.
                while inside.stats().allowed == 0 {
                    thread::sleep(Duration::from_millis(500));
                }
            });
        };
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).build().unwrap();
        let task = task.watched("in place");
        runtime.block_on(async { tokio::spawn(task).await.unwrap() });
        drop(runtime);
        let reports = scene.end();
        assert!(reports.is_empty(), "{}", reports[0]);
    });
}
