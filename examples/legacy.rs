//! A legacy library whose handles must stay on the thread that made them, shared by the
//! tasks of an async program.
//!
//! The blocking calls are the library's: it keeps its errors in a thread-local variable, as
//! `errno` is, and its handle is full of [`Rc`]s, so it is not [`Send`]; a mutex or
//! `spawn_blocking` would not even compile. The change: `open` goes into
//! [`Blocking::pinned`], which makes the handle on a thread of its own, and each use into
//! `call`, which runs there.
//!
//! Where async code could speak the library's protocol itself, that needs no thread. A handle
//! that is `Send` belongs into [`Blocking::new`], which has no thread of its own.
//!
//! ```sh
//! cargo run --example legacy
//! ```

use futures::future::try_join_all;
use offramp::Blocking;
use std::error::Error;
use std::sync::atomic::Ordering::SeqCst;

/// The library, as it is.
mod ledger {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    pub(super) static IS_CLOSED: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static LAST_ERROR: Cell<&'static str> = const { Cell::new("") };
    }

    /// Why the last call on this thread failed.
    pub(super) fn last_error() -> &'static str {
        LAST_ERROR.get()
    }

    pub(super) struct Handle {
        accounts: Rc<RefCell<BTreeMap<String, i64>>>,
        made_by: ThreadId,
    }

    pub(super) fn open() -> Handle {
        Handle {
            accounts: Rc::default(),
            made_by: thread::current().id(),
        }
    }

    impl Handle {
        /// Returns -1 if it fails, and `last_error` says why.
        pub(super) fn book(&mut self, account: &str, amount: i64) -> i64 {
            assert_eq!(thread::current().id(), self.made_by, "the wrong thread");
            // The disk.
            thread::sleep(Duration::from_millis(2));
            let mut accounts = self.accounts.borrow_mut();
            let balance = accounts.get(account).copied().unwrap_or(0) + amount;
            if balance < 0 {
                LAST_ERROR.set("the account would be overdrawn");
                return -1;
            }
            accounts.insert(account.to_owned(), balance);
            balance
        }
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.made_by, "the wrong thread");
            IS_CLOSED.store(true, SeqCst);
        }
    }
}

/// The error is fetched in the same call: on another thread there is another one.
fn book(ledger: &mut ledger::Handle, account: &str, amount: i64) -> Result<i64, String> {
    match ledger.book(account, amount) {
        -1 => Err(ledger::last_error().to_owned()),
        balance => Ok(balance),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ledger = Blocking::pinned(ledger::open).await?;

    // All at the same time; they run in the order of their first polls.
    let deposits = (1..=20).map(|amount| ledger.call(move |ledger| book(ledger, "ann", amount)));
    let balances = try_join_all(deposits).await?;
    let balances: Vec<i64> = balances.into_iter().collect::<Result<_, _>>()?;
    if balances.last() != Some(&210) || !balances.is_sorted() {
        return Err(format!("the calls came out of order: {balances:?}").into());
    }

    let overdrawn = ledger.call(|ledger| book(ledger, "ann", -1_000)).await?;
    println!("20 deposits, one withdrawal: {overdrawn:?}");
    if overdrawn != Err("the account would be overdrawn".to_owned()) {
        return Err("the library's own error was lost".into());
    }

    // It is closed on the thread that has opened it, after the calls before.
    ledger.close().await;
    if !ledger::IS_CLOSED.load(SeqCst) {
        return Err("the library's handle was not closed".into());
    }
    println!("the handle is closed");
    Ok(())
}
