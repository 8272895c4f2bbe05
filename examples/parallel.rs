//! N calls to a language model at the same time, through one shared sync client.
//!
//! * The blocking call: `client.ask(prompt)` for one prompt after the other.
//! * The change: `offload_io(move || client.ask(prompt))` for each, and `try_join_all`, or
//!   `buffer_unordered` where the prompts are many: futures are lazy, so it also says how many
//!   run at a time.
//! * Better: an async SDK, if the vendor has one.

#[path = "common/llm.rs"]
mod llm;
#[path = "common/loopback.rs"]
mod loopback;

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use offramp::{Offload, offload_io};
use std::time::{Duration, Instant};

const CALLS: usize = 12;

fn prompt(number: usize) -> String {
    vec![format!("word-{number}"); 8 + number % 3].join(" ")
}

/// What the model takes for the answer: a pause before each word, and before the end.
fn alone(number: usize) -> Duration {
    let words = prompt(number).split_whitespace().count() as u32;
    llm::PAUSE * (words + 1)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let server = llm::start()?;
    let agent = ureq::Agent::new_with_defaults();
    let call = |number: usize| {
        let (agent, url) = (agent.clone(), server.url.clone());
        offload_io(move || -> Result<String> {
            let words: Vec<_> =
                llm::ask(&agent, &url, &prompt(number))?.collect::<Result<_, _>>()?;
            Ok(words.join(" "))
        })
        .flatten::<_, anyhow::Error>()
    };
    let one_after_the_other: Duration = (0..CALLS).map(alone).sum();
    let slowest = (0..CALLS).map(alone).max().unwrap_or_default();

    let start = Instant::now();
    let answers = try_join_all((0..CALLS).map(call)).await?;
    let took = start.elapsed();
    println!(
        "{CALLS} calls of {one_after_the_other:.2?} in all took {took:.2?}: \
         {:.2} times the slowest",
        took.as_secs_f64() / slowest.as_secs_f64()
    );
    for (number, answer) in answers.iter().enumerate() {
        ensure!(*answer == prompt(number), "call {number}: {answer}");
    }
    ensure!(
        took < one_after_the_other / 2,
        "the calls waited for one another"
    );

    // Four at a time, as the vendor's rate limit has it; answers as they come.
    let before = Offload::global()?.stats().io.completed;
    let start = Instant::now();
    let answers = stream::iter((0..CALLS).map(call)).buffer_unordered(4);
    let answers: Vec<String> = answers.try_collect().await?;
    println!("four at a time: {:.2?}", start.elapsed());
    ensure!(answers.len() == CALLS, "an answer is missing");
    ensure!(
        start.elapsed() >= one_after_the_other / 4,
        "more than four at a time"
    );
    let completed = Offload::global()?.stats().io.completed - before;
    ensure!(completed == CALLS as u64, "{completed} calls completed");
    Ok(())
}
