use super::{Crew, Host, Length, MOST_SEARCHING, Size};
use std::cell::{Cell, RefCell};
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

fn crew(cpus: usize) -> Crew {
    Crew::new(Size {
        min: 0,
        max: 16,
        most: 16,
        extra: 0,
        cpus,
        keep_alive: Duration::from_secs(1),
    })
}

/// How many threads are asked for by `calls` submissions.
fn asked_for(length: Length, cpus: usize, calls: usize) -> usize {
    let crew = crew(cpus);
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

/// Tiny jobs of one worker, and a submitter that is on the same CPU: it goes on when the worker yields.
struct Shared<'a> {
    crew: &'a Crew,
    jobs: Cell<usize>,
    ran: Cell<usize>,
    /// At each yield how many had run, and how many workers were idle.
    yields: RefCell<Vec<(usize, usize)>>,
    slots: RefCell<Vec<usize>>,
    time: Cell<u64>,
}

impl Shared<'_> {
    fn submit(&self, jobs: usize) {
        self.jobs.set(self.jobs.get() + jobs);
        self.crew.demand(self);
    }
}

impl Host for Shared<'_> {
    fn has_work(&self) -> bool {
        self.jobs.get() > 0
    }

    fn waiting(&self) -> usize {
        self.jobs.get()
    }

    fn taken(&self) -> u64 {
        self.ran.get() as u64
    }

    fn length(&self) -> Length {
        Length::Tiny
    }

    /// With the fourth job.
    fn is_closed(&self) -> bool {
        self.ran.get() == 4
    }

    fn run_next(&self, taken: impl FnOnce(bool)) -> bool {
        let Some(left) = self.jobs.get().checked_sub(1) else {
            return false;
        };
        self.jobs.set(left);
        taken(left > 0);
        self.ran.set(self.ran.get() + 1);
        true
    }

    fn spawn(&self, slot: usize) {
        self.slots.borrow_mut().push(slot);
    }

    fn fail_all(&self) {}

    fn saturated(&self) {}

    /// A microsecond for each look.
    fn now(&self) -> u64 {
        self.time.replace(self.time.get() + 1_000)
    }

    fn yield_now(&self) {
        let idle = self.crew.idle();
        self.yields.borrow_mut().push((self.ran.get(), idle));
        self.submit(1);
    }

    fn demand_at(&self, _: u64) {}

    fn back_in(&self) -> Option<Duration> {
        None
    }
}

#[test]
fn a_worker_that_has_run_several_tiny_jobs_yields_when_it_can_be_claimed() {
    let crew = crew(2);
    let host = Shared {
        crew: &crew,
        jobs: Cell::new(0),
        ran: Cell::new(0),
        yields: RefCell::default(),
        slots: RefCell::default(),
        time: Cell::new(0),
    };
    host.submit(3);
    // Those that the worker asks for, too, never come.
    let slot = host.slots.borrow()[0];
    crew.work(slot, &host);
    // Idle, and so it was claimed; not after the one job that it was claimed for.
    assert_eq!(*host.yields.borrow(), [(3, 1)]);
    assert_eq!((host.ran.get(), crew.idle()), (4, 0));
}
