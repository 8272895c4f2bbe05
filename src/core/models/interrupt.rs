//! A hook that interrupts one call, against that call's end and the next one.

use super::check;
use crate::core::interrupt::{Entry, Interruptible};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Two interrupters are at the first call. While one of them is in its hook the worker is
/// in that call, whatever it was about to do.
#[test]
fn a_hook_against_the_end_of_its_call() {
    check("a_hook_against_the_end_of_its_call", Some(3), || {
        let present = Arc::new(AtomicUsize::new(0));
        let first = Arc::new(Interruptible::new());
        let interrupters = [(); 2].map(|()| {
            let (present, first) = (Arc::clone(&present), Arc::clone(&first));
            thread::spawn(move || {
                if first.try_enter() == Entry::Hit {
                    assert_eq!(present.load(Ordering::Relaxed), 1, "another call was hit");
                    first.leave();
                }
            })
        });
        present.store(1, Ordering::Relaxed);
        first.begin();
        first.end();
        present.store(2, Ordering::Relaxed);
        let second = Interruptible::new();
        second.begin();
        second.end();
        assert_eq!(first.try_enter(), Entry::Over);
        for interrupter in interrupters {
            interrupter.join().unwrap();
        }
    });
}
