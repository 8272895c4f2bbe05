//! Shares of the threads' time between lanes that all have jobs waiting, by the clocks of the closures themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use offramp::Lane;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::report::Row;
use crate::stats::Shuffler;
use crate::subjects::{self, Work};

const WEIGHTS: [u32; 3] = [1, 2, 4];
/// Shares may be off by so much of themselves.
const OFF: f64 = 0.02;

const EQUALS: usize = 4;
const SHORT: Duration = Duration::from_micros(200);
const LONG: Duration = Duration::from_millis(20);
/// Jain's index of the equal lanes.
const LEAST_JAIN: f64 = 0.995;

/// Jobs of a lane that wait or run at any time.
const BACKLOG: usize = 256;
/// Before the window opens.
const WARM_UP: Duration = Duration::from_millis(500);
/// Of the picture's points.
const SLICE: Duration = Duration::from_millis(250);

/// Submits for one of the lanes.
type Call = Arc<dyn Fn(usize, Work) -> BoxFuture<'static, ()> + Send + Sync>;

/// How long the job of this lane with this number takes.
type Length = fn(lane: usize, number: u64, seed: u64) -> Duration;

/// When a closure ran.
#[derive(Clone, Copy)]
struct Ran {
    from: Instant,
    to: Instant,
}

#[derive(Default)]
struct LaneLog {
    number: AtomicU64,
    ran: Mutex<Vec<Ran>>,
}

/// What the closures of each lane recorded, in and around the window.
struct Log {
    lanes: Vec<LaneLog>,
    is_over: AtomicBool,
    length: Length,
    seed: u64,
}

impl Log {
    /// The next job of this lane.
    fn work(self: &Arc<Self>, lane: usize) -> Work {
        let log = Arc::clone(self);
        Box::new(move || {
            if log.is_over.load(Ordering::Relaxed) {
                return;
            }
            let of_lane = &log.lanes[lane];
            let number = of_lane.number.fetch_add(1, Ordering::Relaxed);
            let from = Instant::now();
            thread::sleep((log.length)(lane, number, log.seed));
            let ran = Ran {
                from,
                to: Instant::now(),
            };
            of_lane.ran.lock().unwrap().push(ran);
        })
    }

    /// Seconds that each lane ran between the two.
    fn seconds(&self, from: Instant, to: Instant) -> Vec<f64> {
        let of_lane = |lane: &LaneLog| {
            let inside = |ran: &Ran| {
                let (start, end) = (ran.from.max(from), ran.to.min(to));
                end.saturating_duration_since(start).as_secs_f64()
            };
            lane.ran.lock().unwrap().iter().map(inside).sum()
        };
        self.lanes.iter().map(of_lane).collect()
    }
}

/// Keeps all lanes backlogged until the window is over.
fn flooded(runtime: &Runtime, call: &Call, log: &Arc<Log>, window: Duration) -> Instant {
    let born = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..BACKLOG {
        for lane in 0..log.lanes.len() {
            let (call, log) = (Arc::clone(call), Arc::clone(log));
            tasks.push(runtime.spawn(async move {
                while !log.is_over.load(Ordering::Relaxed) {
                    call(lane, log.work(lane)).await;
                }
            }));
        }
    }
    let start = born + WARM_UP;
    thread::sleep((start + window).saturating_duration_since(Instant::now()));
    log.is_over.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no task of this bench panics");
        }
    });
    start
}

fn shares(seconds: &[f64]) -> Vec<f64> {
    let sum: f64 = seconds.iter().sum();
    seconds.iter().map(|seconds| seconds / sum).collect()
}

/// 1 where all have the same, 1/n where one has all.
fn jain(shares: &[f64]) -> f64 {
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * squares)
}

fn new_log(lanes: usize, length: Length, seed: u64) -> Arc<Log> {
    Arc::new(Log {
        lanes: (0..lanes).map(|_| LaneLog::default()).collect(),
        is_over: AtomicBool::new(false),
        length,
        seed,
    })
}

/// 0.1 to 20 ms, as many of 0.1 to 1.4 ms as of 1.4 to 20 ms.
fn mixed(lane: usize, number: u64, seed: u64) -> Duration {
    let mut draw = Shuffler::new(seed ^ (lane as u64) << 56 ^ number);
    Duration::from_secs_f64(1e-4 * 200_f64.powf(draw.unit()))
}

/// One lane's are a hundred times as long.
fn uneven(lane: usize, _number: u64, _seed: u64) -> Duration {
    if lane == 0 { LONG } else { SHORT }
}

pub(crate) fn weighted(bench: &mut Bench) -> Vec<Row> {
    let window = Duration::from_secs(if bench.options.quick { 4 } else { 10 });
    let (runtime, offload) = (subjects::runtime(), subjects::offload(crate::THREADS));
    let lanes = WEIGHTS.map(|weight| offload.lane(&format!("of {weight}")).weight(weight));
    let call: Call = Arc::new(move |lane, work| {
        let lane: &Lane = &lanes[lane];
        let call = offramp::offload_io(work).lane(lane);
        call.map(|outcome| outcome.expect("no job of this bench fails"))
            .boxed()
    });
    let log = new_log(WEIGHTS.len(), mixed, bench.options.seed);
    let start = flooded(&runtime, &call, &log, window);
    drop(offload);

    bench.drawn.shares.clear();
    let mut slice = start;
    while slice + SLICE <= start + window {
        let shares = shares(&log.seconds(slice, slice + SLICE));
        let middle = (slice + SLICE / 2 - start).as_secs_f64();
        bench.drawn.shares.push((middle, shares));
        slice += SLICE;
    }
    let shares = shares(&log.seconds(start, start + window));
    let weights: u32 = WEIGHTS.iter().sum();
    let wanted = WEIGHTS.map(|weight| f64::from(weight) / f64::from(weights));
    let off = shares
        .iter()
        .zip(wanted)
        .map(|(share, wanted)| (share / wanted - 1.0).abs())
        .fold(0.0, f64::max);
    let text: Vec<_> = shares
        .iter()
        .map(|share| format!("{:.2}", share * 100.0))
        .collect();
    let wanted = wanted.map(|wanted| format!("{:.2}", wanted * 100.0));
    vec![Row {
        name: "weights",
        what: format!(
            "three lanes of weights 1 : 2 : 4, jobs of 0.1 to 20 ms mixed: shares of the run time over {} s, \
             in %, and the farthest off",
            window.as_secs()
        ),
        wanted: format!("{}, each within 2 % of it", wanted.join(" : ")),
        measured: vec![format!("{}, {:.1} %", text.join(" : "), off * 100.0)],
        holds: off <= OFF,
    }]
}

pub(crate) fn equal(bench: &mut Bench) -> Vec<Row> {
    let window = Duration::from_secs(if bench.options.quick { 1 } else { 4 });
    let mut order: Vec<usize> = (0..bench.subjects.len()).collect();
    bench.shuffler.shuffle(&mut order);
    let mut measured = vec![(0.0, 0.0); order.len()];
    for index in order {
        let subject = bench.subjects[index];
        let call: Call = Arc::new(move |lane, work| subject.start(lane, work));
        let log = new_log(EQUALS, uneven, bench.options.seed);
        let start = flooded(subject.runtime(), &call, &log, window);
        subject.settle();
        let shares = shares(&log.seconds(start, start + window));
        measured[index] = (jain(&shares), shares[0]);
    }
    let cell = |(jain, of_long): &(f64, f64)| format!("{jain:.4} ({:.0} %)", of_long * 100.0);
    vec![Row {
        name: "equal",
        what: "four tenants, jobs of 20 ms in one and of 0.2 ms in the others: Jain's index of their run times \
               (and the first one's share)"
            .to_owned(),
        wanted: format!("at least {LEAST_JAIN}"),
        measured: measured.iter().map(cell).collect(),
        holds: measured[0].0 >= LEAST_JAIN,
    }]
}
