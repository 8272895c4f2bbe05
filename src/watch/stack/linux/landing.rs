//! The end of a panic's way through a stack: the moment in which that part of the stack
//! belongs to two functions.
//!
//! What unwinds a panic ends by storing the registers of the function that goes on over those
//! of its own caller, from where its return loads them (GCC's `uw_install_context`). In a copy
//! made meanwhile the caller's frame pointer is the one of that function, further out. A walk
//! by it leaves out whoever is in between, and still looks whole; so such a copy is no use.

use super::unwind::Unwinding;
use std::sync::OnceLock;

/// The functions that end so, in the library that unwinds this program's panics. None in a
/// program without dynamic libraries.
static UNWINDERS: OnceLock<[u64; 4]> = OnceLock::new();

/// Looks for them. It takes the loader's lock, which is held for as long as another thread
/// loads a library: nothing for a watchdog's thread.
pub(super) fn find_unwinders() {
    // By name: once declared in Rust, their attributes here and where the standard library
    // declares them become one when crates are linked as one, and panics abort.
    let names = [
        c"_Unwind_RaiseException",
        c"_Unwind_ForcedUnwind",
        c"_Unwind_Resume",
        c"_Unwind_Resume_or_Rethrow",
    ];
    UNWINDERS.get_or_init(|| {
        // SAFETY: the names end.
        names.map(|name| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as u64)
    });
}

impl Unwinding {
    /// Whether one of those is about to return, as far as the innermost calls of a walk tell:
    /// they end in them, or in a function that they call themselves.
    pub(super) fn may_be_landing(&mut self, addresses: &[u64]) -> bool {
        let Some(unwinders) = UNWINDERS.get() else {
            return false;
        };
        addresses.iter().take(2).any(|&address| {
            let function = self.function(address);
            function.is_some_and(|function| unwinders.contains(&function.start))
        })
    }
}
