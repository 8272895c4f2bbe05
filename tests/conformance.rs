//! The conformance suite: every backend passes it, and broken ones fail it by name.
#![cfg(feature = "testing")]

#[path = "../examples/backend.rs"]
mod example;
#[path = "conformance/planted.rs"]
mod planted;

use example::PlainThreads;
use offramp::backend::{Inline, Rayon};
use offramp::testing::conformance::{PROMISES, Promise, Subject, run_all};
use offramp::{Builder, Offload};
use planted::{Brief, Fault};
use rayon::ThreadPoolBuilder;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

fn own(threads: usize) -> impl Fn() -> Builder {
    move || {
        Offload::builder()
            .io_max_threads(threads)
            .cpu_threads(threads)
    }
}

#[test]
fn own_threads() {
    for threads in [1, 2, 4] {
        run_all(&Subject::io(threads, own(threads)));
    }
}

#[test]
fn rayon_residents() {
    for threads in [1, 2, 4] {
        run_all(&Subject::cpu(threads, own(threads)));
    }
}

#[test]
fn rayon_on_a_pool_of_the_user_s() {
    for threads in [1, 2, 4] {
        let pool = ThreadPoolBuilder::new().num_threads(threads);
        let pool = Arc::new(pool.build().unwrap());
        let backend = move || Rayon::shared(Arc::clone(&pool));
        let make = move || Offload::builder().cpu_backend(backend());
        run_all(&Subject::cpu(threads, make));
    }
}

#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    use offramp::backend::Tokio;
    use tokio::runtime::Runtime;

    let runtime = Runtime::new().unwrap();
    for threads in [1, 2, 4] {
        let handle = runtime.handle().clone();
        let backend = move || Tokio::new(handle.clone(), threads);
        let make = move || Offload::builder().io_backend(backend());
        run_all(&Subject::io(threads, make));
    }
}

#[test]
fn inline() {
    let make = || {
        let builder = Offload::builder().io_backend(Inline::new());
        builder.cpu_backend(Inline::new())
    };
    run_all(&Subject::io(1, make));
    run_all(&Subject::cpu(1, make));
}

#[test]
fn the_example_of_one_s_own() {
    for threads in [1, 2, 4] {
        let make = move || {
            let builder = Offload::builder().io_backend(PlainThreads::new(threads));
            builder.cpu_backend(PlainThreads::new(threads))
        };
        run_all(&Subject::io(threads, make));
        run_all(&Subject::cpu(threads, make));
    }
}

fn planted(most: usize, fault: Fault) -> impl Fn() -> Builder {
    move || {
        let builder = Offload::builder().io_backend(Brief::new(most, fault));
        builder.cpu_backend(Brief::new(most, fault))
    }
}

/// The faults below are all that is wrong with it.
#[test]
fn threads_that_leave_at_once() {
    for threads in [1, 2, 4] {
        run_all(&Subject::io(threads, planted(threads, Fault::None)));
        run_all(&Subject::cpu(threads, planted(threads, Fault::None)));
    }
}

/// The first promise that a backend with `fault` breaks is one of `expected`.
#[track_caller]
fn finds(fault: Fault, at_once: usize, expected: &[&str]) {
    // For those that hang; all else takes a fraction of it.
    let mut found = broken(fault, at_once, Duration::from_secs(5));
    if !expected.contains(&found) {
        // Unless the machine is busy with other things.
        found = broken(fault, at_once, Duration::from_secs(60));
    }
    assert!(
        expected.contains(&found),
        "{found}, not one of {expected:?}"
    );
}

/// The first promise that a backend with `fault` breaks.
#[track_caller]
fn broken(fault: Fault, at_once: usize, patience: Duration) -> &'static str {
    let subject = Subject::io(at_once, planted(at_once, fault)).patience(patience);
    let suite = catch_unwind(AssertUnwindSafe(|| run_all(&subject)));
    let payload = suite.expect_err("the fault is not found");
    let text = *payload.downcast::<String>().unwrap();
    println!("{fault:?}: {text}");
    let named = |promise: &&Promise| {
        text.strip_prefix(promise.name())
            .is_some_and(|rest| rest.starts_with(": ") && rest.contains(promise.text()))
    };
    PROMISES
        .iter()
        .find(named)
        .expect("a promise by name")
        .name()
}

#[test]
fn one_that_runs_nothing() {
    finds(Fault::RunsNothing, 2, &["every_job_runs_once"]);
}

#[test]
fn one_that_loses_a_demand() {
    // Which of them first waits in vain is a matter of time.
    let hangs = [
        "every_job_runs_once",
        "jobs_run_at_the_same_time",
        "a_job_after_a_pause_runs",
    ];
    finds(Fault::LosesDemands, 2, &hangs);
}

#[test]
fn one_that_drops_every_tenth_turn() {
    finds(Fault::DropsTurns, 2, &["every_job_runs_once"]);
}

#[test]
fn one_that_runs_jobs_in_demand_and_does_not_say_so() {
    finds(
        Fault::RunsInDemand,
        1,
        &["a_submission_does_not_wait_for_its_job"],
    );
}

#[test]
fn one_that_runs_fewer_jobs_at_once_than_it_says() {
    finds(Fault::RunsOneAtATime, 2, &["jobs_run_at_the_same_time"]);
}

#[test]
fn one_that_takes_many_turns_and_runs_the_last_one_first() {
    finds(Fault::Reverses, 1, &["jobs_start_in_order"]);
}

#[test]
fn one_that_forgets_more() {
    finds(Fault::ForgetsMore, 4, &["what_is_left_behind_is_run"]);
}

#[test]
fn one_that_never_calls_left() {
    finds(Fault::NeverCallsLeft, 2, &["a_shutdown_drains"]);
}

#[test]
fn one_that_drops_its_turns_when_it_is_closed() {
    finds(Fault::DropsTurnsWhenClosed, 2, &["a_shutdown_drains"]);
}

#[test]
fn one_that_hides_its_threads() {
    finds(Fault::HidesItsThreads, 2, &["a_shutdown_drains"]);
}

#[test]
fn one_that_keeps_its_turns() {
    finds(Fault::KeepsTurns, 2, &["a_dropped_pool_ends"]);
}

#[test]
fn one_that_cannot_be_built_says_why() {
    let subject = Subject::io(1, || Offload::builder().io_max_threads(0));
    let suite = catch_unwind(AssertUnwindSafe(|| run_all(&subject)));
    let text = *suite.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("io_max_threads"), "{text}");
}

#[test]
#[should_panic(expected = "at least one job at a time")]
fn no_job_at_a_time_is_refused() {
    let _ = Subject::io(0, Offload::builder);
}
