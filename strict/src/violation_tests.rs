//! Judging by names, as both manglings show them.

use super::{WaitedFor, users, waited_for, within_poll};
use crate::stack::Frame;

fn frames(names: &[&str]) -> Vec<Frame> {
    let frame = |name: &&str| Frame {
        name: (*name).to_owned(),
        is_guessed: false,
        place: None,
    };
    names.iter().map(frame).collect()
}

fn path(name: &str) -> String {
    frames(&[name])[0].path().to_owned()
}

#[test]
fn a_path_begins_with_its_crate() {
    assert_eq!(path("app::load"), "app::load");
    assert_eq!(path("<app::Db>::load"), "app::Db>::load");
    assert_eq!(
        path("<&mut app::Db as app::Load>::load"),
        "app::Db as app::Load>::load"
    );
    assert_eq!(path("<dyn app::Load>::load"), "app::Load>::load");
    assert_eq!(
        path("<T as core::convert::Into<U>>::into"),
        "core::convert::Into<U>>::into"
    );
    assert_eq!(
        path("<[T] as alloc::slice::Concat>::x"),
        "alloc::slice::Concat>::x"
    );
}

#[test]
fn a_user_is_neither_the_library_nor_a_runtime() {
    let stack = frames(&[
        "<std::sys::fs::unix::File>::open_c::{closure#0}",
        "std::fs::read",
        "sqlite3_step",
        "tokio::runtime::park::Parker::park",
        "app::load",
        "app::main",
    ]);
    assert_eq!(users(&stack), Some(4));
    assert_eq!(users(&stack[..4]), Some(3), "a runtime's own tests");
    assert_eq!(users(&stack[..3]), None);
}

#[test]
fn our_own_functions_are_cut_off() {
    let stack = frames(&[
        "backtrace::backtrace::trace_unsynchronized",
        "offramp_strict::calls::capture",
        "open64",
        "std::fs::read",
        "app::load",
        "<offramp_strict::watched::Watched<F> as core::future::future::Future>::poll",
        "app::main",
    ]);
    let within = within_poll(stack, "open64");
    let names: Vec<_> = within.iter().map(|frame| &*frame.name).collect();
    assert_eq!(names, ["std::fs::read", "app::load"]);
}

#[test]
fn locks_are_told_from_other_waits() {
    let of = |names: &[&str]| waited_for(&frames(names));
    let lock = [
        "std::sys::sync::mutex::futex::Mutex::lock_contended",
        "std::sync::poison::mutex::Mutex<T>::lock",
        "app::load",
    ];
    assert_eq!(of(&lock), WaitedFor::Lock);
    let parking_lot = [
        "<parking_lot_core::thread_parker::imp::ThreadParker>::park",
        "parking_lot_core::parking_lot::park",
        "<parking_lot::raw_mutex::RawMutex>::lock_slow",
        "app::load",
    ];
    assert_eq!(of(&parking_lot), WaitedFor::Lock);
    let condition = [
        "std::sys::sync::condvar::futex::Condvar::wait",
        "std::sync::poison::condvar::Condvar::wait",
        "app::load",
    ];
    assert_eq!(of(&condition), WaitedFor::Thread);
    let channel = [
        "std::sys::sync::thread_parking::futex::Parker::park",
        "std::sync::mpsc::Receiver<T>::recv",
        "app::load",
    ];
    assert_eq!(of(&channel), WaitedFor::Thread);
    let runtimes = [
        "<std::sys::sync::mutex::futex::Mutex>::lock_contended",
        "<tokio::sync::batch_semaphore::Acquire as core::future::future::Future>::poll",
        "app::load",
    ];
    assert_eq!(of(&runtimes), WaitedFor::RuntimesLock);
    // A runtime that waits for a thread does block.
    let block_on = [
        "std::sys::sync::thread_parking::futex::Parker::park",
        "futures_executor::local_pool::block_on",
        "app::load",
    ];
    assert_eq!(of(&block_on), WaitedFor::Thread);
}

/// A stripped binary: nobody can tell, so the higher limit holds.
#[test]
fn without_names_it_is_a_lock() {
    let stack = frames(&["0x7f0000001000", "0x55d000002000"]);
    assert_eq!(waited_for(&stack), WaitedFor::Lock);
    assert_eq!(users(&stack), None);
}
