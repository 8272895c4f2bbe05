//! How late an event loop is: a task of it asks to be woken every millisecond.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const BEAT: Duration = Duration::from_millis(1);

/// Runs `work` on the present loop, which has to be of one thread, beside the heartbeat.
/// Gives its output, and how late the latest beat was.
pub(crate) async fn lag_during<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let is_over = Arc::new(AtomicBool::new(false));
    let beats = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let mut worst = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                sleep(BEAT).await;
                worst = worst.max(asleep.elapsed().saturating_sub(BEAT));
            }
            worst
        }
    });
    // The first beat is on its way before the work begins.
    sleep(BEAT).await;
    let output = work.await;
    is_over.store(true, Ordering::Relaxed);
    (output, beats.await.expect("the heartbeat does not panic"))
}
