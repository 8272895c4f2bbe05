//! A full pool: the line with most jobs pays, by its newest.

use super::common::{Occupied, Random, Wakes, wait_until, watchdog};
use super::{Call, Place, io};
use offramp::{Offload, OffloadError, Policy};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

fn full_at(max_pending: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(1);
    builder.max_pending(max_pending).build().unwrap()
}

/// What became of a closure.
#[derive(Default)]
pub(super) struct Fate {
    pub(super) runs: AtomicUsize,
    drops: AtomicUsize,
}

struct Captured(Arc<Fate>);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, SeqCst);
    }
}

/// An awaited call, polled once.
pub(super) struct Awaited {
    pub(super) future: Pin<Box<Call>>,
    pub(super) first: Poll<Result<(), OffloadError>>,
    pub(super) fate: Arc<Fate>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl Awaited {
    pub(super) fn new(
        offload: &Offload,
        place: &Place,
        options: impl FnOnce(Call) -> Call,
    ) -> Self {
        let fate = Arc::new(Fate::default());
        let captured = Captured(Arc::clone(&fate));
        let work = move || {
            captured.0.runs.fetch_add(1, SeqCst);
        };
        let mut future = Box::pin(options(place.of(io(work), offload)));
        let (wakes, waker) = Wakes::new();
        let first = future.as_mut().poll(&mut Context::from_waker(&waker));
        Self {
            future,
            first,
            fate,
            wakes,
            waker,
        }
    }

    fn plain(offload: &Offload, place: &Place) -> Self {
        Self::new(offload, place, |call| call)
    }

    fn must_run(offload: &Offload, place: &Place) -> Self {
        Self::new(offload, place, Call::must_run)
    }

    fn several(offload: &Offload, place: &Place, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::plain(offload, place)).collect()
    }

    fn counts(&self) -> (usize, usize) {
        (self.fate.runs.load(SeqCst), self.fate.drops.load(SeqCst))
    }

    /// It had to make room after it had been let in.
    #[track_caller]
    fn assert_evicted(mut self, at: usize) {
        assert!(self.first.is_pending());
        assert!(self.wakes.count() > 0, "its caller is told");
        let now = self
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker));
        assert_overloaded(&now, at);
        assert_eq!(self.counts(), (0, 1));
    }

    #[track_caller]
    fn assert_refused(&self, at: usize) {
        assert_overloaded(&self.first, at);
        assert_eq!(self.counts(), (0, 1));
    }

    #[track_caller]
    fn assert_waits(&self) {
        assert!(self.first.is_pending(), "{:?}", self.first);
        assert_eq!((self.counts(), self.wakes.count()), ((0, 0), 0));
    }

    #[track_caller]
    fn assert_runs(self) {
        assert!(self.first.is_pending());
        pollster::block_on(self.future).unwrap();
        let fate = self.fate;
        assert_eq!((fate.runs.load(SeqCst), fate.drops.load(SeqCst)), (1, 1));
    }
}

#[track_caller]
fn assert_overloaded(result: &Poll<Result<(), OffloadError>>, at: usize) {
    let Poll::Ready(Err(OffloadError::Overloaded {
        limit, expected, ..
    })) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!((*limit, *expected), (at, None));
}

/// The sum over all the ways a call may end, at rest.
#[track_caller]
pub(super) fn assert_adds_up(offload: &Offload, refused: u64) {
    wait_until("the pool is at rest", || {
        let io = offload.stats().io;
        io.queued + io.running == 0
    });
    let io = offload.stats().io;
    assert_eq!(
        io.submitted,
        io.completed + io.cancelled + io.refused,
        "{io:?}"
    );
    assert_eq!(io.refused, refused, "{io:?}");
}

fn pairs(offload: &Offload) -> [(Place, Place); 4] {
    let [a, b] = ["a", "b"].map(|name| Place::Lane(offload.lane(name)));
    [
        (a, b),
        (Place::Tenant(1), Place::Tenant(2)),
        (Place::Plain, Place::Tenant(2)),
        (Place::Tenant(1), Place::Plain),
    ]
}

#[test]
fn the_line_with_most_jobs_pays_by_its_newest() {
    let _watchdog = watchdog("overflow");
    let offload = full_at(4);
    for (round, (a, b)) in (1..).zip(pairs(&offload)) {
        let occupied = Occupied::io(&offload, 1);
        let mut of_a = Awaited::several(&offload, &a, 4);
        let first = Awaited::plain(&offload, &b);
        first.assert_waits();
        of_a.pop().unwrap().assert_evicted(4);
        of_a.iter().for_each(Awaited::assert_waits);
        // Of whom there are most is refused.
        Awaited::plain(&offload, &a).assert_refused(4);
        of_a.iter().for_each(Awaited::assert_waits);
        first.assert_waits();
        // A third one has none so far.
        let third = Awaited::plain(&offload, &Place::Tenant(9));
        third.assert_waits();
        of_a.pop().unwrap().assert_evicted(4);
        assert_eq!(offload.stats().io.queued, 4);
        occupied.release();
        for waits in of_a.into_iter().chain([first, third]) {
            waits.assert_runs();
        }
        assert_adds_up(&offload, 3 * round);
    }
}

/// Three and one make room for a second one of the other, but not for a third.
#[test]
fn a_newcomer_is_refused_where_it_would_have_as_many() {
    let _watchdog = watchdog("equal lines");
    let offload = full_at(4);
    let (a, b) = (Place::Tenant(1), Place::Tenant(2));
    let occupied = Occupied::io(&offload, 1);
    let of_a = Awaited::several(&offload, &a, 2);
    let of_b = Awaited::several(&offload, &b, 2);
    Awaited::plain(&offload, &a).assert_refused(4);
    Awaited::plain(&offload, &b).assert_refused(4);
    let all = of_a.into_iter().chain(of_b).collect::<Vec<_>>();
    all.iter().for_each(Awaited::assert_waits);
    occupied.release();
    all.into_iter().for_each(Awaited::assert_runs);
    assert_adds_up(&offload, 2);
}

#[test]
fn what_must_run_is_never_evicted() {
    let _watchdog = watchdog("must_run and overflow");
    let offload = full_at(4);
    let (a, b) = (Place::Tenant(1), Place::Tenant(2));
    let occupied = Occupied::io(&offload, 1);
    let plain = Awaited::plain(&offload, &a);
    let mut kept: Vec<_> = (0..3).map(|_| Awaited::must_run(&offload, &a)).collect();
    // The newest that may be taken is the oldest.
    let first = Awaited::plain(&offload, &b);
    first.assert_waits();
    plain.assert_evicted(4);
    // None is left that may.
    Awaited::plain(&offload, &Place::Tenant(3)).assert_refused(4);
    // It needs nobody's room.
    kept.extend((0..2).map(|_| Awaited::must_run(&offload, &b)));
    kept.push(first);
    kept.iter().for_each(Awaited::assert_waits);
    assert_eq!(offload.stats().io.queued, 6);
    occupied.release();
    kept.into_iter().for_each(Awaited::assert_runs);
    assert_adds_up(&offload, 2);
}

/// Where those that must run are beyond the limit one job less makes no room.
#[test]
fn nobody_is_evicted_for_nothing() {
    let _watchdog = watchdog("evictions in vain");
    let offload = full_at(4);
    let (a, b) = (Place::Tenant(1), Place::Tenant(2));
    let occupied = Occupied::io(&offload, 1);
    let mut all = Awaited::several(&offload, &a, 4);
    all.extend((0..3).map(|_| Awaited::must_run(&offload, &a)));
    Awaited::plain(&offload, &b).assert_refused(4);
    all.iter().for_each(Awaited::assert_waits);
    occupied.release();
    all.into_iter().for_each(Awaited::assert_runs);
    assert_adds_up(&offload, 1);
}

#[test]
fn cancelled_jobs_do_not_count() {
    let _watchdog = watchdog("cancelled and overflow");
    let offload = full_at(4);
    let [a, b, c] = [1, 2, 3].map(Place::Tenant);
    let occupied = Occupied::io(&offload, 1);
    let mut of_a = Awaited::several(&offload, &a, 4);
    drop(of_a.drain(1..));
    let mut of_b = Awaited::several(&offload, &b, 2);
    let of_c = Awaited::plain(&offload, &c);
    // Of a there are four in line, but only one waits.
    let newcomer = Awaited::plain(&offload, &Place::Tenant(4));
    newcomer.assert_waits();
    of_b.pop().unwrap().assert_evicted(4);
    let all = of_a.into_iter().chain(of_b).chain([of_c, newcomer]);
    let all: Vec<_> = all.collect();
    all.iter().for_each(Awaited::assert_waits);
    occupied.release();
    all.into_iter().for_each(Awaited::assert_runs);
    assert_adds_up(&offload, 1);
}

/// `try_spawn` does not wait, and `Reject` does not let wait: nobody makes room for them.
#[test]
fn only_who_would_wait_gets_room() {
    let _watchdog = watchdog("no room for the impatient");
    for policy in [Policy::Wait, Policy::Reject] {
        let builder = Offload::builder().io_max_threads(1).policy(policy);
        let offload = builder.max_pending(4).capacity(3).build().unwrap();
        let occupied = Occupied::io(&offload, 1);
        let of_a = Awaited::several(&offload, &Place::Tenant(1), 3);
        let refused = Place::Tenant(2).of(io(|| ()), &offload).try_spawn();
        let refused = refused.unwrap_err();
        assert!(matches!(
            refused.reason(),
            OffloadError::Overloaded {
                limit: 3,
                expected: None,
                ..
            }
        ));
        let awaited = Awaited::plain(&offload, &Place::Tenant(2));
        if policy == Policy::Reject {
            awaited.assert_refused(3);
        } else {
            awaited.assert_waits();
        }
        of_a.iter().for_each(Awaited::assert_waits);
        occupied.release();
        of_a.into_iter().for_each(Awaited::assert_runs);
    }
}

/// Against a model of it: with the one worker held, all of it is exact.
#[test]
fn random_calls_overflow_as_they_should() {
    const LIMIT: usize = 12;

    let _watchdog = watchdog("the model of overflow");
    for seed in 0..12 {
        let mut random = Random(seed);
        let offload = full_at(LIMIT);
        let occupied = Occupied::io(&offload, 1);
        let mut places: Vec<_> = (0..4).map(Place::Tenant).collect();
        places.push(Place::Plain);
        places.push(Place::Lane(offload.lane("one")));
        // Those that wait, oldest first.
        let mut lines: Vec<Vec<(bool, Awaited)>> = places.iter().map(|_| Vec::new()).collect();
        for _ in 0..400 {
            let line = random.below(places.len() as u64) as usize;
            let waiting: usize = lines.iter().map(Vec::len).sum();
            if random.below(6) == 0 {
                if !lines[line].is_empty() {
                    let at = random.below(lines[line].len() as u64) as usize;
                    let (must_run, gone) = &lines[line][at];
                    if !must_run {
                        let fate = Arc::clone(&gone.fate);
                        drop(lines[line].remove(at));
                        assert_eq!(fate.drops.load(SeqCst), 1);
                    }
                }
                continue;
            }
            let must_run = random.below(40) == 0;
            let call = if must_run {
                Awaited::must_run(&offload, &places[line])
            } else {
                Awaited::plain(&offload, &places[line])
            };
            let most = lines.iter().map(Vec::len).max().unwrap();
            if must_run || waiting < LIMIT {
                call.assert_waits();
                lines[line].push((must_run, call));
            } else if waiting > LIMIT || most <= lines[line].len() + 1 {
                call.assert_refused(LIMIT);
            } else {
                // Of those with most any may pay, if it has one that may be taken.
                let told = lines
                    .iter()
                    .position(|line| line.iter().any(|(_, one)| one.wakes.count() > 0));
                if let Some(pays) = told {
                    assert_eq!(lines[pays].len(), most);
                    let newest = lines[pays].iter().rposition(|(must_run, _)| !must_run);
                    lines[pays].remove(newest.unwrap()).1.assert_evicted(LIMIT);
                    call.assert_waits();
                    lines[line].push((false, call));
                } else {
                    let exempt = |line: &Vec<_>| {
                        line.len() == most && line.iter().all(|(must_run, _)| *must_run)
                    };
                    assert!(lines.iter().any(exempt), "refused with one to pay");
                    call.assert_refused(LIMIT);
                }
            }
            let waiting: usize = lines.iter().map(Vec::len).sum();
            assert_eq!(offload.stats().io.queued, waiting as u64);
            let others = lines.iter().flatten();
            others.for_each(|(_, one)| one.assert_waits());
        }
        occupied.release();
        let waiting = lines.into_iter().flatten();
        waiting.for_each(|(_, one)| one.assert_runs());
    }
}
