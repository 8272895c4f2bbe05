//! `#[offramp_strict::test]`, as it is written.
#![cfg(all(feature = "tokio", feature = "smol"))]

use offramp_strict::{Flavor, Options, allow, assert_armed, functions};
use std::io;
use std::thread;
use std::time::Duration;

#[offramp_strict::test]
async fn without_options_it_runs_on_tokio() {
    let handle = tokio::runtime::Handle::current();
    let flavor = handle.runtime_flavor();
    assert_eq!(flavor, tokio::runtime::RuntimeFlavor::CurrentThread);
    tokio::time::sleep(Duration::from_micros(10)).await;
}

#[offramp_strict::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_workers() {
    let handle = tokio::runtime::Handle::current();
    let flavor = handle.runtime_flavor();
    assert_eq!(flavor, tokio::runtime::RuntimeFlavor::MultiThread);
    assert_eq!(handle.metrics().num_workers(), 3);
}

#[offramp_strict::test(flavor = "smol")]
async fn on_smol() {
    assert!(tokio::runtime::Handle::try_current().is_err());
    smol::Timer::after(Duration::from_micros(10)).await;
}

#[offramp_strict::test(flavor = "plain")]
async fn without_a_runtime() -> io::Result<()> {
    assert!(tokio::runtime::Handle::try_current().is_err());
    let (sender, receiver) = futures::channel::oneshot::channel();
    thread::spawn(move || sender.send(7));
    let number = receiver.await.map_err(io::Error::other)?;
    assert_eq!(number, 7);
    Ok(())
}

fn relaxed() -> Options {
    Options::new()
        .flavor(Flavor::Smol)
        .allow_in("attribute::naps", "it is a test of that")
}

#[inline(never)]
fn naps() {
    thread::sleep(Duration::from_millis(1));
    // No tail call, which would not be on the stack.
    std::hint::black_box(());
}

#[offramp_strict::test(options = relaxed())]
async fn options_bring_their_flavor() {
    assert!(tokio::runtime::Handle::try_current().is_err());
    naps();
}

#[offramp_strict::test(options = relaxed(), flavor = "current_thread")]
async fn the_attributes_flavor_comes_before_theirs() {
    assert!(tokio::runtime::Handle::try_current().is_ok());
    naps();
}

#[offramp_strict::test(budget = Duration::from_millis(20))]
#[should_panic(expected = "more than its budget of 20ms")]
async fn with_a_budget() {
    allow("its time does not count", || {
        thread::sleep(Duration::from_millis(30));
    });
    // Not libc's: only the budget sees it.
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(30) {}
}

#[offramp_strict::test]
#[should_panic(expected = "a test's own failure")]
async fn a_panic_of_the_test_stays_its_own() {
    thread::sleep(Duration::from_millis(1));
    panic!("a test's own failure");
}

/// Where calls are not seen it fails by itself.
#[offramp_strict::test]
#[should_panic(expected = "in attribute::naps\n")]
async fn a_test_that_blocks_fails() {
    if functions().is_empty() {
        panic!("in attribute::naps\n");
    }
    assert_armed();
    naps();
}

mod renamed {
    pub(super) use offramp_strict as strict;
}

#[offramp_strict::test(crate = renamed::strict, flavor = "plain")]
async fn by_another_path() {}
