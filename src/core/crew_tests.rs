use super::{Crew, Host, Length, MOST_SEARCHING, Size};
use crate::sync::Ordering;
use std::cell::Cell;
use std::time::Duration;

const JOBS: usize = 5;

/// Has jobs, and threads that are long in coming.
struct Busy {
    length: Length,
    spawned: Cell<usize>,
    /// Relief that was asked for.
    reliefs: Cell<usize>,
}

impl Host for Busy {
    fn has_work(&self) -> bool {
        true
    }

    fn waiting(&self) -> usize {
        JOBS
    }

    fn length(&self) -> Length {
        self.length
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn run_next(&self, _: impl FnOnce(bool)) -> bool {
        unreachable!("no worker runs here")
    }

    fn spawn(&self, _: usize) {
        self.spawned.set(self.spawned.get() + 1);
    }

    fn fail_all(&self) {}

    fn saturated(&self) {}

    fn now(&self) -> u64 {
        0
    }

    fn demand_at(&self, _: u64) {}

    fn relieve_soon(&self) {
        self.reliefs.set(self.reliefs.get() + 1);
    }

    fn back_in(&self) -> Option<Duration> {
        None
    }
}

fn crew(length: Length, cpus: usize) -> (Crew, Busy) {
    let size = Size {
        min: 0,
        max: 16,
        most: 16,
        extra: 1,
        cpus,
        keep_alive: Duration::from_secs(1),
    };
    let host = Busy {
        length,
        spawned: Cell::new(0),
        reliefs: Cell::new(0),
    };
    (Crew::new(size), host)
}

/// How many threads are asked for by `calls` submissions.
fn asked_for(length: Length, cpus: usize, calls: usize) -> usize {
    let (crew, host) = crew(length, cpus);
    for _ in 0..calls {
        crew.demand(&host);
    }
    host.spawned.get()
}

#[test]
fn brief_jobs_have_two_workers_called_and_long_ones_as_many_as_wait() {
    assert_eq!(asked_for(Length::Brief, 8, 1), 1);
    assert_eq!(asked_for(Length::Brief, 1, 3 * JOBS), MOST_SEARCHING);
    assert_eq!(asked_for(Length::Tiny, 8, 3 * JOBS), MOST_SEARCHING);
    assert_eq!(asked_for(Length::Long, 8, 3), 3);
    assert_eq!(asked_for(Length::Long, 1, 3 * JOBS), JOBS);
}

#[test]
fn on_one_cpu_tiny_jobs_have_one_worker_called() {
    assert_eq!(asked_for(Length::Tiny, 1, 3 * JOBS), 1);
}

/// With so many workers alive, all busy with short jobs: how many are called, and whether relief was
/// asked for.
fn called(cpus: usize, alive: usize, lent: usize) -> (usize, usize) {
    let (crew, host) = crew(Length::Short, cpus);
    crew.alive.store(alive, Ordering::Relaxed);
    crew.lent.store(lent, Ordering::Relaxed);
    crew.demand(&host);
    (host.spawned.get(), host.reliefs.get())
}

#[test]
fn for_short_jobs_no_more_are_called_than_get_a_cpu() {
    assert_eq!(called(8, 7, 0), (1, 0));
    assert_eq!(called(8, 8, 0), (0, 1));
    assert_eq!(called(8, 8, 1), (1, 0), "one waits for another");
    // The next one comes while the first one works.
    assert_eq!(called(1, 1, 0), (1, 0));
    assert_eq!(called(1, 2, 0), (0, 1));
}

#[test]
fn relief_calls_one_for_short_jobs() {
    let (crew, host) = crew(Length::Short, 2);
    crew.alive.store(2, Ordering::Relaxed);
    (0..JOBS).for_each(|_| crew.demand(&host));
    assert_eq!((host.spawned.get(), host.reliefs.get()), (0, 1));
    crew.relieve(&host);
    assert_eq!((host.spawned.get(), host.reliefs.get()), (1, 1));
}
