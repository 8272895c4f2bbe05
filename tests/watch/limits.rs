//! The same place is not reported again and again, and not everything at once.

use super::common::{PATIENCE, alone, wait_until};
use super::scene::Scene;
use offramp::watch::{Phase, Watch, Watchdog};
use std::thread;
use std::time::{Duration, Instant};

/// Blocks until the watchdog has counted `incidents`.
#[inline(never)]
fn block_until_counted(scene: &Scene, incidents: u64) {
    let start = Instant::now();
    while scene.stats().incidents < incidents && start.elapsed() < PATIENCE / 2 {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_same_place_is_reported_once_and_then_counted() {
    alone(
        "limits::the_same_place_is_reported_once_and_then_counted",
        || {
            let scene = Scene::with(Watchdog::builder());
            for incidents in 1..=3 {
                pollster::block_on(
                    async { block_until_counted(&scene, incidents) }.watched("again"),
                );
            }
            wait_until("the others are counted", || scene.stats().repeated >= 2);
            let reports = scene.whole_incident("again");
            assert!(
                reports
                    .iter()
                    .all(|report| report.incident == reports[0].incident)
            );
            scene.end();
        },
    );
}

#[test]
fn a_place_is_reported_again_after_its_time_and_tells_how_often_meanwhile() {
    alone(
        "limits::a_place_is_reported_again_after_its_time_and_tells_how_often_meanwhile",
        || {
            let scene = Scene::with(Watchdog::builder().repeat_after(Duration::from_secs(2)));
            let mut incidents = 0;
            let mut again = || {
                incidents += 1;
                pollster::block_on(
                    async { block_until_counted(&scene, incidents) }.watched("again"),
                );
            };
            again();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(2) {
                again();
            }
            wait_until("the place is reported again", || {
                again();
                scene
                    .reports_of("again")
                    .iter()
                    .any(|report| report.repeated > 0)
            });
            drop(scene.end());
        },
    );
}

/// Different places, by different functions.
macro_rules! places {
    ($scene:expr, $($name:ident: $incidents:expr,)*) => {
        $(
            #[inline(never)]
            fn $name(scene: &Scene) {
                block_until_counted(scene, $incidents);
            }
            pollster::block_on(async { $name($scene) }.watched(stringify!($name)));
        )*
    };
}

#[test]
fn so_many_reports_per_minute() {
    alone("limits::so_many_reports_per_minute", || {
        let scene = Scene::with(Watchdog::builder().reports_per_minute(2));
        places! { &scene, one: 1, two: 2, three: 3, four: 4, five: 5, }
        wait_until("some are held back", || scene.stats().held_back >= 3);
        let stats = scene.stats();
        let reports = scene.end();
        let blocking = |phase: Phase| phase != Phase::Over;
        let count = reports
            .iter()
            .filter(|report| blocking(report.phase))
            .count();
        // Unless the test takes more than a minute.
        assert_eq!(count, 2, "{stats:?}: {reports:#?}");
    });
}
