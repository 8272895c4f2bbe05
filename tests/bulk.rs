//! `offload_io_all` and `offload_cpu_all`: many calls, handed over together.

mod common;
#[macro_use]
#[path = "common/runtimes.rs"]
mod runtimes;

#[path = "bulk/endings.rs"]
mod endings;
#[path = "bulk/places.rs"]
mod places;

use common::{Gate, Occupied, PATIENCE, Wakes, at_rest, wait_until, watchdog};
use futures::stream::FusedStream;
use futures::{Stream, StreamExt, TryStreamExt, join};
use offramp::{Offload, OffloadError, OffloadedAll, offload_cpu_all, offload_io, offload_io_all};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

fn pool(threads: usize) -> Offload {
    Offload::builder().io_max_threads(threads).build().unwrap()
}

fn values<R>(outcomes: Vec<Result<R, OffloadError>>) -> Vec<R> {
    outcomes.into_iter().map(Result::unwrap).collect()
}

/// Polls a future or a stream here, with a waker that counts.
struct Driven<S> {
    polled: S,
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl<S: Unpin> Driven<S> {
    fn new(polled: S) -> Self {
        let (wakes, waker) = Wakes::new();
        Self {
            polled,
            wakes,
            waker,
        }
    }

    fn poll_next(&mut self) -> Poll<Option<S::Item>>
    where
        S: Stream,
    {
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut self.polled).poll_next(&mut cx)
    }

    fn poll(&mut self) -> Poll<S::Output>
    where
        S: Future,
    {
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut self.polled).poll(&mut cx)
    }

    /// What `poll` is ready with; fails if a wake-up is missing.
    #[track_caller]
    fn ready<T>(&mut self, mut poll: impl FnMut(&mut Self) -> Poll<T>) -> T {
        loop {
            let before = self.wakes.count();
            match poll(self) {
                Poll::Ready(value) => return value,
                Poll::Pending => wait_until("woken", || self.wakes.count() > before),
            }
        }
    }

    #[track_caller]
    fn next(&mut self) -> Option<S::Item>
    where
        S: Stream,
    {
        self.ready(Self::poll_next)
    }

    #[track_caller]
    fn output(&mut self) -> S::Output
    where
        S: Future,
    {
        self.ready(Self::poll)
    }
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

under_each_runtime! {
    outcomes_come_in_the_order_of_the_closures: async {
        let offload = pool(4);
        // The first ones are the slowest.
        let slow = |n: u64| move || {
            if n < 8 {
                thread::sleep(Duration::from_millis(8 - n));
            }
            n
        };
        let outcomes = offload_io_all((0..500).map(slow)).on(&offload).await;
        assert_eq!(values(outcomes), Vec::from_iter(0..500));
        let stream = offload_io_all((0..500).map(slow)).on(&offload);
        assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap(), Vec::from_iter(0..500));
        assert_eq!(offload.stats().io.submitted, 1_000);
        assert_eq!(offload.stats().io.completed, 1_000);
    };

    calls_of_both_pools_go_on_at_the_same_time: async {
        let offload = pool(2);
        let io = offload_io_all((0..300).map(|n| move || n)).on(&offload);
        let cpu = offload_cpu_all((0..300).map(|n| move || n)).on(&offload);
        let mut stream = offload_io_all((0..300).map(|n| move || n)).on(&offload).ahead(10);
        let taken = async {
            let mut taken = Vec::new();
            while let Some(n) = stream.try_next().await.unwrap() {
                taken.push(n);
            }
            taken
        };
        let (io, cpu, taken) = join!(io.collect_all(), cpu.collect_all(), taken);
        assert_eq!(values(io), taken);
        assert_eq!(values(cpu), taken);
        assert_eq!(taken, Vec::from_iter(0..300));
    };

    one_that_panics_is_one_outcome: async {
        let offload = pool(2);
        let closure = |n| move || {
            // Past the panic hook, which would print it.
            assert_quietly(n % 7 != 3);
            n
        };
        let outcomes = offload_cpu_all((0..100).map(closure)).on(&offload).label("odd").await;
        let mut stream = offload_io_all((0..100).map(closure)).on(&offload).label("odd");
        for (n, outcome) in outcomes.into_iter().enumerate() {
            for outcome in [outcome, stream.next().await.unwrap()] {
                match outcome {
                    Ok(value) => assert_eq!(value, n),
                    Err(OffloadError::Panicked(panicked)) => {
                        assert_eq!(n % 7, 3);
                        assert_eq!(panicked.label(), Some("odd"));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(stream.next().await.is_none());
        for stats in [offload.stats().io, offload.stats().cpu] {
            assert_eq!((stats.completed, stats.panicked), (86, 14));
        }
    };

    none_at_all_is_an_empty_outcome: async {
        let offload = pool(1);
        let none = || offload_io_all(std::iter::empty::<fn()>()).on(&offload);
        assert!(none().await.is_empty());
        let mut stream = none();
        assert_eq!(stream.size_hint(), (0, Some(0)));
        assert!(!stream.is_terminated());
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
        assert!(stream.is_terminated());
        assert_eq!(offload.stats().io.submitted, 0);
    };
}

fn assert_quietly(holds: bool) {
    if !holds {
        std::panic::resume_unwind(Box::new("it does not hold"));
    }
}

#[test]
fn nothing_is_taken_before_the_first_poll() {
    let offload = pool(1);
    let taken = Arc::new(AtomicUsize::new(0));
    let closures = {
        let taken = Arc::clone(&taken);
        (0..10).map(move |n| {
            taken.fetch_add(1, SeqCst);
            move || n
        })
    };
    let calls = offload_io_all(closures).on(&offload);
    assert_eq!(calls.size_hint(), (10, Some(10)));
    let all = calls.collect_all();
    assert_eq!(taken.load(SeqCst), 0);
    drop(all);
    assert_eq!(taken.load(SeqCst), 0);
    assert_eq!(offload.stats().io.submitted, 0);
}

/// Each of them waits for all others: they run at the same time, though one demand was made.
#[test]
fn calls_that_wait_for_each_other_get_a_thread_each() {
    let _watchdog = watchdog("a barrier");
    for threads in [2, 16] {
        let offload = pool(threads);
        for _ in 0..20 {
            let barrier = Arc::new(std::sync::Barrier::new(threads));
            let meet = (0..threads).map(|_| {
                let barrier = Arc::clone(&barrier);
                move || barrier.wait().is_leader()
            });
            let outcomes = pollster::block_on(offload_io_all(meet).on(&offload).collect_all());
            let leaders = values(outcomes).into_iter().filter(|leads| *leads);
            assert_eq!(leaders.count(), 1);
        }
    }
}

/// An endless iterator is taken from by and by.
#[test]
fn no_more_than_was_said_is_submitted_ahead() {
    let _watchdog = watchdog("an endless iterator");
    let offload = pool(2);
    for ahead in [0, 1, 2, 7, 64] {
        let taken = Arc::new(AtomicUsize::new(0));
        let closures = {
            let taken = Arc::clone(&taken);
            (0_usize..).map(move |n| {
                taken.fetch_add(1, SeqCst);
                move || n
            })
        };
        let mut stream = Driven::new(offload_io_all(closures).on(&offload).ahead(ahead));
        for n in 0..200 {
            assert_eq!(stream.next().unwrap().unwrap(), n);
            let ahead_now = taken.load(SeqCst) - n;
            assert!(ahead_now <= ahead.max(1), "{ahead_now} of {ahead}");
        }
        drop(stream);
        at_rest(&offload);
        let io = offload.stats().io;
        assert_eq!(io.submitted, io.completed + io.cancelled);
    }
    // By default a quarter of what `try_spawn` may fill.
    let builder = Offload::builder().io_max_threads(1).capacity(40);
    let offload = builder.build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let mut stream = Driven::new(offload_io_all((0..).map(|n| move || n)).on(&offload));
    assert!(stream.poll_next().is_pending());
    assert_eq!(offload.stats().io.queued, 10);
    drop(stream);
    assert_eq!(offload.stats().io.queued, 0);
    occupied.release();
}

/// They fill the pool, and wait for room instead of being refused.
#[test]
fn more_than_there_is_room_for_run_all_the_same() {
    let _watchdog = watchdog("more than there is room for");
    for max_pending in [1, 2, 5] {
        let builder = Offload::builder().io_max_threads(2).capacity(1);
        let offload = builder.max_pending(max_pending).build().unwrap();
        let closures = || (0..300).map(|n| move || n);
        let all = offload_io_all(closures()).on(&offload).ahead(100);
        assert_eq!(
            values(pollster::block_on(all.collect_all())),
            Vec::from_iter(0..300)
        );
        let stream = offload_io_all(closures()).on(&offload).ahead(100);
        let taken: Vec<_> = pollster::block_on(stream.try_collect()).unwrap();
        assert_eq!(taken, Vec::from_iter(0..300));
        assert_eq!(offload.stats().io.refused, 0);
        assert_eq!(offload.stats().io.completed, 600);
    }
}

#[test]
fn an_awaited_one_is_woken_once_and_a_stream_for_what_it_waits_for() {
    let _watchdog = watchdog("wake-ups");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let calls = offload_io_all((0..50).map(|n| move || n)).on(&offload);
    let mut former = Driven::new(calls.collect_all());
    assert!(former.poll().is_pending());
    // Another task's waker from now on: the former one is left alone.
    let (wakes, former) = (former.wakes, former.polled);
    let mut all = Driven::new(former);
    assert!(all.poll().is_pending());
    assert_eq!((all.wakes.count(), wakes.count()), (0, 0));
    occupied.release();
    wait_until("woken", || all.wakes.count() > 0);
    assert_eq!(values(all.output()), Vec::from_iter(0..50));
    assert_eq!((all.wakes.count(), wakes.count()), (1, 0));

    let gates: Vec<_> = (0..3).map(|_| Gate::new()).collect();
    let pass = gates.clone().into_iter().map(|gate| move || gate.pass());
    let mut stream = Driven::new(offload_io_all(pass).on(&offload));
    for gate in gates {
        assert!(stream.poll_next().is_pending());
        let before = stream.wakes.count();
        gate.open();
        wait_until("woken", || stream.wakes.count() > before);
        assert!(matches!(stream.poll_next(), Poll::Ready(Some(Ok(())))));
    }
    assert!(stream.next().is_none());
    assert_eq!(stream.wakes.count(), 3);
}

#[test]
fn statistics_add_up() {
    let _watchdog = watchdog("statistics");
    let offload = pool(2);
    let outcomes = pollster::block_on(async {
        let calls = (0..40).map(|round: usize| {
            let closures = (0..100).map(move |n| move || assert_quietly(n != round));
            offload_io_all(closures).on(&offload).collect_all()
        });
        futures::future::join_all(calls).await
    });
    assert!(outcomes.iter().all(|outcomes| outcomes.len() == 100));
    at_rest(&offload);
    let io = offload.stats().io;
    assert_eq!(
        (io.submitted, io.completed, io.panicked),
        (4_000, 3_960, 40)
    );
    assert_eq!((io.wait.count(), io.run.count()), (4_000, 4_000));
    assert_eq!((io.cancelled, io.refused, io.orphans), (0, 0, 0));
}

/// Streams of several tasks, of which some are dropped amidst, on a pool with little room.
#[test]
fn many_at_once_lose_nothing() {
    let _watchdog = watchdog("many at once");
    let builder = Offload::builder().io_max_threads(4).capacity(16);
    let offload = builder.max_pending(64).build().unwrap();
    let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (offload, made) = (offload.clone(), Arc::clone(&made));
            let dropped = Arc::clone(&dropped);
            thread::spawn(move || {
                for round in 0..50 {
                    let closures = (0..60_usize).map(|n| {
                        made.fetch_add(1, SeqCst);
                        let counted = Counted(Arc::clone(&dropped));
                        move || {
                            let _counted = counted;
                            n
                        }
                    });
                    let stream = offload_io_all(closures).on(&offload).ahead(1 + 5 * caller);
                    let mut stream = Driven::new(stream);
                    for n in 0..(7 * round + caller) % 61 {
                        match stream.next().unwrap() {
                            Ok(value) => assert_eq!(value, n),
                            // Of four that share 64 places one may find none.
                            Err(OffloadError::Overloaded { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    at_rest(&offload);
    wait_until("all closures are dropped, once", || {
        dropped.load(SeqCst) == made.load(SeqCst)
    });
    let io = offload.stats().io;
    assert_eq!(io.submitted, io.completed + io.cancelled + io.refused);
    wait_until("no orphan is left", || offload.stats().io.orphans == 0);
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn a_poll_after_the_end_panics() {
    let mut all = Driven::new(offload_io_all([|| ()]).on(&pool(1)).collect_all());
    assert_eq!(all.output().len(), 1);
    let _ = all.poll();
}
