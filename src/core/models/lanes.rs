//! Lanes that come and go, charges, overflow and ageing.

use super::{AGEING, Fate, Task, await_it, check, push_work, run_one};
use crate::core::caller::Caller;
use crate::core::extension::Extension;
use crate::core::job::{Ended, Failure};
use crate::core::lane_state::LaneState;
use crate::core::queue::Queue;
use crate::core::view::Job;
use crate::priority::Priority;
use loom::sync::Arc;
use loom::thread;
use std::sync::Arc as Plain;

type Lane = Plain<LaneState>;

fn lane() -> Lane {
    Plain::new(LaneState::new(usize::MAX))
}

fn tenant(key: u128) -> Lane {
    Plain::new(LaneState::of_tenant(key, Priority::Normal, usize::MAX))
}

fn push_to(queue: &Queue, lane: Option<&Lane>, f: impl FnOnce() + Send + 'static) -> Caller<()> {
    let work = Task(move |_: &Job| {
        f();
        Ok(())
    });
    let extension = lane.map(|lane| {
        let lane = Some(Plain::clone(lane));
        Extension::new(None, None, false, lane)
    });
    push_work(queue, usize::MAX, work, extension).unwrap()
}

/// Who ran, in order.
#[derive(Clone, Default)]
struct Order(Plain<std::sync::Mutex<Vec<&'static str>>>);

impl Order {
    fn note(&self, who: &'static str) -> impl FnOnce() + Send + 'static + use<> {
        let order = self.clone();
        move || order.0.lock().unwrap().push(who)
    }

    fn is_before(&self, one: &str, other: &str) -> bool {
        let order = self.0.lock().unwrap();
        let at = |who| order.iter().position(|ran| *ran == who);
        at(one).unwrap() < at(other).unwrap()
    }
}

/// A lane's last job ends while a newcomer looks for a place, and then another job comes for
/// it. Was it let go, it must not be where the newcomer is, who is full.
#[test]
fn a_vanishing_lane_against_push() {
    check("a_vanishing_lane_against_push", Some(2), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let one = lane();
        let first = push_to(&queue, Some(&one), || ());
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let newcomer = Plain::new(LaneState::exclusive());
        let other = push_to(&queue, Some(&newcomer), || ());
        let second = push_to(&queue, Some(&one), || ());
        worker.join().unwrap();
        // Held one beside the other; if the worker came late the first is among them.
        let mut held = Vec::new();
        while let Some(taken) = queue.next(0) {
            held.push(taken.job);
        }
        assert!(held.len() >= 2, "a job is kept back");
        for job in held {
            job.run(std::ptr::null(), |_| ()).0.complete();
        }
        for caller in [first, other, second] {
            await_it(caller).unwrap();
        }
    });
}

/// A tenant's only job ends, and ran for long, while a newcomer makes places be looked
/// through. Whenever that was, the tenant has had more than the newcomers after it.
#[test]
fn a_charge_against_a_lane_let_go() {
    check("a_charge_against_a_lane_let_go", Some(2), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let order = Order::default();
        let long = push_to(&queue, Some(&tenant(1 << 8)), || ());
        let running = queue.next(0).unwrap().job;
        // Somebody else waits all the time, so that what the tenant has counts.
        let waits = [(); 3].map(|()| push_to(&queue, None, || ()));
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let (finished, _ended): (_, Ended) = running.run(std::ptr::null(), |_| ());
                queue.settle(&finished, 1_000_000_000);
                finished.complete();
            }
        });
        let newcomers = [2, 3].map(|key| push_to(&queue, Some(&tenant(key << 8)), || ()));
        assert!(run_one(&queue));
        worker.join().unwrap();
        let again = push_to(&queue, Some(&tenant(1 << 8)), order.note("again"));
        let later = push_to(&queue, Some(&tenant(4 << 8)), order.note("later"));
        while run_one(&queue) {}
        for caller in waits.into_iter().chain(newcomers) {
            await_it(caller).unwrap();
        }
        for caller in [long, again, later] {
            await_it(caller).unwrap();
        }
        assert!(order.is_before("later", "again"), "its charge was lost");
    });
}

/// The pool is full of one lane's jobs, and a job of another lane comes, while a worker takes
/// the first of them, and the caller of the newest leaves. Each is run, dropped, or told that
/// it lost its room, once; and the newcomer gets in, unless it found the lock taken.
#[test]
fn an_overflow_against_claim_and_cancel() {
    check("an_overflow_against_claim_and_cancel", Some(2), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fat = lane();
        let fates = [Fate::new(), Fate::new()];
        let [first, newest] = fates
            .each_ref()
            .map(|fate| push_to(&queue, Some(&fat), fate.closure()));
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let canceller = thread::spawn({
            let queue = Arc::clone(&queue);
            move || drop(newest.abandon(&queue))
        });
        let (permit, evicted) = queue.make_room(2, Some(&lane()));
        let _ = evicted.fail(|| (), 2);
        worker.join().unwrap();
        canceller.join().unwrap();
        let got_in = permit.is_ok();
        if let Ok(permit) = permit {
            let extension = Extension::new(None, None, false, Some(lane()));
            let work = Task(|_: &Job| Ok(()));
            let place = std::panic::Location::caller();
            let job = super::allocate(work, 0, None, Some(extension), place);
            // SAFETY: new: one side goes to the queue, the other to the `Caller`.
            let caller = unsafe {
                queue.push(permit, job).unwrap();
                Caller::<()>::new(job)
            };
            while run_one(&queue) {}
            await_it(caller).unwrap();
        }
        while run_one(&queue) {}
        assert!(matches!(
            await_it(first),
            Ok(()) | Err(Failure::Overloaded { limit: 2 })
        ));
        let ran = fates.map(|fate| fate.runs()).iter().sum::<usize>();
        assert!(ran >= 1 || got_in);
        assert_eq!(queue.pending(), 0);
        assert!(queue.has_no_shells());
    });
}

/// A job of a lower class is passed over for higher ones until its time has come, which is an
/// event; the next to be taken is that one.
#[test]
fn a_class_passed_over_against_time() {
    check("a_class_passed_over_against_time", Some(2), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let high = Plain::clone(queue.shared(Priority::High).unwrap());
        let now = Arc::new(loom::sync::atomic::AtomicU64::new(0));
        let ran_at = Plain::new(std::sync::Mutex::new(None));
        let aged = push_to(&queue, None, || ());
        let flood = [(); 3].map(|()| push_to(&queue, Some(&high), || ()));
        let time = thread::spawn({
            let now = Arc::clone(&now);
            move || now.store(AGEING, loom::sync::atomic::Ordering::Relaxed)
        });
        let mut aged = Some(aged);
        let mut was_late = false;
        for _ in 0..4 {
            let at = now.load(loom::sync::atomic::Ordering::Relaxed);
            run_at(&queue, at);
            if aged.as_ref().is_some_and(Caller::is_finished) {
                await_it(aged.take().unwrap()).unwrap();
                *ran_at.lock().unwrap() = Some(at);
            }
            was_late |= at >= AGEING && aged.is_some();
        }
        assert!(!was_late, "its time had come, and another one was taken");
        assert!(aged.is_none());
        for caller in flood {
            await_it(caller).unwrap();
        }
        time.join().unwrap();
    });
}

fn run_at(queue: &Queue, now: u64) {
    let job = queue.next(now).expect("a job is left").job;
    job.run(std::ptr::null(), |_| ()).0.complete();
}
