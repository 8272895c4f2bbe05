//! A web service with six handlers that block their event loop, each in another way, and what
//! the detector says about them while they do.
//!
//! ```sh
//! cargo run --example blocked --features watch,tower
//! cargo run --example blocked --features watch,tower -- --check
//! ```
//!
//! With `--check` it fails if one of them is not reported, is taken for something else, gets the
//! wrong advice, or is reported twice.

use anyhow::{Context, Result, bail, ensure};
use argon2::Argon2;
use axum::Router;
use axum::handler::Handler;
use axum::routing::get;
use offramp::watch::{Phase, Remedy, Report, State, WatchLayer, Watchdog};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long each handler blocks.
const BLOCKED: Duration = Duration::from_millis(600);

/// What is planted, and what should be said about it. By the innermost function that is ours.
const PLANTED: [(&str, Remedy, &str); 6] = [
    ("sleep", Remedy::OffloadIo, "sleep_for_a_while"),
    ("fifo", Remedy::OffloadIo, "read_a_slow_file"),
    ("mutex", Remedy::OffloadIo, "wait_for_a_lock"),
    ("sqlite", Remedy::OffloadIo, "write_to_a_busy_database"),
    ("argon2", Remedy::OffloadCpu, "hash_passwords"),
    ("command", Remedy::OffloadIo, "run_a_program"),
];

fn sleep_for_a_while() {
    thread::sleep(BLOCKED);
}

/// A named pipe, into which somebody writes later.
fn read_a_slow_file(path: &Path) {
    fs::read(path).expect("the pipe can be read");
}

fn wait_for_a_lock(lock: &Mutex<()>) {
    drop(lock.lock().expect("nobody panics with it"));
}

/// Another connection writes, and SQLite waits for it.
fn write_to_a_busy_database(path: &Path) {
    let database = rusqlite::Connection::open(path).expect("the database opens");
    database
        .busy_timeout(Duration::from_secs(30))
        .expect("a time-out can be set");
    database
        .execute("INSERT INTO visits VALUES (1)", [])
        .expect("the other one ends some time");
}

fn hash_passwords() {
    let begin = Instant::now();
    while begin.elapsed() < BLOCKED {
        let mut hash = [0; 32];
        let hashed = Argon2::default().hash_password_into(b"password", b"and some salt", &mut hash);
        hashed.expect("the parameters are the default ones");
    }
}

fn run_a_program() {
    let seconds = format!("{}", BLOCKED.as_secs_f32());
    Command::new("sleep")
        .arg(seconds)
        .output()
        .expect("`sleep` is there");
}

/// What the handlers block on.
#[derive(Clone)]
struct Service {
    fifo: PathBuf,
    database: PathBuf,
    lock: Arc<Mutex<()>>,
}

impl Service {
    fn new(folder: &Path) -> Result<Self> {
        let (fifo, database) = (folder.join("slow"), folder.join("visits.db"));
        let name = CString::new(fifo.as_os_str().as_bytes())?;
        // SAFETY: `name` is a C string.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        ensure!(made == 0, "no named pipe");
        rusqlite::Connection::open(&database)?.execute("CREATE TABLE visits (id INTEGER)", [])?;
        let lock = Arc::default();
        Ok(Self {
            fifo,
            database,
            lock,
        })
    }

    fn routes(&self) -> Router {
        fn route<H: Handler<T, ()>, T: 'static>(
            router: Router,
            name: &'static str,
            handler: H,
        ) -> Router {
            router.route(
                &format!("/{name}"),
                get(handler.layer(WatchLayer::named(name))),
            )
        }
        let router = Router::new();
        let router = route(router, "sleep", async || sleep_for_a_while());
        let fifo = self.fifo.clone();
        let router = route(router, "fifo", async move || read_a_slow_file(&fifo));
        let lock = Arc::clone(&self.lock);
        let router = route(router, "mutex", async move || wait_for_a_lock(&lock));
        let database = self.database.clone();
        let router = route(router, "sqlite", async move || {
            write_to_a_busy_database(&database)
        });
        let router = route(router, "argon2", async || hash_passwords());
        route(router, "command", async || run_a_program())
    }

    /// Makes the handler of this name block, and asks it.
    fn visit(&self, url: &str, name: &str) -> Result<()> {
        let ask = || -> Result<()> {
            ureq::get(&format!("{url}/{name}"))
                .call()
                .context("no answer")?;
            Ok(())
        };
        thread::scope(|scope| match name {
            "fifo" => {
                scope.spawn(|| {
                    // It waits for the reader.
                    let mut fifo = fs::OpenOptions::new().write(true).open(&self.fifo);
                    thread::sleep(BLOCKED);
                    fifo.as_mut()
                        .map(|fifo| fifo.write_all(b"at last"))
                        .expect("there is a reader")
                        .expect("it reads");
                });
                ask()
            }
            "mutex" => {
                let guard = self.lock.lock().expect("nobody panics with it");
                let asked = scope.spawn(ask);
                thread::sleep(BLOCKED);
                drop(guard);
                asked.join().expect("it does not panic")
            }
            "sqlite" => {
                let mut database = rusqlite::Connection::open(&self.database)?;
                let write =
                    database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let asked = scope.spawn(ask);
                thread::sleep(BLOCKED);
                write.commit()?;
                asked.join().expect("it does not panic")
            }
            _ => ask(),
        })
    }
}

/// What there is to say against the reports of one handler.
fn judge(reports: &[Report], remedy: Remedy, function: &str) -> Result<()> {
    let Some((first, others)) = reports.split_first() else {
        bail!("not reported");
    };
    let is_same = |report: &Report| report.incident == first.incident;
    ensure!(others.iter().all(is_same), "reported twice");
    let overs = reports
        .iter()
        .filter(|report| report.phase == Phase::Over)
        .count();
    ensure!(overs == 1, "{overs} closing lines");
    match (&first.state, remedy) {
        (State::SystemCall(_), Remedy::OffloadIo) | (State::BurningCpu, Remedy::OffloadCpu) => {}
        (state, _) => bail!("taken for {state}"),
    }
    let advice = first.advice.as_ref().context("no advice")?;
    ensure!(advice.wrap_in == remedy, "the advice is to {advice}");
    let blamed = first
        .blamed()
        .and_then(|frame| frame.function.as_deref())
        .unwrap_or("?");
    ensure!(blamed.contains(function), "the frame marked is {blamed}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let is_check = std::env::args().any(|argument| argument == "--check");
    let reports = Arc::new(Mutex::new(Vec::<Report>::new()));
    let kept = Arc::clone(&reports);
    let watchdog = Watchdog::builder()
        .report_to(|report: &Report| println!("{report}\n"))
        .report_to(move |report: &Report| kept.lock().expect("no panic").push(report.clone()))
        .start()?;
    println!("{}\n", watchdog.mode());

    let folder = tempfile::tempdir()?;
    let service = Service::new(folder.path())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = service.routes();
    tokio::spawn(async { axum::serve(listener, app).await });
    let visits = offramp::offload_io(move || {
        PLANTED
            .iter()
            .try_for_each(|(name, ..)| service.visit(&url, name))
    });
    visits.await??;
    let stats = watchdog.stats();
    ensure!(watchdog.stop(Duration::from_secs(60)), "the reporter hangs");

    let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for report in reports.lock().expect("no panic").drain(..) {
        by_name
            .entry(report.task.name.unwrap_or("?"))
            .or_default()
            .push(report);
    }
    let mut wrong = 0;
    for (name, remedy, function) in PLANTED {
        let reports = by_name.remove(name).unwrap_or_default();
        match judge(&reports, remedy, function) {
            Ok(()) => println!("{name:8} {remedy:12} as it should be"),
            Err(error) => {
                wrong += 1;
                println!("{name:8} WRONG: {error}");
            }
        }
    }
    for name in by_name.keys() {
        wrong += 1;
        println!("{name:8} WRONG: nothing is planted there");
    }
    println!("{stats:?}");
    ensure!(!is_check || wrong == 0, "{wrong} are wrong");
    Ok(())
}
