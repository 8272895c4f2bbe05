//! What is remembered of saves, and for how long.

use super::{ANNOUNCED, Call, MOST_REMEMBERED, SAVES};
use std::io;
use std::path::Path;

fn remembered() -> usize {
    SAVES.lock().targets.len()
}

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
fn targets_are_remembered_as_long_as_an_older_call_may_come() {
    assert!(run(Call::new(), "/one"));
    assert_eq!(remembered(), 0);

    let (first, second) = (Call::new(), Call::new());
    let third = Call::new();
    assert!(run(second, "/one"));
    assert!(run(third, "/other"));
    assert_eq!(remembered(), 2);
    assert!(!run(first, "/one"), "a later call's is there");
    assert_eq!(remembered(), 0);

    // Not by those that will never start, wherever they are in the line.
    let dropped = Call::new();
    let waiting = Call::new();
    drop(dropped);
    assert!(run(Call::new(), "/one"));
    assert_eq!(remembered(), 1);
    drop(waiting);
    assert!(run(Call::new(), "/other"));
    assert_eq!(remembered(), 0);

    // A rename that fails is none.
    let (first, second) = (Call::new(), Call::new());
    let running = second.start(Path::new("/one"));
    let failed = running.in_order(|| Err(io::ErrorKind::StorageFull.into()));
    assert!(failed.is_err());
    drop(running);
    assert!(run(first, "/one"));

    // One that does not start does not keep everything.
    let waiting = Call::new();
    let most = MOST_REMEMBERED + 2;
    for number in 0..most * 2 {
        drop(Call::new());
        assert!(run(Call::new(), &format!("/{number}")));
        assert!(remembered() < most);
    }
    assert!(SAVES.lock().waiting.capacity() < 64);
    assert!(ANNOUNCED.is_empty());
    drop(waiting);
    assert!(run(Call::new(), "/one"));
    assert_eq!(remembered(), 0);
}
