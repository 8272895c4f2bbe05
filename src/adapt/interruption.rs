//! Interrupting a running call that nobody waits for any more.

use crate::core::interrupt::{Entry, Interruptible};
use crate::core::unwind::contain;
use crate::future::Offloaded;
use crate::offload::Offload;
use crate::pool::Kind;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

/// Between one hook and the next: it may have come a moment too early to be noticed.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// One call, and the hook that ends what it does.
pub(crate) struct Interruption {
    call: Interruptible,
    hook: Hook,
    is_started: AtomicBool,
}

impl Interruption {
    pub(crate) fn new(hook: &Hook) -> Self {
        Self {
            call: Interruptible::new(),
            hook: Arc::clone(hook),
            is_started: AtomicBool::new(false),
        }
    }

    /// Calls the hook, again and again, until the call has ended. On a dedicated thread: all
    /// others may be busy with calls like this one. Never blocks.
    pub(crate) fn start(self: &Arc<Self>, offload: &Offload) {
        if self.is_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = Arc::clone(self);
        let interrupt = Offloaded::new(Kind::Dedicated, move || this.interrupt());
        let started = interrupt.on(offload).label("interrupt").try_spawn();
        match started {
            Ok(handle) => handle.detach(),
            Err(refused) => {
                let reason = refused.reason();
                let _ = contain(|| {
                    log::warn!(target: "offramp", "a cancelled call is not interrupted: {reason}");
                });
            }
        }
    }

    fn interrupt(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.call.try_enter() {
                Entry::Hit => {
                    contain(|| (self.hook)());
                    self.call.leave();
                }
                Entry::Later => {}
                Entry::Over => return,
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The call's own side of it: goes with the closure, whether it runs or not.
pub(crate) struct Target(pub(crate) Arc<Interruption>);

impl Target {
    /// The call begins on this thread, and is dropped there.
    pub(crate) fn begin(&self) {
        self.0.call.begin();
    }
}

impl Drop for Target {
    /// The call is over: when this returns, no hook of it runs or will.
    fn drop(&mut self) {
        self.0.call.end();
    }
}

impl fmt::Debug for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interruption").finish_non_exhaustive()
    }
}
