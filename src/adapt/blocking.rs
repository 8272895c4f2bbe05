//! [`Blocking`]: a sync handle that async code shares, one call at a time.

use super::drop_on_pool::drop_on_pool;
use super::interruption::{Hook, Interruption, Target};
use super::pinned::{self, Pinned};
use crate::cancel::Stopped;
use crate::closure::WithJob;
use crate::core::view::Job;
use crate::current;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::lane::Lane;
use crate::offload::Offload;
use crate::pool::Kind;
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A sync handle (a SQLite connection, a legacy client, a file) for async code.
///
/// [`call`](Self::call) runs a closure with the value on the I/O pool. Calls have the value
/// to themselves, one after the other in the order of their submission; those that wait take
/// no thread. To share it put it into an [`Arc`].
///
/// ```
/// use offramp::Blocking;
///
/// # futures::executor::block_on(async {
/// let db = rusqlite::Connection::open_in_memory()?;
/// let interrupt = db.get_interrupt_handle();
/// let db = Blocking::new(db).interrupt(move || interrupt.interrupt());
///
/// db.call(|db| db.execute_batch("CREATE TABLE notes (text TEXT)")).await??;
/// let count: i64 = db
///     .call(|db| db.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)))
///     .await??;
/// assert_eq!(count, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Cancellation
///
/// A call is an [`Offloaded`] like any other. One that waits is gone when it is dropped; one
/// that runs goes on unless its closure looks at a checkpoint, and the next call waits for
/// its end. With [`interrupt`](Self::interrupt) it is ended from outside.
///
/// # Panics in a call
///
/// The call resolves as [`Panicked`](OffloadError::Panicked), the value stays as the panic
/// left it, and the next call gets it. [`recover`](Self::recover) puts it in order first;
/// [`poison`](Self::poison) refuses later calls.
///
/// # Drop
///
/// The value is dropped on the pool: after the last call that was made, and with the
/// `Blocking` itself. Dropping never blocks. Where the pool has been shut down it is dropped
/// by whoever has it last; in a forked child it is leaked.
///
/// # Errors
///
/// Beside those of every call: [`Taken`](OffloadError::Taken) for a call submitted after
/// [`into_inner`](Self::into_inner) had the value, [`Poisoned`](OffloadError::Poisoned), and
/// [`WouldDeadlock`](OffloadError::WouldDeadlock) for one that is waited for inside of
/// another call of the same value, on its thread. (If that one waits for a third party which
/// waits for the value, nobody notices, as with a mutex.)
/// [`Config`](OffloadError::Config) if a call is put into another [`lane`](Offloaded::lane)
/// or [`on`](Offloaded::on) another `Offload`: it has its place in this value's line.
///
/// # Cost
///
/// That of a call in a [`lane`](Offloaded::lane), one allocation; with an interrupt two.
pub struct Blocking<T: Send + 'static> {
    slot: Arc<Slot<T>>,
    interrupt: Option<Hook>,
    recover: Option<Recover<T>>,
    poisons: bool,
}

type Recover<T> = Arc<dyn Fn(&mut T) + Send + Sync>;

/// Where the value is between calls.
struct Slot<T: Send + 'static> {
    /// Boxed: it moves into each call and back.
    value: Mutex<Option<Box<T>>>,
    /// Where its calls run, from the first one on.
    line: OnceLock<Line>,
    has_panicked: AtomicBool,
}

/// One call at a time.
#[derive(Clone)]
struct Line {
    offload: Offload,
    lane: Lane,
}

impl Line {
    fn new(offload: &Offload) -> Self {
        Self {
            offload: offload.clone(),
            lane: Lane::exclusive(offload.downgrade()),
        }
    }
}

impl<T: Send + 'static> Blocking<T> {
    /// For calls on the process-wide default pools, or those of [`on`](Self::on).
    pub fn new(value: T) -> Self {
        Self {
            slot: Arc::new(Slot {
                value: Mutex::new(Some(Box::new(value))),
                line: OnceLock::new(),
                has_panicked: AtomicBool::new(false),
            }),
            interrupt: None,
            recover: None,
            poisons: false,
        }
    }

    /// Calls run on `offload`. Set before the first call; later it changes nothing.
    pub fn on(self, offload: &Offload) -> Self {
        let _ = self.slot.line.set(Line::new(offload));
        self
    }

    /// `hook` ends what a running call does, from outside: `sqlite3_interrupt`, a socket's
    /// shutdown.
    ///
    /// When the caller of a running call gives it up (drops it, aborts its handle, sees its
    /// deadline pass) the hook is called on a [dedicated](crate::offload_dedicated) thread,
    /// and again every few milliseconds until the call has ended: it may have come a moment
    /// too early. It hits its own call or none, because the next one does not begin while a
    /// hook runs; so it must return soon, and not wait for a call of this value. A panic in
    /// it ends nothing but the hook. A call that [must run](Offloaded::must_run) is not
    /// interrupted, nor is any while the pools are shutting down, nor where no thread
    /// starts.
    pub fn interrupt(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.interrupt = Some(Arc::new(hook));
        self
    }

    /// After a call that panicked, `recover` is given the value before the next call begins,
    /// on its thread: to roll back, to reconnect. If it panics itself, that call resolves as
    /// [`Panicked`](OffloadError::Panicked), and the next one tries again.
    pub fn recover(mut self, recover: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.recover = Some(Arc::new(recover));
        self
    }

    /// After a call that panicked all later ones resolve as
    /// [`Poisoned`](OffloadError::Poisoned), until [`clear_poison`](Self::clear_poison).
    pub fn poison(mut self) -> Self {
        self.poisons = true;
        self
    }

    /// Whether a call has panicked and later ones are refused.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisons && self.slot.has_panicked.load(Ordering::Relaxed)
    }

    /// Lets calls have the value again.
    pub fn clear_poison(&self) {
        self.slot.has_panicked.store(false, Ordering::Relaxed);
    }

    /// Runs `f` with the value on the I/O pool, when those submitted before have ended.
    #[track_caller]
    pub fn call<F, R>(
        &self,
        f: F,
    ) -> Offloaded<impl FnOnce(&Job) -> Result<R, Stopped> + Send + use<T, F, R>, R, WithJob>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.call_with(move |value, _| Ok(f(value)))
    }

    /// [`call`](Self::call) for a closure that sees its [`Job`], and can stop when it is
    /// cancelled.
    #[track_caller]
    pub fn call_with<F, R>(
        &self,
        f: F,
    ) -> Offloaded<impl FnOnce(&Job) -> Result<R, Stopped> + Send + use<T, F, R>, R, WithJob>
    where
        F: FnOnce(&mut T, &Job) -> Result<R, Stopped> + Send + 'static,
        R: Send + 'static,
    {
        let interruption = self.interrupt.as_ref().map(Interruption::new).map(Arc::new);
        let turn = Turn {
            slot: Arc::clone(&self.slot),
            recover: self.recover.clone(),
            poisons: self.poisons,
            target: interruption.clone().map(Target),
        };
        let call = Offloaded::new(Kind::Io, move |job: &Job| {
            let mut held = turn.begin()?;
            let output = f(held.value(), job);
            held.has_panicked = false;
            output
        });
        self.slot.line_up(call).interrupted_by(interruption)
    }

    /// The value, when all calls that were submitted before have ended.
    ///
    /// Lazy like every call: dropped without being polled it drops the value, on the pool.
    /// Calls submitted later resolve as [`Taken`](OffloadError::Taken). It answers also if
    /// a call has panicked.
    #[track_caller]
    pub fn into_inner(
        self,
    ) -> Offloaded<impl FnOnce(&Job) -> Result<T, Stopped> + Send + use<T>, T, WithJob> {
        let slot = Arc::clone(&self.slot);
        let call = Offloaded::new(Kind::Io, move |_: &Job| Ok(*slot.take()?));
        self.slot.line_up(call)
    }
}

/// Of no type: what is pinned need not be `Send`.
impl Blocking<()> {
    /// A value that cannot leave the thread that made it: see [`Pinned`].
    ///
    /// # Errors
    ///
    /// As for any call of `init`: above all [`Panicked`](OffloadError::Panicked), and
    /// [`NoThreads`](OffloadError::NoThreads).
    pub async fn pinned<T: 'static>(
        init: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pinned<T>, OffloadError> {
        pinned::start(init).await
    }
}

impl<T: Send + 'static> Slot<T> {
    /// The call in its place in the line, or one that says why it has none.
    fn line_up<F, R, Form>(&self, call: Offloaded<F, R, Form>) -> Offloaded<F, R, Form>
    where
        F: crate::closure::Closure<R, Form>,
        R: Send + 'static,
        Form: 'static,
    {
        if self.line.get().is_none() {
            match Offload::present() {
                Ok(offload) => drop(self.line.set(Line::new(&offload))),
                Err(error) => return call.refused(error),
            }
        }
        match self.line.get() {
            Some(line) => call.on(&line.offload).lane(&line.lane).in_its_place(),
            None => unreachable!("it was set above, if not before"),
        }
    }

    fn take(&self) -> Result<Box<T>, Stopped> {
        self.value.lock().take().ok_or(Stopped::TAKEN)
    }
}

impl<T: Send + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.get_mut().take() else {
            return;
        };
        let offload = match self.line.take() {
            Some(line) => Some(line.offload),
            None => Offload::present().ok(),
        };
        match offload {
            Some(offload) => drop_on_pool(&offload, value),
            None => drop(value),
        }
    }
}

/// A call to come.
struct Turn<T: Send + 'static> {
    slot: Arc<Slot<T>>,
    recover: Option<Recover<T>>,
    poisons: bool,
    target: Option<Target>,
}

/// A call that runs. The value is back in its place when this is dropped.
struct Held<T: Send + 'static> {
    /// `None` only while it is dropped.
    value: Option<Box<T>>,
    slot: Arc<Slot<T>>,
    target: Option<Target>,
    has_panicked: bool,
}

impl<T: Send + 'static> Turn<T> {
    fn begin(self) -> Result<Held<T>, Stopped> {
        let mut held = Held {
            value: Some(self.slot.take()?),
            has_panicked: self.slot.has_panicked.load(Ordering::Relaxed),
            slot: self.slot,
            target: self.target,
        };
        if let Some(line) = held.slot.line.get() {
            line.lane.io().set_holder(current::thread());
        }
        if held.has_panicked {
            if self.poisons {
                return Err(Stopped::POISONED);
            }
            if let Some(recover) = self.recover {
                recover(held.value());
            }
        }
        held.has_panicked = true;
        if let Some(target) = &held.target {
            target.begin();
        }
        Ok(held)
    }
}

impl<T: Send + 'static> Held<T> {
    fn value(&mut self) -> &mut T {
        self.value.as_mut().expect("there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        drop(self.target.take());
        let has_panicked = self.has_panicked;
        self.slot
            .has_panicked
            .store(has_panicked, Ordering::Relaxed);
        if let Some(line) = self.slot.line.get() {
            line.lane.io().set_holder(0);
        }
        *self.slot.value.lock() = self.value.take();
    }
}

impl<T: Send + 'static> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking")
            .field("is_poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
