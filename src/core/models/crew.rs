//! Wake or spawn: the decision that hangs pools.

use super::{Seat, await_it, check, push_all};
use crate::core::host::Host as _;
use crate::core::job::Failure;
use crate::core::lane_state::LaneState;
use crate::priority::Priority;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

/// One job waits for the other: whoever runs them one after the other hangs.
fn rendezvous(seat: &Seat) {
    rendezvous_around(seat, || ());
}

/// The same, with something that happens when both have been submitted.
fn rendezvous_around(seat: &Seat, between: impl FnOnce()) {
    let met = Arc::new(Notify::new());
    let waits = seat.submit({
        let met = Arc::clone(&met);
        move || met.wait()
    });
    let comes = seat.submit(move || met.notify());
    between();
    await_it(waits.unwrap()).unwrap();
    await_it(comes.unwrap()).unwrap();
}

#[test]
fn warm_rendezvous_at_cap_two() {
    check("warm_rendezvous_at_cap_two", Some(1), || {
        let seat = Seat::new(0, 2, 0);
        seat.warm_up();
        rendezvous(&seat);
        seat.finish();
    });
}

#[test]
fn cold_rendezvous_at_cap_two() {
    check("cold_rendezvous_at_cap_two", Some(1), || {
        let seat = Seat::new(0, 2, 0);
        rendezvous(&seat);
        seat.finish();
    });
}

#[test]
fn push_against_park() {
    check("push_against_park", Some(2), || {
        let seat = Seat::new(1, 1, 0);
        // While this one is answered the worker is on its way to sleep.
        seat.run(|| ());
        seat.run(|| ());
        seat.finish();
    });
}

/// One worker (here the model's main thread) has drained the inbox and not yet said
/// so; the other one looks at the empty inbox and goes to sleep.
#[test]
fn jobs_in_a_workers_hands_against_park() {
    check("jobs_in_a_workers_hands_against_park", Some(2), || {
        let seat = Seat::new(1, 1, 0);
        loom::stop_exploring();
        seat.run(loom::explore);
        rendezvous_around(&seat, || {
            seat.run_next(|more| seat.0.crew.taken_by(false, more, &seat));
        });
        seat.finish();
    });
}

/// Two jobs are pushed together, the first of which waits for the second, and two workers are
/// on their way to sleep. One `demand` is enough.
#[test]
fn a_chain_against_two_workers_that_park() {
    check("a_chain_against_two_workers_that_park", Some(1), || {
        let seat = Seat::new(2, 2, 0);
        loom::stop_exploring();
        rendezvous(&seat);
        loom::explore();
        let met = Arc::new(Notify::new());
        let waits = {
            let met = Arc::clone(&met);
            move || met.wait()
        };
        let comes = move || met.notify();
        let callers = push_all(&seat.0.queue, 2, [Box::new(waits), Box::new(comes)]);
        seat.0.crew.demand(&seat);
        for caller in callers.unwrap() {
            await_it(caller).unwrap();
        }
        seat.finish();
    });
}

#[test]
fn two_submitters_against_park() {
    check("two_submitters_against_park", Some(1), || {
        let seat = Seat::new(1, 1, 0);
        seat.warm_up();
        let other = thread::spawn({
            let seat = seat.clone();
            move || seat.run(|| ())
        });
        seat.run(|| ());
        other.join().unwrap();
        seat.finish();
    });
}

/// The keep-alive expires at any moment: of the sleep, of the claim, of the push.
fn expiry(name: &str, min: usize) {
    check(name, Some(2), move || {
        let seat = Seat::new(min, 1, 0);
        seat.warm_up();
        let clock = thread::spawn({
            let seat = seat.clone();
            move || seat.0.crew.expire(0)
        });
        seat.run(|| ());
        clock.join().unwrap();
        seat.finish();
    });
}

#[test]
fn expiry_against_push_with_a_worker_that_leaves() {
    expiry("expiry_against_push_with_a_worker_that_leaves", 0);
}

#[test]
fn expiry_against_push_with_a_worker_that_stays() {
    expiry("expiry_against_push_with_a_worker_that_stays", 1);
}

#[test]
fn expiry_against_claim_for_a_job_that_is_dropped() {
    check(
        "expiry_against_claim_for_a_job_that_is_dropped",
        Some(1),
        || {
            let seat = Seat::new(0, 1, 0);
            seat.warm_up();
            let clock = thread::spawn({
                let seat = seat.clone();
                move || seat.0.crew.expire(0)
            });
            let unwanted = seat.submit(|| ()).unwrap();
            seat.abandon(unwanted);
            clock.join().unwrap();
            // Stuck if the worker left without answering the claim.
            seat.run(|| ());
            seat.finish();
        },
    );
}

#[test]
fn last_look_against_two_pushes_at_cap_one() {
    check("last_look_against_two_pushes_at_cap_one", Some(1), || {
        let seat = Seat::new(0, 1, 0);
        seat.warm_up();
        let clock = thread::spawn({
            let seat = seat.clone();
            move || seat.0.crew.expire(0)
        });
        let first = seat.submit(|| ()).unwrap();
        let second = seat.submit(|| ()).unwrap();
        await_it(first).unwrap();
        await_it(second).unwrap();
        clock.join().unwrap();
        seat.finish();
    });
}

#[test]
fn drop_against_claim_leaves_no_work_unseen() {
    check("drop_against_claim_leaves_no_work_unseen", Some(2), || {
        let seat = Seat::new(1, 1, 0);
        seat.warm_up();
        let unwanted = seat.submit(|| ()).unwrap();
        let dropper = thread::spawn({
            let seat = seat.clone();
            move || seat.abandon(unwanted)
        });
        seat.run(|| ());
        dropper.join().unwrap();
        seat.finish();
    });
}

#[test]
fn a_job_submitted_by_a_job_runs() {
    check("a_job_submitted_by_a_job_runs", Some(1), || {
        let seat = Seat::new(0, 2, 0);
        seat.run({
            let seat = seat.clone();
            move || seat.run(|| ())
        });
        seat.finish();
    });
}

#[test]
fn close_against_push_resolves() {
    check("close_against_push_resolves", Some(2), || {
        let seat = Seat::new(0, 1, 0);
        let submitter = thread::spawn({
            let seat = seat.clone();
            move || {
                if let Some(caller) = seat.submit(|| ()) {
                    await_it(caller).unwrap();
                }
            }
        });
        seat.close();
        submitter.join().unwrap();
        seat.finish();
    });
}

#[test]
fn close_against_park_lets_the_worker_leave() {
    check("close_against_park_lets_the_worker_leave", Some(3), || {
        let seat = Seat::new(1, 1, 0);
        seat.run(|| ());
        seat.close();
        // loom reports a deadlock if the worker sleeps on.
        seat.finish();
    });
}

#[test]
fn a_refused_spawn_with_nobody_else_fails_every_job() {
    check(
        "a_refused_spawn_with_nobody_else_fails_every_job",
        Some(3),
        || {
            let seat = Seat::new(0, 1, 2);
            let submit = |seat: &Seat| {
                let caller = seat.submit(|| ()).unwrap();
                assert!(matches!(await_it(caller), Ok(()) | Err(Failure::NoThreads)));
            };
            let other = thread::spawn({
                let seat = seat.clone();
                move || submit(&seat)
            });
            submit(&seat);
            other.join().unwrap();
            seat.finish();
        },
    );
}

#[test]
fn a_refused_spawn_beside_a_worker_keeps_the_job() {
    check(
        "a_refused_spawn_beside_a_worker_keeps_the_job",
        Some(2),
        || {
            let seat = Seat::new(1, 2, 0);
            seat.warm_up();
            // Time never comes.
            seat.0.refusals.store(9, Ordering::Relaxed);
            let first = seat.submit(|| ()).unwrap();
            let second = seat.submit(|| ()).unwrap();
            await_it(first).unwrap();
            await_it(second).unwrap();
            seat.finish();
        },
    );
}

/// The only worker is stuck, the second was refused, and nobody submits any more.
#[test]
fn a_refused_spawn_is_retried_by_time() {
    check("a_refused_spawn_is_retried_by_time", Some(1), || {
        let seat = Seat::new(1, 2, 0);
        seat.warm_up();
        seat.0.refusals.store(1, Ordering::Relaxed);
        rendezvous_around(&seat, || seat.ring());
        seat.finish();
    });
}

/// At cap one a job waits for another: it lends its turn, so a second worker may come.
#[test]
fn a_turn_lent_against_push_and_pop() {
    check("a_turn_lent_against_push_and_pop", Some(1), || {
        let seat = Seat::new(1, 1, 0);
        seat.warm_up();
        let met = Arc::new(Notify::new());
        let waits = seat.submit({
            let (seat, met) = (seat.clone(), Arc::clone(&met));
            move || {
                assert!(seat.0.crew.lend(&seat), "the first may");
                met.wait();
                seat.0.crew.take_back();
            }
        });
        let comes = seat.submit(move || met.notify());
        await_it(waits.unwrap()).unwrap();
        await_it(comes.unwrap()).unwrap();
        seat.finish();
    });
}

#[test]
fn the_last_worker_may_not_lend() {
    check("the_last_worker_may_not_lend", Some(2), || {
        let seat = Seat::new(0, 1, 0);
        let crew = &seat.0.crew;
        let other = thread::spawn({
            let seat = seat.clone();
            move || seat.0.crew.lend(&seat)
        });
        let mine = crew.lend(&seat);
        // Of one worker and one extra, one.
        assert!(mine != other.join().unwrap());
        crew.take_back();
        seat.finish();
    });
}

/// Two sleep, and one of them is to leave.
#[test]
fn resize_against_push_and_park() {
    check("resize_against_push_and_park", Some(1), || {
        let seat = Seat::new(2, 2, 0);
        loom::stop_exploring();
        rendezvous(&seat);
        loom::explore();
        let before = seat.submit(|| ()).unwrap();
        seat.0.crew.resize(1, &seat);
        await_it(before).unwrap();
        seat.finish();
    });
}

/// The first job's caller leaves at any moment; then nothing starts until it has ended.
#[test]
fn the_orphan_limit_against_completion() {
    check("the_orphan_limit_against_completion", Some(1), || {
        let seat = Seat::with_orphans(1, 2, 0, 1);
        seat.warm_up();
        let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let orphan = seat.submit({
            let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
            move || {
                started.notify();
                go_on.wait();
            }
        });
        started.wait();
        seat.abandon(orphan.unwrap());
        let next = seat.submit(|| ()).unwrap();
        go_on.notify();
        await_it(next).unwrap();
        seat.finish();
    });
}

/// Two jobs of a lane that runs one at a time, the second pushed at any moment of the
/// first one's life. The worker that ends the first may be one too many and leave, so it has
/// to tell that the second may start.
#[test]
fn a_full_lane_against_push_and_completion() {
    check("a_full_lane_against_push_and_completion", Some(1), || {
        let seat = Seat::new(2, 2, 0);
        loom::stop_exploring();
        rendezvous(&seat);
        loom::explore();
        let lane = std::sync::Arc::new(LaneState::exclusive());
        let inside = Arc::new(AtomicUsize::new(0));
        let alone = || {
            let inside = Arc::clone(&inside);
            move || {
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two at a time");
                inside.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let first = seat.submit_to(&lane, alone());
        let second = seat.submit_to(&lane, alone());
        seat.0.crew.resize(1, &seat);
        await_it(second).unwrap();
        await_it(first).unwrap();
        seat.finish();
    });
}

/// Two calls of one tenant, each with a state of its own. The first one's caller leaves while
/// it runs; then it is the tenant's one orphan, and the second may start only after it.
#[test]
fn a_tenants_calls_share_a_lane() {
    check("a_tenants_calls_share_a_lane", Some(1), || {
        let seat = Seat::new(1, 2, 0);
        seat.warm_up();
        let tenant = || std::sync::Arc::new(LaneState::of_tenant(7, Priority::Normal, 1));
        let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        // 1: the first one runs; 2: it is over. loom's `Notify` wakes for no reason, too.
        let step = Arc::new(AtomicUsize::new(0));
        let orphan = seat.submit_to(&tenant(), {
            let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
            let step = Arc::clone(&step);
            move || {
                step.store(1, Ordering::Relaxed);
                started.notify();
                go_on.wait();
                step.store(2, Ordering::Relaxed);
            }
        });
        while step.load(Ordering::Relaxed) == 0 {
            started.wait();
        }
        seat.abandon(orphan);
        let next = seat.submit_to(&tenant(), {
            let step = Arc::clone(&step);
            move || assert_eq!(step.load(Ordering::Relaxed), 2, "beside an orphan")
        });
        go_on.notify();
        await_it(next).unwrap();
        seat.finish();
    });
}
