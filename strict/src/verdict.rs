//! Whether a poll was one that async code may have.

use crate::poll::Poll;
use std::fmt::Write;
use std::panic::Location;
use std::thread;
use std::time::Duration;

/// The report on a poll that has blocked, or taken too long.
pub(crate) fn on(poll: &Poll, took: Duration, what: &str, place: &Location<'_>) -> Option<String> {
    if thread::panicking() {
        // Polled by a destructor: a second panic would end the process.
        return None;
    }
    let mut report = blocked(poll).or_else(|| too_long(poll, took))?;
    let _ = write!(report, "\npolled: {what}, watched at {place}");
    Some(report)
}

#[cfg(interposed)]
fn blocked(poll: &Poll) -> Option<String> {
    let calls = poll.calls.borrow();
    let violations = crate::violation::among(&calls, &poll.settings);
    if calls.dropped > 0 {
        eprintln!(
            "offramp-strict: {} blocking calls of one poll were not looked at: they were more \
             than it keeps",
            calls.dropped
        );
    }
    crate::report::on(&violations)
}

#[cfg(not(interposed))]
fn blocked(_: &Poll) -> Option<String> {
    None
}

fn too_long(poll: &Poll, took: Duration) -> Option<String> {
    let budget = poll.settings.budget.filter(|budget| took > *budget)?;
    Some(format!(
        "a poll took {took:.1?}, more than its budget of {budget:?}\n\
         wrap what computes in `offload_cpu`, what blocks in `offload_io`; or give it more: \
         `Options::budget`"
    ))
}
