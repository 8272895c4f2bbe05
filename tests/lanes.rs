//! Lanes: lines of their own, that come and go.

mod common;
#[path = "common/heap.rs"]
mod heap;
#[path = "lanes/limits.rs"]
mod limits;

use common::{Gate, Occupied, Random, alone, wait_until, watchdog};
use futures::StreamExt;
use offramp::{
    Backlog, Handle, Lane, Offload, OffloadError, Unblock, offload_cpu, offload_io, offload_iter,
};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    builder.cpu_threads(1).build().unwrap()
}

type Order = Arc<Mutex<Vec<(char, usize)>>>;

/// A job that notes when it ran.
fn note(
    offload: &Offload,
    lane: Option<&Lane>,
    order: &Order,
    who: char,
    number: usize,
) -> Handle<()> {
    let order = Arc::clone(order);
    let call = offload_io(move || order.lock().unwrap().push((who, number))).on(offload);
    let call = match lane {
        Some(lane) => call.lane(lane),
        None => call,
    };
    call.try_spawn().unwrap()
}

#[test]
fn lanes_take_turns_and_each_keeps_its_order() {
    let _watchdog = watchdog("turns of lanes");
    let offload = pool(1);
    let (a, b) = (offload.lane("a"), offload.lane("b"));
    let order = Order::default();
    let occupied = Occupied::io(&offload, 1);
    let mut handles: Vec<_> = (0..200)
        .map(|number| note(&offload, Some(&a), &order, 'a', number))
        .collect();
    handles.extend((0..3).map(|number| note(&offload, Some(&b), &order, 'b', number)));
    handles.extend((0..3).map(|number| note(&offload, None, &order, 's', number)));
    occupied.release();
    for handle in handles {
        handle.wait().unwrap();
    }
    let order = order.lock().unwrap();
    for who in ['a', 'b', 's'] {
        let numbers = order.iter().filter(|one| one.0 == who).map(|one| one.1);
        assert!(numbers.is_sorted(), "{who} in order");
        // Nobody waits for more than a turn of each.
        let first = order.iter().position(|one| one.0 == who).unwrap();
        assert!(first < 3, "{who} first ran after {first}");
    }
    let last = order.iter().rposition(|one| one.0 != 'a').unwrap();
    assert!(
        last < 9,
        "of 206 jobs the six of the small lanes were through after {last}"
    );
}

#[test]
fn a_name_is_a_lane_as_long_as_there_is_a_handle() {
    let offload = pool(1);
    let lane = offload.lane("reports");
    assert_eq!(lane.name(), "reports");
    let same = offload.lane("reports").max_orphans(1);
    drop(same);
    // The limit was the lane's: seen by the first handle.
    let gate = Gate::new();
    let call = || {
        let held = gate.clone();
        let call = offload_io(move || held.pass()).on(&offload);
        call.lane(&lane).try_spawn().unwrap()
    };
    let orphan = call();
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(orphan);
    let waits = call();
    thread::sleep(Duration::from_millis(10));
    assert_eq!(offload.stats().io.queued, 1);
    gate.open();
    waits.wait().unwrap();
    for number in 0..1_000 {
        let _ = offload.lane(&number.to_string());
    }
    assert!(format!("{lane:?}").contains("reports"));
}

#[test]
fn a_lane_blocked_by_its_orphans_blocks_no_other() {
    let _watchdog = watchdog("a blocked lane");
    let offload = pool(4);
    let (bad, good) = (offload.lane("bad").max_orphans(1), offload.lane("good"));
    let gate = Gate::new();
    let hangs = || {
        let held = gate.clone();
        offload_io(move || held.pass()).on(&offload).lane(&bad)
    };
    let orphan = hangs().try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    drop(orphan);
    let blocked: Vec<_> = (0..10).map(|_| hangs().try_spawn().unwrap()).collect();
    for number in 0..100 {
        let call = offload_io(move || number).on(&offload);
        assert_eq!(call.lane(&good).wait().unwrap(), number);
        assert_eq!(offload_io(|| 1).on(&offload).wait().unwrap(), 1);
    }
    let late = hangs().timeout(Duration::from_millis(10)).wait();
    assert!(matches!(late, Err(OffloadError::DeadlineExceeded { .. })));
    let stats = offload.stats().io;
    assert_eq!((stats.queued, stats.orphans), (10, 1), "{stats:?}");
    // Raising the limit is enough to let one go.
    let bad = bad.max_orphans(2);
    wait_until("all but the orphan's thread are at it", || {
        offload.stats().io.running == 4
    });
    gate.open();
    for handle in blocked {
        handle.wait().unwrap();
    }
    drop(bad);
}

#[test]
fn calls_of_a_job_inherit_its_lane() {
    let _watchdog = watchdog("inherited lanes");
    let offload = pool(4);
    let lane = offload.lane("parents").max_orphans(1);
    let gate = Gate::new();
    let held = gate.clone();
    let orphan = offload_io(move || held.pass()).on(&offload).lane(&lane);
    let orphan = orphan.try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let (inner, ready) = (offload.clone(), Gate::new());
    let starts = ready.clone();
    let parent = offload_io(move || {
        starts.pass();
        // In the lane of its parent, which is blocked by now.
        offload_io(|| ()).on(&inner).try_spawn().unwrap()
    });
    let parent = parent.on(&offload).lane(&lane).try_spawn().unwrap();
    wait_until("both run", || offload.stats().io.running == 2);
    drop(orphan);
    ready.open();
    let child = parent.wait().unwrap();
    offload_io(|| ()).on(&offload).wait().unwrap();
    assert!(!child.is_finished());
    gate.open();
    child.wait().unwrap();
}

#[test]
fn a_lane_of_another_instance_is_refused() {
    let (offload, other) = (pool(1), pool(1));
    let lane = other.lane("elsewhere");
    let refused = offload_io(|| 7).on(&offload).lane(&lane).try_spawn();
    let refused = refused.unwrap_err();
    let OffloadError::Config(error) = refused.reason() else {
        panic!("{refused:?}");
    };
    assert_eq!((error.setting(), error.value()), ("lane", "elsewhere"));
    assert_eq!(refused.into_inner()(), 7);
}

#[test]
fn a_call_goes_where_its_lane_is() {
    let offload = pool(1);
    let call = offload_io(|| ()).lane(&offload.lane("here"));
    call.wait().unwrap();
    assert_eq!(offload.stats().io.completed, 1);
    // A lane does not keep its pools.
    let lane = offload.lane("gone");
    drop(offload);
    let late = offload_io(|| ()).lane(&lane).wait();
    assert!(matches!(late, Err(OffloadError::ShutDown)), "{late:?}");
}

#[test]
fn adapters_go_where_their_lane_is() {
    let offload = pool(1);
    let lane = offload.lane("here");
    let mut items = offload_iter(0..3).lane(&lane);
    assert_eq!(pollster::block_on(items.next()).unwrap().unwrap(), 0);
    let mut value = Unblock::new(1).lane(&lane);
    assert_eq!(pollster::block_on(value.with_mut(|value| *value)), 1);
    #[cfg(feature = "fs")]
    {
        let mut files = offramp::fs::read_many(["Cargo.toml"], 1).lane(&lane);
        assert!(pollster::block_on(files.next()).unwrap().is_ok());
    }
    let jobs = 2 + u64::from(cfg!(feature = "fs"));
    wait_until("all of them ran here", || {
        offload.stats().io.completed == jobs
    });
}

/// Lanes appear and vanish while jobs run, are cancelled, expire and hang, the pool is
/// resized, and at last shut down. Everything resolves, once.
#[test]
fn lanes_come_and_go_while_all_of_it_happens() {
    alone("lanes_come_and_go_while_all_of_it_happens", || {
        for round in 0..4 {
            come_and_go(round);
        }
        let base = heap::live();
        come_and_go(9);
        wait_until("nothing is left of them", || {
            heap::live() < base + 64 * 1024
        });
    });
}

fn come_and_go(seed: u64) {
    const CALLS: u64 = 5_000;
    let builder = Offload::builder().io_max_threads(6).cpu_threads(1);
    let offload = builder.max_orphans(3).capacity(4_000).build().unwrap();
    let [ran, resolved, refused] = [const { AtomicUsize::new(0) }; 3];
    let [ran, resolved, refused] = [ran, resolved, refused].map(Arc::new);
    thread::scope(|scope| {
        for caller in 0..3 {
            let offload = &offload;
            let (ran, resolved, refused) = (&ran, &resolved, &refused);
            scope.spawn(move || {
                let mut random = Random(seed * 10 + caller);
                let mut kept = Vec::new();
                for _ in 0..CALLS {
                    let lane = offload.lane(&random.below(40).to_string());
                    let count = Arc::clone(ran);
                    let nap = random.below(20) == 0;
                    let job = move || {
                        if nap {
                            thread::sleep(Duration::from_micros(200));
                        }
                        count.fetch_add(1, SeqCst);
                    };
                    let mut call = match random.below(10) {
                        0 => offload_cpu(fn_box::boxed(job)),
                        _ => offload_io(fn_box::boxed(job)),
                    };
                    call = call.on(offload);
                    if random.below(3) > 0 {
                        call = call.lane(&lane);
                    }
                    if random.below(4) == 0 {
                        call = call.timeout(Duration::from_micros(random.below(2_000)));
                    }
                    match call.try_spawn() {
                        Ok(handle) if random.below(4) == 0 => {
                            drop(handle);
                            resolved.fetch_add(1, SeqCst);
                        }
                        Ok(handle) => kept.push(handle),
                        Err(_) => {
                            refused.fetch_add(1, SeqCst);
                        }
                    }
                    if kept.len() > 50 {
                        for handle in kept.drain(..) {
                            let _ = handle.wait();
                            resolved.fetch_add(1, SeqCst);
                        }
                    }
                }
                for handle in kept {
                    let _ = handle.wait();
                    resolved.fetch_add(1, SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let mut random = Random(seed);
            for _ in 0..100 {
                offload.resize_io(1 + random.below(6) as usize).unwrap();
                thread::sleep(Duration::from_micros(300));
            }
        });
    });
    assert_eq!(
        resolved.load(SeqCst) + refused.load(SeqCst),
        3 * CALLS as usize
    );
    let report = pollster::block_on(offload.shutdown(None, Backlog::Drain));
    assert!(report.is_complete(), "{report}");
    let stats = offload.stats();
    let completed = (stats.io.completed + stats.cpu.completed) as usize;
    assert_eq!(completed, ran.load(SeqCst));
    for pool in [stats.io, stats.cpu] {
        assert_eq!((pool.queued, pool.running, pool.orphans), (0, 0, 0));
    }
}

/// One type for both pools' closures.
mod fn_box {
    pub(crate) type Job = Box<dyn FnOnce() + Send>;

    pub(crate) fn boxed(job: impl FnOnce() + Send + 'static) -> Job {
        Box::new(job)
    }
}
