//! Which of several saves is renamed, and what is remembered of them.

use super::{Call, MOST_REMEMBERED, TARGETS};
use std::io;
use std::path::Path;

fn run(call: Call, target: &str) -> bool {
    let mut is_called = false;
    let running = call.start(Path::new(target));
    let rename = || {
        is_called = true;
        Ok(())
    };
    running.in_order(rename).unwrap();
    is_called
}

/// One test, because they are process-wide.
#[test]
fn an_older_call_leaves_a_newer_one_and_only_so_many_are_remembered() {
    let (first, second, third) = (Call::new(), Call::new(), Call::new());
    assert!(run(second, "/one"));
    assert!(run(third, "/other"));
    assert!(!run(first, "/one"), "a later call's is there");
    assert!(run(Call::new(), "/one"));

    // A rename that fails is none.
    let (first, second) = (Call::new(), Call::new());
    let running = second.start(Path::new("/one"));
    let failed = running.in_order(|| Err(io::ErrorKind::StorageFull.into()));
    assert!(failed.is_err());
    drop(running);
    assert!(run(first, "/one"));

    // The ones saved longest ago are forgotten, but none that is being saved.
    let (old, held) = (Call::new(), Call::new());
    assert!(run(Call::new(), "/forgotten"));
    let held = held.start(Path::new("/held"));
    for number in 0..MOST_REMEMBERED {
        assert!(run(Call::new(), &format!("/{number}")));
        assert!(TARGETS.lock().len() <= MOST_REMEMBERED + 1);
    }
    assert!(TARGETS.lock().contains_key(Path::new("/held")));
    assert!(!run(old, "/1"), "it is remembered");
    assert!(run(old, "/forgotten"));
    drop(held);
}
