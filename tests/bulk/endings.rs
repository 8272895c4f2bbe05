//! How calls made together end without a value: dropped, refused, out of time.

use super::*;
use offramp::{Backlog, Policy};

/// Closures that count their runs and drops.
#[derive(Default)]
struct Fates {
    runs: Arc<AtomicUsize>,
    drops: Arc<AtomicUsize>,
}

impl Fates {
    fn closures(&self, count: usize) -> Vec<impl FnOnce() + Send + use<>> {
        let closure = |_| {
            let (runs, counted) = (Arc::clone(&self.runs), Counted(Arc::clone(&self.drops)));
            move || {
                let _counted = counted;
                runs.fetch_add(1, SeqCst);
            }
        };
        (0..count).map(closure).collect()
    }

    fn runs_and_drops(&self) -> (usize, usize) {
        (self.runs.load(SeqCst), self.drops.load(SeqCst))
    }
}

#[test]
fn a_drop_drops_what_waits_at_once() {
    let _watchdog = watchdog("dropped while it waits");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let fates = Fates::default();
    // Ten of them are submitted, five wait here, and five have not been taken out.
    let calls = offload_io_all(fates.closures(20)).on(&offload).ahead(10);
    let mut all = Driven::new(calls.collect_all());
    assert!(all.poll().is_pending());
    assert_eq!(offload.stats().io.queued, 10);
    drop(all);
    assert_eq!(fates.runs_and_drops(), (0, 20));
    let io = offload.stats().io;
    assert_eq!((io.queued, io.cancelled, io.orphans), (0, 10, 0));
    occupied.release();
    at_rest(&offload);
    assert_eq!(fates.runs_and_drops(), (0, 20));
}

#[test]
fn a_drop_leaves_what_runs_as_orphans() {
    let _watchdog = watchdog("dropped while it runs");
    let offload = pool(2);
    let gate = Gate::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let closures = (0..5).map(|_| {
        let (gate, counted) = (gate.clone(), Counted(Arc::clone(&drops)));
        move || {
            gate.pass();
            counted
        }
    });
    let mut stream = Driven::new(offload_io_all(closures).on(&offload));
    assert!(stream.poll_next().is_pending());
    wait_until("two run", || offload.stats().io.running == 2);
    drop(stream);
    assert_eq!(drops.load(SeqCst), 3);
    let io = offload.stats().io;
    assert_eq!(
        (io.running, io.orphans, io.cancelled, io.queued),
        (2, 2, 3, 0)
    );
    gate.open();
    at_rest(&offload);
    wait_until("their values are dropped", || drops.load(SeqCst) == 5);
    wait_until("no orphan is left", || offload.stats().io.orphans == 0);
}

/// At every number of polls: what is over, runs, waits, or has not been submitted.
#[test]
fn dropped_after_any_number_of_polls_it_loses_nothing() {
    let _watchdog = watchdog("the grid of drops");
    let offload = pool(2);
    for ahead in [1, 4, 100] {
        for polls in 0..30 {
            let fates = Fates::default();
            let calls = offload_io_all(fates.closures(25)).on(&offload).ahead(ahead);
            let mut stream = Driven::new(calls);
            let mut taken = 0;
            for _ in 0..polls {
                if let Poll::Ready(Some(outcome)) = stream.poll_next() {
                    outcome.unwrap();
                    taken += 1;
                }
            }
            drop(stream);
            at_rest(&offload);
            let (runs, drops) = fates.runs_and_drops();
            assert_eq!(drops, 25);
            assert!(runs >= taken, "{runs} {taken}");
        }
    }
    let io = offload.stats().io;
    assert_eq!(io.submitted, io.completed + io.cancelled);
    wait_until("no orphan is left", || offload.stats().io.orphans == 0);
}

/// Destructors of closures and values that panic end there.
#[test]
fn destructors_may_panic() {
    struct Explosive;

    impl Drop for Explosive {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in a destructor"));
        }
    }

    let _watchdog = watchdog("explosive closures");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let closures = (0..6).map(|_| {
        let explosive = Explosive;
        move || std::mem::forget(explosive)
    });
    let mut stream = Driven::new(offload_io_all(closures).on(&offload).ahead(3));
    assert!(stream.poll_next().is_pending());
    drop(stream);
    assert_eq!(offload.stats().io.cancelled, 3);
    occupied.release();
    // Values that nobody takes.
    let mut stream = Driven::new(offload_io_all((0..4).map(|_| || Explosive)).on(&offload));
    std::mem::forget(stream.next());
    wait_until("they have run", || offload.stats().io.completed == 1 + 4);
    drop(stream);
    at_rest(&offload);
}

/// The pool is full of others' calls, and none of ours is in it.
#[test]
fn in_a_pool_full_of_others_each_is_overloaded() {
    let _watchdog = watchdog("a full pool");
    for policy in [Policy::Wait, Policy::Reject] {
        let builder = Offload::builder().io_max_threads(1).capacity(4);
        let builder = builder.max_pending(4).policy(policy);
        let offload = builder.build().unwrap();
        let occupied = Occupied::io(&offload, 1);
        let others: Vec<_> = (0..4)
            .map(|_| offload_io(|| ()).on(&offload).try_spawn().unwrap())
            .collect();
        let fates = Fates::default();
        let all = offload_io_all(fates.closures(6)).on(&offload);
        let outcomes = pollster::block_on(all.collect_all());
        assert_eq!(outcomes.len(), 6);
        for outcome in outcomes {
            assert!(matches!(
                outcome,
                Err(OffloadError::Overloaded { limit: 4, .. })
            ));
        }
        assert_eq!(fates.runs_and_drops(), (0, 6));
        assert_eq!(offload.stats().io.refused, 6);

        // With room for some of them the others wait for those.
        drop(others);
        let other = offload_io(|| ()).on(&offload).try_spawn().unwrap();
        let all = offload_io_all(fates.closures(6)).on(&offload).ahead(6);
        let mut all = Driven::new(all.collect_all());
        assert!(all.poll().is_pending());
        assert_eq!(offload.stats().io.queued, 4);
        occupied.release();
        assert_eq!(values(all.output()).len(), 6);
        assert_eq!(offload.stats().io.refused, 6);
        other.wait().unwrap();
    }
}

/// Where another lane has most jobs it pays for the first of ours, as for a call by itself.
#[test]
fn the_lane_with_most_jobs_pays_for_the_first() {
    let _watchdog = watchdog("a flood");
    let builder = Offload::builder().io_max_threads(1).capacity(8);
    let offload = builder.max_pending(8).build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let flood = offload_io_all([|| (); 20])
        .on(&offload)
        .tenant("flood")
        .ahead(20);
    let mut flood = Driven::new(flood.collect_all());
    assert!(flood.poll().is_pending());
    assert_eq!(offload.stats().io.queued, 8);
    let mut small = offload_io_all([|| (); 3]).on(&offload).tenant("small");
    small = small.ahead(3);
    let mut small = Driven::new(small.collect_all());
    assert!(small.poll().is_pending());
    assert_eq!(offload.stats().io.refused, 1);
    occupied.release();
    assert_eq!(values(small.output()).len(), 3);
    let outcomes = flood.output();
    assert_eq!(outcomes.len(), 20);
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!(refused >= 1);
    assert_eq!(offload.stats().io.refused, refused as u64);
}

#[test]
fn a_shutdown_is_each_ones_outcome() {
    let _watchdog = watchdog("a shutdown");
    for backlog in [Backlog::Drain, Backlog::Discard] {
        let offload = pool(1);
        let occupied = Occupied::io(&offload, 1);
        let fates = Fates::default();
        let calls = offload_io_all(fates.closures(20)).on(&offload).ahead(10);
        let mut all = Driven::new(calls.collect_all());
        assert!(all.poll().is_pending());
        let mut shutdown = Driven::new(offload.shutdown(None, backlog));
        assert!(shutdown.poll().is_pending());
        occupied.release();
        let outcomes = all.output();
        let drained = if backlog == Backlog::Drain { 10 } else { 0 };
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => assert!(n < drained, "{n}"),
                Err(OffloadError::ShutDown) => assert!(n >= drained, "{n}"),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(fates.runs_and_drops(), (drained, 20));
        assert!(shutdown.output().is_complete());
        let io = offload.stats().io;
        let discarded = 10 - drained as u64;
        assert_eq!(
            (io.submitted, io.discarded, io.refused),
            (21, discarded, 10)
        );

        let late = offload_io_all(fates.closures(3)).on(&offload);
        for outcome in pollster::block_on(late.collect_all()) {
            assert!(matches!(outcome, Err(OffloadError::ShutDown)));
        }
    }
}

/// Some run, some wait, and some have not been submitted when the time is over.
#[test]
fn a_deadline_is_for_all_together() {
    let _watchdog = watchdog("a deadline");
    let offload = pool(1);
    let gate = Gate::new();
    let fates = Fates::default();
    let mut closures: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(|| ()),
        Box::new({
            let gate = gate.clone();
            move || gate.pass()
        }),
    ];
    for closure in fates.closures(10) {
        closures.push(Box::new(closure));
    }
    let calls = offload_io_all(closures).on(&offload).ahead(6);
    let calls = calls.timeout(Duration::from_millis(200)).timeout(PATIENCE);
    let mut all = Driven::new(calls.collect_all());
    let outcomes = all.output();
    assert_eq!(outcomes.len(), 12);
    assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
    for (n, outcome) in outcomes.into_iter().enumerate().skip(1) {
        let Err(OffloadError::DeadlineExceeded { ran, .. }) = outcome else {
            panic!("{n}: {outcome:?}");
        };
        assert_eq!(ran.is_zero(), n > 1, "{n}");
    }
    assert_eq!(fates.runs_and_drops(), (0, 10));
    let io = offload.stats().io;
    assert_eq!((io.expired, io.orphans), (10, 1));
    gate.open();
    at_rest(&offload);
    // Over before it was polled.
    let late = offload_cpu_all(fates.closures(3))
        .on(&offload)
        .timeout(Duration::ZERO);
    for outcome in pollster::block_on(late.collect_all()) {
        assert!(matches!(
            outcome,
            Err(OffloadError::DeadlineExceeded { .. })
        ));
    }
    assert_eq!(fates.runs_and_drops(), (0, 13));
}

/// An iterator that panics does so in the poll; what it gave before is not lost.
#[test]
fn an_iterator_that_panics_loses_nothing() {
    let _watchdog = watchdog("an iterator that panics");
    let offload = pool(1);
    let fates = Fates::default();
    let closures = fates.closures(5).into_iter().enumerate().inspect(|(n, _)| {
        assert_quietly(*n != 3);
    });
    let closures = closures.map(|(_, closure)| closure);
    let mut stream = Driven::new(offload_io_all(closures).on(&offload));
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.poll_next()));
    assert!(polled.is_err());
    assert_eq!(offload.stats().io.submitted, 0);
    // The one that it gave amidst the panic is gone.
    for _ in 0..4 {
        stream.next().unwrap().unwrap();
    }
    assert!(stream.next().is_none());
    assert_eq!(fates.runs_and_drops(), (4, 5));
    assert_eq!(offload.stats().io.completed, 4);
}
