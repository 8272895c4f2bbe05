//! A language model behind HTTP, and a vendor's sync client for it. The server streams an
//! answer word by word, as server-sent events, with a pause before each.

use crate::loopback::Loopback;
use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::post;
use futures::stream;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

/// What the model takes for a word.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// It answers with the prompt's own words.
pub(crate) fn start() -> Result<Loopback> {
    Loopback::serve(Router::new().route("/complete", post(complete)))
}

async fn complete(prompt: String) -> impl IntoResponse {
    let mut events: Vec<String> = prompt
        .split_whitespace()
        .map(|word| format!("data: {word}\n\n"))
        .collect();
    events.push("data: [DONE]\n\n".to_owned());
    Body::from_stream(stream::unfold(events.into_iter(), async |mut events| {
        tokio::time::sleep(PAUSE).await;
        Some((io::Result::Ok(events.next()?), events))
    }))
}

/// The vendor's: blocks until the answer begins, and then in each `next`.
pub(crate) fn ask(
    agent: &ureq::Agent,
    url: &str,
    prompt: &str,
) -> Result<impl Iterator<Item = io::Result<String>> + Send + use<>, ureq::Error> {
    let response = agent.post(&format!("{url}/complete")).send(prompt)?;
    let lines = BufReader::new(response.into_body().into_reader()).lines();
    let events = lines.filter_map(|line| match line {
        Ok(line) => line.strip_prefix("data: ").map(|word| Ok(word.to_owned())),
        Err(error) => Some(Err(error)),
    });
    Ok(events.take_while(|event| !matches!(event, Ok(word) if word == "[DONE]")))
}
