//! Residents, bell, submitters and stop, on a stand-in for rayon.

use super::rayon::{Latch, Rayon, Threads};
use super::{Fate, await_it, check, push};
use crate::core::caller::Caller;
use crate::sync::planted;
use loom::thread;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

fn submit<R: Send + 'static>(
    rayon: &Arc<Rayon>,
    root: impl FnOnce() -> R + Send + 'static,
) -> Option<Caller<R>> {
    let caller = push(&rayon.queue, 9, root)?;
    rayon.demand();
    Some(caller)
}

fn run<R: Send + 'static>(rayon: &Arc<Rayon>, root: impl FnOnce() -> R + Send + 'static) -> R {
    let caller = submit(rayon, root).expect("the queue is open");
    await_it(caller).expect("the root ran")
}

fn two_roots_that_meet(rayon: &Arc<Rayon>) -> (Caller<()>, Caller<()>) {
    let met = Latch::default();
    let waits = submit(rayon, {
        let (rayon, met) = (Arc::clone(rayon), Latch::clone(&met));
        move || rayon.block_on(&met)
    });
    let comes = submit(rayon, {
        let rayon = Arc::clone(rayon);
        move || rayon.set(&met, ())
    });
    (waits.expect("open"), comes.expect("open"))
}

fn stop(rayon: &Rayon) {
    rayon.queue.close();
    if !planted("residents: a stop unheard") {
        rayon.residents.close();
    }
}

#[test]
fn a_root_against_a_resident_going_to_wait() {
    check("a_root_against_a_resident_going_to_wait", Some(2), || {
        let (rayon, threads) = Rayon::start(1);
        let fate = Fate::new();
        run(&rayon, fate.closure());
        assert_eq!(fate.runs(), 1);
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

#[test]
fn two_roots_one_after_the_other() {
    check("two_roots_one_after_the_other", Some(1), || {
        let (rayon, threads) = Rayon::start_parked(1);
        for _ in 0..2 {
            let fate = Fate::new();
            run(&rayon, fate.closure());
            assert_eq!(fate.runs(), 1);
        }
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

/// A resident has run a root, and is on its post after that, on its way there, or no more; the bell
/// thread, where another one waits if there is one, is rung by nobody who sees it there.
fn with_a_doorman(residents: usize, prepare: impl FnOnce(&Rayon), model: impl FnOnce(&Arc<Rayon>)) {
    let (rayon, threads) = Rayon::start_parked(residents);
    prepare(&rayon);
    loom::stop_exploring();
    let first = submit(&rayon, || ()).expect("the queue is open");
    loom::explore();
    await_it(first).expect("the root ran");
    model(&rayon);
    threads.join(&rayon);
}

fn lingers(rayon: &Rayon) {
    rayon.lingers.store(1, Ordering::Relaxed);
}

fn dozes(rayon: &Rayon) {
    rayon.dozes.store(true, Ordering::Relaxed);
}

fn a_root_runs(rayon: &Arc<Rayon>) {
    let fate = Fate::new();
    run(rayon, fate.closure());
    assert_eq!(fate.runs(), 1);
    loom::stop_exploring();
    stop(rayon);
}

#[test]
fn a_root_against_a_resident_that_lingers() {
    check("a_root_against_a_resident_that_lingers", Some(1), || {
        with_a_doorman(2, lingers, a_root_runs);
    });
}

#[test]
fn a_stop_against_a_resident_that_lingers() {
    check("a_stop_against_a_resident_that_lingers", Some(1), || {
        with_a_doorman(2, lingers, |rayon| stop(rayon));
    });
}

#[test]
fn a_root_against_a_doorman_that_sleeps() {
    check("a_root_against_a_doorman_that_sleeps", Some(2), || {
        with_a_doorman(1, dozes, a_root_runs);
    });
}

#[test]
fn a_root_against_the_end_of_a_doormans_sleep() {
    check(
        "a_root_against_the_end_of_a_doormans_sleep",
        Some(1),
        || {
            with_a_doorman(1, dozes, |rayon| {
                rayon.residents.expire_doorman();
                a_root_runs(rayon);
            });
        },
    );
}

#[test]
fn a_stop_against_a_doorman_that_sleeps() {
    check("a_stop_against_a_doorman_that_sleeps", Some(2), || {
        with_a_doorman(1, dozes, |rayon| stop(rayon));
    });
}

/// One that was released (here the model's main thread) takes a root and is stuck until somebody
/// serves its piece; the other one must not sleep outside.
#[test]
fn a_roots_piece_against_a_doorman_that_goes_to_sleep() {
    let name = "a_roots_piece_against_a_doorman_that_goes_to_sleep";
    check(name, Some(1), || {
        let (rayon, threads) = Rayon::start_beside(1, 1);
        dozes(&rayon);
        let root = rayon.residents.inside(|| push(&rayon.queue, 9, || ()));
        if let Some(next) = rayon.queue.next(0) {
            rayon.residents.taken(next.more);
            let met = Latch::default();
            let piece = (Arc::clone(&rayon), Latch::clone(&met));
            rayon.spawn(move || piece.0.set(&piece.1, ()));
            rayon.block_on(&met);
            next.job.run(std::ptr::null(), |_| ()).0.complete();
        }
        await_it(root.expect("open")).unwrap();
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

#[test]
fn a_root_against_stop() {
    check("a_root_against_stop", Some(2), || {
        let (rayon, threads) = Rayon::start(1);
        let fate = Fate::new();
        let caller = submit(&rayon, fate.closure()).expect("open");
        stop(&rayon);
        threads.join(&rayon);
        await_it(caller).unwrap();
        assert_eq!(fate.runs(), 1);
    });
}

/// Residents, bell, submitter and stopper at once: the root is refused, or runs.
#[test]
fn a_submitter_against_stop() {
    check("a_submitter_against_stop", Some(2), || {
        let (rayon, threads) = Rayon::start(1);
        let fate = Fate::new();
        let submitter = thread::spawn({
            let (rayon, root) = (Arc::clone(&rayon), fate.closure());
            move || match submit(&rayon, root) {
                Some(caller) => {
                    await_it(caller).expect("the root ran");
                    1
                }
                None => 0,
            }
        });
        stop(&rayon);
        let accepted = submitter.join().unwrap();
        threads.join(&rayon);
        assert_eq!(fate.runs(), accepted);
    });
}

#[test]
fn two_roots_that_need_each_other() {
    check("two_roots_that_need_each_other", Some(1), || {
        let (rayon, threads) = Rayon::start_parked(2);
        let (waits, comes) = two_roots_that_meet(&rayon);
        await_it(waits).unwrap();
        await_it(comes).unwrap();
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

/// One worker (here the model's main thread) has drained the inbox and not yet said so;
/// the bell thread looks at the empty inbox and goes to sleep.
#[test]
fn roots_in_a_workers_hands_against_the_bell() {
    check("roots_in_a_workers_hands_against_the_bell", Some(2), || {
        let (rayon, threads) = Rayon::start(1);
        let (waits, comes) = two_roots_that_meet(&rayon);
        if let Some(next) = rayon.queue.next(0) {
            rayon.residents.taken(next.more);
            next.job.run(std::ptr::null(), |_| ()).0.complete();
        }
        await_it(waits).unwrap();
        await_it(comes).unwrap();
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

/// The released resident is busy with a piece that waits for the root it was released
/// for: only the next release, by time, gets it going. Its late arrival must not count
/// as that of a later epoch.
#[test]
fn a_release_that_does_not_arrive() {
    check("a_release_that_does_not_arrive", Some(1), || {
        let (rayon, threads) = Rayon::start_parked(2);
        let done = Latch::default();
        rayon.spawn({
            let (rayon, done) = (Arc::clone(&rayon), Latch::clone(&done));
            move || rayon.block_on(&done)
        });
        let fate = Fate::new();
        let caller = submit(&rayon, fate.closure()).expect("open");
        rayon.residents.expire();
        await_it(caller).unwrap();
        rayon.set(&done, ());
        assert_eq!(fate.runs(), 1);
        loom::stop_exploring();
        stop(&rayon);
        threads.join(&rayon);
    });
}

/// A root's own deque comes first when it waits: what it spawned there last, first.
#[test]
fn a_root_that_submits_another_before_its_join_waits() {
    check(
        "a_root_that_submits_another_before_its_join_waits",
        Some(1),
        || {
            let (rayon, threads) = Rayon::start(1);
            let other = run(&rayon, {
                let rayon = Arc::clone(&rayon);
                move || {
                    let mut other = None;
                    rayon.join(|| other = submit(&rayon, || ()), || {});
                    other.expect("open")
                }
            });
            await_it(other).unwrap();
            loom::stop_exploring();
            stop(&rayon);
            threads.join(&rayon);
        },
    );
}

/// Both workers wait in a join. The first one's stack has a root, and on it a piece of the
/// piece that the second one stole; the second one waits in that piece's join, with no root
/// below it. So counting the roots on a stack would not do.
struct EverybodyWaits {
    rayon: Arc<Rayon>,
    threads: Threads,
    root: Caller<()>,
    /// Ends the piece on top.
    go: Latch,
}

impl EverybodyWaits {
    /// `on_top` is the end of the piece on top.
    fn prepare(on_top: impl FnOnce(&Arc<Rayon>) + Send + 'static) -> Self {
        loom::stop_exploring();
        let (rayon, threads) = Rayon::start(2);
        let [is_stolen, is_stolen_back, go] = [(); 3].map(|()| Latch::default());
        let stolen_back = {
            let (rayon, is_stolen_back) = (Arc::clone(&rayon), Latch::clone(&is_stolen_back));
            let go = Latch::clone(&go);
            move || {
                rayon.set(&is_stolen_back, ());
                rayon.block_on(&go);
                on_top(&rayon);
            }
        };
        let stolen = {
            let (rayon, is_stolen) = (Arc::clone(&rayon), Latch::clone(&is_stolen));
            let is_stolen_back = Latch::clone(&is_stolen_back);
            move || {
                rayon.set(&is_stolen, ());
                rayon.join(|| rayon.block_on(&is_stolen_back), stolen_back);
            }
        };
        let root = submit(&rayon, {
            let rayon = Arc::clone(&rayon);
            move || rayon.join(|| rayon.block_on(&is_stolen), stolen)
        });
        rayon.block_on(&is_stolen_back);
        loom::explore();
        Self {
            root: root.expect("open"),
            rayon,
            threads,
            go,
        }
    }

    fn end(self, other: impl FnOnce() -> Caller<()>) {
        self.rayon.set(&self.go, ());
        await_it(self.root).unwrap();
        // From here on stacks are empty.
        loom::stop_exploring();
        await_it(other()).unwrap();
        stop(&self.rayon);
        self.threads.join(&self.rayon);
    }
}

#[test]
fn a_root_from_outside_while_everybody_waits() {
    check("a_root_from_outside_while_everybody_waits", Some(1), || {
        let everybody = EverybodyWaits::prepare(|_| {});
        let other = submit(&everybody.rayon, || ()).expect("open");
        everybody.end(|| other);
    });
}

/// What the piece leaves on its worker's deque, the other worker may steal.
#[test]
fn a_root_from_a_piece_while_everybody_waits() {
    check("a_root_from_a_piece_while_everybody_waits", Some(1), || {
        let other = Arc::new(Mutex::new(None));
        let everybody = EverybodyWaits::prepare({
            let other = Arc::clone(&other);
            move |rayon| *other.lock().unwrap() = submit(rayon, || ())
        });
        everybody.end(|| other.lock().unwrap().take().expect("open"));
    });
}
