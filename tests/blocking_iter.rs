//! `BlockingIter`: an iterator over a stream.

mod common;

use common::{alone, pin_to, wait_until, watchdog};
use futures::channel::mpsc as channel;
use futures::{SinkExt, StreamExt, stream};
use offramp::{BlockingIter, Offload, offload_cpu, offload_io, offload_iter};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

fn pool(io_threads: usize, extra: usize, cpu_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    let builder = builder.io_extra_threads(extra).cpu_threads(cpu_threads);
    builder.build().unwrap()
}

#[test]
fn items_come_in_order_and_the_end_is_the_end() {
    let _watchdog = watchdog("a plain stream");
    let polls_after_the_end = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&polls_after_the_end);
    let mut is_over = false;
    let mut items = 0..3;
    let stream = stream::poll_fn(move |_| {
        seen.fetch_add(usize::from(is_over), SeqCst);
        let item = items.next();
        is_over = item.is_none();
        std::task::Poll::Ready(item)
    });
    // Of a stream that cannot be moved once it was polled.
    let stream = stream.then(|n| async move { n * 2 });
    let mut iter = BlockingIter::new(stream);
    assert_eq!(iter.by_ref().collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!((iter.next(), iter.next()), (None, None));
    assert_eq!(polls_after_the_end.load(SeqCst), 0);
    assert_eq!(iter.size_hint(), (0, Some(0)));
    assert_eq!(
        BlockingIter::new(stream::iter(0..3)).size_hint(),
        (3, Some(3))
    );
}

#[test]
fn dropping_it_drops_the_stream_and_a_panic_goes_through() {
    let capture = Arc::new(());
    let held = Arc::clone(&capture);
    let stream = stream::repeat_with(move || Arc::strong_count(&held));
    let mut iter = BlockingIter::new(stream);
    assert_eq!(iter.next(), Some(2));
    drop(iter);
    assert_eq!(Arc::strong_count(&capture), 1);

    let panics = stream::poll_fn(|_| -> std::task::Poll<Option<()>> {
        // Past the panic hook, which would print it.
        resume_unwind(Box::new("polled"))
    });
    let mut iter = BlockingIter::new(panics);
    let payload = catch_unwind(AssertUnwindSafe(|| iter.next())).unwrap_err();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "polled");
}

#[test]
fn a_stream_that_lives_on_a_runtime_feeds_a_sync_thread() {
    let _watchdog = watchdog("a stream of tokio's");
    for runtime in [
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build(),
        tokio::runtime::Builder::new_current_thread().build(),
    ] {
        let runtime = runtime.unwrap();
        let (mut sender, receiver) = channel::channel(1);
        let sync = thread::spawn(move || BlockingIter::new(receiver).sum::<u64>());
        runtime.block_on(async {
            for number in 0..1_000 {
                sender.send(number).await.unwrap();
                if number % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            drop(sender);
        });
        assert_eq!(sync.join().unwrap(), 499_500);
    }
}

/// As many jobs as there are threads, all of which run before the first of them iterates
/// over what other jobs of their pool bring.
fn as_many_as_threads(offload: &Offload, is_cpu: bool) {
    const JOBS: usize = 3;
    let all_run = Arc::new(Barrier::new(JOBS));
    let handles: Vec<_> = (0..JOBS)
        .map(|_| {
            let (inner, all_run) = (offload.clone(), Arc::clone(&all_run));
            let job = move || {
                all_run.wait();
                if is_cpu {
                    let squares = stream::iter(0..100_u64).then(|n| {
                        let square = offload_cpu(move || n * n).on(&inner);
                        async move { square.await.unwrap() }
                    });
                    BlockingIter::new(squares).sum::<u64>()
                } else {
                    let squares = offload_iter((0..100).map(|n| n * n)).on(&inner);
                    BlockingIter::new(squares.buffer(8))
                        .map(Result::unwrap)
                        .sum()
                }
            };
            if is_cpu {
                offload_cpu(job).on(offload).try_spawn().unwrap()
            } else {
                offload_io(job).on(offload).try_spawn().unwrap()
            }
        })
        .collect();
    for handle in handles {
        assert_eq!(handle.wait().unwrap(), 328_350);
    }
    wait_until("all turns are back", || {
        let stats = offload.stats();
        stats.io.running + stats.cpu.running == 0
    });
    assert_eq!(offload.stats().io.failed + offload.stats().io.orphans, 0);
}

#[test]
fn as_many_jobs_as_threads_iterate_and_do_not_hang_their_pool() {
    let _watchdog = watchdog("jobs that iterate");
    for _ in 0..20 {
        for extra in [0, 1, 128] {
            let offload = pool(3, extra, 3);
            as_many_as_threads(&offload, false);
            as_many_as_threads(&offload, true);
        }
    }
}

#[test]
fn a_job_lends_its_turn_while_it_waits_for_an_item() {
    let _watchdog = watchdog("a lent turn");
    let offload = pool(1, 1, 1);
    let (mut sender, receiver) = channel::channel(0);
    let job = offload_io(move || BlockingIter::new(receiver).collect::<Vec<_>>());
    let job = job.on(&offload).try_spawn().unwrap();
    // Another job of the pool's only turn makes the items; and then it is free again.
    let make = offload_io(move || {
        for number in 0..10 {
            futures::executor::block_on(sender.send(number)).unwrap();
        }
    });
    make.on(&offload).wait().unwrap();
    assert_eq!(job.wait().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn there_and_back() {
    let _watchdog = watchdog("there and back");
    let offload = pool(2, 0, 1);
    let numbers = offload_iter(0..1_000).on(&offload);
    let numbers = offload_iter(BlockingIter::new(numbers)).on(&offload);
    let numbers = BlockingIter::new(numbers).map(|item| item.unwrap().unwrap());
    assert!(numbers.eq(0..1_000));
}

/// Each item is sent only when the one before has come: a wake-up that is lost is a hang.
fn dependent_rounds(cpus: usize) {
    pin_to(cpus);
    const ROUNDS: usize = 20_000;
    let (ask, asked) = mpsc::channel();
    let (sender, receiver) = channel::unbounded();
    let sends = thread::spawn(move || {
        for number in asked {
            sender.unbounded_send(number).unwrap();
        }
    });
    let mut iter = BlockingIter::new(receiver);
    for number in 0..ROUNDS {
        ask.send(number).unwrap();
        assert_eq!(iter.next(), Some(number));
    }
    drop(ask);
    assert_eq!(iter.next(), None);
    sends.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_on_one_cpu() {
    alone("no_wake_up_is_lost_on_one_cpu", || dependent_rounds(1));
}

#[test]
fn no_wake_up_is_lost_on_two_cpus() {
    alone("no_wake_up_is_lost_on_two_cpus", || dependent_rounds(2));
}

#[cfg(feature = "tokio")]
#[test]
fn it_panics_on_an_event_loop_of_tokio_and_nothing_is_lost() {
    let _watchdog = watchdog("on the event loop");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut iter = BlockingIter::new(stream::iter(0..3));
        let payload = catch_unwind(AssertUnwindSafe(|| iter.next())).unwrap_err();
        let message = payload.downcast::<String>().unwrap();
        assert!(message.contains("BlockingIter::next"), "{message}");
        assert!(message.contains("`.await`"), "{message}");
        let items = tokio::task::spawn_blocking(move || iter.collect::<Vec<_>>());
        assert_eq!(items.await.unwrap(), [0, 1, 2]);
    });
}
