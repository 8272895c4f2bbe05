//! Runs sessions in one of the two ways and measures them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{FutureExt, join_all};
use offramp::{Backlog, Offload};

use crate::bench::Bench;
use crate::event_loop::EventLoop;
use crate::heartbeat::{self, Heartbeat, Lag};
use crate::observer::Observer;
use crate::session::{blocked, blocked_calls, offloaded, offloaded_calls};
use crate::steps::{Meter, Session};
use crate::usage;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Blocked,
    Offloaded,
}

/// Which steps: all of them, or the calls to the service alone, (a) and (e).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Whole,
    Calls,
}

pub(crate) struct Measured {
    pub(crate) wall: Duration,
    /// From the common start to each session's end, smallest first.
    pub(crate) latencies: Vec<Duration>,
    /// Each session's time in the service, one call after the other.
    pub(crate) in_service: Vec<Duration>,
    pub(crate) lag: Lag,
    /// Of the idle loop beside it, at the same time.
    pub(crate) idle_lag: Lag,
    /// Of the whole process, its service included, less the idle loop beside it.
    pub(crate) cpu: Duration,
    pub(crate) embedding: Duration,
    pub(crate) threads: Option<usize>,
    pub(crate) failures: u32,
    /// By session; the same in both ways, or something is wrong.
    pub(crate) answers: Vec<String>,
}

impl Bench {
    /// Starts the sessions `ids` at once, on one loop, and waits for all of them.
    pub(crate) fn run(&self, mode: Mode, scope: Scope, ids: &[usize]) -> Result<Measured> {
        let event_loop = self.event_loop;
        let shared = self.shared()?;
        let offload = Offload::builder()
            .io_max_threads(self.io_threads)
            .cpu_threads(usage::cores())
            .build()
            .context("cannot set up the pools")?;
        let title = format!("{mode:?}, {}", event_loop.name()).to_lowercase();
        let observer = Observer::start(title, ids.len())?;
        let beside = Heartbeat::beside(event_loop)?;
        let cpu = usage::process_cpu();

        let (wall, lag, ended) = event_loop.block_on(async {
            let heartbeat = Heartbeat::start(event_loop);
            // A few beats first: a loop that is blocked from the start would show no beat
            // that came late.
            event_loop.sleep(heartbeat::INTERVAL * 5).await;
            let start = Instant::now();
            let sessions = ids.iter().map(|&id| {
                let meter = Arc::new(Meter::default());
                let session = Session {
                    id,
                    shared: shared.clone(),
                    meter: meter.clone(),
                };
                let work = work(mode, scope, session, offload.clone(), event_loop);
                let progress = observer.progress();
                event_loop.spawn(async move {
                    let answer = work.await;
                    progress.one_more();
                    Ended {
                        answer,
                        latency: start.elapsed(),
                        meter,
                    }
                })
            });
            let ended = join_all(sessions.collect::<Vec<_>>()).await;
            let wall = start.elapsed();
            let lag = heartbeat.stop().await;
            offload.shutdown(None, Backlog::Drain).await;
            (wall, lag, ended)
        })?;

        let threads = observer.stop();
        let (idle_lag, idle_cpu) = beside.end()?;
        let cpu = (usage::process_cpu() - cpu).saturating_sub(idle_cpu);
        let failed = ended
            .iter()
            .filter(|session| session.answer.is_err())
            .count();
        let mut measured = Measured {
            wall,
            latencies: ended.iter().map(|session| session.latency).collect(),
            in_service: ended
                .iter()
                .map(|session| session.meter.in_service())
                .collect(),
            lag,
            idle_lag,
            cpu,
            embedding: ended.iter().map(|session| session.meter.embedding()).sum(),
            threads,
            failures: ended.iter().map(|session| session.meter.failures()).sum(),
            answers: ended
                .into_iter()
                .map(|session| session.answer)
                .collect::<Result<_>>()
                .with_context(|| format!("{failed} of {} sessions failed", ids.len()))?,
        };
        measured.latencies.sort_unstable();
        Ok(measured)
    }
}

struct Ended {
    answer: Result<String>,
    latency: Duration,
    meter: Arc<Meter>,
}

fn work(
    mode: Mode,
    scope: Scope,
    session: Session,
    offload: Offload,
    event_loop: EventLoop,
) -> impl Future<Output = Result<String>> + Send {
    match (mode, scope) {
        (Mode::Blocked, Scope::Whole) => blocked(session).boxed(),
        (Mode::Blocked, Scope::Calls) => blocked_calls(session).boxed(),
        (Mode::Offloaded, Scope::Whole) => offloaded(session, offload, event_loop).boxed(),
        (Mode::Offloaded, Scope::Calls) => offloaded_calls(session, offload, event_loop).boxed(),
    }
}
