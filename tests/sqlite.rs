//! `Blocking` around a SQLite connection: the real library, interrupted from outside.

mod common;

use common::{PATIENCE, Random, watchdog};
use offramp::{Blocking, Offload, OffloadError};
use rusqlite::{Connection, ErrorCode};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT count(*) FROM n";

fn open(path: &std::path::Path) -> (Blocking<Connection>, Arc<AtomicUsize>) {
    let offload = Offload::builder().io_max_threads(2).build().unwrap();
    let connection = Connection::open(path).unwrap();
    let interrupt = connection.get_interrupt_handle();
    let hooks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hooks);
    let connection = Blocking::new(connection).on(&offload).interrupt(move || {
        counted.fetch_add(1, SeqCst);
        interrupt.interrupt();
    });
    (connection, hooks)
}

fn count(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM turns", [], |row| row.get(0))
}

#[test]
fn a_query_that_nobody_waits_for_is_interrupted() {
    let _watchdog = watchdog("an endless query");
    let directory = tempfile::tempdir().unwrap();
    let (db, _) = open(&directory.path().join("turns.db"));
    db.call(|db| db.execute_batch("CREATE TABLE turns (text TEXT)"))
        .wait()
        .unwrap()
        .unwrap();
    let mut times = Vec::new();
    for _ in 0..20 {
        let (ended, ends) = mpsc::channel();
        let endless = db.call(move |db| {
            let result = db.query_row(ENDLESS, [], |row| row.get::<_, i64>(0));
            let _ = ended.send(result.map_err(|error| error.sqlite_error_code()));
        });
        let endless = endless.timeout(Duration::from_millis(5));
        let outcome = pollster::block_on(endless);
        let given_up = Instant::now();
        assert!(matches!(
            outcome,
            Err(OffloadError::DeadlineExceeded { .. })
        ));
        // It began before the time was over, or never.
        if let Ok(ended) = ends.recv_timeout(PATIENCE) {
            assert_eq!(ended, Err(Some(ErrorCode::OperationInterrupted)));
            times.push(given_up.elapsed());
        }
        assert_eq!(pollster::block_on(db.call(count)).unwrap(), Ok(0));
    }
    times.sort();
    assert!(times.len() > 1, "none was interrupted");
    println!(
        "interrupted after: median {:?}, most {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// Drop against the query's end against the next call, 10,000 times: only what was given up
/// is ever interrupted, and everything that was acknowledged is there.
#[test]
fn the_next_call_is_never_interrupted() {
    const ROUNDS: usize = 10_000;

    let _watchdog = watchdog("drop, finish, next call");
    let directory = tempfile::tempdir().unwrap();
    let (db, hooks) = open(&directory.path().join("turns.db"));
    db.call(|db| db.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; CREATE TABLE turns (text TEXT)"))
        .wait()
        .unwrap()
        .unwrap();
    let mut random = Random(7);
    let mut acknowledged = 0;
    let interrupted = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let (started, starts) = mpsc::channel();
        let steps = random.below(3_000);
        let seen = Arc::clone(&interrupted);
        let query = db.call(move |db| {
            let _ = started.send(());
            let sum = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) \
                       SELECT sum(i) FROM n";
            match db.query_row(sum, [steps as i64 + 1], |row| row.get::<_, i64>(0)) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(
                        error.sqlite_error_code(),
                        Some(ErrorCode::OperationInterrupted)
                    );
                    seen.fetch_add(1, SeqCst);
                }
            }
        });
        let query = query.try_spawn().unwrap();
        if random.below(4) > 0 {
            starts.recv_timeout(PATIENCE).unwrap();
            for _ in 0..random.below(2_000) {
                std::hint::spin_loop();
            }
        }
        drop(query);
        let next = db.call(move |db| {
            db.execute("INSERT INTO turns VALUES (?)", [round as i64])?;
            count(db)
        });
        let counted = next.wait().unwrap();
        acknowledged += 1;
        assert_eq!(counted, Ok(acknowledged), "round {round}");
    }
    let (hooks, interrupted) = (hooks.load(SeqCst), interrupted.load(SeqCst));
    println!("{ROUNDS} rounds, {hooks} hooks, {interrupted} queries interrupted");
    assert!(interrupted > 0, "no query was interrupted in any round");
    assert!(interrupted < ROUNDS);
}
