//! Planted calls of all kinds, under several runtimes: each is reported while it blocks, once,
//! as what it is, and with the right advice.

use super::common::{PATIENCE, alone};
use super::planted::{Names, all_are_reported};
use super::scene::Scene;
use offramp::watch::Watch;
use std::time::Duration;

#[test]
fn under_tokio_with_one_thread() {
    alone("calls::under_tokio_with_one_thread", || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let scene = Scene::new();
        all_are_reported(&scene, Names::Lines, |body| {
            runtime.block_on(async { tokio::spawn(body).await.unwrap() })
        });
    });
}

#[test]
fn under_tokio_with_many_threads() {
    alone("calls::under_tokio_with_many_threads", || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).build().unwrap();
        let scene = Scene::new();
        all_are_reported(&scene, Names::Lines, |body| {
            runtime.block_on(async { tokio::spawn(body).await.unwrap() })
        });
        runtime.shutdown_timeout(PATIENCE);
    });
}

#[test]
fn under_smol() {
    alone("calls::under_smol", || {
        let scene = Scene::new();
        all_are_reported(&scene, Names::Lines, |body| {
            smol::block_on(smol::spawn(body))
        });
    });
}

#[test]
fn under_no_runtime() {
    alone("calls::under_no_runtime", || {
        let scene = Scene::new();
        all_are_reported(&scene, Names::Lines, pollster::block_on);
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
