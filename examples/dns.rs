//! Name resolution, which can hang for many seconds, in a lane of its own.
//!
//! * The blocking call: `"host:443".to_socket_addrs()`. It has no time-out, and cannot be
//!   interrupted: whoever gives up on it leaves a thread behind that waits on.
//! * The change: `offload_io(move || host.to_socket_addrs()).lane(&dns).timeout(..).await`,
//!   with `max_running` for the lane: at most half of the threads look names up, or wait on
//!   for callers that have given up.
//! * Better: `hickory-resolver` is async, and needs no threads. But it does not do what the
//!   system's resolver is configured to (`nsswitch.conf`).

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use offramp::{Lane, Offload, OffloadError, offload_io};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const THREADS: usize = 4;
const MOST_LOOKUPS: usize = THREADS / 2;
const LOOKUPS: usize = 12;

async fn resolve(offload: &Offload, dns: &Lane, host: &'static str) -> Result<Vec<SocketAddr>> {
    let addresses = offload_io(move || host.to_socket_addrs())
        .on(offload)
        .lane(dns)
        .timeout(Duration::from_secs(10))
        .await?
        .with_context(|| format!("cannot resolve {host}"))?;
    Ok(addresses.collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let offload = Offload::builder().io_max_threads(THREADS).build()?;
    let dns = offload.lane("dns").max_running(MOST_LOOKUPS);

    let addresses = resolve(&offload, &dns, "localhost:443").await?;
    println!("localhost: {addresses:?}");
    ensure!(
        !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()),
        "localhost is elsewhere"
    );

    // A name server that does not answer, played by a channel: that works offline.
    let (silent, answers) = mpsc::channel::<()>();
    let answers = Arc::new(Mutex::new(answers));
    let lookups = (0..LOOKUPS).map(|_| {
        let answers = Arc::clone(&answers);
        offload_io(move || answers.lock().map(|answers| answers.recv()).is_ok())
            .on(&offload)
            .lane(&dns)
            .timeout(Duration::from_millis(50))
    });
    for outcome in join_all(lookups).await {
        ensure!(
            matches!(outcome, Err(OffloadError::DeadlineExceeded { .. })),
            "a lookup without an answer must be too late"
        );
    }
    let stuck = offload.stats().io.orphans;
    println!("{LOOKUPS} lookups without an answer: {stuck} of {THREADS} threads stuck");
    ensure!(
        stuck == MOST_LOOKUPS as u64,
        "{MOST_LOOKUPS} threads should be stuck"
    );

    // The pool's other threads are there for everybody else.
    let other = offload_io(|| std::fs::read_to_string("Cargo.toml"))
        .on(&offload)
        .timeout(Duration::from_secs(10));
    let read = other.await?.is_ok();
    println!("a file meanwhile: read");
    ensure!(read, "the file could not be read");
    drop(silent);
    Ok(())
}
