//! The self-test, and that silence elsewhere is told.

mod common;

use common::{is_interposed, panic_of};
use offramp_strict::{allow, assert_armed, functions, run};
use std::thread;

#[test]
fn it_is_where_it_can_be() {
    if is_interposed() {
        assert_armed();
        assert!(functions().len() >= 31, "{:?}", functions());
    } else {
        let panic = panic_of(assert_armed);
        let starts = "`offramp-strict` does not see blocking calls here, only polls over";
        assert!(panic.starts_with(starts), "{panic}");
        let (_, reason) = panic.split_once("budget: ").expect("a reason");
        assert!(!reason.is_empty());
        println!("not armed: {reason}");
    }
}

/// On the platforms that it is for, it is: a build that lost it would pass all else.
#[test]
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_pointer_width = "64",
    not(target_feature = "crt-static"),
    not(miri)
))]
fn the_platform_decides() {
    // A sanitizer is not told by a `cfg` that stable Rust has.
    let reason = option_env!("NOT_INTERPOSED").unwrap_or("");
    if !reason.contains("sanitizer") {
        assert_armed();
    }
}

#[test]
fn it_can_be_asked_anywhere() {
    if !is_interposed() {
        return;
    }
    run(async {
        assert_armed();
        allow("within a scope, too", assert_armed);
    });
    thread::spawn(assert_armed).join().unwrap();
}
