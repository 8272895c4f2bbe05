//! SQLite behind axum: all handlers share one connection, and a client that hangs up ends
//! its query.
//!
//! The blocking call is each method of [`rusqlite::Connection`]. The change: the connection
//! goes into a [`Blocking`], with SQLite's interrupt handle, and a query into `call`. Calls
//! have the connection to themselves, in the order of their coming, and those that wait take
//! no thread.
//!
//! For PostgreSQL and MySQL an async driver (`sqlx`, `tokio-postgres`) is the better choice:
//! a query in flight needs no thread there. SQLite has no such driver, because it is a
//! library that reads files: the async ones run it on a thread, too.
//!
//! ```sh
//! cargo run --example axum_rusqlite
//! ```

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use offramp::{Blocking, Offload, OffloadError, offload_io};
use rusqlite::Connection;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Db = Arc<Blocking<Connection>>;

/// Long enough to show that an endless query does not hold up the others.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sum of the numbers up to `last`, counted by SQLite.
async fn sum(State(db): State<Db>, Path(last): Path<i64>) -> Result<String, (StatusCode, String)> {
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) \
                 SELECT sum(i) FROM n";
    let sum = db.call(move |db| db.query_row(query, [last], |row| row.get::<_, i64>(0)));
    match sum.label("sum").await {
        Ok(Ok(sum)) => Ok(sum.to_string()),
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err((status(&error), error.to_string())),
    }
}

fn status(error: &OffloadError) -> StatusCode {
    match error {
        OffloadError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        OffloadError::DeadlineExceeded { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let db = Connection::open(folder.path().join("numbers.db"))?;
    let interrupt = db.get_interrupt_handle();
    let offload = Offload::builder().io_max_threads(4).build()?;
    let db = Blocking::new(db).on(&offload);
    let db = Arc::new(db.interrupt(move || interrupt.interrupt()));

    let app = Router::new().route("/sum/{last}", get(sum)).with_state(db);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });

    // It would count for thousands of years.
    let client = offload_io(move || {
        let mut client = TcpStream::connect(address)?;
        let request = format!("GET /sum/{} HTTP/1.1\r\nhost: here\r\n\r\n", i64::MAX);
        client.write_all(request.as_bytes())?;
        Ok::<_, std::io::Error>(client)
    });
    let client = client.await??;
    let start = Instant::now();
    while offload.stats().io.running == 0 {
        if start.elapsed() > PATIENCE {
            return Err("the query did not start".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("a query runs that would not end; its client hangs up");
    drop(client);

    let start = Instant::now();
    let next = offload_io(move || {
        let mut answer = ureq::get(format!("http://{address}/sum/1000")).call()?;
        answer.body_mut().read_to_string()
    });
    match next.timeout(PATIENCE).await {
        Ok(answer) if answer.as_deref().is_ok_and(|sum| sum == "500500") => {}
        other => return Err(format!("the query was not interrupted: {other:?}").into()),
    }
    println!("the next request was answered after {:?}", start.elapsed());
    Ok(())
}
