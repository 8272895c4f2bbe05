//! The HTTP service that the sessions talk to: documents at `/documents/{session}`, and a
//! language model at `/complete` that takes its time, streams its answer and fails as the
//! plan says. A real server on loopback; it has a thread and a runtime of its own, so
//! that it answers also while the measured loop is blocked.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures::stream;
use tokio::sync::oneshot;

use crate::corpus;
use crate::plan::{Outcome, Plan};

/// A running service. Dropping it ends it.
pub(crate) struct Service {
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(crate) fn start(plan: Plan) -> Result<Service> {
        let (listener, url) = bind("127.0.0.1:0")?;
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime()?;
        let thread = std::thread::Builder::new()
            .name("service".to_owned())
            .spawn(move || {
                let serving = async {
                    tokio::select! {
                        failure = answer_calls(listener, plan) => failure,
                        _ = stopped => Ok(()),
                    }
                };
                if let Err(error) = runtime.block_on(serving) {
                    eprintln!("error: the service ended: {error:#}");
                }
            })
            .context("cannot start the service's thread")?;
        Ok(Service {
            url,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only fails if the service panicked, and then the panic has been printed.
            let _ = thread.join();
        }
    }
}

/// Only the service, until the process is killed.
pub(crate) fn serve(address: &str, plan: Plan) -> Result<()> {
    let (listener, url) = bind(address)?;
    println!("serving at {url}; for another process: --service {url}");
    runtime()?.block_on(answer_calls(listener, plan))
}

fn bind(address: &str) -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("the service cannot listen at {address}"))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the service's runtime")
}

async fn answer_calls(listener: TcpListener, plan: Plan) -> Result<()> {
    let routes = Router::new()
        .route("/documents/{session}", get(document))
        .route("/complete", post(complete))
        .with_state(plan);
    // Without this each token after the first would wait for the client's delayed
    // acknowledgement: 40 ms.
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, routes)
        .await
        .context("the service stopped")
}

async fn document(State(plan): State<Plan>, Path(session): Path<usize>) -> String {
    tokio::time::sleep(plan.delay).await;
    corpus::document(session)
}

async fn complete(
    State(plan): State<Plan>,
    headers: HeaderMap,
    Json(request): Json<BTreeMap<String, String>>,
) -> Response {
    let session = request.get("session").and_then(|id| id.parse().ok());
    let attempt = headers
        .get("x-retry-count")
        .and_then(|n| n.to_str().ok()?.parse().ok());
    let (Some(session), Some(attempt), Some(prompt)) = (session, attempt, request.get("prompt"))
    else {
        return (
            StatusCode::BAD_REQUEST,
            "wants a session, a prompt and x-retry-count",
        )
            .into_response();
    };
    let outcome = plan.outcome(session, attempt);
    tokio::time::sleep(plan.ask_time(outcome)).await;
    let mut tokens = tokens(prompt);
    match outcome {
        Outcome::Overloaded => {
            return (StatusCode::SERVICE_UNAVAILABLE, "overloaded").into_response();
        }
        Outcome::CutOff => {
            tokens.truncate(tokens.len() / 2);
            tokens.push(Err(io::Error::other("the stream breaks off here")));
        }
        Outcome::Answer => tokens.push(Ok("data: [DONE]\n\n".to_owned())),
    }
    // A pause after every token sends each in a piece of its own, as models do.
    let body = stream::unfold(tokens.into_iter(), async |mut tokens| {
        tokio::time::sleep(Duration::ZERO).await;
        Some((tokens.next()?, tokens))
    });
    Body::from_stream(body).into_response()
}

/// The answer, word by word: which passage it rests on, and that passage's first words.
fn tokens(prompt: &str) -> Vec<io::Result<String>> {
    let best = prompt
        .lines()
        .find_map(|line| line.strip_prefix("passage: "))
        .unwrap_or("nothing that I was told");
    let source = best
        .split_once('(')
        .and_then(|(_, rest)| rest.split(')').next())
        .unwrap_or("-");
    ["Source", source, "says:"]
        .into_iter()
        .chain(best.split_whitespace().take(9))
        .map(|word| Ok(format!("data: {word}\n\n")))
        .collect()
}
