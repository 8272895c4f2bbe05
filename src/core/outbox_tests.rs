use super::{LEAST, LONGEST, MOST, Outbox, PART, Put};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// Who was woken, in order.
type Woken = Arc<Mutex<Vec<usize>>>;

struct Task(usize, Woken);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

fn task(number: usize, woken: &Woken) -> Waker {
    Waker::from(Arc::new(Task(number, Arc::clone(woken))))
}

fn woken(woken: &Woken) -> Vec<usize> {
    std::mem::take(&mut woken.lock().unwrap())
}

/// A task of another kind of executor.
#[derive(Default)]
struct Other(AtomicUsize);

impl Wake for Other {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn as_many_wakers_gather_as_may() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    assert!(matches!(outbox.put(task(0, &seen), 0, 7), Put::Guard));
    for number in 1..MOST - 1 {
        assert!(matches!(outbox.put(task(number, &seen), 0, 7), Put::Held));
    }
    assert!(woken(&seen).is_empty());
    assert!(matches!(outbox.put(task(MOST - 1, &seen), 0, 7), Put::Full));
    outbox.flush();
    assert_eq!(woken(&seen), (0..MOST).collect::<Vec<_>>());
}

#[test]
fn the_first_does_not_wait_for_long() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    assert!(matches!(outbox.put(task(0, &seen), 0, 7), Put::Guard));
    let soon = 7 + LEAST - 1;
    assert!(matches!(outbox.put(task(1, &seen), 0, soon), Put::Held));
    assert!(matches!(outbox.put(task(2, &seen), 0, soon + 1), Put::Full));
    outbox.flush();
    // Its time begins with the next first one.
    assert!(matches!(outbox.put(task(3, &seen), 0, soon + 1), Put::Held));
    assert_eq!(woken(&seen), [0, 1, 2]);
}

#[test]
fn who_has_waited_for_long_waits_a_little_longer() {
    for (age, waits) in [
        (0, LEAST),
        (PART * LEAST - 1, LEAST),
        (PART * 3 * LEAST, 3 * LEAST),
        (u64::MAX, LONGEST),
    ] {
        let (outbox, seen) = (Outbox::new(), Woken::default());
        let _ = outbox.put(task(0, &seen), age, 7);
        let more = |now| outbox.put(task(1, &seen), u64::MAX, now);
        assert!(matches!(more(7 + waits - 1), Put::Held), "{age}");
        assert!(matches!(more(7 + waits), Put::Full), "{age}");
        outbox.flush_due(7 + waits - 1);
        assert!(woken(&seen).is_empty(), "{age}");
        outbox.flush_due(7 + waits);
        assert_eq!(woken(&seen), [0, 1, 1], "{age}");
    }
}

#[test]
fn the_least_patient_counts() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    let _ = outbox.put(task(0, &seen), u64::MAX, 7);
    let _ = outbox.put(task(1, &seen), 0, 8);
    let more = |now| outbox.put(task(2, &seen), u64::MAX, now);
    assert!(matches!(more(8 + LEAST - 1), Put::Held));
    assert!(matches!(more(8 + LEAST), Put::Full));
}

#[test]
fn a_guard_stays_while_the_box_is_used() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    assert!(matches!(outbox.put(task(0, &seen), 0, 0), Put::Guard));
    assert!(outbox.look());
    assert_eq!(woken(&seen), [0]);
    assert!(matches!(outbox.put(task(1, &seen), 0, 0), Put::Held));
    outbox.flush();
    assert!(outbox.look(), "used, though empty again");
    assert!(!outbox.look());
    assert!(matches!(outbox.put(task(2, &seen), 0, 0), Put::Guard));
    assert_eq!(woken(&seen), [1]);
}

#[test]
fn a_poll_wakes_those_of_its_own_executor() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    let other = Arc::new(Other::default());
    let own = task(9, &seen);
    for waker in [
        task(0, &seen),
        task(1, &seen),
        Waker::from(Arc::clone(&other)),
    ] {
        let _ = outbox.put(waker, 0, 0);
    }
    let _ = outbox.put(task(2, &seen), 0, 0);
    outbox.help(&own);
    assert_eq!(woken(&seen), [0, 1]);
    assert_eq!(other.0.load(Ordering::Relaxed), 0);
    // They do not overtake.
    outbox.help(&own);
    assert!(woken(&seen).is_empty());
    outbox.flush();
    assert_eq!(other.0.load(Ordering::Relaxed), 1);
    assert_eq!(woken(&seen), [2]);
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_called() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("planted");
        }
    }
    for call in [
        |outbox: &Outbox, _: &Waker| outbox.flush(),
        |outbox: &Outbox, own: &Waker| outbox.help(own),
        |outbox: &Outbox, _: &Waker| assert!(outbox.look()),
    ] {
        let (outbox, seen) = (Outbox::new(), Woken::default());
        let panics = Waker::from(Arc::new(Panics));
        let _ = outbox.put(panics.clone(), 0, 0);
        let _ = outbox.put(panics.clone(), 0, 0);
        call(&outbox, &panics);
        let _ = outbox.put(task(0, &seen), 0, 0);
        outbox.flush();
        assert_eq!(woken(&seen), [0]);
    }
}

#[test]
fn what_is_left_when_the_pool_goes_is_called() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    let _ = outbox.put(task(0, &seen), 0, 0);
    drop(outbox);
    assert_eq!(woken(&seen), [0]);
}

#[test]
fn nobody_waits_to_put_one_in() {
    let (outbox, seen) = (Outbox::new(), Woken::default());
    let held = outbox.held.lock();
    assert!(matches!(outbox.put(task(0, &seen), 0, 0), Put::Busy(_)));
    drop(held);
    assert!(matches!(outbox.put(task(1, &seen), 0, 0), Put::Guard));
}
