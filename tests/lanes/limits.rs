//! Lanes that run only so many of their jobs at the same time.

use super::common::{Gate, Occupied, Random, wait_until, watchdog};
use super::pool;
use offramp::{Job, Offload, offload_cpu, offload_io, offload_io_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// How many of some jobs run, and ran at most.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Crowd {
    fn pass(&self) {
        let inside = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(inside, SeqCst);
        thread::yield_now();
        self.now.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_lane_runs_at_most_what_it_may() {
    let _watchdog = watchdog("max_running");
    let offload = pool(8);
    let capped = offload.lane("capped").max_running(3);
    let crowd = Crowd::default();
    let gate = Gate::new();
    let jobs: Vec<_> = (0..300)
        .map(|_| {
            let (crowd, gate) = (crowd.clone(), gate.clone());
            let job = offload_io(move || {
                gate.pass();
                crowd.pass();
            });
            job.on(&offload).lane(&capped).try_spawn().unwrap()
        })
        .collect();
    wait_until("as many as may run do", || offload.stats().io.running == 3);
    // The others are not in anybody's way.
    for _ in 0..20 {
        offload_io(|| ()).on(&offload).wait().unwrap();
    }
    assert_eq!(offload.stats().io.running, 3);
    gate.open();
    for job in jobs {
        job.wait().unwrap();
    }
    let most = crowd.most.load(SeqCst);
    assert!((1..=3).contains(&most), "{most} at once");
}

#[test]
fn a_raised_limit_lets_those_go_that_wait() {
    let _watchdog = watchdog("raised max_running");
    let offload = pool(4);
    let lane = offload.lane("raised").max_running(1);
    let gate = Gate::new();
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            let gate = gate.clone();
            let job = offload_io(move || gate.pass()).on(&offload).lane(&lane);
            job.try_spawn().unwrap()
        })
        .collect();
    wait_until("one runs", || offload.stats().io.running == 1);
    let _lane = lane.max_running(3);
    wait_until("all run", || offload.stats().io.running == 3);
    gate.open();
    for job in jobs {
        job.wait().unwrap();
    }
}

/// Of each way to fail: none keeps its place in the lane.
#[test]
fn jobs_that_fail_make_room_in_their_lane() {
    let _watchdog = watchdog("room in a lane");
    let offload = pool(2);
    let lane = offload.lane("one").max_running(1);
    for _ in 0..50 {
        let call = offload_io(|| panic!("a panic")).on(&offload).lane(&lane);
        assert!(call.wait().is_err());
        let occupied = Occupied::io(&offload, 2);
        let late = offload_io(|| ()).on(&offload).lane(&lane);
        let late = late.timeout(Duration::from_nanos(1)).try_spawn();
        let unwanted = offload_io(|| ()).on(&offload).lane(&lane).drop_on_pool();
        drop(unwanted.try_spawn().unwrap());
        occupied.release();
        drop(late);
    }
    offload_io(|| ()).on(&offload).lane(&lane).wait().unwrap();
}

/// A parent that waits lends its place in the lane, so children of the same lane run.
#[test]
fn jobs_that_wait_for_jobs_of_their_lane() {
    let _watchdog = watchdog("nested in a lane");
    for threads in [1, 4] {
        let offload = pool(threads);
        let lane = offload.lane("nested").max_running(1);
        let parents: Vec<_> = (0..8)
            .map(|number| {
                let own = offload.clone();
                // It inherits the lane.
                let parent = offload_io_with(move |job| {
                    let inner = offload_io(move || number).on(&own).wait();
                    let outer = job.block_on(offload_io(move || number).on(&own));
                    let foreign = pollster::block_on(offload_io(move || number).on(&own));
                    Ok(inner.unwrap() + outer.unwrap() + foreign.unwrap())
                });
                let parent = parent.on(&offload).lane(&lane);
                parent.try_spawn().unwrap()
            })
            .collect();
        for (number, parent) in parents.into_iter().enumerate() {
            assert_eq!(parent.wait().unwrap(), 3 * number);
        }
        let call = offload_io(|| ()).on(&offload).lane(&lane);
        call.wait().unwrap();
    }
}

/// `wait` runs a child in place, but not past the limit of another lane.
#[test]
fn a_child_in_another_lane_keeps_to_its_limit() {
    let _watchdog = watchdog("a child in another lane");
    let offload = pool(4);
    let host = offload.lane("host").max_running(2);
    let crowd = Crowd::default();
    let parents: Vec<_> = (0..40)
        .map(|_| {
            let (own, host, crowd) = (offload.clone(), host.clone(), crowd.clone());
            let parent = offload_io(move || {
                let child = offload_io(move || crowd.pass()).on(&own).lane(&host);
                child.wait().unwrap();
            });
            parent.on(&offload).try_spawn().unwrap()
        })
        .collect();
    for parent in parents {
        parent.wait().unwrap();
    }
    assert!(crowd.most.load(SeqCst) <= 2, "{:?}", crowd.most);
}

#[test]
fn the_cpu_pool_keeps_to_a_lanes_limit() {
    let _watchdog = watchdog("max_running of CPU jobs");
    let offload = Offload::builder().cpu_threads(4).build().unwrap();
    let lane = offload.lane("memory").max_running(2);
    let crowd = Crowd::default();
    let jobs: Vec<_> = (0..200)
        .map(|_| {
            let crowd = crowd.clone();
            let job = offload_cpu(move || crowd.pass()).on(&offload).lane(&lane);
            job.try_spawn().unwrap()
        })
        .collect();
    for job in jobs {
        job.wait().unwrap();
    }
    assert!(crowd.most.load(SeqCst) <= 2, "{:?}", crowd.most);
}

/// A child that runs on its parent's stack holds no place of its own in its lane, so it has
/// none to lend when it waits itself.
#[test]
fn a_child_in_place_lends_the_place_of_its_parent() {
    let _watchdog = watchdog("a child in place that waits");
    let offload = pool(4);
    let (outer, inner) = (offload.lane("outer").max_running(1), offload.lane("inner"));
    for _ in 0..20 {
        let (own, lane) = (offload.clone(), inner.clone());
        let parent = offload_io(move || {
            let (own, again) = (own.clone(), own);
            let child = offload_io(move || {
                // A foreign wait, for a job in the lane of the first parent.
                pollster::block_on(offload_io(|| 1).on(&own)).unwrap()
            });
            child.on(&again).lane(&lane).wait().unwrap()
        });
        assert_eq!(parent.on(&offload).lane(&outer).wait().unwrap(), 1);
        // Neither is full, nor can more run than may.
        let limit = inner.clone().max_running(1);
        offload_io(|| ()).on(&offload).lane(&limit).wait().unwrap();
        offload_io(|| ()).on(&offload).lane(&outer).wait().unwrap();
    }
    let crowd = Crowd::default();
    let jobs: Vec<_> = (0..40)
        .map(|number| {
            let crowd = crowd.clone();
            let lane = if number % 2 == 0 { &inner } else { &outer };
            let job = offload_io(move || crowd.pass()).on(&offload).lane(lane);
            job.try_spawn().unwrap()
        })
        .collect();
    for job in jobs {
        job.wait().unwrap();
    }
    assert!(crowd.most.load(SeqCst) <= 2, "one of each lane");
}

/// Waits for a call in a random line, in a random way, from inside of a job; so does that
/// call, so many levels deep. How many jobs ran.
fn nest(job: &Job, offload: &Offload, mut random: Random, depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    let (own, seed) = (offload.clone(), random.next());
    let child = offload_io_with(move |job| Ok(nest(job, &own, Random(seed), depth - 1)));
    let child = child.on(offload);
    let name = random.below(6);
    let child = match name {
        0 => child,
        1 => child.tenant(random.below(3)),
        2 => child.lane(&offload.lane("plain")),
        _ => child.lane(&offload.lane(&format!("limit {}", name - 2))),
    };
    let ran = match random.below(4) {
        0 => child.wait(),
        1 => child.try_spawn().unwrap().wait(),
        2 => job.block_on(child),
        _ => pollster::block_on(child),
    };
    1 + ran.unwrap()
}

/// Jobs wait for jobs in lanes with and without limits, up and down and across. None hangs,
/// and at the end no lane has lost or won a place.
#[test]
fn jobs_that_wait_across_lanes_with_limits() {
    const CALLS: u64 = 400;

    let _watchdog = watchdog("waits across lanes");
    for threads in [1, 4] {
        let offload = pool(threads);
        let lanes: Vec<_> = (1..4)
            .map(|most| {
                let lane = offload.lane(&format!("limit {most}"));
                lane.max_running(most)
            })
            .collect();
        thread::scope(|scope| {
            for caller in 0..3 {
                let offload = &offload;
                scope.spawn(move || {
                    let mut random = Random(caller);
                    for _ in 0..CALLS {
                        let (own, seed) = (offload.clone(), random.next());
                        let depth = random.below(4);
                        let call = move |job: &Job| Ok(nest(job, &own, Random(seed), depth));
                        let ran = offload_io_with(call).on(offload).wait();
                        assert_eq!(ran.unwrap(), depth + 1);
                    }
                });
            }
        });
        for (lane, most) in lanes.iter().zip(1..) {
            let (gate, crowd) = (Gate::new(), Crowd::default());
            let jobs: Vec<_> = (0..8)
                .map(|_| {
                    let (gate, crowd) = (gate.clone(), crowd.clone());
                    let job = offload_io(move || {
                        gate.pass();
                        crowd.pass();
                    });
                    job.on(&offload).lane(lane).try_spawn().unwrap()
                })
                .collect();
            let can_run = most.min(threads as u64);
            wait_until("as many as may run do", || {
                offload.stats().io.running == can_run
            });
            thread::sleep(Duration::from_millis(2));
            assert_eq!(offload.stats().io.running, can_run);
            gate.open();
            for job in jobs {
                job.wait().unwrap();
            }
        }
    }
}
