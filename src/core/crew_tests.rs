use super::{Crew, Host, Length, MOST_SEARCHING, Size};
use std::cell::Cell;
use std::time::Duration;

const JOBS: usize = 5;

/// Has jobs, and threads that are long in coming.
struct Busy {
    length: Length,
    spawned: Cell<usize>,
}

impl Host for Busy {
    fn has_work(&self) -> bool {
        true
    }

    fn waiting(&self) -> usize {
        JOBS
    }

    fn taken(&self) -> u64 {
        0
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

    fn yield_now(&self) {}

    fn demand_at(&self, _: u64) {}

    fn back_in(&self) -> Option<Duration> {
        None
    }
}

/// How many threads are asked for by `calls` submissions.
fn asked_for(length: Length, cpus: usize, calls: usize) -> usize {
    let crew = Crew::new(Size {
        min: 0,
        max: 16,
        most: 16,
        extra: 0,
        cpus,
        keep_alive: Duration::from_secs(1),
    });
    let host = Busy {
        length,
        spawned: Cell::new(0),
    };
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
