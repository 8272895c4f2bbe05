//! A lane's limits: how many wait, how many run.

use super::common::{Gate, Occupied, wait_until, watchdog};
use super::{Place, cpu, io, pool};
use offramp::{Handle, Lane, Offload, OffloadError, Priority};
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

fn spawn(offload: &Offload, lane: &Lane) -> Result<Handle<()>, OffloadError> {
    let call = io(|| ()).on(offload).lane(lane).try_spawn();
    call.map_err(|refused| refused.into_parts().1)
}

/// So many more may wait, and not one beyond.
#[track_caller]
fn assert_room(offload: &Offload, lane: &Lane, room: usize, limit: usize) -> Vec<Handle<()>> {
    let handles: Vec<_> = (0..room).map(|_| spawn(offload, lane).unwrap()).collect();
    assert_refused(&spawn(offload, lane), limit);
    handles
}

#[track_caller]
fn assert_refused(result: &Result<Handle<()>, OffloadError>, at: usize) {
    let Err(OffloadError::Overloaded {
        limit, expected, ..
    }) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!((*limit, *expected), (at, None));
}

#[test]
fn max_queued_is_exact() {
    let _watchdog = watchdog("max_queued");
    let offload = pool(1);
    let lane = offload.lane("limited").max_queued(3);
    let occupied = Occupied::io(&offload, 1);
    let mut handles = assert_room(&offload, &lane, 3, 3);
    // The closure comes back, unrun.
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let work = move || {
        count.fetch_add(1, SeqCst);
    };
    let refused = io(work).on(&offload).lane(&lane).try_spawn().unwrap_err();
    assert_eq!(ran.load(SeqCst), 0);
    refused.into_inner()();
    assert_eq!(ran.load(SeqCst), 1);
    // Who awaits does not wait, either.
    let mut awaited = pin!(io(|| ()).on(&offload).lane(&lane));
    let Poll::Ready(result) = awaited
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it waits beyond the limit");
    };
    assert!(matches!(
        result,
        Err(OffloadError::Overloaded { limit: 3, .. })
    ));
    // It is the lane's, for all handles and no other lane.
    assert_refused(&spawn(&offload, &offload.lane("limited")), 3);
    handles.push(spawn(&offload, &offload.lane("another")).unwrap());
    handles.push(io(|| ()).on(&offload).try_spawn().unwrap());
    // In each pool for itself.
    cpu(|| ()).on(&offload).lane(&lane).wait().unwrap();
    let lane = lane.max_queued(5);
    handles.extend(assert_room(&offload, &lane, 2, 5));
    // A smaller one keeps those that are there.
    let lane = lane.max_queued(0);
    assert_refused(&spawn(&offload, &lane), 0);
    occupied.release();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_refused(&spawn(&offload, &lane), 0);
}

#[test]
fn room_in_a_line_comes_back_however_a_job_leaves() {
    let _watchdog = watchdog("room of max_queued");
    let offload = pool(1);
    let lane = offload.lane("limited").max_queued(2);
    for _ in 0..20 {
        // By a start.
        let occupied = Occupied::io(&offload, 1);
        let gate = Gate::new();
        let held = gate.clone();
        let runs = io(move || held.pass()).on(&offload).lane(&lane);
        let runs = runs.try_spawn().unwrap();
        let waits = assert_room(&offload, &lane, 1, 2);
        occupied.release();
        wait_until("it runs", || offload.stats().io.running == 1);
        let more = assert_room(&offload, &lane, 1, 2);
        // By being cancelled.
        drop(waits);
        drop(assert_room(&offload, &lane, 1, 2));
        drop(more);
        drop(assert_room(&offload, &lane, 2, 2));
        // By a deadline, before it starts.
        let late = io(|| ()).on(&offload).lane(&lane);
        let late = late.timeout(Duration::from_millis(1)).try_spawn().unwrap();
        assert!(late.wait().is_err());
        drop(assert_room(&offload, &lane, 2, 2));
        // By a panic.
        let panics = io(|| resume_unwind(Box::new(()))).on(&offload).lane(&lane);
        let panics = panics.try_spawn().unwrap();
        gate.open();
        runs.wait().unwrap();
        assert!(panics.wait().is_err());
        let occupied = Occupied::io(&offload, 1);
        drop(assert_room(&offload, &lane, 2, 2));
        // A closure that a thread of the pool drops keeps its room until then.
        let left = io(|| ()).on(&offload).lane(&lane).drop_on_pool();
        drop(left.try_spawn().unwrap());
        drop(assert_room(&offload, &lane, 1, 2));
        occupied.release();
        wait_until("it was dropped", || {
            let io = offload.stats().io;
            io.queued + io.running == 0
        });
    }
}

#[test]
fn what_must_run_is_exempt_from_max_queued() {
    let _watchdog = watchdog("max_queued and must_run");
    let offload = pool(1);
    let lane = offload.lane("limited").max_queued(2);
    let occupied = Occupied::io(&offload, 1);
    let mut handles = assert_room(&offload, &lane, 2, 2);
    let mut cx = Context::from_waker(Waker::noop());
    let ran = Arc::new(AtomicUsize::new(0));
    let mut exempt: Vec<_> = (0..3)
        .map(|_| {
            let ran = Arc::clone(&ran);
            let work = move || {
                ran.fetch_add(1, SeqCst);
            };
            Box::pin(io(work).on(&offload).lane(&lane).must_run())
        })
        .collect();
    for call in &mut exempt {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    // They take up room all the same.
    drop(handles.pop());
    assert_refused(&spawn(&offload, &lane), 2);
    drop(exempt);
    occupied.release();
    for handle in handles {
        handle.wait().unwrap();
    }
    wait_until("they run", || ran.load(SeqCst) == 3);
}

/// How long so many calls take, one after the other.
fn pace(offload: &Offload, place: &Place, calls: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        place.of(io(|| ()), offload).wait().unwrap();
    }
    start.elapsed()
}

/// Lanes that may not run, with thousands of jobs that wait in them, cost others nothing.
#[test]
fn blocked_lanes_do_not_slow_others_down() {
    const CALLS: usize = 2_000;
    const ROUNDS: usize = 5;

    let _watchdog = watchdog("blocked lanes");
    let offload = pool(8);
    let free = Place::Lane(offload.lane("free"));
    pace(&offload, &free, CALLS);
    // The best of several, as others use this machine, too.
    let best = || (0..ROUNDS).map(|_| pace(&offload, &free, CALLS)).min();
    let before = best().unwrap();
    let gate = Gate::new();
    let lanes: Vec<_> = (0..6)
        .map(|number| offload.lane(&format!("blocked {number}")).max_running(1))
        .collect();
    let handles: Vec<_> = (0..60_000)
        .map(|number| {
            let gate = gate.clone();
            let job = io(move || gate.pass()).on(&offload);
            job.lane(&lanes[number % 6]).try_spawn().unwrap()
        })
        .collect();
    wait_until("each runs one", || offload.stats().io.running == 6);
    let after = best().unwrap();
    assert_eq!(offload.stats().io.running, 6);
    assert!(
        after < 10 * before,
        "{before:?} for {CALLS} calls alone, {after:?} beside those that may not run"
    );
    gate.open();
    for handle in handles {
        handle.wait().unwrap();
    }
}

/// Lanes that hold jobs and may not run them do not keep those with some from their turns.
#[test]
fn a_lane_that_may_not_run_is_passed_over() {
    let _watchdog = watchdog("passed over");
    let offload = pool(2);
    let gate = Gate::new();
    // It would be first by all else.
    let blocked = offload.lane("blocked").max_running(1).weight(1_000);
    let blocked = blocked.priority(Priority::High);
    let held: Vec<_> = (0..10)
        .map(|_| {
            let gate = gate.clone();
            let job = io(move || gate.pass()).on(&offload).lane(&blocked);
            job.try_spawn().unwrap()
        })
        .collect();
    wait_until("it runs one", || offload.stats().io.running == 1);
    for place in [
        Place::Plain,
        Place::Tenant(1),
        Place::Class(Priority::Background),
    ] {
        pace(&offload, &place, 20);
    }
    assert_eq!(offload.stats().io.queued, 9);
    gate.open();
    for handle in held {
        handle.wait().unwrap();
    }
}

/// Opens its gate also where a test fails: a runtime would wait for what is held there.
struct Held(Gate);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Exactly so many jobs of a lane run at the same time, if many more wait.
#[track_caller]
fn assert_runs(most: u64, running: impl Fn() -> u64, spawn: impl Fn(Gate) -> Handle<()>) {
    let held = Held(Gate::new());
    let handles: Vec<_> = (0..30).map(|_| spawn(held.0.clone())).collect();
    wait_until("as many as may run do", || running() >= most);
    thread::sleep(Duration::from_millis(10));
    assert_eq!(running(), most);
    drop(held);
    for handle in handles {
        handle.wait().unwrap();
    }
}

#[track_caller]
fn assert_io_runs(offload: &Offload, lane: &Lane, most: u64) {
    let running = || offload.stats().io.running;
    assert_runs(most, running, |gate| {
        let job = io(move || gate.pass()).on(offload).lane(lane);
        job.try_spawn().unwrap()
    });
}

#[test]
fn a_slow_lane_takes_half_of_the_threads() {
    let _watchdog = watchdog("slow lanes");
    for (threads, half) in [(1, 1), (2, 1), (3, 1), (6, 3)] {
        let offload = pool(threads);
        assert_io_runs(&offload, &offload.slow_lane("slow"), half);
        // A name's lane stays what it was while there is a handle.
        let lane = offload.slow_lane("slow");
        assert_io_runs(&offload, &offload.lane("slow"), half);
        drop(lane);
    }
}

#[test]
fn a_slow_lane_follows_its_pools_size() {
    let _watchdog = watchdog("slow lanes and sizes");
    let offload = pool(4);
    let (slow, plain) = (offload.slow_lane("slow"), offload.lane("plain"));
    assert_io_runs(&offload, &slow, 2);
    for (threads, half) in [(10, 5), (2, 1), (1, 1), (7, 3)] {
        offload.resize_io(threads).unwrap();
        assert_io_runs(&offload, &slow, half);
        assert_io_runs(&offload, &plain, threads as u64);
    }
    // Also for those that wait by then.
    let gate = Gate::new();
    let handles: Vec<_> = (0..20)
        .map(|_| {
            let gate = gate.clone();
            let job = io(move || gate.pass()).on(&offload).lane(&slow);
            job.try_spawn().unwrap()
        })
        .collect();
    wait_until("three run", || offload.stats().io.running == 3);
    offload.resize_io(12).unwrap();
    wait_until("six run", || offload.stats().io.running == 6);
    thread::sleep(Duration::from_millis(10));
    assert_eq!(offload.stats().io.running, 6);
    gate.open();
    for handle in handles {
        handle.wait().unwrap();
    }
}

#[test]
fn a_slow_lane_takes_half_of_the_cpu_pool() {
    let _watchdog = watchdog("slow lanes of CPU jobs");
    for (threads, half) in [(1, 1), (2, 1), (4, 2), (5, 2)] {
        let offload = Offload::builder().cpu_threads(threads).build().unwrap();
        let slow = offload.slow_lane("slow");
        let running = || offload.stats().cpu.running;
        assert_runs(half, running, |gate| {
            let job = cpu(move || gate.pass()).on(&offload).lane(&slow);
            job.try_spawn().unwrap()
        });
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_slow_lane_takes_half_of_what_a_runtime_gives() {
    use offramp::backend::Tokio;

    let _watchdog = watchdog("slow lanes on a runtime");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    for (threads, half) in [(1, 1), (4, 2), (9, 4)] {
        let backend = Tokio::new(runtime.handle().clone(), threads);
        let offload = Offload::builder().io_backend(backend).build().unwrap();
        assert_io_runs(&offload, &offload.slow_lane("slow"), half);
    }
}
