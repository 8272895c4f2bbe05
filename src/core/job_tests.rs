//! Where the parts of a job lie: with and without an extension, of closures and outputs that
//! want to be aligned to more than the rest.

use super::super::caller::Caller;
use super::super::queue::Queue;
use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const AGEING: u64 = 0;

#[repr(align(256))]
struct Apart(u8);

/// Answers what it holds, and whether that lay where it must.
struct Holds<T>(T, Arc<AtomicUsize>);

impl<T: Send + 'static> Work for Holds<T> {
    type Output = (T, bool);

    fn run(self, _: &Job) -> Result<(T, bool), Stopped> {
        let is_aligned = ptr::from_ref(&self.0).is_aligned();
        let Self(held, runs) = self;
        runs.fetch_add(1, Ordering::Relaxed);
        Ok((held, is_aligned))
    }
}

fn extension(label: &str) -> Extension {
    Extension::new(Some(label.to_owned().into()), Some(7), true, None)
}

fn job_of<T: Send + 'static>(
    held: T,
    runs: &Arc<AtomicUsize>,
    extension: Option<Extension>,
) -> NonNull<Header> {
    let work = Holds(held, Arc::clone(runs));
    allocate(work, 3, None, extension, Location::caller())
}

/// Runs one with a label and one without, and takes one of each apart.
fn each_way<T: Send + 'static>(hold: impl Fn() -> T, is_whole: impl Fn(&T) -> bool) {
    let queue = Queue::new(usize::MAX, AGEING);
    let runs = Arc::new(AtomicUsize::new(0));
    for label in [None, Some("a label")] {
        let job = job_of(hold(), &runs, label.map(extension));
        // SAFETY: new: it is alive until both sides have left, below.
        let known = unsafe { JobRef::new(job) };
        assert_eq!(known.label().map(|label| &**label), label);
        assert_eq!(known.deadline(), label.map(|_| 7));
        assert_eq!(known.must_run(), label.is_some());
        known.set_started(5);
        let progress = known.progress(9);
        let (waited, ran) = (progress.waited, progress.ran);
        // One without a deadline is not told when it starts.
        assert_eq!((waited, ran), if label.is_some() { (2, 4) } else { (6, 0) });
        assert!(job.cast::<Cell<Holds<T>>>().is_aligned());
        let permit = queue.admit(1, None).unwrap();
        // SAFETY: new: one side goes to the queue, the other to the `Caller`.
        let mut caller = unsafe {
            queue.push(permit, job).unwrap();
            Caller::<(T, bool)>::new(job)
        };
        let (finished, ended) = queue.next(0).unwrap().job.run(ptr::null(), |_| ());
        assert_eq!(ended, Ended::Completed);
        let _ = finished.complete();
        let Some(Ok((held, is_aligned))) = caller.poll(Waker::noop()) else {
            panic!("the job has no value");
        };
        assert!(is_aligned && is_whole(&held));

        let job = job_of(hold(), &runs, label.map(extension));
        // SAFETY: of this type, new, and not used again.
        let work = unsafe { dismantle::<Holds<T>>(job) };
        assert!(is_whole(&work.0));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(Arc::strong_count(&runs), 1);
}

#[test]
fn parts_lie_where_they_are_looked_for() {
    each_way(|| (), |()| true);
    each_way(|| Apart(9), |held| held.0 == 9);
    each_way(|| Box::new(9), |held| **held == 9);
    each_way(|| [5_u8; 1000], |held| *held == [5; 1000]);
}

/// Only the output is aligned to more.
#[test]
fn the_output_lies_where_it_must() {
    struct Makes;

    impl Work for Makes {
        type Output = Apart;

        fn run(self, _: &Job) -> Result<Apart, Stopped> {
            Ok(Apart(4))
        }
    }

    let queue = Queue::new(usize::MAX, AGEING);
    let extension = Some(extension("a label"));
    let job = allocate(Makes, 0, None, extension, Location::caller());
    let permit = queue.admit(1, None).unwrap();
    // SAFETY: new: one side goes to the queue, the other to the `Caller`.
    let mut caller = unsafe {
        queue.push(permit, job).unwrap();
        Caller::<Apart>::new(job)
    };
    let (finished, _) = queue.next(0).unwrap().job.run(ptr::null(), |_| ());
    let _ = finished.complete();
    let output = caller.poll(Waker::noop()).and_then(Result::ok).unwrap();
    assert_eq!(output.0, 4);
}

/// Each way to an end drops the extension, once.
#[test]
fn an_extension_ends_with_its_job() {
    let queue = Queue::new(usize::MAX, AGEING);
    let lane = Arc::new(crate::core::lane_state::LaneState::new(usize::MAX));
    let pushed = || {
        let extension = Extension::new(None, None, false, Some(Arc::clone(&lane)));
        let job = job_of(Apart(1), &Arc::default(), Some(extension));
        let permit = queue.admit(9, Some(&lane)).unwrap();
        // SAFETY: new: one side goes to the queue, the other to the `Caller`.
        unsafe {
            queue.push(permit, job).unwrap();
            Caller::<(Apart, bool)>::new(job)
        }
    };
    // The queue knows the lane as well, once it has had a job.
    pushed().detach();
    let _ = queue.next(0).unwrap().job.fail(Failure::NoThreads);
    let before = Arc::strong_count(&lane);

    let cancelled = pushed().abandon(&queue);
    assert!(matches!(cancelled, super::super::caller::Left::Queued(_)));
    assert_eq!(Arc::strong_count(&lane), before);

    let caller = pushed();
    let (finished, _) = queue.next(0).unwrap().job.run(ptr::null(), |_| ());
    caller.detach();
    let _ = finished.complete();
    assert_eq!(Arc::strong_count(&lane), before);

    let caller = pushed();
    let Ok(taken) = caller.take_back(&queue) else {
        panic!("nobody runs it");
    };
    taken.give_up();
    assert_eq!(Arc::strong_count(&lane), before);
}
