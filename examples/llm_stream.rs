//! A language model's answer, streamed by a sync client, as a `Stream`.
//!
//! * The blocking call: `for word in client.ask(prompt)? { .. }`, in each `next`.
//! * The change: `offload_iter(words)`, which is a `Stream` of the words as they come; and
//!   `offload_io` for the call that begins the answer.
//! * Better: an async SDK, if the vendor has one. Thousands of answers at a time, each with
//!   a thread as long as it streams, want one.

#[path = "common/llm.rs"]
mod llm;
#[path = "common/loopback.rs"]
mod loopback;

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use offramp::{offload_io, offload_iter};
use std::io::Write;
use std::time::Instant;

const PROMPT: &str = "one word after the other, each of them as soon as the model has said it, \
                      and the event loop free in between";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let server = llm::start()?;
    let (agent, url) = (ureq::Agent::new_with_defaults(), server.url.clone());

    let start = Instant::now();
    let words = offload_io(move || llm::ask(&agent, &url, PROMPT)).await??;
    let mut stream = offload_iter(words);
    let mut answer = Vec::new();
    let mut first = None;
    while let Some(word) = stream.try_next().await? {
        let word = word?;
        first.get_or_insert_with(|| start.elapsed());
        print!("{word} ");
        std::io::stdout().flush()?;
        answer.push(word);
    }
    let (first, all) = (first.unwrap_or_default(), start.elapsed());
    println!("\nfirst word after {first:.0?}, the last one after {all:.0?}");
    let expected: Vec<_> = PROMPT.split_whitespace().collect();
    ensure!(answer == expected, "the answer is not the model's");
    ensure!(first < all / 2, "the words came all at once");
    Ok(())
}
