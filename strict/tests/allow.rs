//! What is allowed, and for how long.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;

use common::{is_interposed, next_poll, panic_of, report, report_with};
use offramp_strict::{Options, allow, run, watch};
use std::fs;
use std::thread;
use std::time::Duration;

#[inline(never)]
fn nap() {
    thread::sleep(Duration::from_micros(10));
    // No tail call, which would not be on the stack.
    std::hint::black_box(());
}

#[inline(never)]
fn trusted() {
    nap();
    std::hint::black_box(());
}

#[test]
fn in_the_closure_and_not_after_it() {
    let size = run(async { allow("a fixture", || fs::read("Cargo.toml")).unwrap().len() });
    assert!(size > 0);
    if is_interposed() {
        let report = report(|| {
            allow("a fixture", nap);
            nap();
        });
        assert!(report.starts_with("a poll made a blocking call: clock_nanosleep(10µs)\n"));
    }
}

#[test]
fn scopes_nest() {
    run(async {
        allow("outer", || {
            allow("inner", nap);
            nap();
        });
    });
}

#[test]
fn a_panic_ends_the_scope() {
    if !is_interposed() {
        return;
    }
    let report = report(|| {
        let panic = panic_of(|| allow("it panics", || panic!("on purpose")));
        assert_eq!(panic, "on purpose");
        nap();
    });
    assert!(report.contains("clock_nanosleep(10µs)\n"), "{report}");
}

/// A future that is polled within is, too; the same one polled elsewhere is not.
#[test]
fn it_goes_for_polls_within() {
    run(async {
        allow("what it polls, too", || {
            futures::executor::block_on(watch(async { nap() }));
        });
    });
}

#[test]
fn outside_of_a_poll_it_changes_nothing() {
    allow("nothing to allow", || {
        if is_interposed() {
            let report = report(nap);
            assert!(report.contains("clock_nanosleep"), "{report}");
        }
    });
}

#[test]
fn a_reason_is_required() {
    let panic = panic_of(|| allow(" ", || ()));
    assert_eq!(panic, "`offramp_strict::allow` takes a reason");
    let panic = panic_of(|| Options::new().allow_in("allow::", ""));
    assert_eq!(panic, "`allow_in` takes a reason");
    let panic = panic_of(|| Options::new().allow_in("", "why"));
    assert_eq!(panic, "`allow_in` takes a prefix");
}

#[test]
fn functions_by_name() {
    let options = || Options::new().allow_in("allow::trusted", "a test of it");
    options().run(async { trusted() });
    // As often as it likes, and looked up once.
    options().run(async {
        for _ in 0..100 {
            trusted();
            next_poll().await;
        }
    });
}

#[test]
// Debug information of lines alone, as of this workspace's optimised builds, has no types.
#[cfg(debug_assertions)]
fn methods_by_their_type() {
    struct Trusted;
    trait Naps {
        fn naps(&self);
    }
    impl Naps for Trusted {
        fn naps(&self) {
            nap();
        }
    }
    let options = Options::new().allow_in("allow::methods_by_their_type::Trusted", "a test");
    options.run(async { Trusted.naps() });
}

#[test]
fn not_others_beside_them() {
    if !is_interposed() {
        return;
    }
    let options = Options::new().allow_in("allow::trusted", "a test of it");
    let report = report_with(options, async {
        trusted();
        nap();
    });
    assert!(report.contains("\n  in allow::nap\n"), "{report}");
    assert!(!report.contains("allow::trusted"), "{report}");
    assert!(!report.contains("more in this poll"), "{report}");
}

/// Waits count from where the options say.
#[test]
fn limits_of_waits_are_options() {
    let wait = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            sender.send(7)
        });
        assert_eq!(receiver.recv(), Ok(7));
        other.join().unwrap().unwrap();
    };
    let patient = Options::new().wait_limit(Duration::from_secs(20));
    patient.clone().run(async { wait() });
    if is_interposed() {
        let report = report(wait);
        assert!(report.starts_with("a poll made a blocking call: futex(), which waited for "));
        let impatient = patient.wait_limit(Duration::from_millis(2));
        assert!(report_with(impatient, async { wait() }).contains("in allow::"));
    }
}
