//! How a stream ends: dropped, by a panic, refused, or with its pool.

use crate::common::{Gate, Occupied, PATIENCE, wait_until, watchdog};
use crate::{Driven, Numbers, at_rest, pool};
use futures::Stream;
use offramp::{Backlog, Offload, OffloadError, Policy, offload_io, offload_iter};
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;

#[test]
fn an_endless_iterator_stops_within_one_item_when_the_stream_is_dropped() {
    let _watchdog = watchdog("an endless iterator");
    let offload = pool(1);
    let (gate, (at_five, reached)) = (Gate::new(), mpsc::channel());
    let inner = gate.clone();
    let (seen, numbers) = Numbers::new(usize::MAX, move |number| {
        if number == 5 {
            at_five.send(()).unwrap();
            inner.pass();
        }
    });
    let mut stream = Driven::new(offload_iter(numbers).on(&offload));
    assert_eq!(stream.next().unwrap().unwrap().number, 0);
    reached.recv_timeout(PATIENCE).unwrap();
    drop(stream);
    assert_eq!(offload.stats().io.orphans, 1);
    gate.open();
    seen.all_is_dropped_on_the_pool();
    assert_eq!(seen.pulled(), 6);
    at_rest(&offload);
    assert_eq!(offload.stats().io.orphans, 0);
}

#[test]
fn a_stream_that_was_never_polled_drops_its_iterator_here() {
    let offload = pool(1);
    let (seen, numbers) = Numbers::new(3, |_| ());
    drop(offload_iter(numbers).on(&offload));
    let here = thread::current().name().unwrap().to_owned();
    assert_eq!(seen.dropped_by(), [here]);
    assert_eq!(offload.stats().io.submitted, 0);
}

#[test]
fn a_stream_whose_chunk_waits_drops_its_iterator_on_the_pool() {
    let _watchdog = watchdog("a chunk that waits");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let (seen, numbers) = Numbers::new(3, |_| ());
    let mut stream = Driven::new(offload_iter(numbers).on(&offload));
    assert!(stream.poll().is_pending());
    drop(stream);
    assert!(seen.dropped_by().is_empty());
    occupied.release();
    seen.all_is_dropped_on_the_pool();
    assert_eq!(seen.pulled(), 0);
}

/// Polled so often, then dropped, at every number of polls up to the end: with a buffer of
/// two there are chunks that wait, run, and are over.
#[test]
fn dropped_after_any_number_of_polls_it_leaks_and_loses_nothing() {
    let _watchdog = watchdog("the grid of drops");
    const ITEMS: usize = 9;
    for threads in [1, 2] {
        let offload = pool(threads);
        for waits in [false, true] {
            let mut is_over = false;
            let mut polls = 0;
            // Without waiting nobody knows how many there are.
            while !is_over && (waits || polls < 200) {
                polls += 1;
                let (seen, numbers) = Numbers::new(ITEMS, |_| thread::yield_now());
                let mut stream = Driven::new(offload_iter(numbers).on(&offload).buffer(2));
                let mut taken = 0;
                for _ in 0..polls {
                    let before = stream.wakes.count();
                    match stream.poll() {
                        Poll::Ready(Some(item)) => {
                            assert_eq!(item.unwrap().number, taken);
                            taken += 1;
                        }
                        Poll::Ready(None) => is_over = true,
                        Poll::Pending => {
                            // Else it is polled at once, as `select!` may.
                            if waits {
                                wait_until("woken", || stream.wakes.count() > before);
                            }
                        }
                    }
                }
                drop(stream);
                seen.all_is_dropped_on_the_pool();
                assert!(seen.pulled() <= taken + 2, "two wait, or one that is made");
                assert!(!is_over || taken == ITEMS);
            }
            at_rest(&offload);
        }
        assert_eq!(offload.stats().io.orphans, 0);
    }
}

#[test]
fn a_panic_comes_after_the_items_before_it() {
    let _watchdog = watchdog("a panic");
    let offload = pool(1);
    let (seen, numbers) = Numbers::new(usize::MAX, |number| {
        if number == 5 {
            // Past the panic hook, which would print it.
            resume_unwind(Box::new("five"));
        }
    });
    let mut stream = Driven::new(offload_iter(numbers).on(&offload).label("numbers"));
    for number in 0..5 {
        assert_eq!(stream.next().unwrap().unwrap().number, number);
    }
    let Some(Err(OffloadError::Panicked(panicked))) = stream.next() else {
        panic!("it panicked");
    };
    assert_eq!(
        (panicked.message(), panicked.label()),
        (Some("five"), Some("numbers"))
    );
    assert!(stream.next().is_none());
    assert!(stream.next().is_none());
    seen.all_is_dropped_on_the_pool();
    assert_eq!(offload.stats().io.panicked, 1);
}

/// Panics when it is dropped, and before that, if it is told to, in `next`.
struct Explosive {
    items: usize,
    end: &'static str,
}

impl Iterator for Explosive {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        if self.items == 0 {
            match self.end {
                "panics" => resume_unwind(Box::new("next")),
                "goes on" => {}
                _ => return None,
            }
        }
        self.items = self.items.saturating_sub(1);
        Some(())
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        resume_unwind(Box::new("drop"));
    }
}

#[test]
fn a_destructor_that_panics_is_told_at_the_end_and_else_ends_there() {
    let _watchdog = watchdog("a panicking destructor");
    let offload = pool(1);
    for (end, message) in [("returns", "drop"), ("panics", "next")] {
        let stream = offload_iter(Explosive { items: 3, end }).on(&offload);
        let mut stream = Driven::new(stream);
        for _ in 0..3 {
            stream.next().unwrap().unwrap();
        }
        let Some(Err(OffloadError::Panicked(panicked))) = stream.next() else {
            panic!("it panicked");
        };
        assert_eq!(panicked.message(), Some(message));
        assert!(stream.next().is_none());
    }
    // With nobody to tell it to: on the pool, and here, where there is no pool any more.
    let endless = || {
        let (items, end) = (0, "goes on");
        Driven::new(
            offload_iter(Explosive { items, end })
                .on(&offload)
                .buffer(2),
        )
    };
    let (mut dropped, mut left) = (endless(), endless());
    dropped.next().unwrap().unwrap();
    left.next().unwrap().unwrap();
    at_rest(&offload);
    drop(dropped);
    at_rest(&offload);
    drop(pollster::block_on(offload.shutdown(None, Backlog::Drain)));
    drop(left);
}

/// An item whose destructor panics, and says so.
struct Touchy(Arc<AtomicUsize>);

impl Drop for Touchy {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        resume_unwind(Box::new("item"));
    }
}

#[test]
fn items_whose_destructors_panic_are_all_dropped_with_the_stream() {
    let _watchdog = watchdog("panicking items");
    let offload = pool(1);
    let dropped = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&dropped);
    let items = std::iter::repeat_with(move || Touchy(Arc::clone(&inner)));
    let mut stream = Driven::new(offload_iter(items).on(&offload).buffer(4));
    std::mem::forget(stream.next());
    at_rest(&offload);
    let waiting = stream.stream.size_hint().0;
    assert!(waiting > 0);
    drop(stream);
    assert_eq!(dropped.load(SeqCst), waiting);
}

#[test]
fn a_stream_may_be_the_last_to_hold_its_pool() {
    let _watchdog = watchdog("the last handle");
    let offload = pool(1);
    let (seen, numbers) = Numbers::new(usize::MAX, |_| ());
    let mut stream = Driven::new(offload_iter(numbers).on(&offload));
    drop(offload);
    for number in 0..200 {
        assert_eq!(stream.next().unwrap().unwrap().number, number);
    }
    drop(stream);
    seen.all_is_dropped_on_the_pool();
}

#[test]
fn a_shutdown_lets_the_items_through_and_then_says_so() {
    let _watchdog = watchdog("a shutdown");
    for backlog in [Backlog::Drain, Backlog::Discard] {
        let offload = pool(1);
        let (seen, numbers) = Numbers::new(usize::MAX, |_| ());
        let mut stream = Driven::new(offload_iter(numbers).on(&offload).buffer(8));
        assert_eq!(stream.next().unwrap().unwrap().number, 0);
        at_rest(&offload);
        drop(pollster::block_on(offload.shutdown(None, backlog)));
        let waiting = seen.pulled() - 1;
        assert!(waiting > 0);
        for number in 1..=waiting {
            assert_eq!(stream.next().unwrap().unwrap().number, number);
        }
        assert!(matches!(stream.next(), Some(Err(OffloadError::ShutDown))));
        assert!(stream.next().is_none());
        // No thread of the pool is left to drop it.
        assert_eq!(seen.dropped_by().len(), 1);
    }
}

#[test]
fn a_shutdown_that_discards_ends_a_stream_whose_chunk_waits() {
    let _watchdog = watchdog("a discarded chunk");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let (seen, numbers) = Numbers::new(3, |_| ());
    let mut stream = Driven::new(offload_iter(numbers).on(&offload));
    assert!(stream.poll().is_pending());
    let mut shutdown = std::pin::pin!(offload.shutdown(None, Backlog::Discard));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(shutdown.as_mut().poll(&mut cx).is_pending());
    assert!(matches!(stream.next(), Some(Err(OffloadError::ShutDown))));
    assert!(stream.next().is_none());
    assert_eq!((seen.pulled(), seen.dropped_by().len()), (0, 1));
    occupied.release();
}

#[test]
fn a_refused_chunk_is_an_error_and_the_iterator_goes_to_the_pool() {
    let _watchdog = watchdog("a refused chunk");
    let builder = Offload::builder().io_max_threads(1).capacity(1);
    let offload = builder.policy(Policy::Reject).build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let waits = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let (seen, numbers) = Numbers::new(3, |_| ());
    let mut stream = Driven::new(offload_iter(numbers).on(&offload));
    let refused = stream.next().unwrap().map(|item| item.number);
    assert!(matches!(
        refused,
        Err(OffloadError::Overloaded { limit: 1, .. })
    ));
    assert!(stream.next().is_none());
    assert!(seen.dropped_by().is_empty());
    occupied.release();
    waits.wait().unwrap();
    seen.all_is_dropped_on_the_pool();
}
