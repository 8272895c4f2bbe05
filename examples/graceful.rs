//! A web service that ends well: on SIGTERM (or Ctrl-C) it takes no new requests, answers
//! those it has, drains the pools, and says what was left.
//!
//! ```sh
//! cargo run --example graceful            # then: curl 'http://127.0.0.1:PORT/report/1000'
//! kill -TERM PID
//! ```

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use offramp::{Backlog, Offload, OffloadError};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// What an orchestrator leaves between SIGTERM and SIGKILL is 30 s, often.
const GRACE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Service {
    offload: Offload,
    folder: PathBuf,
}

/// Computes a report (CPU), stores it (I/O), and answers with its size.
async fn report(
    State(service): State<Service>,
    Path(rows): Path<u32>,
) -> Result<String, (StatusCode, String)> {
    let offload = &service.offload;
    let text = offramp::offload_cpu(move || render(rows))
        .on(offload)
        .label("render")
        .timeout(Duration::from_secs(10))
        .await
        .map_err(refusal)?;
    let path = service.folder.join(format!("report-{rows}.txt"));
    let size = text.len();
    // Once begun a report is stored, though the client hangs up.
    offramp::offload_io(move || std::fs::write(path, text))
        .on(offload)
        .label("store")
        .must_run()
        .await
        .map_err(refusal)?
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(format!("{size} bytes\n"))
}

fn render(rows: u32) -> String {
    (0..rows)
        .map(|row| {
            let digest = (0..2_000).fold(row, |digest, n| digest.rotate_left(5) ^ n);
            format!("{row:>8} {digest:08x}\n")
        })
        .collect()
}

fn refusal(error: OffloadError) -> (StatusCode, String) {
    let status = match error {
        OffloadError::Overloaded { .. } | OffloadError::ShutDown => StatusCode::SERVICE_UNAVAILABLE,
        OffloadError::DeadlineExceeded { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

/// Ready when the process is asked to end.
async fn asked_to_end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let offload = Offload::builder().build()?;
    let service = Service {
        offload: offload.clone(),
        folder: folder.path().to_owned(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let app = Router::new()
        .route("/report/{rows}", get(report))
        .with_state(service);
    // Ends when every request that had come by then is answered.
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            if let Err(error) = asked_to_end().await {
                eprintln!("no signal can be awaited ({error}): ending");
            }
        })
        .await?;

    let report = offload.shutdown(GRACE, Backlog::Drain).await;
    let stored = std::fs::read_dir(folder.path())?.count();
    println!("shut down: {report}; {stored} reports stored");
    if !report.is_complete() {
        return Err("some jobs did not end in time".into());
    }
    Ok(())
}
