//! `offload_iter`: a stream over a blocking iterator.

mod common;
#[macro_use]
#[path = "common/runtimes.rs"]
mod runtimes;

#[path = "iter/endings.rs"]
mod endings;

use common::{Gate, Occupied, PATIENCE, Random, Wakes, at_rest, wait_until, watchdog};
use futures::stream::FusedStream;
use futures::{Stream, StreamExt, join, stream};
use offramp::{Offload, OffloadError, OffloadedIter, defaults, offload_io, offload_iter};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

fn pool(threads: usize) -> Offload {
    Offload::builder().io_max_threads(threads).build().unwrap()
}

/// What a [`Numbers`] and its items have done.
#[derive(Default)]
struct Seen {
    pulled: AtomicUsize,
    items_dropped: AtomicUsize,
    /// The threads that dropped the iterator.
    dropped_by: Mutex<Vec<String>>,
}

impl Seen {
    fn pulled(&self) -> usize {
        self.pulled.load(SeqCst)
    }

    fn dropped_by(&self) -> Vec<String> {
        self.dropped_by.lock().unwrap().clone()
    }

    /// Waits until all there was is dropped: each item and the iterator, which the thread of
    /// a pool has dropped, once.
    #[track_caller]
    fn all_is_dropped_on_the_pool(&self) {
        wait_until("the iterator is dropped", || !self.dropped_by().is_empty());
        wait_until("the items are dropped", || {
            self.items_dropped.load(SeqCst) == self.pulled()
        });
        let dropped_by = self.dropped_by();
        assert_eq!(dropped_by.len(), 1, "{dropped_by:?}");
        assert!(dropped_by[0].starts_with("offramp-io"), "{dropped_by:?}");
    }
}

/// Counts up to `end`; says what it does, and does before each item what it is told to.
struct Numbers {
    seen: Arc<Seen>,
    end: usize,
    before: Box<dyn FnMut(usize) + Send>,
}

impl Numbers {
    fn new(end: usize, before: impl FnMut(usize) + Send + 'static) -> (Arc<Seen>, Self) {
        let seen = Arc::new(Seen::default());
        let numbers = Self {
            seen: Arc::clone(&seen),
            end,
            before: Box::new(before),
        };
        (seen, numbers)
    }
}

impl Iterator for Numbers {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let number = self.seen.pulled();
        (self.before)(number);
        if number == self.end {
            return None;
        }
        self.seen.pulled.fetch_add(1, SeqCst);
        let seen = Arc::clone(&self.seen);
        Some(Item { number, seen })
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or("nameless").to_owned();
        self.seen.dropped_by.lock().unwrap().push(name);
    }
}

struct Item {
    number: usize,
    seen: Arc<Seen>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.seen.items_dropped.fetch_add(1, SeqCst);
    }
}

/// Polls it here, waiting for wake-ups, and says how often.
struct Driven<S> {
    stream: S,
    wakes: Arc<Wakes>,
    waker: std::task::Waker,
}

impl<S: Stream + Unpin> Driven<S> {
    fn new(stream: S) -> Self {
        let (wakes, waker) = Wakes::new();
        Self {
            stream,
            wakes,
            waker,
        }
    }

    fn poll(&mut self) -> Poll<Option<S::Item>> {
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut self.stream).poll_next(&mut cx)
    }

    /// The next item; fails if a wake-up is missing.
    #[track_caller]
    fn next(&mut self) -> Option<S::Item> {
        loop {
            let before = self.wakes.count();
            match self.poll() {
                Poll::Ready(item) => return item,
                Poll::Pending => wait_until("it is woken", || self.wakes.count() > before),
            }
        }
    }
}

async fn all_items_in_order() {
    let offload = pool(2);
    for buffer in [1, 2, 3, 64, 2_000] {
        let (seen, numbers) = Numbers::new(1_000, |_| ());
        let mut stream = offload_iter(numbers).on(&offload).buffer(buffer);
        for number in 0..1_000 {
            assert_eq!(stream.next().await.unwrap().unwrap().number, number);
        }
        assert!(!stream.is_terminated());
        assert!(stream.next().await.is_none());
        assert!(stream.is_terminated());
        assert!(stream.next().await.is_none());
        // It has ended, so the pool has dropped it, though the stream is still there.
        seen.all_is_dropped_on_the_pool();
    }
}

async fn several_at_once() {
    let offload = pool(1);
    let streams = (0..20_u64).map(|n| offload_iter(n * 100..n * 100 + 100).on(&offload));
    let sum = stream::select_all(streams).fold(0, |sum, item| async move { sum + item.unwrap() });
    assert_eq!(sum.await, (0..2_000).sum::<u64>());
}

/// What a blocking channel brings, while nobody knows when there will be more.
async fn a_channel() {
    let offload = pool(2);
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let echo = thread::spawn(move || {
        for number in asked {
            answer.send(number).unwrap();
        }
    });
    let mut stream = offload_iter(answers.into_iter()).on(&offload);
    for number in 0..1_000 {
        // The next question comes after this answer: a chunk that kept an item back while it
        // waits for another would wait for ever.
        ask.send(number).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), number);
    }
    drop(ask);
    assert!(stream.next().await.is_none());
    echo.join().unwrap();
}

async fn dropped_in_the_midst() {
    let offload = pool(2);
    let (seen, numbers) = Numbers::new(usize::MAX, |_| ());
    let mut stream = offload_iter(numbers).on(&offload);
    for number in 0..100 {
        assert_eq!(stream.next().await.unwrap().unwrap().number, number);
    }
    drop(stream);
    seen.all_is_dropped_on_the_pool();
    at_rest(&offload);
}

under_each_runtime! {
    all_items_come_in_order: all_items_in_order();
    streams_share_a_thread: several_at_once();
    an_item_comes_at_once: a_channel();
    a_dropped_stream_ends: dropped_in_the_midst();
}

#[test]
fn a_consumer_that_does_not_come_holds_no_thread_and_at_most_the_buffer() {
    let _watchdog = watchdog("a slow consumer");
    let offload = pool(2);
    for buffer in [1, 2, 7, 64] {
        let (seen, numbers) = Numbers::new(usize::MAX, |_| ());
        let mut stream = Driven::new(offload_iter(numbers).on(&offload).buffer(buffer));
        assert_eq!(stream.next().unwrap().unwrap().number, 0);
        let (mut taken, mut full) = (1, 0);
        // A chunk whose thread did not get its CPU may have ended before the buffer was full.
        while full < 3 {
            at_rest(&offload);
            let waiting = seen.pulled() - taken;
            assert!(waiting <= buffer, "{waiting} of {buffer}");
            assert_eq!(stream.stream.size_hint(), (waiting, None));
            full += usize::from(waiting == buffer);
            let chunks = offload.stats().io.submitted;
            // Down to half of it there is no need for more.
            while seen.pulled() - taken > buffer / 2 + 1 {
                assert_eq!(stream.next().unwrap().unwrap().number, taken);
                taken += 1;
            }
            assert_eq!(offload.stats().io.submitted, chunks);
            // One more, and there is.
            assert_eq!(stream.next().unwrap().unwrap().number, taken);
            taken += 1;
            assert!(offload.stats().io.submitted > chunks);
        }
    }
}

#[test]
fn a_buffer_of_none_is_one_of_one() {
    let _watchdog = watchdog("no buffer");
    let offload = pool(1);
    let mut stream = Driven::new(offload_iter(0..3).on(&offload).buffer(0));
    let items: Vec<i32> = std::iter::from_fn(|| stream.next().map(Result::unwrap)).collect();
    assert_eq!(items, [0, 1, 2]);
}

#[test]
fn a_chunk_ends_when_its_time_is_over() {
    let _watchdog = watchdog("a long chunk");
    let offload = pool(1);
    let items = 200 * PATIENCE.as_secs() as usize;
    // To the end it would be twice the watchdog's patience.
    let (seen, numbers) = Numbers::new(items, |_| thread::sleep(Duration::from_millis(10)));
    let mut stream = Driven::new(offload_iter(numbers).on(&offload).buffer(items));
    assert!(stream.poll().is_pending());
    let pulled = Arc::clone(&seen);
    let other = offload_io(move || pulled.pulled()).on(&offload);
    let pulled = other.wait().unwrap();
    assert!(pulled > 0 && pulled < items, "{pulled}");
}

#[test]
fn two_endless_streams_share_one_thread() {
    let _watchdog = watchdog("two streams, one thread");
    let offload = pool(1);
    let ((one, ones), (two, twos)) = (
        Numbers::new(usize::MAX, |_| ()),
        Numbers::new(usize::MAX, |_| ()),
    );
    futures::executor::block_on(async {
        let ones = offload_iter(ones).on(&offload).take(10_000);
        let twos = offload_iter(twos).on(&offload).take(10_000);
        // Each in its own time, and in lockstep.
        let (ones, twos) = join!(ones.count(), twos.count());
        assert_eq!((ones, twos), (10_000, 10_000));
    });
    one.all_is_dropped_on_the_pool();
    two.all_is_dropped_on_the_pool();
    let streams = (
        offload_iter(0..).on(&offload),
        offload_iter(0..).on(&offload),
    );
    let pairs = streams.0.zip(streams.1).take(10_000);
    let pairs = pairs.map(|(one, two)| assert_eq!(one.unwrap(), two.unwrap()));
    assert_eq!(futures::executor::block_on(pairs.count()), 10_000);
}

#[test]
fn chunks_wait_in_their_lane_and_options_come_before_the_first_poll() {
    let _watchdog = watchdog("options");
    let (offload, other) = (pool(1), pool(1));
    let lane = offload.lane("rows");
    let foreign = other.lane("rows");
    let mut stream = Driven::new(offload_iter(0..3).on(&offload).lane(&foreign));
    assert!(matches!(stream.next(), Some(Err(OffloadError::Config(_)))));
    assert!(stream.next().is_none());

    // In a lane whose turn comes after one job of the other's ten.
    let occupied = Occupied::io(&offload, 1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let others: Vec<_> = (0..10)
        .map(|_| {
            let order = Arc::clone(&order);
            let work = move || order.lock().unwrap().push("other");
            offload_io(work).on(&offload).try_spawn().unwrap()
        })
        .collect();
    let inner = Arc::clone(&order);
    let rows = std::iter::once(()).inspect(move |()| inner.lock().unwrap().push("row"));
    let mut stream = Driven::new(offload_iter(rows).on(&offload).lane(&lane));
    assert!(stream.poll().is_pending());
    occupied.release();
    for other in others {
        other.wait().unwrap();
    }
    stream.next().unwrap().unwrap();
    let order = order.lock().unwrap();
    let at = order.iter().position(|who| *who == "row").unwrap();
    assert!(at <= 2, "{order:?}");
    drop(order);

    // Too late: it stays where it is.
    let stream = stream
        .stream
        .on(&other)
        .lane(&foreign)
        .buffer(1)
        .label("late");
    let mut stream = Driven::new(stream);
    assert!(stream.next().is_none());
    assert_eq!(other.stats().io.submitted, 0);
}

#[test]
fn the_consumer_is_woken_only_when_it_waits() {
    let _watchdog = watchdog("wake-ups");
    let offload = pool(1);
    for _ in 0..100 {
        let occupied = Occupied::io(&offload, 1);
        let gate = Gate::new();
        let inner = gate.clone();
        let (seen, numbers) = Numbers::new(21, move |number| {
            if number == 20 {
                inner.pass();
            }
        });
        let mut stream = Driven::new(offload_iter(numbers).on(&offload));
        assert!(stream.poll().is_pending());
        occupied.release();
        let is_at_the_gate = || seen.pulled() == 20;
        let has_ended = || offload.stats().io.running + offload.stats().io.queued == 0;
        wait_until("all are there", || is_at_the_gate() || has_ended());
        if !is_at_the_gate() {
            // Its thread did not get its CPU, and so its time was over.
            continue;
        }
        wait_until("it is woken", || stream.wakes.count() > 0);
        for number in 0..20 {
            let Poll::Ready(Some(item)) = stream.poll() else {
                panic!("{number} is there");
            };
            assert_eq!(item.unwrap().number, number);
        }
        assert_eq!(stream.wakes.count(), 1);
        gate.open();
        assert_eq!(stream.next().unwrap().unwrap().number, 20);
        assert!(stream.next().is_none());
        return;
    }
    panic!("no chunk of 20 items in 100 attempts");
}

#[test]
fn a_job_that_consumes_a_stream_of_its_own_pool_is_not_held_up() {
    let _watchdog = watchdog("from inside");
    let offload = pool(1);
    let inner = offload.clone();
    let sum = offramp::offload_io_with(move |job| {
        let numbers = offload_iter(0..1_000_u64).on(&inner);
        let sum = numbers.fold(0, |sum, item| async move { sum + item.unwrap() });
        Ok(job.block_on(sum))
    });
    assert_eq!(sum.on(&offload).wait().unwrap(), 499_500);
}

/// Each item is made only when the one before has been consumed, and the consumer comes at
/// any point of its making: a wake-up that is lost is a hang.
fn dependent_rounds(cpus: usize) {
    common::pin_to(cpus);
    const ROUNDS: usize = 40_000;
    let offload = pool(2);
    let mut random = Random(5);
    for buffer in [1, defaults::ITER_BUFFER] {
        let wanted = Arc::new(AtomicUsize::new(0));
        let inner = Arc::clone(&wanted);
        let numbers = (0..ROUNDS).inspect(move |number| {
            let mut looks = 0_u32;
            while inner.load(SeqCst) <= *number {
                looks += 1;
                if looks % 256 == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut stream: OffloadedIter<_> = offload_iter(numbers).on(&offload).buffer(buffer);
        futures::executor::block_on(async {
            for round in 0..ROUNDS {
                wanted.store(round + 1, SeqCst);
                for _ in 0..random.below(64) {
                    std::hint::spin_loop();
                }
                assert_eq!(stream.next().await.unwrap().unwrap(), round);
            }
            assert!(stream.next().await.is_none());
        });
    }
}

#[test]
fn no_wake_up_is_lost_on_one_cpu() {
    common::alone("no_wake_up_is_lost_on_one_cpu", || dependent_rounds(1));
}

#[test]
fn no_wake_up_is_lost_on_two_cpus() {
    common::alone("no_wake_up_is_lost_on_two_cpus", || dependent_rounds(2));
}
