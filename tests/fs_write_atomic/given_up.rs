//! Saves that are given up: dropped, aborted, out of time, panicked.

use super::{NEW, OLD, assert_holds, temporary_files, with_old};
use crate::common::{Gate, Occupied, Random, Wakes, alone, wait_until, watchdog};
use offramp::fs::write_atomic;
use offramp::{Offload, OffloadError};
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

fn pool() -> Offload {
    Offload::builder().io_max_threads(1).build().unwrap()
}

fn wait_for_rest(offload: &Offload) {
    wait_until("nothing waits or runs", || {
        let stats = offload.stats().io;
        stats.queued + stats.running == 0
    });
}

/// Holds its save before the first byte is written.
struct Held {
    contents: Vec<u8>,
    reached: mpsc::Sender<()>,
    gate: Gate,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.reached.send(()).unwrap();
        self.gate.pass();
        &self.contents
    }
}

fn held(contents: impl Into<Vec<u8>>) -> (Held, mpsc::Receiver<()>, Gate) {
    let (reached, is_there) = mpsc::channel();
    let gate = Gate::new();
    let held = Held {
        contents: contents.into(),
        reached,
        gate: gate.clone(),
    };
    (held, is_there, gate)
}

#[test]
fn nothing_happens_before_the_first_poll() {
    let (_directory, path) = with_old();
    drop(write_atomic(&path, NEW));
    assert_holds(&path, OLD);
}

#[test]
fn dropped_while_it_waits() {
    let _watchdog = watchdog("a save that waits");
    let (_directory, path) = with_old();
    let offload = pool();
    let occupied = Occupied::io(&offload, 1);
    {
        let mut call = pin!(write_atomic(&path, NEW).on(&offload));
        let (_, waker) = Wakes::new();
        let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending));
    }
    occupied.release();
    wait_for_rest(&offload);
    assert_holds(&path, OLD);
}

/// Empty contents have no piece before which it could stop: it stops before the renaming.
#[test]
fn dropped_while_it_runs() {
    let _watchdog = watchdog("a save that runs");
    for contents in ["", NEW] {
        let (_directory, path) = with_old();
        let offload = pool();
        let (contents, is_there, gate) = held(contents);
        let handle = write_atomic(&path, contents).on(&offload).try_spawn();
        is_there.recv().unwrap();
        drop(handle);
        gate.open();
        wait_for_rest(&offload);
        assert_holds(&path, OLD);
    }
}

#[test]
fn aborted_while_it_runs() {
    let _watchdog = watchdog("a save that is aborted");
    let (_directory, path) = with_old();
    let offload = pool();
    let (contents, is_there, gate) = held(NEW);
    let handle = write_atomic(&path, contents).on(&offload).try_spawn();
    let handle = handle.unwrap();
    is_there.recv().unwrap();
    handle.abort();
    gate.open();
    let error = handle.wait().unwrap().unwrap_err();
    let why = error.get_ref().unwrap();
    let why = why.downcast_ref::<OffloadError>();
    assert!(matches!(why, Some(OffloadError::Cancelled)), "{error}");
    assert_holds(&path, OLD);
}

#[test]
fn out_of_time_while_it_runs() {
    let _watchdog = watchdog("a save that is out of time");
    let (_directory, path) = with_old();
    let offload = pool();
    let (contents, is_there, gate) = held("");
    let call = write_atomic(&path, contents).on(&offload);
    let call = call.timeout(Duration::from_millis(30)).flatten();
    let error = pollster::block_on(call).unwrap_err();
    let why = error.get_ref().unwrap().downcast_ref::<OffloadError>();
    assert!(
        matches!(why, Some(OffloadError::DeadlineExceeded { .. })),
        "{error}"
    );
    // It may not have started.
    drop(is_there);
    gate.open();
    wait_for_rest(&offload);
    assert_holds(&path, OLD);
}

#[test]
fn one_that_must_run_is_saved_though_dropped() {
    let _watchdog = watchdog("a save that must run");
    let (_directory, path) = with_old();
    let offload = pool();
    let (contents, is_there, gate) = held(NEW);
    let call = write_atomic(&path, contents).on(&offload).must_run();
    let handle = call.try_spawn().unwrap();
    is_there.recv().unwrap();
    drop(handle);
    gate.open();
    wait_for_rest(&offload);
    assert_holds(&path, NEW);
}

/// It does not write to the end what nobody wants.
#[test]
fn dropped_it_stops_where_it_stands() {
    const BYTES: usize = 64 << 20;
    let test = "given_up::dropped_it_stops_where_it_stands";
    alone(test, || {
        let (directory, path) = with_old();
        let offload = pool();
        let written = || -> usize {
            let io = fs::read_to_string("/proc/self/io").expect("procfs");
            let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
            line.unwrap().parse().unwrap()
        };
        // Should this thread be late, a save may be over before it is dropped.
        let is_stopped = (0..20).any(|_| {
            let before = written();
            let call = write_atomic(&path, vec![1; BYTES]).on(&offload);
            let handle = call.try_spawn().unwrap();
            wait_until("there is a temporary file", || {
                handle.is_finished() || !temporary_files(directory.path()).is_empty()
            });
            drop(handle);
            wait_for_rest(&offload);
            written() - before < BYTES
        });
        assert!(is_stopped);
    });
}

#[test]
fn dropped_at_any_moment() {
    const SEED: u64 = 0x0ff5_a7e5;
    let _watchdog = watchdog("saves that are dropped");
    let (directory, path) = with_old();
    let offload = pool();
    let mut random = Random(SEED);
    let (mut stayed_old, mut in_the_midst) = (0, 0);
    for round in 0..60 {
        let before = fs::read(&path).unwrap();
        let contents = vec![round; 8 << 20];
        let call = write_atomic(&path, contents.clone()).on(&offload);
        let handle = call.try_spawn().unwrap();
        if round % 2 == 0 {
            wait_until("there is a temporary file", || {
                handle.is_finished() || !temporary_files(directory.path()).is_empty()
            });
            in_the_midst += u32::from(!handle.is_finished());
        } else {
            thread::sleep(Duration::from_micros(random.below(20_000)));
        }
        drop(handle);
        wait_for_rest(&offload);
        let after = fs::read(&path).unwrap();
        let is_old = after == before;
        stayed_old += u32::from(is_old);
        assert!(is_old || after == contents, "round {round}, seed {SEED:#x}");
        let left = temporary_files(directory.path());
        assert!(left.is_empty(), "round {round}, seed {SEED:#x}: {left:?}");
    }
    assert!(stayed_old > 0 && in_the_midst > 0);
}

/// In its `as_ref`, and when it is dropped.
struct Panicking {
    in_as_ref: bool,
}

impl AsRef<[u8]> for Panicking {
    fn as_ref(&self) -> &[u8] {
        assert!(!self.in_as_ref, "no contents");
        NEW.as_bytes()
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        assert!(self.in_as_ref, "a destructor");
    }
}

#[test]
fn contents_that_panic() {
    let (_directory, path) = with_old();
    for (in_as_ref, message, content) in [(true, "no contents", OLD), (false, "a destructor", NEW)]
    {
        let call = write_atomic(&path, Panicking { in_as_ref });
        let Err(OffloadError::Panicked(panicked)) = pollster::block_on(call) else {
            panic!("the panic is lost");
        };
        assert_eq!(panicked.message(), Some(message));
        assert_holds(&path, content);
    }
    super::save(&path, "again").unwrap();
    assert_holds(&path, "again");
}
