//! What the tests share.

// Each test binary uses a part of it.
#![allow(dead_code)]

use offramp_strict::Options;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// The message of a panic.
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => panic!("a payload that is no message"),
        },
    }
}

/// What `f` panics with.
pub(crate) fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("no panic"),
        Err(payload) => message(payload),
    }
}

/// What a strict run of `future` fails with.
pub(crate) fn report_with<F: Future>(options: Options, future: F) -> String {
    panic_of(|| options.run(future))
}

/// What a poll that does `f` fails with.
pub(crate) fn report<T>(f: impl FnOnce() -> T) -> String {
    report_with(Options::new(), async { f() })
}

/// Whether blocking calls are seen here at all.
pub(crate) fn is_interposed() -> bool {
    !offramp_strict::functions().is_empty()
}

/// Iterations of a test that looks for what is rare: `OFFRAMP_STRICT_RUNS` of them, if set.
pub(crate) fn runs(without: usize) -> usize {
    match std::env::var("OFFRAMP_STRICT_RUNS") {
        Ok(runs) => runs.parse().expect("a number"),
        Err(_) => without,
    }
}

/// Ends this poll; the next one comes at once.
pub(crate) async fn next_poll() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
