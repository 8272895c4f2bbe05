//! A call costs one allocation, counted on all threads from the submission until
//! the output is there.

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{Wakes, alone, wait_until};
use offramp::{Blocking, Offload, offload_cpu, offload_io};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const CALLS: usize = 1_000;

/// One thread for each pool, which stays.
fn warm_pool() -> Offload {
    let offload = Offload::builder()
        .io_min_threads(1)
        .io_max_threads(1)
        .cpu_threads(1)
        .build()
        .unwrap();
    // The clock, the thread-locals, the threads and rayon's queues are there by now.
    for _ in 0..100 {
        offload_io(|| ()).on(&offload).wait().unwrap();
        offload_cpu(|| ()).on(&offload).wait().unwrap();
    }
    offload
}

/// Awaits `call` with a waker made beforehand.
fn awaited<F: Future>(call: F, wakes: &Wakes, cx: &mut Context<'_>) -> F::Output {
    let mut call = pin!(call);
    loop {
        let before = wakes.count();
        match call.as_mut().poll(cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => wait_until("woken", || wakes.count() > before),
        }
    }
}

/// The least that any of several rounds of calls allocates: the threads of the test
/// harness, or a worker that is still busy with a round before, can only add to it.
fn allocations_of(mut calls: impl FnMut()) -> usize {
    let round = |_| {
        let before = heap::allocations();
        calls();
        heap::allocations() - before
    };
    (0..5).map(round).min().unwrap()
}

#[test]
fn an_awaited_io_call_makes_one_allocation() {
    alone("an_awaited_io_call_makes_one_allocation", || {
        let offload = warm_pool();
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let captured = [1_u64; 8];
        let allocations = allocations_of(|| {
            for n in 0..CALLS as u64 {
                let call = offload_io(move || captured[7] + n).on(&offload);
                assert_eq!(awaited(call, &wakes, &mut cx).unwrap(), n + 1);
            }
        });
        assert_eq!(allocations, CALLS);
    });
}

#[cfg(feature = "macros")]
#[test]
fn an_attribute_adds_no_allocation() {
    #[offload_io(on = &on)]
    fn plain(on: Offload, captured: [u64; 8]) -> u64 {
        captured[7]
    }

    #[offload_io(on = &on, label = "labelled")]
    fn labelled(on: Offload, captured: [u64; 8]) -> u64 {
        captured[7]
    }

    alone("an_attribute_adds_no_allocation", || {
        let offload = warm_pool();
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let of_plain = allocations_of(|| {
            for n in 0..CALLS as u64 {
                let call = plain(offload.clone(), [n; 8]);
                assert_eq!(awaited(call, &wakes, &mut cx), n);
            }
        });
        let of_labelled = allocations_of(|| {
            for n in 0..CALLS as u64 {
                let call = labelled(offload.clone(), [n; 8]);
                assert_eq!(awaited(call, &wakes, &mut cx), n);
            }
        });
        assert_eq!((of_plain, of_labelled), (CALLS, CALLS));
    });
}

#[test]
fn a_spawned_io_call_makes_one_allocation() {
    alone("a_spawned_io_call_makes_one_allocation", || {
        let offload = warm_pool();
        let captured = [1_u64; 8];
        // Not even if it is awaited late, or by nobody.
        let allocations = allocations_of(|| {
            for n in 0..CALLS as u64 {
                let call = offload_io(move || captured[7] + n).on(&offload);
                let handle = call.try_spawn().unwrap();
                wait_until("it has finished", || handle.is_finished());
                if n % 2 == 0 {
                    drop(handle);
                } else {
                    handle.detach();
                }
            }
        });
        assert_eq!(allocations, CALLS);
    });
}

#[test]
fn a_cancelled_or_refused_io_call_makes_no_more_than_one() {
    alone(
        "a_cancelled_or_refused_io_call_makes_no_more_than_one",
        || {
            let offload = Offload::builder()
                .io_max_threads(1)
                .capacity(1)
                .build()
                .unwrap();
            let occupied = common::Occupied::io(&offload, 1);
            let spawn = || offload_io(|| ()).on(&offload).try_spawn();
            let cancelled = allocations_of(|| {
                for _ in 0..CALLS {
                    drop(spawn().unwrap());
                }
            });
            assert_eq!(cancelled, CALLS);
            let waits = spawn().unwrap();
            // Refused before anything is made for it.
            let refused = allocations_of(|| {
                for _ in 0..CALLS {
                    assert!(spawn().is_err());
                }
            });
            assert_eq!(refused, 0);
            occupied.release();
            waits.wait().unwrap();
        },
    );
}

/// A resident that goes to sleep does it through a queue of rayon's, which is made of
/// blocks of 1.5 KiB for 63 entries each. Nothing else in a call is that large.
#[test]
fn a_cpu_call_makes_one_allocation_and_rayon_a_block_for_63_sleeps() {
    alone(
        "a_cpu_call_makes_one_allocation_and_rayon_a_block_for_63_sleeps",
        || {
            let offload = warm_pool();
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            // The least of each, as in `allocations_of`.
            let (mut own, mut blocks) = (usize::MAX, usize::MAX);
            for _ in 0..5 {
                let (all, large) = (heap::allocations(), heap::large_allocations());
                for n in 0..CALLS as u64 {
                    let call = offload_cpu(move || n).on(&offload);
                    assert_eq!(awaited(call, &wakes, &mut cx).unwrap(), n);
                }
                let large = heap::large_allocations() - large;
                own = own.min(heap::allocations() - all - large);
                blocks = blocks.min(large);
            }
            println!("{own} allocations and {blocks} blocks of rayon's");
            assert_eq!(own, CALLS);
            // A sleep for each call is the most there can be.
            assert!(blocks <= CALLS / 63 + 1, "{blocks}");
        },
    );
}

#[test]
fn options_cost_the_allocations_that_their_documentation_says() {
    alone(
        "options_cost_the_allocations_that_their_documentation_says",
        || {
            let offload = warm_pool();
            let lane = offload.lane("a lane");
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let mut of_each = |options: &dyn Fn(Call) -> Call| {
                let all = allocations_of(|| {
                    for _ in 0..CALLS {
                        let call: Call = offload_io(nothing as fn()).on(&offload);
                        awaited(options(call), &wakes, &mut cx).unwrap();
                    }
                });
                // The timer's own heap grows now and then.
                (all - all % CALLS) / CALLS
            };
            assert_eq!(of_each(&|call| call), 1);
            assert_eq!(of_each(&|call| call.label("a label")), 1);
            assert_eq!(of_each(&|call| call.lane(&lane)), 1);
            assert_eq!(of_each(&|call| call.timeout(common::PATIENCE)), 2);
            assert_eq!(of_each(&|call| call.tenant("a tenant")), 2);
        },
    );
}

type Call = offramp::Offloaded<fn(), ()>;

/// Beside those of its `Blocking`, which are there by then.
#[test]
fn a_call_of_a_value_makes_one_allocation_and_another_for_its_interrupt() {
    alone(
        "a_call_of_a_value_makes_one_allocation_and_another_for_its_interrupt",
        || {
            let offload = warm_pool();
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let mut of_each = |value: Blocking<usize>| {
                let allocations = allocations_of(|| {
                    for _ in 0..CALLS {
                        let call = value.call(|value| *value += 1);
                        awaited(call, &wakes, &mut cx).unwrap();
                    }
                });
                allocations / CALLS
            };
            assert_eq!(of_each(Blocking::new(0).on(&offload)), 1);
            assert_eq!(of_each(Blocking::new(0).on(&offload).interrupt(|| ())), 2);
        },
    );
}

fn nothing() {}

/// The runtime that a call takes along has its room in the job, as the shim's handle has on
/// the stack.
#[cfg(feature = "tokio")]
#[test]
fn a_call_made_in_a_tokio_runtime_makes_one_allocation() {
    use offramp::compat::tokio::spawn_blocking;
    use tokio::runtime::{Handle, Runtime};

    alone(
        "a_call_made_in_a_tokio_runtime_makes_one_allocation",
        || {
            let offload = warm_pool();
            let runtime = Runtime::new().unwrap();
            let _entered = runtime.enter();
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let is_there = || Handle::try_current().is_ok();
            let allocations = allocations_of(|| {
                for _ in 0..CALLS {
                    let call = offload_io(is_there).on(&offload);
                    assert!(awaited(call, &wakes, &mut cx).unwrap());
                }
            });
            assert_eq!(allocations, CALLS);
            let allocations = allocations_of(|| {
                for _ in 0..CALLS {
                    let handle = offload.scoped_sync(|| spawn_blocking(is_there));
                    assert!(awaited(handle, &wakes, &mut cx).unwrap());
                }
            });
            assert_eq!(allocations, CALLS);
        },
    );
}

/// Beside those of the collection: what is in flight, and the outcomes.
#[test]
fn calls_made_together_make_one_allocation_each() {
    use std::future::IntoFuture;

    alone("calls_made_together_make_one_allocation_each", || {
        let offload = warm_pool();
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let captured = [1_u64; 8];
        let allocations = allocations_of(|| {
            let closures = (0..CALLS as u64).map(|n| move || captured[7] + n);
            let calls = offramp::offload_io_all(closures).on(&offload);
            let outcomes = awaited(calls.into_future(), &wakes, &mut cx);
            assert_eq!(outcomes.len(), CALLS);
            for (n, outcome) in (1..).zip(outcomes) {
                assert_eq!(outcome.unwrap(), n);
            }
        });
        println!("{allocations} allocations for {CALLS} calls");
        assert!((CALLS..CALLS + 32).contains(&allocations), "{allocations}");
    });
}
