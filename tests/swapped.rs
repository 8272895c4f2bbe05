//! The application of `docs/swap.md`, before the swap, after its first step, and after it:
//! the same answers to the same requests, and what the swap is for.
#![cfg(all(feature = "tokio", feature = "fs", unix))]

mod common;

#[path = "../examples/swapped/after.rs"]
mod after;
#[path = "../examples/swapped/before.rs"]
mod before;
#[path = "../examples/swapped/first_step.rs"]
mod first_step;

use argon2::Params;
use axum::{BoxError, Router};
use common::{PATIENCE, alone, alone_with, wait_until, watchdog};
use offramp::Offload;
use rusqlite::{Connection, ErrorCode};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

type App = fn(PathBuf, String, Params) -> Result<Router, BoxError>;

const APPS: [(&str, App); 3] = [
    ("before", before::app),
    ("first step", first_step::app),
    ("after", after::app),
];

/// A service on a runtime of its own, which ends with it.
struct Service {
    address: SocketAddr,
    folder: TempDir,
    /// In a runtime that may be dropped here.
    runtime: Option<tokio::runtime::Runtime>,
    client: ureq::Agent,
}

impl Service {
    fn start(app: App) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .enable_all()
            .build()
            .unwrap();
        // The smallest that argon2 allows: its cost is not what is tested here.
        let cost = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
        let app = app(folder.path().to_owned(), checker(), cost).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async { axum::serve(listener, app).await.unwrap() });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE / 2))
            .build();
        Self {
            address,
            folder,
            runtime: Some(runtime),
            client: config.into(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut answer = self.client.get(self.url(path)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    fn post(&self, path: &str, password: &str, body: &str) -> (u16, String) {
        let request = self.client.post(self.url(path));
        let mut answer = request.header("password", password).send(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    /// A connection of the test's own to the service's database.
    fn database(&self) -> Connection {
        let database = Connection::open(self.folder.path().join("notes.db")).unwrap();
        database.busy_timeout(Duration::ZERO).unwrap();
        database
    }

    /// So many notes that comparing each with each takes a while.
    fn fill(&self) {
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) \
                    INSERT INTO notes (user, text) SELECT 'ann', printf('%08d', i) FROM n";
        assert_eq!(self.database().execute(fill, []), Ok(3_000));
    }

    /// Sends a request, and does not wait for the answer.
    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        stream
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A service that the application calls: a note is fine unless it shouts.
fn checker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            let text = loop {
                let size = stream.read(&mut buffer).unwrap();
                assert_ne!(size, 0, "a whole request");
                request.extend_from_slice(&buffer[..size]);
                let request = String::from_utf8_lossy(&request);
                // The texts of these tests end like this.
                if let Some((_, text)) = request.split_once("\r\n\r\n") {
                    if text.ends_with('.') || text.ends_with('!') {
                        break text.to_owned();
                    }
                }
            };
            let verdict = if text.ends_with('!') {
                "too loud"
            } else {
                "fine"
            };
            let size = verdict.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{verdict}"
            )
            .unwrap();
        }
    });
    format!("http://{address}/")
}

#[test]
fn all_three_give_the_same_answers() {
    let _watchdog = watchdog("the same answers");
    for (name, app) in APPS {
        let service = Service::start(app);
        let answers = [
            service.post("/users/ann", "", "secret"),
            service.post("/users/ann", "", "other"),
            service.post("/notes/ann", "secret", "The first note."),
            service.post("/notes/ann", "secret", "The first and last."),
            service.post("/notes/ann", "wrong", "Not mine."),
            service.post("/notes/bob", "secret", "Not there."),
            service.post("/notes/ann", "secret", "Hear me!"),
            service.get("/notes/ann"),
            service.get("/similar"),
            service.get("/exports/ann"),
            service.post("/exports/ann", "", ""),
            service.get("/exports/ann"),
            service.get("/exports/..%2Fnotes"),
        ];
        let expected = [
            (201, ""),
            (409, "the name is taken"),
            (201, ""),
            (201, ""),
            (403, "wrong name or password"),
            (403, "wrong name or password"),
            (422, "too loud"),
            (200, "The first note.\nThe first and last.\n"),
            (200, "1"),
            (404, "no such export"),
            (201, ""),
            (200, "The first note.\nThe first and last.\n"),
            (404, "no such user"),
        ];
        let answers = answers.each_ref().map(|(status, text)| (*status, &**text));
        assert_eq!(answers, expected, "{name}");
    }
}

/// How long the next request waits when the client of a slow query is gone, and how long
/// the query takes.
fn after_a_client_has_left(app: App) -> (Duration, Duration) {
    let service = Service::start(app);
    service.fill();
    let start = Instant::now();
    assert_eq!(service.get("/similar"), (200, "0".to_owned()));
    let whole = start.elapsed();

    let client = service.ask("/similar");
    let database = service.database();
    // A query that runs has locked the database against this.
    wait_until("the query runs", || {
        match database.execute_batch("BEGIN EXCLUSIVE; ROLLBACK") {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
                true
            }
        }
    });
    drop(client);
    let start = Instant::now();
    assert_eq!(service.get("/notes/bob"), (200, String::new()));
    (start.elapsed(), whole)
}

/// A mutex and `spawn_blocking` have the next request wait for the end of a query that
/// nobody wants; `Blocking` ends it.
#[test]
fn a_query_ends_with_its_client() {
    alone("a_query_ends_with_its_client", || {
        for (name, app) in APPS {
            let (waited, whole) = after_a_client_has_left(app);
            println!("{name}: the next request waits {waited:?}; the query takes {whole:?}");
            if name == "after" {
                assert!(waited < whole / 4, "it was not interrupted");
            } else {
                assert!(waited > whole / 4, "it was interrupted");
            }
        }
    });
}

/// Answers to `count` requests that come while the database cannot be read and one request
/// waits for it: those that were given meanwhile, if `refused` of them are, and the others.
fn answers_to_a_crowd(
    app: App,
    count: usize,
    refused: usize,
    one_runs: fn() -> bool,
) -> (Vec<u16>, Vec<u16>) {
    let service = Service::start(app);
    let (answered, answers) = mpsc::channel();
    let database = service.database();
    // SQLite waits for 5 s in the service.
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    thread::scope(|scope| {
        let ask = || {
            let (answered, service) = (answered.clone(), &service);
            scope.spawn(move || answered.send(service.get("/notes/bob").0).unwrap());
        };
        ask();
        wait_until("one request waits for the database", one_runs);
        (0..count).for_each(|_| ask());
        let meanwhile = answers.iter().take(refused).collect();
        database.execute_batch("ROLLBACK").unwrap();
        (
            meanwhile,
            answers.iter().take(1 + count - refused).collect(),
        )
    })
}

#[test]
fn what_comes_too_much_is_refused_instead_of_kept() {
    let limits = [("OFFRAMP_CAPACITY", "4"), ("OFFRAMP_MAX_PENDING", "4")];
    let name = "what_comes_too_much_is_refused_instead_of_kept";
    alone_with(name, &limits, || {
        // tokio's queue has no bound.
        let answers = answers_to_a_crowd(before::app, 12, 0, || true);
        assert_eq!(answers, (vec![], vec![200; 13]));
        let one_runs = || Offload::global().unwrap().stats().io.running == 1;
        let answers = answers_to_a_crowd(after::app, 12, 8, one_runs);
        assert_eq!(answers, (vec![503; 8], vec![200; 5]));
    });
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_first_step_is_one_line() {
    let before = read("examples/swapped/before.rs");
    let line = "\nuse tokio::task::{JoinError, spawn_blocking};\n";
    assert_eq!(before.matches(line).count(), 1);
    let changed = "\nuse offramp::compat::tokio::{JoinError, spawn_blocking};\n";
    // Not by `assert_eq`, which would print both.
    assert!(
        read("examples/swapped/first_step.rs") == before.replace(line, changed),
        "first_step.rs is not before.rs with that line changed"
    );
}

/// Run with `OFFRAMP_BLESS=1` it writes the difference into the page.
#[test]
fn the_page_shows_the_difference() {
    let output = Command::new("diff")
        .args(["-U", "1", "--label", "before.rs", "--label", "after.rs"])
        .args(["examples/swapped/before.rs", "examples/swapped/after.rs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command `diff`");
    assert_eq!(output.status.code(), Some(1), "diff: they differ");
    let difference = String::from_utf8(output.stdout).unwrap();

    let page = read("docs/swap.md");
    let start = "```diff\n--- before.rs\n";
    let begin = page.find(start).expect("the block of the difference") + "```diff\n".len();
    let end = begin + page[begin..].find("```").expect("its end");
    if std::env::var_os("OFFRAMP_BLESS").is_some() {
        let page = format!("{}{difference}{}", &page[..begin], &page[end..]);
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/swap.md"),
            page,
        )
        .unwrap();
        return;
    }
    assert!(
        page[begin..end] == difference,
        "docs/swap.md shows another difference; to write it: \
         OFFRAMP_BLESS=1 cargo test --all-features --test swapped the_page\n{difference}"
    );
}
