//! Planted calls of all kinds, under several runtimes: each is reported while it blocks, once,
//! as what it is, and with the right advice.

use super::common::{PATIENCE, alone};
use super::libraries;
use super::planted::{Body, Names, PLANTED, all_are_reported};
use super::scene::Scene;
use offramp::watch::Watch;
use std::time::Duration;

fn all_calls(run: impl Fn(Body)) {
    let scene = Scene::new();
    let own = all_are_reported(&scene, Names::Lines, PLANTED, &run);
    let others = all_are_reported(&scene, Names::Lines, libraries::PLANTED, &run);
    assert!(own + others >= 15, "{own} and {others}");
}

#[test]
fn under_tokio_with_one_thread() {
    alone("calls::under_tokio_with_one_thread", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        all_calls(|body| runtime.block_on(async { tokio::spawn(body).await.unwrap() }));
    });
}

#[test]
fn under_tokio_with_many_threads() {
    alone("calls::under_tokio_with_many_threads", || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).build().unwrap();
        all_calls(|body| runtime.block_on(async { tokio::spawn(body).await.unwrap() }));
        runtime.shutdown_timeout(PATIENCE);
    });
}

#[test]
fn under_smol() {
    alone("calls::under_smol", || {
        all_calls(|body| smol::block_on(smol::spawn(body)));
    });
}

#[test]
fn under_no_runtime() {
    alone("calls::under_no_runtime", || {
        all_calls(pollster::block_on);
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
