//! Residents: CPU workers that run roots at the bottom of their stacks only.
//!
//! A rayon worker that waits in `join` runs whatever it finds in rayon's queues. A
//! root that got there could start on the stack of another root, which may hold a
//! lock that it wants. So roots never enter rayon's queues: each worker of the pool
//! runs [`Residents::reside`] below everything else, takes roots from our queue and
//! runs them there. With none left it waits *inside rayon*, by `install` on a bell
//! pool of one thread, so that it serves pieces of running roots meanwhile.
//!
//! The bell thread runs the waits of the parked residents one after the other. A
//! submission rings it, and each wait that ends releases one resident. See README,
//! "Residents".

use super::doorman::Doorman;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Parker, fence, planted};
use std::time::Duration;

/// What the residents need from outside.
pub(crate) trait Roots {
    /// Whether a resident would find a root. Called after a fence.
    fn has_work(&self) -> bool;

    /// How many roots wait.
    fn waiting(&self) -> usize;

    fn is_closed(&self) -> bool;

    /// Takes the next root; if there is one, calls `taken(more)` (`more`: others are left
    /// behind), then runs it here. `false` if there was none. Between telling that others are
    /// left and `taken` there is a SeqCst fence.
    fn run_next(&self, taken: impl FnOnce(bool)) -> bool;

    /// Whether a resident that has found none is to look once more before it waits.
    fn lingers(&self) -> bool;

    /// Whether it sleeps outside of rayon for a while before it waits inside.
    fn dozes(&self) -> bool;

    /// Runs here what rayon's queues hold now. No root is below.
    fn serve(&self);
}

/// How long a released resident may take to arrive before it is presumed busy with a
/// long piece of some root and the next one is released.
const ARRIVAL: Duration = Duration::from_micros(100);

pub(crate) struct Residents {
    /// The bell thread sleeps, or is about to.
    bell_waits: AtomicBool,
    bell: Parker,
    doorman: Doorman,
    /// How many there are, and how many of them wait inside rayon.
    len: usize,
    inside: AtomicUsize,
    release: Mutex<Release>,
}

/// Who is on the way from the bell to the queue. Only the bell thread and arriving
/// residents take this lock, never a submitter.
struct Release {
    /// Residents released in this epoch that have not arrived yet.
    on_the_way: usize,
    /// Counts the times that those on the way were given up on.
    epoch: u64,
}

/// A resident's leave to go and look, to be shown on arrival.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released {
    epoch: u64,
}

impl Residents {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            bell_waits: AtomicBool::new(false),
            bell: Parker::new(),
            doorman: Doorman::new(),
            len,
            inside: AtomicUsize::new(0),
            release: Mutex::new(Release {
                on_the_way: 0,
                epoch: 0,
            }),
        }
    }

    /// After a push: wakes the bell thread if it sleeps, unless there is a doorman.
    pub(crate) fn ring(&self) {
        if !planted("residents: no fence after push") {
            // ORDERING: SeqCst fence, partner: the fences in `sleep` and in the doorman's. Either
            // the bell thread, or the doorman, sees our push or we see it waiting, or gone.
            fence(Ordering::SeqCst);
        }
        self.ring_fenced();
    }

    /// After a close, which is for all residents.
    pub(crate) fn close(&self) {
        // ORDERING: SeqCst fence, partner: the fences as above.
        fence(Ordering::SeqCst);
        if planted("residents: a stop left to the doorman") {
            return self.ring_fenced();
        }
        if !planted("residents: a stop without the doorman") {
            self.doorman.wake();
        }
        self.wake_bell();
    }

    fn ring_fenced(&self) {
        if !self.doorman.is_told() {
            self.wake_bell();
        }
    }

    fn wake_bell(&self) {
        // ORDERING: AcqRel, partner: the Release store in `sleep`: its `adopt` is
        // visible, and one ringer wakes it.
        if self.bell_waits.load(Ordering::Relaxed) && self.bell_waits.swap(false, Ordering::AcqRel)
        {
            // SAFETY: the bell thread adopted its parker before it set the flag, and
            // does not go on before it has consumed this notification.
            unsafe { self.bell.unpark() };
        }
    }

    /// A resident's life, at the bottom of a worker's stack. `wait` runs the given
    /// wait on the bell thread, and serves rayon meanwhile.
    pub(crate) fn reside(&self, roots: &impl Roots, mut wait: impl FnMut() -> Released) {
        loop {
            while roots.run_next(|more| self.taken(more)) {}
            if roots.is_closed() && !roots.has_work() {
                return;
            }
            if !self.stay(roots) {
                let released = self.inside(&mut wait);
                self.arrive(released);
            }
        }
    }

    /// A resident waits inside rayon.
    pub(super) fn inside<R>(&self, wait: impl FnOnce() -> R) -> R {
        // ORDERING: Relaxed: read after a fence, and what follows, `taken`, is preceded by one.
        self.inside.fetch_add(1, Ordering::Relaxed);
        let waited = wait();
        self.inside.fetch_sub(1, Ordering::Relaxed);
        waited
    }

    /// Stays where submitters find it for a while, one resident at a time. `true`: there is a
    /// root, or was.
    fn stay(&self, roots: &impl Roots) -> bool {
        let dozes = roots.dozes();
        if dozes {
            roots.serve();
        }
        if !(dozes || roots.lingers()) || !self.doorman.enter() {
            return false;
        }
        // Without a fence: what these looks miss the last one sees.
        let mut found = roots.has_work();
        while !found && roots.lingers() {
            found = roots.has_work();
        }
        if !found && dozes {
            found = self.doorman.sleep(|| {
                // Of a root that runs elsewhere pieces may need this one.
                let others_wait = self.inside.load(Ordering::Relaxed) + 1 == self.len;
                !others_wait || roots.has_work() || roots.is_closed()
            });
        }
        self.doorman.leave();
        found || roots.has_work() && !planted("residents: no look after lingering")
    }

    /// Whoever takes a root and leaves others rings: while it drained, the bell thread may
    /// have looked at the empty inbox and gone to sleep. A doorman that went to sleep just before
    /// is to serve the root's pieces.
    pub(crate) fn taken(&self, more: bool) {
        if !planted("residents: a doorman that sleeps on") {
            self.doorman.wake();
        }
        if more && !planted("residents: roots left behind") {
            self.ring_fenced();
        }
    }

    /// A parked resident's wait, on the bell thread.
    pub(crate) fn wait_for_bell(&self, roots: &impl Roots) -> Released {
        loop {
            // ORDERING: SeqCst fence: `sleep` has announced and comes back here; see
            // there.
            fence(Ordering::SeqCst);
            let (waiting, closed) = (roots.waiting(), roots.is_closed());
            let work = roots.has_work();
            let mut release = self.release.lock();
            if closed || (work && waiting > release.on_the_way) {
                release.on_the_way += 1;
                return Released {
                    epoch: release.epoch,
                };
            }
            let awaited = work && release.on_the_way > 0 && waiting > 0;
            drop(release);
            if !self.sleep(roots, awaited) {
                let mut release = self.release.lock();
                if !planted("residents: same epoch") {
                    release.epoch += 1;
                }
                release.on_the_way = 0;
            }
        }
    }

    /// Sleeps until rung; with `awaited` not longer than an arrival may take.
    /// `false`: the time was up.
    fn sleep(&self, roots: &impl Roots, awaited: bool) -> bool {
        // SAFETY: only the bell thread sleeps here, and nobody rings before the flag.
        unsafe { self.bell.adopt() };
        // ORDERING: Release, partner: `ring`.
        self.bell_waits.store(true, Ordering::Release);
        // ORDERING: SeqCst fence, partner: the fence in `ring`.
        fence(Ordering::SeqCst);
        let enough = if awaited {
            // Those on the way will see to it; new roots ring.
            roots.waiting() > self.release.lock().on_the_way
        } else {
            roots.has_work() && roots.waiting() > 0
        };
        let closed = roots.is_closed() && !planted("residents: no look for a stop");
        let stay = !(enough || closed) || planted("residents: no look before sleeping");
        let rung = stay && self.bell.park(awaited.then_some(ARRIVAL));
        // ORDERING: AcqRel, partner: `ring`: exactly one of us takes the flag.
        if !rung && !self.bell_waits.swap(false, Ordering::AcqRel) {
            // Rung meanwhile: the notification is on its way and ours to consume.
            let notified = self.bell.park(None);
            debug_assert!(notified);
            return true;
        }
        rung || !stay
    }

    /// A released resident is back at its loop.
    fn arrive(&self, released: Released) {
        let mut release = self.release.lock();
        if released.epoch == release.epoch {
            release.on_the_way = release
                .on_the_way
                .checked_sub(1)
                .expect("an arrival without a release");
        }
    }

    /// The time of the present or next awaited arrival is up.
    #[cfg(all(test, offramp_loom))]
    pub(crate) fn expire(&self) {
        self.bell.expire();
    }

    /// That of the doorman's sleep is.
    #[cfg(all(test, offramp_loom))]
    pub(crate) fn expire_doorman(&self) {
        self.doorman.expire();
    }
}
