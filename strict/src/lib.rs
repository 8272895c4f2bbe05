//! Tests that fail when a poll makes a blocking call.
//!
//! An async task that blocks keeps its thread, and with it every other task there, from
//! running. Nothing tells: the test passes, a little slower. Under this crate it fails:
//!
//! ```should_panic
//! #[inline(never)]
//! async fn load_config() -> std::io::Result<String> {
//!     std::fs::read_to_string("/etc/hostname")
//! }
//!
//! # if offramp_strict::functions().is_empty() { panic!("not on this platform") }
//! offramp_strict::run(load_config()).unwrap();
//! ```
//!
//! ```text
//! a poll made a blocking call: open64("/etc/hostname")
//!   in my_app::load_config
//!   at src/config.rs:8
//! wrap it in `offload_io`; if it never blocks here, in `offramp_strict::allow("why", || ..)`
//! stack, innermost first:
//!   <std::fs::File>::open::<&std::path::Path>
//!   std::fs::read_to_string::inner
//! > my_app::load_config::{{closure}} at src/config.rs:8
//! and 2 more in this poll:
//!   read(9: /etc/hostname) in my_app::load_config
//!   ..
//! polled: my_app::load_config::{{closure}}, watched at tests/config.rs:12:5
//! ```
//!
//! # How to begin
//!
//! It is for tests alone: a binary that links it has its own `read`, `open` and so on.
//!
//! ```toml
//! [dev-dependencies]
//! offramp-strict = { version = "0.1", features = ["tokio"] }
//! ```
//!
//! Then `#[offramp_strict::test]` in the place of `#[tokio::test]`:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! #[offramp_strict::test]
//! async fn answers_requests() {
//!     // ..
//! }
//!
//! # #[cfg(feature = "tokio")]
//! #[offramp_strict::test(flavor = "multi_thread", worker_threads = 2)]
//! async fn answers_many() {
//!     // The test itself is strict; a task is if it is spawned so:
//!     let task = offramp_strict::spawn(async { 6 * 7 });
//!     assert_eq!(task.await.unwrap(), 42);
//! }
//!
//! // One in each test binary, because silence means nothing without it.
//! #[offramp_strict::test(flavor = "plain")]
//! async fn armed() {
//!     offramp_strict::assert_armed();
//! }
//! # fn main() {}
//! ```
//!
//! smol's tests take the feature and the flavor `smol`. Neither feature is needed without a
//! runtime ([`run`], `flavor = "plain"`), or with one that is polled by hand
//! ([`Options::run_by`], [`watch`]).
//!
//! # What fails a test
//!
//! | call | when |
//! |---|---|
//! | sleeping | always |
//! | opening, looking for, renaming, removing files and folders | always, but not below `/proc` and `/sys` |
//! | reading and writing | files always; sockets, pipes and the like if they are not in non-blocking mode; standard output and error never |
//! | syncing, locking, copying files | always; a lock that is only tried never |
//! | connecting, accepting, sending, receiving | if the socket is not in non-blocking mode |
//! | looking up hosts | always |
//! | starting children, waiting for them | always, but not by `tokio::process` and `async_process`; a look (`try_wait`) never |
//! | waiting for readiness (`poll`, `select`, `epoll_wait`) | always; a look never |
//! | waiting for a thread: channels, condition variables, parking, joining, another executor's `block_on` | from [`WAIT_LIMIT`](defaults::WAIT_LIMIT) on |
//! | waiting for a lock | from [`LOCK_LIMIT`](defaults::LOCK_LIMIT) on; a runtime's own never |
//! | anything, computing too | if the poll takes longer than its [budget](Options::budget) |
//!
//! [`functions`] has the names. The call itself proceeds; the panic comes at the end of the
//! poll that made it, and tells of the first. A future that was [`watch`]ed in a strict test,
//! a task as a rule, also fails that test, at once, although it be waiting for something
//! else or not look at the task.
//!
//! The first report of a process looks for names in its debug information, which takes a
//! moment. Without it (`strip`) there are no names in it, and [`Options::allow_in`] allows
//! nothing; [`allow`] does.
//!
//! # What to allow
//!
//! Setting up and cleaning up belong out of the test's future, or into
//! [`allow`]`("fixture", || ..)`; a temporary folder that is dropped at the end of an `async`
//! block removes its files in a poll. [`Options::allow_in`] is for calls that are not in your
//! code. `tokio::task::block_in_place` [is allowed](defaults::ALLOWED).
//!
//! # How it works
//!
//! The crate defines functions of libc. The linker prefers an executable's own to those of
//! a library, so the standard library's calls, and those of C code, arrive here; each looks at
//! a thread-local pointer, which leads to the poll if there is one, notes the call with its
//! stack, and goes on to libc. Tests of one process do not hear of each other: what counts is
//! the thread that polls.
//!
//! # Limits
//!
//! * Linux with glibc, 64 bits, linked dynamically. Elsewhere (macOS, Windows, musl), under
//!   a sanitizer or Miri only the budget holds; [`assert_armed`] panics there and says why.
//! * System calls that are not made through libc are not seen: `rustix` with its Linux
//!   backend, and what is built on it, among that `async-io` itself and newer versions of
//!   `tempfile`. Nor are calls that libc makes to itself (`fopen`, `fread`), or a mapped
//!   file's pages.
//! * Futures that nobody watches are not seen: a plain `tokio::spawn` in a strict test.
//! * A socket in blocking mode is reported though its data be there, and a file though it
//!   be in the kernel's cache: what is tested is the call, not its luck.
//! * A lock, or another thread, that is waited for too briefly for its limit. On a machine
//!   that is busy, where threads of the process wait for a CPU all the time, a lock is hardly
//!   ever reported.
//! * While a panic unwinds nothing is looked at. What is dropped unfinished is not polled.
//! * A signal's handler that runs in a poll is taken for the poll.

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
mod pressure;
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
/// # if offramp_strict::functions().is_empty() { panic!("not on this platform") }
/// offramp_strict::run(async {
///     // In async code this is `offload_io(|| std::fs::read("Cargo.toml")).await`.
///     std::fs::read("Cargo.toml").unwrap();
/// });
/// ```
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    Options::new().run(future)
}
