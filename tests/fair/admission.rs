//! Calls whose time would be over first are refused, and told what to expect.

use super::common::{Gate, Occupied, wait_until, watchdog};
use super::{Log, Place, io, longest, pool};
use offramp::{Handle, Offload, OffloadError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const JOB: Duration = Duration::from_millis(20);
/// Not over by the time it is looked at, as a rule.
const HOPELESS: Duration = Duration::from_millis(2);
const PLENTY: Duration = Duration::from_secs(3_600);

/// A line whose jobs wait behind one that is held, after so many of them have run one
/// after the other.
struct Backlog {
    offload: Offload,
    place: Place,
    log: Log,
    gate: Gate,
    waiting: Vec<Handle<()>>,
}

impl Backlog {
    fn new(place: impl Fn(&Offload) -> Place, measured: usize, job: Duration, jobs: usize) -> Self {
        let offload = pool(1);
        let place = place(&offload);
        let (log, gate) = (Log::default(), Gate::new());
        let occupied = Occupied::io(&offload, 1);
        let spawn = |work: Box<dyn FnOnce() + Send>| {
            let call = place.of(io(work), &offload);
            call.try_spawn().unwrap()
        };
        let sleeps = || -> Box<dyn FnOnce() + Send> {
            let log = log.clone();
            Box::new(move || log.note('j', 0, || thread::sleep(job)))
        };
        let mut handles: Vec<_> = (0..measured).map(|_| spawn(sleeps())).collect();
        let held = gate.clone();
        handles.push(spawn(Box::new(move || held.pass())));
        let waiting: Vec<_> = (0..jobs).map(|_| spawn(sleeps())).collect();
        occupied.release();
        handles.pop().unwrap().detach();
        for handle in handles {
            handle.wait().unwrap();
        }
        wait_until("it is held", || offload.stats().io.running == 1);
        Self {
            offload,
            place,
            log,
            gate,
            waiting,
        }
    }

    fn ask(&self, time: Duration) -> Result<Handle<()>, (usize, Duration)> {
        self.ask_in(&self.place, time)
    }

    /// A call with so much time: how many wait, and how long it would.
    fn ask_in(&self, place: &Place, time: Duration) -> Result<Handle<()>, (usize, Duration)> {
        let ran = Arc::new(AtomicBool::new(false));
        let refused = loop {
            let set = Arc::clone(&ran);
            let call = io(move || set.store(true, SeqCst)).timeout(time);
            match place.of(call, &self.offload).try_spawn() {
                Ok(handle) => return Ok(handle),
                Err(refused) => {
                    // This thread may have been kept from running for as long.
                    if !matches!(refused.reason(), OffloadError::DeadlineExceeded { .. }) {
                        break refused;
                    }
                }
            }
        };
        let OffloadError::Overloaded {
            limit,
            expected: Some(expected),
            ..
        } = *refused.reason()
        else {
            panic!("{refused:?}");
        };
        // The closure is there, and has not run.
        assert!(!ran.load(SeqCst));
        refused.into_inner()();
        assert!(ran.load(SeqCst));
        Err((limit, expected))
    }

    /// What has to be expected, while that does not change.
    fn steady(&self, mut probe: impl FnMut(Duration)) {
        for _ in 0..20 {
            let before = self.ask(HOPELESS).unwrap_err().1;
            probe(before);
            if self.ask(HOPELESS).unwrap_err().1 == before {
                return;
            }
        }
        panic!("what has to be expected changes all the time");
    }

    fn end(self) {
        self.gate.open();
        for handle in self.waiting {
            handle.wait().unwrap();
        }
    }
}

fn kinds() -> [fn(&Offload) -> Place; 3] {
    [
        |offload| Place::Lane(offload.lane("lane")),
        |_| Place::Tenant(1),
        |_| Place::Plain,
    ]
}

#[test]
fn a_call_without_a_chance_is_refused() {
    let _watchdog = watchdog("hopeless calls");
    for kind in kinds() {
        let backlog = Backlog::new(kind, 10, JOB, 15);
        let (ahead, expected) = backlog.ask(JOB).unwrap_err();
        assert_eq!(ahead, 15);
        // Each of those ahead takes as long as those did that ran.
        let all = backlog.log.all();
        let interval = (all[9].start - all[0].start) / 9;
        let due = 15 * interval;
        assert!(
            expected > due / 3 && expected < 3 * due,
            "{expected:?} instead of {due:?}"
        );
        // Nothing of that is for those with time, or without a deadline.
        let mut more = vec![backlog.ask(PLENTY).unwrap()];
        let calm = backlog.place.of(io(|| ()), &backlog.offload);
        more.push(calm.try_spawn().unwrap());
        // By awaiting it is the same.
        let late = io(|| panic!("it runs")).timeout(JOB);
        let mut late = pin!(backlog.place.of(late, &backlog.offload));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = late.as_mut().poll(&mut cx) else {
            panic!("it waits");
        };
        let OffloadError::Overloaded {
            limit: 17,
            expected: Some(_),
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        let stats = backlog.offload.stats().io;
        assert_eq!((stats.refused, stats.queued), (2, 17), "{stats:?}");
        backlog.end();
        for handle in more {
            handle.wait().unwrap();
        }
    }
}

#[test]
fn there_is_a_margin_and_the_time_it_runs() {
    let _watchdog = watchdog("margins");
    let lane = |offload: &Offload| Place::Lane(offload.lane("lane"));
    let backlog = Backlog::new(lane, 10, JOB, 30);
    let of = |expected: Duration, factor: f64| expected.mul_f64(factor);
    let all = backlog.log.all();
    let longest = Duration::from_secs_f64(longest(&all));
    let shortest = all.iter().map(|one| one.end - one.start).min().unwrap();
    let mut admitted = Vec::new();
    backlog.steady(|expected| {
        // Just in time is not in time.
        let just = of(expected, 1.1) + shortest;
        assert!(backlog.ask(just).is_err(), "{just:?} of {expected:?}");
        // Nor is time for the wait alone.
        let wait = of(expected, 1.2501);
        assert!(backlog.ask(wait).is_err(), "{wait:?} of {expected:?}");
        let enough = of(expected, 1.5) + 2 * longest;
        // Dropped at once, so that nothing changes.
        admitted.push(backlog.ask(enough).is_ok());
    });
    assert_eq!(admitted.last(), Some(&true));
    backlog.end();
}

/// What is admitted is through in time: an answer that nobody would get is what all of this
/// is to prevent.
#[test]
fn who_is_admitted_is_in_time() {
    let _watchdog = watchdog("admitted calls");
    let offload = pool(2);
    let lane = offload.lane("lane");
    let (mut admitted, mut refused, mut late) = (Vec::new(), 0, 0);
    for _ in 0..400 {
        let call = io(|| thread::sleep(JOB / 4)).on(&offload).lane(&lane);
        match call.timeout(25 * JOB).try_spawn() {
            Ok(handle) => admitted.push(handle),
            Err(error) => {
                let reason = error.reason();
                assert!(matches!(reason, OffloadError::Overloaded { .. }));
                refused += 1;
            }
        }
        thread::sleep(JOB / 16);
    }
    let taken = admitted.len();
    for handle in admitted {
        late += usize::from(handle.wait().is_err());
    }
    assert_eq!(taken + refused, 400);
    assert!(
        late * 5 <= taken,
        "{late} of {taken} too late, {refused} refused"
    );
}

#[test]
fn a_line_where_nobody_waits_admits() {
    let _watchdog = watchdog("empty lines");
    for kind in kinds() {
        let backlog = Backlog::new(kind, 10, JOB, 15);
        assert!(backlog.ask(JOB).is_err());
        // Others are not refused for the backlog of one.
        for place in [
            Place::Tenant(2),
            Place::Lane(backlog.offload.lane("empty")),
            Place::Class(offramp::Priority::High),
        ] {
            let handle = backlog.ask_in(&place, JOB / 20);
            drop(handle.expect("nobody waits there"));
        }
        backlog.end();
    }
}

/// A line of which nothing has been measured yet is judged by its share of what has.
#[test]
fn a_new_line_expects_its_share() {
    let _watchdog = watchdog("new lines");
    let lane = |offload: &Offload| Place::Lane(offload.lane("lane").weight(3));
    let backlog = Backlog::new(lane, 10, JOB, 15);
    let place = Place::Tenant(2);
    let waits: Vec<_> = (0..10)
        .map(|_| {
            let call = place.of(io(|| ()), &backlog.offload);
            call.try_spawn().unwrap()
        })
        .collect();
    let (ahead, expected) = backlog.ask_in(&place, JOB).unwrap_err();
    assert_eq!(ahead, 10);
    // Every fourth turn is its own. A measurement that is a second old counts half.
    let all = backlog.log.all();
    let due = 40 * (all[9].start - all[0].start) / 9;
    assert!(
        expected > due * 2 / 5 && expected < 3 * due,
        "{expected:?} instead of {due:?}"
    );
    drop(waits);
    backlog.end();
}

#[test]
fn where_nothing_starts_nothing_will() {
    let _watchdog = watchdog("a stall");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let lane = offload.lane("lane");
    let first = io(|| ()).on(&offload).lane(&lane).try_spawn().unwrap();
    let call = || io(|| ()).on(&offload).lane(&lane);
    let stall = Duration::from_millis(200);
    thread::sleep(stall);
    // Nothing was ever measured, but how long the first one waits by now.
    let refused = call().timeout(stall / 2).try_spawn().unwrap_err();
    let OffloadError::Overloaded {
        limit: 1,
        expected: Some(expected),
        ..
    } = *refused.reason()
    else {
        panic!("{refused:?}");
    };
    assert!(expected >= stall, "{expected:?}");
    drop(call().timeout(PLENTY).try_spawn().unwrap());
    occupied.release();
    first.wait().unwrap();
}

#[test]
fn what_must_run_is_not_asked_for_its_chances() {
    let _watchdog = watchdog("must_run and chances");
    let offload = pool(1);
    let place = Place::Tenant(1);
    let occupied = Occupied::io(&offload, 1);
    let waits = place.of(io(|| ()), &offload).try_spawn().unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(
        place
            .of(io(|| ()), &offload)
            .timeout(JOB)
            .try_spawn()
            .is_err()
    );
    let ran = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ran);
    let must_run = place.of(io(move || set.store(true, SeqCst)), &offload);
    let must_run = must_run.must_run().try_spawn().unwrap();
    let plain = place.of(io(|| ()), &offload).try_spawn().unwrap();
    occupied.release();
    for handle in [waits, must_run, plain] {
        handle.wait().unwrap();
    }
    assert!(ran.load(SeqCst));
}

#[test]
fn cancelled_jobs_are_no_backlog() {
    let _watchdog = watchdog("a backlog cancelled");
    let mut backlog = Backlog::new(|_| Place::Tenant(1), 10, JOB, 40);
    let (ahead, before) = backlog.ask(JOB).unwrap_err();
    assert_eq!(ahead, 40);
    backlog.waiting.truncate(10);
    let (ahead, after) = backlog.ask(HOPELESS).unwrap_err();
    assert_eq!(ahead, 10);
    // A quarter, unless the stall is longer by now.
    assert!(after < before, "{after:?} after {before:?}");
    backlog.waiting.clear();
    drop(backlog.ask(JOB).expect("nobody waits any more"));
    backlog.end();
}

/// What was measured counts half after each second in which nothing confirms it: a line that
/// was slow a while ago does not refuse for ever.
#[test]
fn an_old_measurement_fades() {
    let _watchdog = watchdog("old measurements");
    let slow = Duration::from_millis(150);
    for kind in kinds() {
        let mut backlog = Backlog::new(kind, 8, slow, 10);
        let (_, fresh) = backlog.ask(JOB).unwrap_err();
        assert!(fresh > slow, "{fresh:?}");
        // Nobody comes for a while.
        backlog.waiting.clear();
        backlog.gate.open();
        wait_until("nothing runs", || backlog.offload.stats().io.running == 0);
        thread::sleep(Duration::from_millis(3_200));
        let occupied = Occupied::io(&backlog.offload, 1);
        let spawn = |_| backlog.place.of(io(|| ()), &backlog.offload).try_spawn();
        let waiting: Vec<_> = (0..10).map(|n| spawn(n).unwrap()).collect();
        let (_, faded) = backlog.ask(HOPELESS).unwrap_err();
        assert!(faded < fresh / 3, "{faded:?} some seconds after {fresh:?}");
        occupied.release();
        for handle in waiting {
            handle.wait().unwrap();
        }
    }
}
