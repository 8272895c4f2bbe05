//! The poll that runs on this thread, if it is a strict one.
//!
//! A thread-local pointer leads to the innermost `Poll`, which lies on the stack of the one
//! who polls. It is a plain cell, without a constructor and a destructor: the functions that
//! ask it are called before `main`, in a child after `fork`, and while a thread's other
//! values are being destroyed.

#[cfg(interposed)]
use crate::calls::Calls;
use crate::options::Settings;
use crate::run::Run;
use std::cell::Cell;
#[cfg(interposed)]
use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

thread_local! {
    static CURRENT: Cell<*const Poll> = const { Cell::new(ptr::null()) };
}

/// One poll in progress.
pub(crate) struct Poll {
    pub(crate) settings: Arc<Settings>,
    pub(crate) run: Arc<Run>,
    /// The blocking calls that it has made. Borrowed for moments, by its own thread.
    #[cfg(interposed)]
    pub(crate) calls: RefCell<Calls>,
    /// In how many `allow` scopes it is.
    allowed: Cell<u32>,
    /// Time that does not count to its budget.
    excused: Cell<Duration>,
    started: Instant,
}

impl Poll {
    /// `outer` is the poll that it is made in, if it is: its `allow` goes on.
    pub(crate) fn new(settings: Arc<Settings>, run: Arc<Run>) -> Self {
        #[cfg(interposed)]
        crate::hooks::find_all();
        let allowed = with_current(|outer| outer.allowed.get()).unwrap_or(0);
        Self {
            settings,
            run,
            #[cfg(interposed)]
            calls: RefCell::default(),
            allowed: Cell::new(allowed),
            excused: Cell::new(Duration::ZERO),
            started: Instant::now(),
        }
    }

    /// A poll in which nothing is allowed, wherever it is made.
    #[cfg(interposed)]
    pub(crate) fn bare() -> Self {
        let poll = Self::new(Arc::default(), Arc::default());
        poll.allowed.set(0);
        poll
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.get() > 0
    }

    /// How long it has been polled, less what does not count.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.excused.get())
    }

    fn excuse(&self, time: Duration) {
        self.excused.set(self.excused.get() + time);
    }

    /// Runs `f` as this poll.
    pub(crate) fn during<T>(&self, f: impl FnOnce() -> T) -> T {
        let _reset = Reset(CURRENT.replace(self));
        f()
    }
}

/// Makes the poll current again that was so before.
struct Reset(*const Poll);

impl Drop for Reset {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

fn with_current<T>(f: impl FnOnce(&Poll) -> T) -> Option<T> {
    let poll = CURRENT.get();
    // SAFETY: a current poll is on the stack below us: `during` borrows it, and resets
    // the pointer before it returns or unwinds.
    unsafe { poll.as_ref() }.map(f)
}

/// What a future that is made here belongs to.
pub(crate) fn inherited() -> Option<(Arc<Settings>, Arc<Run>)> {
    with_current(|poll| (poll.settings.clone(), poll.run.clone()))
}

/// Runs `f` with no poll current: what it calls is our own doing, and its time is not the
/// poll's.
pub(crate) fn aside<T>(f: impl FnOnce() -> T) -> T {
    let reset = Reset(CURRENT.replace(ptr::null()));
    let started = Instant::now();
    let result = f();
    drop(reset);
    with_current(|outer| outer.excuse(started.elapsed()));
    result
}

/// Allows blocking calls of the closure, because of `reason`: they are not reported, and the
/// time it takes does not count to the poll's budget.
///
/// ```
/// # let dir = std::env::temp_dir();
/// # let path = dir.join(format!("offramp-strict-{}", std::process::id()));
/// offramp_strict::run(async {
///     let path = offramp_strict::allow("a fixture of the test", || {
///         std::fs::write(&path, "[server]")?;
///         Ok::<_, std::io::Error>(path)
///     });
///     // .. what is to be tested
/// #   let path = path.unwrap();
/// #   offramp_strict::allow("cleaning up", || std::fs::remove_file(path)).unwrap();
/// });
/// ```
///
/// Outside of a strict poll it only calls the closure.
///
/// # Panics
///
/// Without a reason. It is for the reader of the test.
#[track_caller]
pub fn allow<T>(reason: &str, f: impl FnOnce() -> T) -> T {
    assert!(
        !reason.trim().is_empty(),
        "`offramp_strict::allow` takes a reason"
    );
    /// Ends the scope, also by a panic.
    struct End(Instant);
    impl Drop for End {
        fn drop(&mut self) {
            with_current(|poll| {
                poll.allowed.set(poll.allowed.get() - 1);
                if !poll.is_allowed() {
                    poll.excuse(self.0.elapsed());
                }
            });
        }
    }
    let _end = with_current(|poll| {
        poll.allowed.set(poll.allowed.get() + 1);
        End(Instant::now())
    });
    f()
}

/// The current poll is set aside for the time of a call to libc.
///
/// Not a guard: it is held across the call, through which C may unwind (a thread that is
/// cancelled), and then nothing of ours may have to be run.
#[cfg(interposed)]
pub(crate) mod taken {
    use super::{CURRENT, Poll};
    use std::ptr;

    /// Null if there is none.
    pub(crate) fn take() -> *const Poll {
        CURRENT.replace(ptr::null())
    }

    pub(crate) fn put_back(poll: *const Poll) {
        CURRENT.set(poll);
    }
}
