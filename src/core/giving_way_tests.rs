use super::{FIRST_PAUSE, GivingWay, LAST_PAUSE, LONG, PER_JOB};
use crate::core::host::{Host, Length};
use std::cell::Cell;
use std::time::Duration;

/// A pool where a worker that yields is away for so long, and others take so many jobs meanwhile.
struct Beside {
    has_work: bool,
    away: u64,
    others_take: u64,
    now: Cell<u64>,
    taken: Cell<u64>,
    yields: Cell<usize>,
}

impl Beside {
    fn new(away: u64, others_take: u64) -> Self {
        Self {
            has_work: true,
            away,
            others_take,
            now: Cell::new(0),
            taken: Cell::new(u64::MAX),
            yields: Cell::new(0),
        }
    }

    /// Whether a worker gives way before it sleeps.
    fn gives_way(&self, giving_way: &GivingWay) -> bool {
        self.yields.set(0);
        giving_way.before_sleep(self);
        self.yields.get() == 1
    }
}

impl Host for Beside {
    fn has_work(&self) -> bool {
        self.has_work
    }

    fn waiting(&self) -> usize {
        usize::from(self.has_work)
    }

    fn taken(&self) -> u64 {
        self.taken.get()
    }

    fn length(&self) -> Length {
        Length::Tiny
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn run_next(&self, _: impl FnOnce(bool)) -> bool {
        unreachable!("no worker runs here")
    }

    fn spawn(&self, _: usize) {
        unreachable!("nor is one started")
    }

    fn fail_all(&self) {}

    fn saturated(&self) {}

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn yield_now(&self) {
        self.yields.set(self.yields.get() + 1);
        self.now.set(self.now.get() + self.away);
        self.taken
            .set(self.taken.get().wrapping_add(self.others_take));
    }

    fn demand_at(&self, _: u64) {}

    fn back_in(&self) -> Option<Duration> {
        None
    }
}

#[test]
fn after_a_loss_nobody_gives_way_for_a_pause_which_doubles() {
    let (giving_way, pool) = (GivingWay::new(), Beside::new(LONG, 0));
    let mut pause = FIRST_PAUSE;
    for _ in 0..20 {
        assert!(pool.gives_way(&giving_way));
        assert!(!pool.gives_way(&giving_way));
        let end = pool.now.get() + pause;
        pool.now.set(end - 1);
        assert!(!pool.gives_way(&giving_way));
        pool.now.set(end);
        pause = LAST_PAUSE.min(2 * pause);
    }
    assert_eq!(pause, LAST_PAUSE);
}

#[test]
fn it_goes_on_where_the_others_took_jobs_or_none_are_left_or_it_was_back_soon() {
    let away = 10 * LONG;
    let idle = Beside {
        has_work: false,
        ..Beside::new(away, 0)
    };
    for pool in [
        Beside::new(away, away / PER_JOB),
        idle,
        Beside::new(LONG - 1, 0),
    ] {
        let giving_way = GivingWay::new();
        assert!((0..9).all(|_| pool.gives_way(&giving_way)));
    }
    let (giving_way, pool) = (GivingWay::new(), Beside::new(away, away / PER_JOB - 1));
    assert!(pool.gives_way(&giving_way));
    assert!(!pool.gives_way(&giving_way), "too few");
}

#[test]
fn what_pays_again_halves_the_pause() {
    let (giving_way, mut pool) = (GivingWay::new(), Beside::new(LONG, 0));
    for _ in 0..3 {
        assert!(pool.gives_way(&giving_way));
        pool.now.set(pool.now.get() + LAST_PAUSE);
    }
    pool.others_take = LONG;
    assert!(pool.gives_way(&giving_way));
    pool.others_take = 0;
    assert!(pool.gives_way(&giving_way));
    pool.now.set(pool.now.get() + 4 * FIRST_PAUSE);
    assert!(pool.gives_way(&giving_way), "four instead of eight");
    pool.now.set(pool.now.get() + 8 * FIRST_PAUSE - 1);
    assert!(!pool.gives_way(&giving_way), "eight after four");
}
