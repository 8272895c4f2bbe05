//! Alarms: armed while their supervisor goes to sleep, leaves, or is not there yet.

use super::{Seat, check};
use crate::core::alarms::{Alarm, Alarms, Armed, Time};
use crate::core::caller::Left;
use crate::sync::plain;
use loom::sync::{Arc, Notify};
use loom::thread;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

struct Clock(AtomicU64);

impl Time for Clock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn tick(&self) -> u64 {
        1
    }

    fn keep_alive(&self) -> u64 {
        1_000_000
    }
}

#[derive(Clone)]
struct Watch(Arc<(Alarms, Clock)>);

struct Rings(Notify);

impl Wake for Rings {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

impl Watch {
    fn new() -> Self {
        Self(Arc::new((Alarms::new(), Clock(AtomicU64::new(10)))))
    }

    /// An alarm for `due`, as a submitter arms it.
    fn arm(&self, due: u64) -> std::sync::Arc<Rings> {
        let rings = std::sync::Arc::new(Rings(Notify::new()));
        let waker = Waker::from(std::sync::Arc::clone(&rings));
        if self.0.0.arm(&Alarm::new(due, waker)) == Armed::StartSupervisor {
            self.start();
        }
        rings
    }

    fn start(&self) -> thread::JoinHandle<()> {
        let watch = self.clone();
        thread::spawn(move || watch.0.0.supervise(&watch.0.1))
    }
}

#[test]
fn arming_against_sleep() {
    check("arming_against_sleep", Some(2), || {
        let watch = Watch::new();
        // Already due; the supervisor is on its way to sleep after the first.
        let (first, second) = (watch.arm(1), watch.arm(2));
        first.0.wait();
        second.0.wait();
        watch.0.0.close();
    });
}

#[test]
fn arming_against_leaving() {
    check("arming_against_leaving", Some(2), || {
        let watch = Watch::new();
        loom::stop_exploring();
        watch.arm(1).0.wait();
        loom::explore();
        // Time passes: with nothing armed the supervisor leaves.
        let late = thread::spawn({
            let watch = watch.clone();
            move || watch.0.0.expire()
        });
        watch.arm(2).0.wait();
        late.join().unwrap();
        watch.0.0.close();
    });
}

#[test]
fn two_submitters_start_one_supervisor() {
    check("two_submitters_start_one_supervisor", Some(1), || {
        let watch = Watch::new();
        let other = thread::spawn({
            let watch = watch.clone();
            move || watch.arm(1).0.wait()
        });
        watch.arm(2).0.wait();
        other.join().unwrap();
        assert!(watch.0.0.is_watched());
        watch.0.0.close();
    });
}

#[test]
fn a_waker_changed_while_the_alarm_rings() {
    check("a_waker_changed_while_the_alarm_rings", Some(2), || {
        let watch = Watch::new();
        let rings = std::sync::Arc::new(Rings(Notify::new()));
        let alarm = Alarm::new(1, Waker::noop().clone());
        if watch.0.0.arm(&alarm) == Armed::StartSupervisor {
            watch.start();
        }
        // Either it will wake us, or it says that it has rung.
        if alarm.set_waker(&Waker::from(std::sync::Arc::clone(&rings))) {
            rings.0.wait();
        }
        watch.0.0.close();
    });
}

/// The only worker is stuck until the call that waits behind it has been answered.
#[test]
fn expiry_with_every_worker_stuck() {
    check("expiry_with_every_worker_stuck", Some(1), || {
        let (watch, seat) = (Watch::new(), Seat::new(1, 1, 0));
        let answered = Arc::new((Notify::new(), plain::AtomicBool::new(false)));
        let stuck = seat.submit({
            let answered = Arc::clone(&answered);
            move || {
                // loom's `wait` may return for nothing.
                while !answered.1.load(Ordering::Relaxed) {
                    answered.0.wait();
                }
            }
        });
        let mut late = seat.submit(|| ()).unwrap();
        let rings = std::sync::Arc::new(Rings(Notify::new()));
        let waker = Waker::from(std::sync::Arc::clone(&rings));
        assert!(late.poll(&waker).is_none(), "the worker is stuck");
        let alarm = Alarm::new(1, waker.clone());
        if watch.0.0.arm(&alarm) == Armed::StartSupervisor {
            watch.start();
        }
        while alarm.set_waker(&waker) {
            rings.0.wait();
            assert!(late.poll(&waker).is_none());
        }
        match late.abandon(&seat.0.queue) {
            Left::Queued(_) => {}
            _ => panic!("it never started"),
        }
        answered.1.store(true, Ordering::Relaxed);
        answered.0.notify();
        super::await_it(stuck.unwrap()).unwrap();
        watch.0.0.close();
        seat.finish();
    });
}

/// The only alarm, far away, is not needed any more: nobody is kept waiting for it.
#[test]
fn disarm_and_close_against_sleep() {
    check("disarm_and_close_against_sleep", Some(3), || {
        let watch = Watch::new();
        let alarm = Alarm::new(1_000, Waker::noop().clone());
        assert_eq!(watch.0.0.arm(&alarm), Armed::StartSupervisor);
        let supervisor = watch.start();
        watch.0.0.disarm(&alarm);
        watch.0.0.close();
        // Time does not pass.
        supervisor.join().unwrap();
    });
}
