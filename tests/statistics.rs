//! The statistics add up: in every snapshot, whatever happens meanwhile, and exactly at
//! rest.

mod common;

use common::{Gate, Random, Wakes, alone, wait_until, watchdog};
use offramp::{
    Backlog, Handle, Offload, OffloadError, PoolStats, Stats, offload_cpu_with, offload_io,
    offload_io_with,
};
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// What has to hold in the second of three snapshots of a pool taken one after the
/// other. A gauge is unsigned: one that went below 0 would be huge.
fn check([before, now, after]: [&PoolStats; 3]) {
    let ended = |stats: &PoolStats| {
        stats.completed
            + stats.panicked
            + stats.cancelled
            + stats.expired
            + stats.refused
            + stats.discarded
            + stats.failed
    };
    let started = |stats: &PoolStats| ended(stats) + stats.running;
    assert_eq!(now.submitted, started(now) + now.queued, "the sum: {now:?}");

    // A snapshot takes its time: what ended meanwhile may show as running, and what
    // started meanwhile as queued, but nothing else beyond what there is room for.
    let ended_meanwhile = ended(after) - ended(before);
    let most_running = THREADS as u64 + ended_meanwhile;
    assert!(now.running <= most_running, "{before:?} {now:?} {after:?}");
    // Each caller may have one in the queue beyond the capacity, one that is about to be
    // refused and one that is being cancelled; each thread one that it is about to start.
    let started_meanwhile = started(after) - started(before);
    let most_queued = (CAPACITY + THREADS) as u64 + 3 * CALLERS + started_meanwhile;
    assert!(now.queued <= most_queued, "{before:?} {now:?} {after:?}");
    assert!(now.orphans <= now.running, "{now:?}");
    // While some leave, others come.
    assert!(
        now.threads <= 4 * THREADS && now.idle <= now.threads,
        "{now:?}"
    );

    for (counter, now, before) in [
        ("submitted", now.submitted, before.submitted),
        ("completed", now.completed, before.completed),
        ("panicked", now.panicked, before.panicked),
        ("cancelled", now.cancelled, before.cancelled),
        ("refused", now.refused, before.refused),
        ("expired", now.expired, before.expired),
        ("discarded", now.discarded, before.discarded),
        ("failed", now.failed, before.failed),
        ("waits", now.wait.count(), before.wait.count()),
        ("runs", now.run.count(), before.run.count()),
    ] {
        assert!(now >= before, "{counter} fell from {before} to {now}");
    }
}

const CALLERS: u64 = 4;
const THREADS: usize = 3;
/// Small, so that some are refused.
const CAPACITY: usize = 8;

/// What the callers know themselves.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    completed: AtomicU64,
    panicked: AtomicU64,
    refused: AtomicU64,
    /// Closures that stopped at their checkpoint.
    stopped: AtomicU64,
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Quick,
    Spins,
    Panics,
    Checks,
}

/// A pool's way to start a closure, boxed so that both have the same type.
type Body = Box<dyn FnOnce(&offramp::Job) -> Result<(), offramp::Stopped> + Send>;

fn body(work: Work, counts: &'static Counts) -> Body {
    Box::new(move |job| {
        match work {
            Work::Quick => {}
            Work::Spins => (0..500).for_each(|_| std::hint::spin_loop()),
            Work::Panics => {
                counts.panicked.fetch_add(1, SeqCst);
                // Past the panic hook, which would print it.
                resume_unwind(Box::new(()));
            }
            Work::Checks => {
                for _ in 0..50 {
                    if let Err(stopped) = job.checkpoint() {
                        counts.stopped.fetch_add(1, SeqCst);
                        return Err(stopped);
                    }
                    std::hint::spin_loop();
                }
            }
        }
        counts.completed.fetch_add(1, SeqCst);
        Ok(())
    })
}

/// One caller's share of random operations on one pool.
fn operate(
    call: impl Fn(Body) -> offramp::Offloaded<Body, (), offramp::WithJob>,
    operations: u64,
    counts: &'static Counts,
    mut random: Random,
) {
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut kept: Vec<Handle<()>> = Vec::new();
    for _ in 0..operations {
        let work = match random.below(10) {
            0 => Work::Panics,
            1 => Work::Spins,
            2 => Work::Checks,
            _ => Work::Quick,
        };
        let mut call = call(body(work, counts));
        if random.below(8) == 0 {
            call = call.timeout(Duration::from_micros(random.below(300)));
        }
        let action = random.below(16);
        counts.calls.fetch_add(1, SeqCst);
        if action < 4 {
            // Polled once and dropped, or awaited.
            let mut call = pin!(call);
            let mut before = wakes.count();
            loop {
                match call.as_mut().poll(&mut cx) {
                    Poll::Ready(Err(OffloadError::Overloaded { .. })) => {
                        counts.refused.fetch_add(1, SeqCst);
                    }
                    Poll::Pending if action == 0 => {
                        wait_until("woken", || wakes.count() > before);
                        before = wakes.count();
                        continue;
                    }
                    _ => {}
                }
                break;
            }
            continue;
        }
        let handle = match call.try_spawn() {
            Ok(handle) => handle,
            Err(refusal) => {
                match refusal.reason() {
                    OffloadError::Overloaded { .. } => counts.refused.fetch_add(1, SeqCst),
                    OffloadError::DeadlineExceeded { .. } => 0,
                    reason => panic!("{reason:?}"),
                };
                continue;
            }
        };
        match action {
            4..=8 => handle.detach(),
            9..=10 => drop(handle),
            11..=12 => {
                handle.abort();
                if random.below(2) == 0 {
                    kept.push(handle);
                }
            }
            _ => kept.push(handle),
        }
        // Some are left for later, when they may have finished.
        while kept.len() > 8 {
            let index = random.below(kept.len() as u64) as usize;
            let handle = kept.swap_remove(index);
            if random.below(4) == 0 {
                let _ = handle.wait();
            }
        }
    }
}

fn offload() -> Offload {
    Offload::builder()
        .io_max_threads(THREADS)
        // Short, so that threads come and go meanwhile.
        .io_keep_alive(Duration::from_millis(1))
        .cpu_threads(THREADS)
        .capacity(CAPACITY)
        .build()
        .unwrap()
}

#[test]
fn a_million_random_operations_never_break_the_sum() {
    alone("a_million_random_operations_never_break_the_sum", || {
        const OPERATIONS: u64 = 1_000_000;
        let offload = offload();
        let (io, cpu): (&Counts, &Counts) = (Box::leak(Box::default()), Box::leak(Box::default()));
        let is_over = AtomicBool::new(false);
        let snapshots = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let (mut before, mut now) = (offload.stats(), offload.stats());
                let mut snapshots = 0_u64;
                while !is_over.load(SeqCst) {
                    let after = offload.stats();
                    check([&before.io, &now.io, &after.io]);
                    check([&before.cpu, &now.cpu, &after.cpu]);
                    (before, now) = (now, after);
                    snapshots += 1;
                    // The CPUs are for what is watched.
                    thread::sleep(Duration::from_micros(50));
                }
                snapshots
            });
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let offload = &offload;
                    scope.spawn(move || {
                        let random = Random(caller);
                        // Every fourth operation is the CPU pool's.
                        if caller == 0 {
                            let call = |body| offload_cpu_with(body).on(offload);
                            operate(call, OPERATIONS / CALLERS, cpu, random);
                        } else {
                            let call = |body| offload_io_with(body).on(offload);
                            operate(call, OPERATIONS / CALLERS, io, random);
                        }
                    })
                })
                .collect();
            let results: Vec<_> = callers.into_iter().map(|it| it.join()).collect();
            is_over.store(true, SeqCst);
            let snapshots = watching.join().unwrap();
            for result in results {
                result.unwrap();
            }
            snapshots
        });
        println!("{snapshots} snapshots");
        assert!(snapshots > 100);

        pollster::block_on(offload.shutdown(None, Backlog::Drain));
        let stats = offload.stats();
        let calls = io.calls.load(SeqCst) + cpu.calls.load(SeqCst);
        assert_eq!(calls, OPERATIONS);
        at_rest(&stats.io, io);
        at_rest(&stats.cpu, cpu);
        // Else the operations were not so random.
        let all = [&stats.io, &stats.cpu];
        let sum = |count: fn(&PoolStats) -> u64| all.map(count).iter().sum::<u64>();
        assert!(sum(|pool| pool.completed) > OPERATIONS / 10);
        assert!(sum(|pool| pool.panicked) > OPERATIONS / 100);
        assert!(sum(|pool| pool.cancelled) > OPERATIONS / 100);
        assert!(sum(|pool| pool.refused) > 0);
        assert!(sum(|pool| pool.expired) > 0);
    });
}

/// At rest the pool says what the callers and closures say.
fn at_rest(stats: &PoolStats, counts: &Counts) {
    println!("{stats:?}");
    let [calls, completed, panicked, refused, stopped] = [
        &counts.calls,
        &counts.completed,
        &counts.panicked,
        &counts.refused,
        &counts.stopped,
    ]
    .map(|count| count.load(SeqCst));
    assert_eq!(stats.submitted, calls);
    assert_eq!(stats.completed, completed);
    assert_eq!(stats.panicked, panicked);
    assert_eq!(stats.refused, refused);
    // What neither ran to an end nor was refused was cancelled or expired.
    let rest = calls - completed - panicked - refused;
    assert_eq!(stats.cancelled + stats.expired, rest);
    assert!(stats.cancelled >= stopped);
    assert_eq!(stats.failed, 0);
    assert_eq!((stats.queued, stats.running, stats.orphans), (0, 0, 0));
    let started = completed + panicked + stopped;
    assert_eq!(stats.wait.count(), started);
    assert_eq!(stats.run.count(), started);
}

#[test]
fn each_outcome_is_counted_where_it_belongs() {
    let _watchdog = watchdog("outcomes are counted");
    let offload = Offload::builder()
        .io_max_threads(1)
        .capacity(1)
        .build()
        .unwrap();
    let counts = |stats: Stats| {
        let io = stats.io;
        let ended = [
            io.completed,
            io.panicked,
            io.cancelled,
            io.refused,
            io.failed,
        ];
        (io.submitted, ended, [io.queued, io.running, io.orphans])
    };
    assert_eq!(counts(offload.stats()), (0, [0; 5], [0; 3]));

    let spawn = || offload_io(|| ()).on(&offload).try_spawn();
    spawn().unwrap().wait().unwrap();
    assert_eq!(counts(offload.stats()), (1, [1, 0, 0, 0, 0], [0; 3]));

    let panics = offload_io(|| resume_unwind(Box::new(()))).on(&offload);
    assert!(matches!(
        panics.wait(),
        Err(OffloadError::Panicked(_)) | Ok(())
    ));
    assert_eq!(counts(offload.stats()), (2, [1, 1, 0, 0, 0], [0; 3]));

    let (gate, stopped) = (Gate::new(), Gate::new());
    let (hold, is_stopped) = (gate.clone(), stopped.clone());
    let work = move |job: &offramp::Job| {
        hold.pass();
        is_stopped.open();
        job.checkpoint()
    };
    let runs = offload_io_with(work).on(&offload).try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let waits = spawn().unwrap();
    assert_eq!(counts(offload.stats()), (4, [1, 1, 0, 0, 0], [1, 1, 0]));
    assert!(spawn().is_err());
    assert_eq!(counts(offload.stats()), (5, [1, 1, 0, 1, 0], [1, 1, 0]));
    drop(waits);
    assert_eq!(counts(offload.stats()), (5, [1, 1, 1, 1, 0], [0, 1, 0]));
    drop(runs);
    assert_eq!(counts(offload.stats()), (5, [1, 1, 1, 1, 0], [0, 1, 1]));
    gate.open();
    stopped.pass();
    wait_until("the orphan has ended", || offload.stats().io.running == 0);
    assert_eq!(counts(offload.stats()), (5, [1, 1, 2, 1, 0], [0; 3]));

    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    let (_, reason) = spawn().unwrap_err().into_parts();
    assert!(matches!(reason, OffloadError::ShutDown));
    let mut late = offload_io(|| ()).on(&offload);
    let polled = pin!(&mut late).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(OffloadError::ShutDown))));
    assert_eq!(counts(offload.stats()), (7, [1, 1, 2, 3, 0], [0; 3]));
    // The other pool has had nothing to do with it.
    assert_eq!(offload.stats().cpu.submitted, 0);
}

#[test]
fn waits_and_runs_are_measured() {
    let _watchdog = watchdog("histograms");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    const SLEEP: Duration = Duration::from_millis(20);
    let sleep = || {
        let call = offload_io(|| thread::sleep(SLEEP)).on(&offload);
        call.try_spawn().unwrap()
    };
    for handle in [sleep(), sleep(), sleep()] {
        handle.wait().unwrap();
    }
    let stats = offload.stats().io;
    assert_eq!((stats.wait.count(), stats.run.count()), (3, 3));
    // A sleep is at least as long as it says, and a bucket's bound is not below it.
    assert!(stats.run.quantile(0.0) >= SLEEP, "{stats:?}");
    // The last one waited for the two before it, the first one for neither.
    assert!(stats.wait.quantile(1.0) >= 2 * SLEEP, "{stats:?}");
    assert!(stats.wait.quantile(0.0) < stats.wait.quantile(1.0));
}
