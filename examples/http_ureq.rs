//! A sync HTTP client, `ureq`, in async code.
//!
//! * The blocking call: `agent.get(url).call()`.
//! * The change: `offload_io(move || agent.get(url).call()).await`. The agent is shared, with
//!   its connections: clone it into each closure.
//! * Better, where you may choose: an async client such as `reqwest` needs no thread for each
//!   request in flight. Offload the sync client that an SDK brings along.

#[path = "common/loopback.rs"]
mod loopback;

use anyhow::{Result, bail, ensure};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use futures::future::try_join_all;
use loopback::Loopback;
use offramp::{OffloadError, offload_io};
use std::time::{Duration, Instant};

const CALLS: u64 = 10;

/// What the service takes for a call: each one a little longer than the one before.
fn delay(call: u64) -> Duration {
    Duration::from_millis(200 + 10 * call)
}

/// The request's own time-out is what is left of the call's: the caller is answered in time
/// anyhow, and so the thread is free again, too.
fn fetch(agent: &ureq::Agent, url: &str) -> Result<String> {
    let request = agent.get(url).config();
    let mut response = request
        .timeout_global(offramp::remaining())
        .build()
        .call()?;
    Ok(response.body_mut().read_to_string()?)
}

/// The request's own time-out and the call's come at the same time.
fn is_time_out(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ureq::Error::Timeout(_)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wait = async |Path(ms): Path<u64>| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        format!("after {ms} ms")
    };
    let server = Loopback::serve(Router::new().route("/wait/{ms}", get(wait)))?;
    let agent = ureq::Agent::new_with_defaults();
    let call = |delay: Duration| {
        let (agent, url) = (
            agent.clone(),
            format!("{}/wait/{}", server.url, delay.as_millis()),
        );
        offload_io(move || fetch(&agent, &url))
    };

    let start = Instant::now();
    let calls = (0..CALLS).map(|number| call(delay(number)).timeout(Duration::from_secs(30)));
    let answers = try_join_all(calls).await?;
    let took = start.elapsed();
    let all: Duration = (0..CALLS).map(delay).sum();
    let slowest = delay(CALLS - 1);
    for (number, answer) in (0..CALLS).zip(answers) {
        let expected = format!("after {} ms", delay(number).as_millis());
        ensure!(answer? == expected, "call {number} has another's answer");
    }
    println!(
        "{CALLS} calls of {all:.2?} in all took {took:.2?}: {:.2} times the slowest",
        took.as_secs_f64() / slowest.as_secs_f64()
    );
    ensure!(took < all / 2, "the calls waited for one another");

    let start = Instant::now();
    let late = call(Duration::from_secs(60)).timeout(Duration::from_millis(100));
    let too_late = match late.await {
        Ok(Err(error)) if is_time_out(&error) => error.to_string(),
        Err(error @ OffloadError::DeadlineExceeded { .. }) => error.to_string(),
        other => bail!("a call that is too late must say so: {other:?}"),
    };
    println!("a call of 60 s with a time-out: {too_late}");
    ensure!(
        start.elapsed() < Duration::from_secs(30),
        "the time-out came too late"
    );
    Ok(())
}
