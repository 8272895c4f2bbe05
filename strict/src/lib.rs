//! strict
#![deny(missing_docs, missing_debug_implementations)]
#![doc(test(attr(deny(warnings))))]

mod armed;
#[cfg(interposed)]
mod calls;
pub mod defaults;
#[cfg(interposed)]
mod hooks;
#[cfg(interposed)]
mod note;
mod options;
mod poll;
#[cfg(interposed)]
mod report;
mod run;
#[cfg(interposed)]
mod stack;
mod verdict;
#[cfg(interposed)]
mod violation;
mod watched;

pub use armed::{assert_armed, functions};
pub use offramp_strict_macros::test;
pub use options::{Flavor, Options};
pub use poll::allow;
#[cfg(feature = "tokio")]
pub use watched::spawn;
pub use watched::{Watched, watch};

use std::future::Future;

/// Polls `future` to its end on this thread, without a runtime, and panics at the end of the
/// first poll that blocks.
///
/// For a runtime, or other limits, see [`Options`]; as a test, see the attribute
/// [`test`](macro@test).
///
/// ```should_panic
/// offramp_strict::run(async {
///     // In async code this is `offload_io(|| std::fs::read("Cargo.toml")).await`.
///     std::fs::read("Cargo.toml")
/// });
/// ```
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    Options::new().run(future)
}
