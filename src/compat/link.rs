//! One call, shared by the handle that waits for it and those that may abort it.

use crate::core::unwind::contain;
use crate::error::OffloadError;
use crate::handle::Submitted;
use parking_lot::Mutex;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// A call that abort handles have been made of. Whoever does something with it takes it out
/// of the slot, lest user code runs under the lock; what others want meanwhile they leave
/// there as a wish.
pub(super) struct Link<R> {
    slot: Mutex<Slot<R>>,
    /// Reaps it when it is over and nobody waits for it.
    reaper: Waker,
    this: Weak<dyn Abort>,
}

struct Slot<R> {
    call: Call<R>,
    /// Wishes that came while it was in somebody's hands.
    abort: bool,
    reap: bool,
    /// Who polled it meanwhile.
    poller: Option<Waker>,
}

enum Call<R> {
    Here(Submitted<R>),
    InHand,
    Over,
}

/// What an abort handle sees of it, which knows no type of result.
pub(super) trait Abort: Send + Sync {
    fn abort(&self);

    fn is_finished(&self) -> bool;
}

impl<R: Send + 'static> Link<R> {
    pub(super) fn new(call: Submitted<R>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            slot: Mutex::new(Slot {
                call: Call::Here(call),
                abort: false,
                reap: false,
                poller: None,
            }),
            reaper: Waker::from(Arc::new(Reaper(this.clone()))),
            this: this.clone(),
        })
    }
}

impl<R> Link<R> {
    pub(super) fn erased(&self) -> Option<Arc<dyn Abort>> {
        self.this.upgrade()
    }

    pub(super) fn is_finished(&self) -> bool {
        match &self.slot.lock().call {
            Call::Here(call) => call.is_finished(),
            Call::InHand => false,
            Call::Over => true,
        }
    }

    pub(super) fn poll(&self, waker: &Waker) -> Option<Result<R, OffloadError>> {
        // Cloned, and the former dropped, without the lock.
        let mut poller = Some(waker.clone());
        let mut slot = self.slot.lock();
        match mem::replace(&mut slot.call, Call::InHand) {
            Call::Here(mut call) => {
                drop(slot);
                let output = call.poll(waker);
                match output {
                    Some(_) => self.slot.lock().call = Call::Over,
                    None => self.put_back(call),
                }
                output
            }
            Call::InHand => {
                mem::swap(&mut slot.poller, &mut poller);
                drop(slot);
                contain(|| drop(poller));
                None
            }
            Call::Over => unreachable!("its only poller is gone by then"),
        }
    }

    pub(super) fn abort(&self) {
        self.wish(|slot| slot.abort = true);
    }

    /// Nobody waits for it any more.
    pub(super) fn leave(&self) {
        self.wish(|slot| slot.reap = true);
    }

    fn wish(&self, wish: impl FnOnce(&mut Slot<R>)) {
        let mut slot = self.slot.lock();
        wish(&mut slot);
        match mem::replace(&mut slot.call, Call::InHand) {
            Call::Here(call) => {
                drop(slot);
                self.put_back(call);
            }
            // For the one who has it.
            other => slot.call = other,
        }
    }

    /// Puts the call back, after what is wished for by then.
    fn put_back(&self, mut call: Submitted<R>) {
        loop {
            let mut slot = self.slot.lock();
            let abort = mem::take(&mut slot.abort);
            let reap = mem::take(&mut slot.reap);
            if !abort && !reap {
                slot.call = Call::Here(call);
                let poller = slot.poller.take();
                drop(slot);
                if let Some(poller) = poller {
                    contain(|| poller.wake());
                }
                return;
            }
            drop(slot);
            if abort {
                call.abort();
            }
            if reap && call.reap(&self.reaper) {
                self.slot.lock().call = Call::Over;
                return;
            }
        }
    }
}

impl<R: Send + 'static> Abort for Link<R> {
    fn abort(&self) {
        Link::abort(self);
    }

    fn is_finished(&self) -> bool {
        Link::is_finished(self)
    }
}

impl<R> Drop for Link<R> {
    fn drop(&mut self) {
        if let Call::Here(call) = mem::replace(&mut self.slot.get_mut().call, Call::Over) {
            call.detach();
        }
    }
}

/// Woken when a call is over that nobody waits for: an abort handle must not keep its
/// result.
struct Reaper<R>(Weak<Link<R>>);

impl<R: Send + 'static> Wake for Reaper<R> {
    fn wake(self: Arc<Self>) {
        if let Some(link) = self.0.upgrade() {
            link.leave();
        }
    }
}
