//! `reqwest::blocking` in async code: a client that owns a runtime.
//!
//! * The blocking call: `client.get(url).send()`. In an async context it, and even making
//!   or dropping the client, also panics: "Cannot drop a runtime in a context where blocking
//!   is not allowed".
//! * The change: make, use and drop the client on pool threads:
//!   `offload_io(move || client.get(url).send()).drop_on_pool().await`.
//! * Better: `reqwest` itself is async. Use this where code that you cannot change has the
//!   blocking client inside.

#[path = "common/loopback.rs"]
mod loopback;

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use futures::future::try_join_all;
use loopback::Loopback;
use offramp::offload_io;
use reqwest::blocking::Client;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

const CALLS: u32 = 10;
const DELAY: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The check is in reqwest's debug builds. Without it the loop would simply be blocked.
    if cfg!(debug_assertions) {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let here = catch_unwind(|| drop(Client::new()));
        std::panic::set_hook(hook);
        ensure!(here.is_err(), "a client can be made on the event loop now");
        println!("a client made on the event loop: panics");
    }

    let answer = async |Path(number): Path<u32>| {
        tokio::time::sleep(DELAY).await;
        format!("answer {number}")
    };
    let server = Loopback::serve(Router::new().route("/{number}", get(answer)))?;

    let client = offload_io(|| Client::builder().timeout(Duration::from_secs(30)).build());
    let client = client.await??;
    let start = Instant::now();
    let answers = try_join_all((0..CALLS).map(|number| {
        let (client, url) = (client.clone(), format!("{}/{number}", server.url));
        // Were the future dropped before the closure runs, its clone would end there, too.
        offload_io(move || client.get(url).send()?.error_for_status()?.text()).drop_on_pool()
    }))
    .await?;
    let took = start.elapsed();
    for (number, answer) in answers.into_iter().enumerate() {
        ensure!(answer? == format!("answer {number}"), "not its answer");
    }
    println!(
        "{CALLS} calls of {DELAY:?} took {took:.2?}: {:.2} times one",
        took.as_secs_f64() / DELAY.as_secs_f64()
    );
    ensure!(took < DELAY * CALLS / 2, "the calls waited for one another");

    // The last clone ends the client's thread and waits for it.
    offload_io(move || drop(client)).must_run().await?;
    println!("made, used and dropped on the pool: no panic");
    Ok(())
}
