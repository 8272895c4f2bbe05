//! Workers that are held back because jobs are expected to be short.

use super::{Seat, await_it, check};
use crate::core::caller::Caller;
use loom::sync::{Arc, Notify};
use loom::thread::{self, JoinHandle};

/// The time has come at which whoever held a worker back wanted that to end.
fn relief(seat: &Seat) -> JoinHandle<()> {
    let seat = seat.clone();
    thread::spawn(move || {
        seat.0.relief.wait();
        seat.0.crew.relieve(&seat);
    })
}

/// One worker runs a job, which waits for the next.
fn waits(seat: &Seat) -> (Caller<()>, impl FnOnce() + Send + 'static + use<>) {
    let (runs, met) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let caller = seat.submit({
        let (runs, met) = (Arc::clone(&runs), Arc::clone(&met));
        move || {
            runs.notify();
            met.wait();
        }
    });
    runs.wait();
    (caller.unwrap(), move || met.notify())
}

/// Nobody is called at first for a job behind one that was expected to be short.
#[test]
fn a_job_behind_one_that_waits_for_it() {
    check("a_job_behind_one_that_waits_for_it", Some(2), || {
        let seat = Seat::short();
        let relief = relief(&seat);
        loom::stop_exploring();
        let (waits, comes) = waits(&seat);
        loom::explore();
        let comes = seat.submit(comes).unwrap();
        await_it(waits).unwrap();
        await_it(comes).unwrap();
        relief.join().unwrap();
        seat.finish();
    });
}

/// The job for which somebody was held back has left, and another one comes.
#[test]
fn a_push_against_relief() {
    check("a_push_against_relief", Some(1), || {
        let seat = Seat::short();
        let relief = relief(&seat);
        loom::stop_exploring();
        let (waits, comes) = waits(&seat);
        let leaves = seat.submit(|| ()).unwrap();
        seat.abandon(leaves);
        loom::explore();
        let comes = seat.submit(comes).unwrap();
        await_it(waits).unwrap();
        await_it(comes).unwrap();
        relief.join().unwrap();
        seat.finish();
    });
}

/// Two workers look for short jobs, of which one waits for the other.
#[test]
fn a_worker_that_leaves_a_job_behind_one_that_waits_for_it() {
    let name = "a_worker_that_leaves_a_job_behind_one_that_waits_for_it";
    check(name, Some(0), || {
        let seat = Seat::short();
        let relief = relief(&seat);
        let met = Arc::new(Notify::new());
        let waits = seat.submit({
            let met = Arc::clone(&met);
            move || met.wait()
        });
        let comes = seat.submit(move || met.notify());
        await_it(waits.unwrap()).unwrap();
        await_it(comes.unwrap()).unwrap();
        // If nobody was held back it still waits.
        seat.0.relief.notify();
        relief.join().unwrap();
        seat.finish();
    });
}
