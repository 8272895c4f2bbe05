//! Retries with `backon` around a sync call: back-off on the event loop's timer.
//!
//! * The blocking call: `client.call()` in a loop with `std::thread::sleep`, or `backon`'s
//!   `BlockingRetryable`. Offloaded as a whole it holds a thread while it sleeps.
//! * The change: offload the attempt, and retry it in async code:
//!   `(|| offload_io(attempt).flatten()).retry(back_off).sleep(tokio::time::sleep)`.
//! * Better: nothing here. An async client would only save the thread of the attempt.

#[path = "common/loopback.rs"]
mod loopback;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use backon::{ConstantBuilder, Retryable};
use futures::future::try_join_all;
use loopback::Loopback;
use offramp::{Offload, offload_io};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CALLS: u32 = 20;
/// How often each fails before it succeeds.
const FAILURES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

type Attempts = Arc<Mutex<HashMap<u32, u32>>>;

async fn flaky(State(attempts): State<Attempts>, Path(call): Path<u32>) -> (StatusCode, String) {
    let mut attempts = attempts.lock().expect("nobody panics with it");
    let attempt = attempts.entry(call).or_default();
    *attempt += 1;
    if *attempt <= FAILURES {
        return (StatusCode::SERVICE_UNAVAILABLE, "overloaded".to_owned());
    }
    (StatusCode::OK, format!("answer {call}"))
}

fn is_transient(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ureq::Error::StatusCode(429 | 500..) | ureq::Error::Io(_))
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let routes = Router::new()
        .route("/{call}", get(flaky))
        .with_state(Attempts::default());
    let server = Loopback::serve(routes)?;
    let agent = ureq::Agent::new_with_defaults();
    // One thread: a single call that slept on it would hold up all others.
    let offload = Offload::builder().io_max_threads(1).build()?;

    let call = async |number: u32| {
        let attempt = || {
            let (agent, url) = (agent.clone(), format!("{}/{number}", server.url));
            offload_io(move || Ok(agent.get(&url).call()?.body_mut().read_to_string()?))
                .on(&offload)
                .flatten::<String, anyhow::Error>()
        };
        let back_off = ConstantBuilder::new()
            .with_delay(PAUSE)
            .with_max_times(FAILURES as usize);
        attempt
            .retry(back_off)
            .sleep(tokio::time::sleep)
            .when(is_transient)
            .await
            .with_context(|| format!("call {number}"))
    };

    let start = Instant::now();
    let answers = try_join_all((0..CALLS).map(&call)).await?;
    let took = start.elapsed();
    for (number, answer) in answers.into_iter().enumerate() {
        ensure!(answer == format!("answer {number}"), "not its answer");
    }
    let asleep = PAUSE * FAILURES * CALLS;
    println!("{CALLS} calls, {FAILURES} failures each, on one thread: back-off {asleep:.1?}");
    println!("in all, and it took {took:.2?}");
    ensure!(took < asleep / 2, "the back-off held the thread");
    let stats = offload.stats().io;
    ensure!(
        stats.completed == u64::from(CALLS * (FAILURES + 1)),
        "each attempt is a call: {} completed",
        stats.completed
    );
    Ok(())
}
