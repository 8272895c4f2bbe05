//! What a job costs: how many allocations, how many bytes while it waits, and the most in a flood.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::heap;
use crate::pools::Pool;

/// What each closure captures.
type Captured = [u64; 4];

const CAPTURED: Captured = [1, 2, 3, 4];
const CALLS: usize = 10_000;
const QUEUED: usize = 100_000;
/// Makes threads start, and buffers grow.
const WARM_UP: usize = 2_000;

fn job(captured: Captured) -> impl FnOnce() -> u64 + Send + 'static {
    move || black_box(captured).iter().sum()
}

/// Allocations of one job that is awaited, and then the next.
pub(crate) fn allocations<P: Pool>(pool: &P) -> f64 {
    let calls = |count: usize| {
        pollster::block_on(async {
            for _ in 0..count {
                assert_eq!(pool.call(job(CAPTURED)).await, 10);
            }
        });
    };
    calls(WARM_UP);
    let before = heap::allocations();
    calls(CALLS);
    (heap::allocations() - before) as f64 / CALLS as f64
}

/// Bytes for one of many jobs that wait, without what its closure captures. Its handle's own bytes, which are where
/// the caller has them, do not count.
pub(crate) fn queued<P: Pool>(pool: &P, threads: usize) -> f64 {
    let mut started: Vec<P::Started> = Vec::with_capacity(QUEUED);
    warm_up(pool, &mut started);
    let gate = Gate::closed(pool, threads);
    let before = heap::live();
    started.extend((0..QUEUED).map(|_| pool.start(job(CAPTURED))));
    let bytes = (heap::live() - before) as f64 / QUEUED as f64;
    gate.open();
    finish::<P>(&mut started);
    bytes - size_of::<Captured>() as f64
}

/// The most bytes at once for one of many jobs of a microsecond, all submitted as fast as it goes: with those that
/// run meanwhile, and with their closures, but without the handles' own bytes.
pub(crate) fn flood<P: Pool>(pool: &P) -> f64 {
    const LENGTH: Duration = Duration::from_micros(1);
    let mut started: Vec<P::Started> = Vec::with_capacity(QUEUED);
    warm_up(pool, &mut started);
    let before = heap::live();
    heap::forget_peak();
    started.extend((0..QUEUED).map(|_| {
        let work = job(CAPTURED);
        pool.start(move || {
            let from = Instant::now();
            while from.elapsed() < LENGTH {
                std::hint::spin_loop();
            }
            work()
        })
    }));
    finish::<P>(&mut started);
    (heap::peak() - before) as f64 / QUEUED as f64
}

fn warm_up<P: Pool>(pool: &P, started: &mut Vec<P::Started>) {
    started.extend((0..WARM_UP).map(|_| pool.start(job(CAPTURED))));
    finish::<P>(started);
}

fn finish<P: Pool>(started: &mut Vec<P::Started>) {
    pollster::block_on(async {
        for one in started.drain(..) {
            assert_eq!(P::value(one.await), 10);
        }
    });
}

/// Every thread of a pool, each in a job that waits for this.
struct Gate<'a> {
    lock: MutexGuard<'a, ()>,
}

impl Gate<'static> {
    fn closed<P: Pool>(pool: &P, threads: usize) -> Self {
        // Jobs want what lives for ever; a few bytes, once for each pool.
        let place: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
        let lock = place.lock().expect("nobody panics with it");
        let (arrived, arrivals) = mpsc::channel();
        let arrived = Arc::new(arrived);
        for _ in 0..threads {
            let arrived = Arc::clone(&arrived);
            let waiting = pool.start(move || {
                arrived.send(()).expect("the gate is being closed");
                drop(arrived);
                drop(place.lock());
                0
            });
            P::detach(waiting);
        }
        for _ in 0..threads {
            arrivals.recv().expect("every thread gets a job");
        }
        Gate { lock }
    }

    fn open(self) {
        drop(self.lock);
    }
}
