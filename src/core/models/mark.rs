//! A watcher that looks at a thread's mark, against polls, nested ones, and the thread's end.

use super::check;
use crate::core::mark::Mark;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

static OUTER: u32 = 1;
static INNER: u32 = 2;
static NEXT: u32 = 3;

/// A poll with another one in it, then a poll of another task. Whatever the watcher takes
/// for the task of a poll is one of that poll's.
#[test]
fn a_watcher_against_polls() {
    check("a_watcher_against_polls", None, || {
        let mark = Arc::new(Mark::new());
        let polling = Arc::clone(&mark);
        let thread = thread::spawn(move || {
            let outer = polling.begin(&OUTER);
            let inner = polling.begin(&INNER);
            polling.end(&inner);
            assert_eq!(polling.look().unwrap().task, &OUTER);
            polling.end(&outer);
            let next = polling.begin(&NEXT);
            polling.end(&next);
        });
        // Otherwise the first look comes before all polls, and loom has nothing to turn round.
        thread::yield_now();
        if let Some(sight) = mark.look() {
            let is_of_turn = match sight.turn {
                1 => [OUTER, INNER].contains(sight.task),
                3 => sight.task == &NEXT,
                turn => panic!("no poll has turn {turn}"),
            };
            assert!(is_of_turn, "{sight:?} is of another poll");
        }
        thread.join().unwrap();
        assert!(mark.look().is_none());
        assert_eq!(mark.turn(), 4);
    });
}

/// A poll that is interrupted by what is none, in which there is another poll.
#[test]
fn a_watcher_against_a_pause() {
    check("a_watcher_against_a_pause", None, || {
        let mark = Arc::new(Mark::new());
        let polling = Arc::clone(&mark);
        let thread = thread::spawn(move || {
            let outer = polling.begin(&OUTER);
            let paused = polling.pause().expect("a poll is under way");
            assert!(polling.pause().is_none());
            let inside = polling.begin(&INNER);
            polling.end(&inside);
            polling.resume(&paused);
            polling.end(&outer);
        });
        // As above.
        thread::yield_now();
        if let Some(sight) = mark.look() {
            let task = match sight.turn {
                1 => OUTER,
                turn if turn == (1 << 40) + 1 => INNER,
                turn if turn == (2 << 40) + 1 => OUTER,
                turn => panic!("no poll has turn {turn}"),
            };
            assert_eq!(*sight.task, task, "{sight:?} is of another poll");
        }
        thread.join().unwrap();
        assert!(mark.look().is_none());
        // The next one's is another one.
        assert_eq!(mark.turn(), 2);
    });
}

/// The watcher reads what is the thread's own, its stack for one, only while it holds it.
#[test]
fn a_capture_against_the_end_of_its_thread() {
    check("a_capture_against_the_end_of_its_thread", None, || {
        let mark = Arc::new(Mark::<u32>::new());
        let stack = Arc::new(UnsafeCell::new(1));
        let (ending, own) = (Arc::clone(&mark), Arc::clone(&stack));
        let thread = thread::spawn(move || {
            ending.leave();
            own.with_mut(|own| {
                // SAFETY: whoever reads it has to hold the mark, which is left.
                unsafe { *own = 0 };
            });
        });
        let seen = mark.hold(|| {
            stack.with(|stack| {
                // SAFETY: held: the thread has not left.
                unsafe { *stack }
            })
        });
        assert_ne!(seen, Some(0));
        thread.join().unwrap();
        assert!(mark.hold(|| ()).is_none());
    });
}
