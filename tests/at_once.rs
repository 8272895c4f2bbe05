//! Calls that are over as soon as they are submitted, as a lone one may be on one CPU: its future is
//! ready in its first poll, but not time and again.
#![cfg(target_os = "linux")]

mod common;

use common::{Wakes, alone, cpus, pin_to, wait_until};
use offramp::backend::{Backend, Threads, Turns};
use offramp::{Offload, offload_io};
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::thread;

/// So many calls in a row may be over at once, as `Offloaded` says.
const MOST: usize = 16;

/// Runs each job on a thread of its own, and has the submitter wait for it: as one CPU does,
/// when it is kind.
struct Kind;

impl Backend for Kind {
    fn demand(&self, turns: &Turns) {
        thread::scope(|scope| {
            scope.spawn(|| turns.next().map(|turn| turn.run()));
        });
    }

    fn close(&self, turns: &Turns) {
        turns.left();
    }

    fn threads(&self) -> Threads {
        Threads::default()
    }
}

fn kind() -> Offload {
    Offload::builder().io_backend(Kind).build().unwrap()
}

/// Makes a call: whether it is ready in its first poll, and how often its waker was called.
fn call(offload: &Offload) -> (bool, usize) {
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut call = pin!(offload_io(|| 1).on(offload));
    let is_ready = call.as_mut().poll(&mut cx).is_ready();
    if !is_ready {
        wait_until("its waker was called", || wakes.count() > 0);
        assert!(call.poll(&mut cx).is_ready());
    }
    (is_ready, wakes.count())
}

#[test]
fn a_lone_call_may_be_ready_in_its_first_poll_on_one_cpu() {
    alone(
        "a_lone_call_may_be_ready_in_its_first_poll_on_one_cpu",
        || {
            pin_to(1);
            assert_eq!(call(&kind()), (true, 0));
        },
    );
}

#[test]
fn one_in_seventeen_leaves_its_turn_to_other_tasks() {
    alone("one_in_seventeen_leaves_its_turn_to_other_tasks", || {
        pin_to(1);
        let offload = kind();
        for round in 0..3 {
            for in_a_row in 0..MOST {
                assert_eq!(call(&offload), (true, 0), "{round}, {in_a_row}");
            }
            assert_eq!(call(&offload), (false, 1), "{round}");
        }
    });
}

#[test]
fn with_a_second_cpu_the_waker_is_left_first() {
    alone("with_a_second_cpu_the_waker_is_left_first", || {
        pin_to(2);
        if cpus().len() == 2 {
            assert_eq!(call(&kind()), (false, 1));
        }
    });
}
