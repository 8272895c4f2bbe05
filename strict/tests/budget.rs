//! The longest that a poll may take: what holds on every platform.

mod common;

use common::{next_poll, panic_of, report_with};
use offramp_strict::{Options, allow};
use std::thread;
use std::time::{Duration, Instant};

/// Computes, as far as anybody can tell.
fn busy(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

const LONG: Duration = Duration::from_millis(30);
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn a_poll_over_it_fails() {
    let report = report_with(Options::new().budget(SHORT), async { busy(LONG) });
    assert!(report.starts_with("a poll took "), "{report}");
    assert!(
        report.contains(", more than its budget of 10ms\n"),
        "{report}"
    );
    assert!(report.contains("`offload_cpu`"), "{report}");
    assert!(
        report.contains("polled: budget::a_poll_over_it_fails::"),
        "{report}"
    );
}

#[test]
fn it_is_of_each_poll_and_not_of_all() {
    let budget = Duration::from_secs(2);
    let start = Instant::now();
    Options::new().budget(budget).run(async {
        while start.elapsed() < budget + LONG {
            busy(Duration::from_millis(100));
            next_poll().await;
        }
    });
}

#[test]
fn waiting_between_polls_is_free() {
    let budget = Duration::from_secs(2);
    let (sender, receiver) = futures::channel::oneshot::channel();
    let other = thread::spawn(move || {
        thread::sleep(budget + LONG);
        sender.send(7)
    });
    let answer = Options::new().budget(budget).run(receiver);
    assert_eq!(answer, Ok(7));
    other.join().unwrap().unwrap();
}

#[test]
fn without_one_a_poll_may_take_its_time() {
    Options::new()
        .budget(SHORT)
        .no_budget()
        .run(async { busy(LONG) });
}

#[test]
fn what_is_allowed_does_not_count() {
    let budget = Duration::from_secs(2);
    Options::new().budget(budget).run(async {
        allow("a test of it", || busy(budget + LONG));
    });
}

/// A destructor may poll: then the panic that it runs in is the one that is told.
#[test]
fn a_poll_while_a_panic_unwinds_is_not_judged() {
    struct Polls;
    impl Drop for Polls {
        fn drop(&mut self) {
            Options::new().budget(SHORT).run(async { busy(LONG) });
        }
    }
    let panic = panic_of(|| {
        let _polls = Polls;
        panic!("the first");
    });
    assert_eq!(panic, "the first");
}

/// The poll that a watched future is in pays for it, and both tell.
#[test]
fn a_future_within_has_its_own() {
    let within = || async {
        Options::new()
            .budget(SHORT)
            .watch(async { busy(LONG) })
            .await;
    };
    let panic = panic_of(|| offramp_strict::run(within()));
    assert!(panic.contains("more than its budget of 10ms"), "{panic}");
}
