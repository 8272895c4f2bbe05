//! `offramp::compat::blocking`, by the own tests of the crate `blocking` and some more.

mod common;

use common::{Occupied, alone, wait_until, watchdog};
use futures::FutureExt;
use offramp::Offload;
use offramp::compat::blocking::{Task, set_max_blocking_threads, unblock};
use std::num::NonZeroUsize;
use std::panic::{UnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::{env, fs, str, thread};

fn cargo(directory: &Path) -> Command {
    let cargo = env::var_os("CARGO").expect("set by `cargo test`");
    let mut command = Command::new(cargo);
    command.current_dir(directory);
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// The platform that cargo builds for, and fetches dependencies for.
fn host() -> String {
    let output = cargo(Path::new(".")).arg("-vV").output().unwrap();
    let version = text(&output);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo tells its host").to_owned()
}

/// Where cargo has put the sources of the crate `blocking`, which it fetched as a dependency
/// of these tests.
fn published_package() -> PathBuf {
    let mut metadata = cargo(Path::new(env!("CARGO_MANIFEST_DIR")));
    metadata.args(["metadata", "--format-version", "1", "--offline"]);
    metadata.args(["--filter-platform", &host()]);
    let output = metadata.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let metadata = str::from_utf8(&output.stdout).unwrap();
    let (_, package) = metadata
        .split_once(r#""name":"blocking","version":"1.7"#)
        .expect("a dependency on `blocking` 1.7");
    let (_, manifest) = package.split_once(r#""manifest_path":""#).unwrap();
    let (manifest, _) = manifest.split_once('"').unwrap();
    let manifest = PathBuf::from(manifest.replace(r"\\", r"\"));
    manifest.parent().unwrap().to_owned()
}

/// A package with the tests of the published one, whose only change is the `use` line.
fn ported_package() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("blocking-compat");
    for folder in ["src", "tests"] {
        fs::create_dir_all(package.join(folder)).unwrap();
    }
    let manifest = format!(
        "[package]\nname = \"blocking-compat\"\nedition = \"2021\"\n\n\
         [workspace]\n\n\
         [dependencies]\n\
         futures-lite = \"2\"\n\
         offramp = {{ path = {here:?}, features = [\"futures-io\"] }}\n\n\
         [profile.dev]\ndebug = false\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(here.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    let original = published_package().join("tests/unblock.rs");
    let original = fs::read_to_string(original).unwrap();
    let (before, after) = ("use blocking::", "use offramp::compat::blocking::");
    assert_eq!(original.matches("blocking::").count(), 1, "the `use` line");
    let ported = original.replace(before, after);
    fs::write(package.join("tests/unblock.rs"), ported).unwrap();
    package
}

#[test]
fn the_tests_of_the_published_package_pass_but_for_one_message() {
    let package = ported_package();
    let test = |arguments: &[&str]| {
        let mut command = cargo(&package);
        command.env("CARGO_TARGET_DIR", package.join("target"));
        command.args(["test", "--offline", "--test", "unblock"]);
        command.args(arguments).output().unwrap()
    };
    let built = test(&["--no-run"]);
    assert!(built.status.success(), "{}", text(&built));

    let _watchdog = watchdog("the tests of the crate `blocking`");
    let different = "panic_with_mut";
    let all_others = test(&["--", "--skip", different]);
    let output = text(&all_others);
    assert!(all_others.status.success(), "{output}");
    assert!(output.contains("6 passed; 0 failed"), "{output}");
    // A panic goes on with its own payload, as the documentation says.
    let this_one = test(&["--", "--exact", different]);
    let output = text(&this_one);
    assert!(
        !this_one.status.success(),
        "it is the same by now: {output}"
    );
    assert!(output.contains(r#"left: "expected failure""#), "{output}");
}

#[test]
fn a_task_starts_at_once_and_a_dropped_one_that_waits_never_runs() {
    alone(
        "a_task_starts_at_once_and_a_dropped_one_that_waits_never_runs",
        || {
            let offload = Offload::builder().io_max_threads(1).build().unwrap();
            offramp::install(offload.clone()).unwrap();
            let ran = Arc::new(AtomicUsize::new(0));
            let count = |by| {
                let ran = Arc::clone(&ran);
                unblock(move || ran.fetch_add(by, SeqCst))
            };
            // Without being polled.
            let task = count(1);
            wait_until("it has run", || task.is_finished());
            assert_eq!(pollster::block_on(task), 0);

            let occupied = Occupied::io(&offload, 1);
            drop(count(10));
            let cancelled = count(100);
            assert!(!cancelled.is_finished());
            assert_eq!(pollster::block_on(cancelled.cancel()), None);
            count(1_000).detach();
            occupied.release();
            wait_until("the detached one has run", || ran.load(SeqCst) == 1_001);
            let ran_before = unblock(|| 7);
            wait_until("it has run", || ran_before.is_finished());
            assert_eq!(pollster::block_on(ran_before.cancel()), Some(7));

            // A number out of range is the next one in it.
            set_max_blocking_threads(NonZeroUsize::MAX);
            let many = Occupied::io(&offload, 3);
            many.release();
        },
    );
}

#[test]
fn a_task_that_is_dropped_while_it_runs_is_told_at_its_checkpoint() {
    let _watchdog = watchdog("a dropped task");
    let (started, start) = mpsc::channel();
    let (stopped, stop) = mpsc::channel();
    let task = unblock(move || {
        started.send(()).unwrap();
        while offramp::checkpoint().is_ok() {
            thread::yield_now();
        }
        stopped.send(()).unwrap();
    });
    start.recv().unwrap();
    drop(task);
    stop.recv().unwrap();
}

#[test]
fn a_panic_goes_on_where_the_task_is_awaited_or_cancelled() {
    fn is_unwind_safe<T: UnwindSafe>(task: T) -> T {
        task
    }
    let _watchdog = watchdog("a panicking task");
    // Past the panic hook, which would print it.
    let panics = || -> Task<()> { unblock(|| resume_unwind(Box::new("oh"))) };
    let payload = pollster::block_on(is_unwind_safe(panics()).catch_unwind()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"oh"));
    let task = panics();
    wait_until("it has panicked", || task.is_finished());
    let cancel = std::panic::AssertUnwindSafe(task.cancel()).catch_unwind();
    let payload = pollster::block_on(cancel).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"oh"));
}

#[test]
fn a_call_that_is_refused_panics_where_it_is_awaited() {
    alone("a_call_that_is_refused_panics_where_it_is_awaited", || {
        let offload = Offload::builder().build().unwrap();
        offramp::install(offload.clone()).unwrap();
        let before = unblock(|| 1);
        drop(pollster::block_on(
            offload.shutdown(None, offramp::Backlog::Drain),
        ));
        assert_eq!(pollster::block_on(before), 1);
        let task = unblock(|| 2);
        assert!(task.is_finished());
        let payload = pollster::block_on(task.catch_unwind()).unwrap_err();
        let message = payload.downcast::<String>().unwrap();
        assert!(message.contains("shut down"), "{message}");
        assert_eq!(pollster::block_on(unblock(|| 3).cancel()), None);
    });
}
