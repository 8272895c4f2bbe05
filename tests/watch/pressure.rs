//! What is nobody's fault, or no fault at all, is not reported.

use super::common::{PATIENCE, alone, pin_to};
use super::scene::Scene;
use offramp::watch::{LagMonitor, Watch, watch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One CPU, and many threads that want it: a poll that needs a little of it takes long.
#[test]
fn host_pressure_is_counted_and_nobody_is_blamed() {
    alone(
        "pressure::host_pressure_is_counted_and_nobody_is_blamed",
        || {
            pin_to(1);
            let scene = Scene::new();
            let is_over = Arc::new(AtomicBool::new(false));
            let hogs: Vec<_> = (0..6)
                .map(|_| {
                    let is_over = Arc::clone(&is_over);
                    thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
                })
                .collect();
            let start = Instant::now();
            while scene.stats().host_pressure < 3 {
                assert!(start.elapsed() < PATIENCE / 2, "{:?}", scene.stats());
                // Less than the threshold on a CPU of its own.
                pollster::block_on(
                    async {
                        let begin = cpu_time();
                        while cpu_time() - begin < Duration::from_millis(12) {}
                    }
                    .watched("a little work"),
                );
            }
            is_over.store(true, Ordering::Relaxed);
            for hog in hogs {
                hog.join().unwrap();
            }
            let stats = scene.stats();
            let reports = scene.end();
            assert!(reports.is_empty(), "{stats:?}: {}", reports[0]);
        },
    );
}

/// Of this thread.
pub(super) fn cpu_time() -> Duration {
    // SAFETY: all zeroes is a time, which the call writes.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `time` is ours.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(got, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Timers, channels, computing in small pieces, blocking calls where they belong.
#[test]
fn a_program_that_behaves_is_not_reported() {
    alone("pressure::a_program_that_behaves_is_not_reported", || {
        let scene = Scene::new();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let monitor = LagMonitor::builder("behaved").build().unwrap();
        runtime.block_on(async {
            tokio::spawn(monitor.heartbeat());
            let until = Instant::now() + Duration::from_secs(2);
            let tasks: Vec<_> = (0..8)
                .map(|number| tokio::spawn(watch(behave(number, until))))
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        drop(runtime);
        let stats = scene.stats();
        assert!(stats.threads <= 3, "{stats:?}");
        let reports = scene.end();
        assert!(reports.is_empty(), "{stats:?}: {}", reports[0]);
        assert_eq!(stats.incidents, 0);
    });
}

async fn behave(number: u64, until: Instant) {
    let (near, mut far) = tokio::sync::mpsc::channel(1);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1 + number)).await;
        let pause = Duration::from_millis(60);
        offramp::offload_io(move || thread::sleep(pause))
            .await
            .unwrap();
        let sum = offramp::offload_cpu(move || (0..3_000_000u64).fold(0, |a, b| a ^ b)).await;
        near.send(sum.unwrap()).await.unwrap();
        far.recv().await.unwrap();
        for _ in 0..100 {
            std::hint::black_box((0..1_000u64).sum::<u64>());
            tokio::task::yield_now().await;
        }
    }
}
