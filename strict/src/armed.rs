//! Whether blocking calls are seen at all.

/// The functions of libc whose calls are seen; none where they cannot be taken over.
///
/// A strict test on such a platform (see [the limits](crate#limits)) has its budget only.
pub fn functions() -> Vec<&'static str> {
    #[cfg(interposed)]
    return crate::hooks::functions().collect();
    #[cfg(not(interposed))]
    Vec::new()
}

/// Panics if blocking calls are not seen: a sleep in a poll is made, and has to be.
///
/// Silence of a strict test means nothing without it. One test of each test binary is enough:
///
/// ```
/// # // Where it cannot be, that is another test's matter.
/// # if !offramp_strict::functions().is_empty() {
/// offramp_strict::assert_armed();
/// # }
/// ```
///
/// # Panics
///
/// With the reason, as far as there is one: the platform, a sanitizer, a static libc.
#[track_caller]
pub fn assert_armed() {
    #[cfg(not(interposed))]
    panic!(
        "`offramp-strict` does not see blocking calls here, only polls over their budget: {}",
        env!("NOT_INTERPOSED")
    );
    #[cfg(interposed)]
    assert!(
        sees_a_sleep(),
        "`offramp-strict` did not see a sleep in a poll: its functions are not those that the \
         program calls. Something before them in the order of linking, or preloaded, has the \
         same names"
    );
}

#[cfg(interposed)]
fn sees_a_sleep() -> bool {
    use crate::poll::{self, Poll};
    use std::{thread, time::Duration};

    poll::aside(|| {
        let poll = Poll::bare();
        poll.during(|| thread::sleep(Duration::from_micros(1)));
        let calls = poll.calls.borrow();
        calls
            .as_slice()
            .iter()
            .any(|call| call.function.ends_with("nanosleep"))
    })
}
