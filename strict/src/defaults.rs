//! The limits that hold where a test does not set its own.

use std::time::Duration;

/// The longest that a poll may take.
///
/// Far above a good poll, which takes microseconds: tests run in debug builds, many at once,
/// on machines that have other things to do, and a panic that is caught in a poll may read
/// all of a binary's debug information to print its backtrace. A test that is to find
/// computing in a poll sets its own.
pub const BUDGET: Duration = Duration::from_secs(5);

/// From where on waiting for another thread counts as blocking.
///
/// Channels and condition variables are waited for by intention; below a millisecond it
/// was the scheduler.
pub const WAIT_LIMIT: Duration = Duration::from_millis(1);

/// From where on waiting for a lock counts as blocking.
///
/// A lock that is held for nanoseconds is fine in async code; one who holds it across I/O or
/// an `.await` keeps it for longer. In between is a holder that has lost its CPU: what
/// threads of the process have waited for one does not count, and half of the limit has to be
/// left. Of a holder whose thread has ended by then that is not always known.
pub const LOCK_LIMIT: Duration = Duration::from_millis(20);

/// Functions whose blocking calls are allowed, and why, whatever the options say.
pub const ALLOWED: [(&str, &str); 3] = [
    (
        "tokio::task::blocking::block_in_place",
        "tokio has moved the thread's other tasks away",
    ),
    (
        "tokio::process::",
        "starting a child is a blocking call, and tokio has no other",
    ),
    (
        "async_process::",
        "starting a child is a blocking call, and smol has no other",
    ),
];
