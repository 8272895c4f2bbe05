//! Run time in proportion to weights, whatever the jobs are like.

use super::common::{Gate, Occupied, wait_until, watchdog};
use super::{Call, Place, cpu, io, pool};
use offramp::{Handle, Offload};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Run time of several lines that always have jobs waiting, until all together have used
/// so much.
struct Meters {
    /// In nanoseconds, by the closures' own clocks.
    ran: Vec<AtomicU64>,
    total: AtomicU64,
    until: u64,
}

impl Meters {
    fn new(lines: usize, until: Duration) -> Arc<Self> {
        Arc::new(Self {
            ran: (0..lines).map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(0),
            until: until.as_nanos() as u64,
        })
    }

    fn is_over(&self) -> bool {
        self.total.load(SeqCst) >= self.until
    }

    /// Sleeps for a line; when all is over it is through at once.
    fn sleep(&self, line: usize, time: Duration) {
        if self.is_over() {
            return;
        }
        let start = Instant::now();
        thread::sleep(time);
        let ran = start.elapsed().as_nanos() as u64;
        if self.total.fetch_add(ran, SeqCst) < self.until {
            self.ran[line].fetch_add(ran, SeqCst);
        }
    }

    /// What each had of all, so far.
    fn shares(&self) -> Vec<f64> {
        let ran = self.ran.iter().map(|ran| ran.load(SeqCst) as f64);
        let ran: Vec<_> = ran.collect();
        let all: f64 = ran.iter().sum();
        ran.iter().map(|ran| ran / all).collect()
    }
}

#[track_caller]
fn assert_shares(shares: &[f64], weights: &[f64], tolerance: f64) {
    let all: f64 = weights.iter().sum();
    for (share, weight) in shares.iter().zip(weights) {
        let ratio = share / (weight / all);
        assert!(
            (ratio - 1.0).abs() <= tolerance,
            "shares {shares:?} for {weights:?}: one is {ratio:.3} times its due"
        );
    }
}

/// Enough sleeping jobs for a line to have `time` on its own.
fn backlog(
    meters: &Arc<Meters>,
    line: usize,
    length: Duration,
    time: Duration,
    mut submit: impl FnMut(Box<dyn FnOnce() + Send>) -> Call,
) -> Vec<Handle<()>> {
    let jobs = time.as_nanos() / length.as_nanos() + 20;
    let spawn = |_| {
        let meters = Arc::clone(meters);
        let work = Box::new(move || meters.sleep(line, length));
        submit(work).try_spawn().unwrap()
    };
    (0..jobs).map(spawn).collect()
}

/// The shares of lines whose jobs, sleeping for so many milliseconds, wait all the time.
fn measure(offload: &Offload, threads: usize, lines: &[(Place, u64)], total: Duration) -> Vec<f64> {
    let meters = Meters::new(lines.len(), total);
    let occupied = Occupied::io(offload, threads);
    let mut handles = Vec::new();
    for (line, (place, millis)) in lines.iter().enumerate() {
        let length = Duration::from_millis(*millis);
        handles.extend(backlog(&meters, line, length, total, |work| {
            place.of(io(work), offload)
        }));
    }
    occupied.release();
    for handle in handles {
        handle.wait().unwrap();
    }
    meters.shares()
}

#[test]
fn run_time_is_shared_by_weight() {
    let _watchdog = watchdog("weights");
    let offload = pool(3);
    // The more weight, the shorter its jobs, and the other way round.
    for lengths in [[3, 2, 1], [1, 2, 3]] {
        let [one, two, four] = [1, 2, 4].map(|weight| {
            let lane = offload.lane(&format!("{weight}"));
            Place::Lane(lane.weight(weight))
        });
        let lines = [(one, lengths[0]), (two, lengths[1]), (four, lengths[2])];
        let shares = measure(&offload, 3, &lines, Duration::from_secs(3));
        assert_shares(&shares, &[1.0, 2.0, 4.0], 0.1);
    }
}

#[test]
fn weights_beyond_the_range_count_as_its_ends() {
    let _watchdog = watchdog("clamped weights");
    let offload = pool(2);
    let none = Place::Lane(offload.lane("none").weight(0));
    let one = Place::Lane(offload.lane("one").weight(1));
    let shares = measure(&offload, 2, &[(none, 1), (one, 1)], Duration::from_secs(1));
    assert_shares(&shares, &[1.0, 1.0], 0.1);
    let most = Place::Lane(offload.lane("most").weight(1_000));
    let more = Place::Lane(offload.lane("more").weight(u32::MAX));
    let shares = measure(&offload, 2, &[(most, 1), (more, 1)], Duration::from_secs(1));
    assert_shares(&shares, &[1.0, 1.0], 0.1);
}

/// Equal shares though the jobs of one run for 30 times as long, and these never hold all
/// threads for long.
#[test]
fn few_long_jobs_do_not_grab_every_thread() {
    const THREADS: usize = 4;
    const LONG: Duration = Duration::from_millis(30);

    let _watchdog = watchdog("long jobs and short ones");
    let offload = pool(THREADS);
    let (long, short) = (offload.lane("long"), offload.lane("short"));
    let total = Duration::from_secs(5);
    let meters = Meters::new(2, total);
    let [running, starts, all_held] = [const { AtomicUsize::new(0) }; 3].map(Arc::new);
    let occupied = Occupied::io(&offload, THREADS);
    let mut handles = backlog(&meters, 0, LONG, total, |work| {
        let (running, starts) = (Arc::clone(&running), Arc::clone(&starts));
        let all_held = Arc::clone(&all_held);
        let held = move || {
            let now = running.fetch_add(1, SeqCst) + 1;
            // How long they are is known after the first ones.
            if starts.fetch_add(1, SeqCst) > 2 * THREADS && now == THREADS {
                all_held.fetch_add(1, SeqCst);
            }
            work();
            running.fetch_sub(1, SeqCst);
        };
        io(held).on(&offload).lane(&long)
    });
    let length = Duration::from_millis(1);
    handles.extend(backlog(&meters, 1, length, total, |work| {
        io(work).on(&offload).lane(&short)
    }));
    // Counted until it is over: what comes then is through at once.
    occupied.release();
    wait_until("it is over", || meters.is_over());
    let (starts, all_held) = (starts.load(SeqCst), all_held.load(SeqCst));
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_shares(&meters.shares(), &[1.0, 1.0], 0.15);
    assert!(
        all_held * 8 <= starts,
        "the last thread was taken {all_held} times in {starts} starts"
    );
}

#[test]
fn tenants_lanes_and_plain_calls_share_alike() {
    let _watchdog = watchdog("all kinds of lines");
    let offload = pool(3);
    let lines = [
        (Place::Tenant(1), 1),
        (Place::Tenant(2), 3),
        (Place::Lane(offload.lane("two").weight(2)), 2),
        (Place::Plain, 2),
    ];
    let shares = measure(&offload, 3, &lines, Duration::from_secs(4));
    assert_shares(&shares, &[1.0, 1.0, 2.0, 1.0], 0.15);
}

/// From the next start on, also for those that wait by then.
#[test]
fn a_weight_may_change_while_jobs_wait() {
    let _watchdog = watchdog("changed weights");
    let offload = pool(2);
    let (a, b) = (offload.lane("a"), offload.lane("b"));
    let total = Duration::from_secs(4);
    let meters = Meters::new(2, total);
    let occupied = Occupied::io(&offload, 2);
    let length = Duration::from_millis(1);
    let mut handles = Vec::new();
    for (line, lane) in [(0, &a), (1, &b)] {
        handles.extend(backlog(&meters, line, length, total, |work| {
            io(work).on(&offload).lane(lane)
        }));
    }
    occupied.release();
    wait_until("a part has run", || {
        meters.total.load(SeqCst) > meters.until / 3
    });
    let before = [0, 1].map(|line| meters.ran[line].load(SeqCst));
    let shares = meters.shares();
    let _b = b.weight(4);
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_shares(&shares, &[1.0, 1.0], 0.15);
    let after = [0, 1].map(|line| (meters.ran[line].load(SeqCst) - before[line]) as f64);
    let all: f64 = after.iter().sum();
    assert_shares(&after.map(|ran| ran / all), &[1.0, 4.0], 0.2);
}

/// What a job calls is charged to its line, too.
#[test]
fn children_are_charged_to_the_line_they_inherit() {
    let _watchdog = watchdog("children's shares");
    let offload = pool(2);
    let [a, b] = ["a", "b"].map(|name| Place::Lane(offload.lane(name)));
    children(&offload, &a, &b);
    children(&offload, &Place::Tenant(1), &Place::Plain);
}

fn children(offload: &Offload, parents: &Place, others: &Place) {
    let total = Duration::from_secs(1);
    let length = Duration::from_millis(1);
    let meters = Meters::new(2, total);
    let occupied = Occupied::io(offload, 2);
    let mut handles = backlog(&meters, 0, length, total, |work| {
        let (own, meters) = (offload.clone(), Arc::clone(&meters));
        let parent = move || {
            work();
            let child = io(move || meters.sleep(0, 2 * length)).on(&own);
            child.try_spawn().unwrap().detach();
        };
        parents.of(io(parent), offload)
    });
    handles.extend(backlog(&meters, 1, length, total, |work| {
        others.of(io(work), offload)
    }));
    occupied.release();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_shares(&meters.shares(), &[1.0, 1.0], 0.15);
}

/// Sleeping jobs, of which each holds its thread: what is approximate about the CPU pool
/// are pieces that others run.
#[test]
fn the_cpu_pool_shares_run_time_too() {
    let _watchdog = watchdog("shares of the CPU pool");
    let offload = Offload::builder().cpu_threads(2).capacity(20_000);
    let offload = offload.build().unwrap();
    let total = Duration::from_secs(3);
    let meters = Meters::new(3, total);
    let gate = Gate::new();
    let mut handles: Vec<_> = (0..2)
        .map(|_| {
            let gate = gate.clone();
            cpu(move || gate.pass()).on(&offload).try_spawn().unwrap()
        })
        .collect();
    wait_until("both threads are held", || offload.stats().cpu.running == 2);
    let lane = offload.lane("three").weight(3);
    let lines = [
        (Place::Lane(lane), 2),
        (Place::Tenant(1), 1),
        (Place::Plain, 3),
    ];
    for (line, (place, millis)) in lines.iter().enumerate() {
        let length = Duration::from_millis(*millis);
        handles.extend(backlog(&meters, line, length, total, |work| {
            place.of(cpu(work), &offload)
        }));
    }
    gate.open();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_shares(&meters.shares(), &[3.0, 1.0, 1.0], 0.2);
}
