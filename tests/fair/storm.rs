//! A pool that is full most of the time: nothing is lost, and the limit holds.

use super::Place;
use super::common::{Random, alone, pin_to};
use super::overflow::{Awaited, assert_adds_up};
use offramp::{Offload, OffloadError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;

#[test]
fn a_full_pool_resolves_every_call_on_one_cpu() {
    alone("storm::a_full_pool_resolves_every_call_on_one_cpu", || {
        pin_to(1);
        (0..3).for_each(storm);
    });
}

#[test]
fn a_full_pool_resolves_every_call_on_two_cpus() {
    alone("storm::a_full_pool_resolves_every_call_on_two_cpus", || {
        pin_to(2);
        (3..6).for_each(storm);
    });
}

const CALLERS: u64 = 4;
const THREADS: usize = 2;
const LIMIT: usize = 10;

fn storm(seed: u64) {
    const CALLS: usize = 4_000;

    let builder = Offload::builder().io_max_threads(THREADS);
    let offload = builder.max_pending(LIMIT).build().unwrap();
    let is_over = AtomicBool::new(false);
    // Calls that must run and have not: they are beyond the limit.
    let exempt = Arc::new(AtomicUsize::new(0));
    let resolved = AtomicUsize::new(0);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0_u64;
            while !is_over.load(SeqCst) {
                let before = offload.stats().io;
                let exempt_before = exempt.load(SeqCst);
                let now = offload.stats().io;
                let exempt = exempt_before.max(exempt.load(SeqCst));
                let after = offload.stats().io;
                // A snapshot takes its time: what left meanwhile may show as waiting. And each
                // caller may have one that is about to be refused, evicted or cancelled.
                let gone = |io: &offramp::PoolStats| io.submitted - io.queued;
                let meanwhile = gone(&after) - gone(&before);
                let most = LIMIT as u64 + exempt as u64 + 3 * CALLERS + 2 * meanwhile;
                let most = most + THREADS as u64;
                assert!(now.queued <= most, "{most}: {before:?} {now:?} {after:?}");
                looks += 1;
            }
            looks
        });
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (offload, exempt, resolved) = (&offload, &exempt, &resolved);
                scope.spawn(move || {
                    let mut random = Random(seed * CALLERS + caller);
                    let mut pending = Vec::new();
                    for _ in 0..CALLS {
                        let place = match random.below(8) {
                            0 => Place::Plain,
                            1..=3 => Place::Lane(offload.lane(&random.below(4).to_string())),
                            _ => Place::Tenant(random.below(6)),
                        };
                        let must_run = random.below(16) == 0;
                        let call = Awaited::new(offload, &place, |call| {
                            if must_run {
                                exempt.fetch_add(1, SeqCst);
                                call.must_run()
                            } else if random.below(8) == 0 {
                                call.drop_on_pool()
                            } else {
                                call
                            }
                        });
                        if call.first.is_ready() {
                            assert!(!must_run || matches!(call.first, Poll::Ready(Ok(()))));
                            exempt.fetch_sub(usize::from(must_run), SeqCst);
                            resolved.fetch_add(1, SeqCst);
                            continue;
                        }
                        pending.push((must_run, call));
                        if pending.len() > 16 || random.below(8) == 0 {
                            let at = random.below(pending.len() as u64) as usize;
                            let (must_run, call) = pending.swap_remove(at);
                            let cancel = random.below(2) == 0;
                            finish(call, must_run, cancel, exempt);
                            resolved.fetch_add(1, SeqCst);
                        }
                    }
                    for (must_run, call) in pending {
                        finish(call, must_run, false, exempt);
                        resolved.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        is_over.store(true, SeqCst);
        assert!(watch.join().unwrap() > 0);
    });
    assert_eq!(resolved.load(SeqCst), CALLS * CALLERS as usize);
    let refused = offload.stats().io.refused;
    assert!(refused > 0, "it was never full");
    assert_adds_up(&offload, refused);
}

fn finish(call: Awaited, must_run: bool, cancel: bool, exempt: &AtomicUsize) {
    if cancel && !must_run {
        drop(call.future);
        return;
    }
    let result = pollster::block_on(call.future);
    let runs = call.fate.runs.load(SeqCst);
    match result {
        Ok(()) => assert_eq!(runs, 1),
        Err(OffloadError::Overloaded { limit: LIMIT, .. }) => {
            assert_eq!((must_run, runs), (false, 0))
        }
        Err(error) => panic!("{error}"),
    }
    exempt.fetch_sub(usize::from(must_run), SeqCst);
}
