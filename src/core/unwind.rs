//! Panic containment: the user's panics end one job and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic's payload.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `f`, which may be anybody's code, and stops a panic here. `false` if it
/// panicked. The panic hook has already reported it by then.
pub(crate) fn contain(f: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => true,
        Err(payload) => {
            drop_payload(payload);
            false
        }
    }
}

/// Drops a payload whose own destructor may panic, again with such a payload.
pub(crate) fn drop_payload(payload: Payload) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A destructor that panics with a payload whose destructor panics:
        // leaking the second one ends the chain.
        std::mem::forget(second);
    }
}
