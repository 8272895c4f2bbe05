//! The turns of all sessions, in one SQLite file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Result, params};

/// One connection behind a lock: SQLite lets one writer in at a time, and threads that
/// queue at a mutex go on at once, while those that meet a locked file sleep and try
/// again.
#[derive(Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

pub(crate) struct Turn {
    pub(crate) role: String,
    pub(crate) text: String,
}

impl Store {
    pub(crate) fn open(file: &Path) -> Result<Store> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.execute_batch(
            "CREATE TABLE turns (
                 session INTEGER NOT NULL,
                 turn INTEGER NOT NULL,
                 role TEXT NOT NULL,
                 text TEXT NOT NULL,
                 PRIMARY KEY (session, turn)
             ) WITHOUT ROWID;",
        )?;
        Ok(Store {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Adds a turn, on disk when this returns, and gives back the session's last `count`
    /// turns, oldest first.
    pub(crate) fn add(
        &self,
        session: usize,
        role: &str,
        text: &str,
        count: usize,
    ) -> Result<Vec<Turn>> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction
            .prepare_cached(
                "INSERT INTO turns (session, turn, role, text)
                 SELECT ?1, COALESCE(MAX(turn), 0) + 1, ?2, ?3 FROM turns WHERE session = ?1",
            )?
            .execute(params![session as i64, role, text])?;
        transaction.commit()?;
        let mut statement = connection.prepare_cached(
            "SELECT role, text FROM turns WHERE session = ?1 ORDER BY turn DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![session as i64, count as i64], |row| {
            Ok(Turn {
                role: row.get(0)?,
                text: row.get(1)?,
            })
        })?;
        let mut turns: Vec<Turn> = rows.collect::<Result<_>>()?;
        turns.reverse();
        Ok(turns)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in between drops the transaction, which rolls it back: what is left is
        // sound.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
