//! How late the loop is: a task that asks to be woken every millisecond and notes by how
//! much it was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::future::RemoteHandle;

use crate::event_loop::EventLoop;
use crate::usage;

pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

pub(crate) struct Heartbeat<T> {
    stop: Arc<AtomicBool>,
    beats: T,
}

impl Heartbeat<RemoteHandle<Vec<Duration>>> {
    /// As a task of the loop that this is called on.
    pub(crate) fn start(event_loop: EventLoop) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let beats = event_loop.spawn(beat(event_loop, stop.clone()));
        Heartbeat { stop, beats }
    }

    pub(crate) async fn stop(self) -> Lag {
        self.stop.store(true, Ordering::Relaxed);
        Lag::new(self.beats.await)
    }
}

impl Heartbeat<JoinHandle<Result<(Vec<Duration>, Duration)>>> {
    /// On a second loop, with a thread of its own and nothing else to do. What it misses
    /// is the machine's doing; what the first one misses beyond that is due to what runs
    /// on it.
    pub(crate) fn beside(event_loop: EventLoop) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let beat = beat(event_loop, stop.clone());
        let beats = std::thread::Builder::new()
            .name("idle-loop".to_owned())
            .spawn(move || Ok((event_loop.single().block_on(beat)?, usage::thread_cpu())))
            .context("cannot start the idle loop's thread")?;
        Ok(Heartbeat { stop, beats })
    }

    /// Its lags, and the CPU time that it took: not the sessions'.
    pub(crate) fn end(self) -> Result<(Lag, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self
            .beats
            .join()
            .map_err(|_| anyhow!("the idle loop panicked"))?;
        ended.map(|(lags, cpu)| (Lag::new(lags), cpu))
    }
}

async fn beat(event_loop: EventLoop, stop: Arc<AtomicBool>) -> Vec<Duration> {
    // Room for a minute: growing in the middle would be lag of our own making.
    let mut lags = Vec::with_capacity(60_000);
    while !stop.load(Ordering::Relaxed) {
        let asleep = Instant::now();
        event_loop.sleep(INTERVAL).await;
        lags.push(asleep.elapsed().saturating_sub(INTERVAL));
    }
    lags
}

/// The lags of a run, smallest first.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    sorted: Vec<Duration>,
}

impl Lag {
    pub(crate) fn new(mut lags: Vec<Duration>) -> Lag {
        lags.sort_unstable();
        Lag { sorted: lags }
    }

    /// Both runs' beats together.
    pub(crate) fn and(self, other: Lag) -> Lag {
        Lag::new([self.sorted, other.sorted].concat())
    }

    pub(crate) fn beats(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn p999(&self) -> Duration {
        percentile(&self.sorted, 0.999)
    }

    pub(crate) fn max(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}

/// Nearest rank: the smallest value that at least `share` of all values do not exceed.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 0.5), Duration::from_millis(500));
        assert_eq!(percentile(&values, 0.999), Duration::from_millis(999));
        assert_eq!(percentile(&values[..3], 0.99), Duration::from_millis(3));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
