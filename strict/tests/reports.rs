//! What a test that blocks fails with.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;

use common::{is_interposed, next_poll, report, report_with};
use offramp_strict::Options;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use std::{fs, io};

#[inline(never)]
fn load(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path);
    // No tail call, which would not be on the stack.
    std::hint::black_box(&text);
    text
}

#[inline(never)]
async fn handle_request(path: PathBuf) -> io::Result<usize> {
    let text = load(&path)?;
    Ok(text.len())
}

#[test]
fn the_first_call_its_caller_and_what_to_do() {
    if !is_interposed() {
        return;
    }
    let report = report_with(Options::new(), handle_request("/etc/hostname".into()));
    let line = line!();
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(
        lines[0],
        "a poll made a blocking call: open64(\"/etc/hostname\")"
    );
    assert_eq!(lines[1], "  in reports::load");
    assert!(lines[2].starts_with("  at tests/reports.rs:"), "{report}");
    assert!(lines[3].starts_with("wrap it in `offload_io`"), "{report}");
    assert_eq!(lines[4], "stack, innermost first:");

    // From the standard library to the poll, and no further.
    let marked = |line: &str| line.starts_with("> reports::load at tests/reports.rs:");
    let user = lines.iter().position(|line| marked(line)).expect(&report);
    let inner = &lines[5..user];
    assert!(
        inner.iter().all(|line| line.starts_with("  std::")
            || line.starts_with("  <std::")
            || line.starts_with("  core::")
            || line.starts_with("  <core::")),
        "{report}"
    );
    assert!(
        lines[user + 1].starts_with("  reports::") && lines[user + 1].contains("tests/reports.rs:"),
        "{report}"
    );
    assert!(lines[user + 2].starts_with("and "), "{report}");
    assert!(lines[user + 3].starts_with("  "), "{report}");
    assert!(report.contains("\n  read("), "what came after it: {report}");

    let last = lines.last().expect("a line");
    assert!(last.starts_with("polled: reports::handle_request::{{closure}}, watched at "));
    // `common` is who calls `run`, on its caller's behalf.
    assert!(last.contains("tests/common/mod.rs:"), "{last}");
    assert!(line > 0);
}

#[test]
fn the_call_itself_proceeds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let length = Cell::new(0);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        offramp_strict::run(async {
            fs::write(&path, "text").unwrap();
            length.set(fs::read(&path).unwrap().len());
        });
    }));
    assert_eq!(done.is_err(), is_interposed());
    assert_eq!(length.get(), 4);
    assert_eq!(fs::read(&path).unwrap(), b"text");
}

/// The end of the poll, not of the call, and not of the test.
#[test]
fn it_fails_at_the_end_of_that_poll() {
    if !is_interposed() {
        return;
    }
    let (slept, polled_again) = (Cell::new(false), Cell::new(false));
    report_with(Options::new(), async {
        next_poll().await;
        thread::sleep(Duration::from_millis(1));
        slept.set(true);
        next_poll().await;
        polled_again.set(true);
    });
    assert!(slept.get() && !polled_again.get());
}

#[test]
fn calls_from_one_place_are_counted() {
    if !is_interposed() {
        return;
    }
    #[inline(never)]
    fn nap() {
        thread::sleep(Duration::from_micros(1));
        std::hint::black_box(());
    }
    let report = report(|| {
        // An optimiser that unrolls it would make five places of one.
        for _ in 0..std::hint::black_box(5) {
            nap();
        }
    });
    assert!(report.starts_with("a poll made a blocking call: clock_nanosleep(1µs), 5 times"));
    assert!(!report.contains("more in this poll"), "{report}");
}

#[test]
fn many_calls_are_told_in_part() {
    fn nest(depth: u32) {
        if depth > 0 {
            nest(depth - 1);
            thread::sleep(Duration::from_micros(1));
        }
    }
    if !is_interposed() {
        return;
    }
    let report = report(|| nest(100));
    let (_, others) = report
        .split_once("\nand 63 more in this poll:\n")
        .expect(&report);
    assert_eq!(others.lines().count(), 8 + "..\npolled".lines().count());
}

/// A deep stack loses its outer end, not the call.
#[test]
fn deep_stacks_are_told_from_the_call() {
    fn nest(depth: u32) -> u32 {
        if depth == 0 {
            thread::sleep(Duration::from_micros(1));
            return 0;
        }
        std::hint::black_box(nest(depth - 1)) + 1
    }
    if !is_interposed() {
        return;
    }
    let report = report(|| nest(1_000));
    assert!(report.contains("\n  in reports::"), "{report}");
}

#[test]
fn a_future_that_is_polled_by_hand() {
    if !is_interposed() {
        return;
    }
    let mut future = offramp_strict::watch(handle_request("/etc/hostname".into()));
    let panic = common::panic_of(|| {
        let poll = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(poll, Poll::Ready(Ok(_))), "not reached");
    });
    assert!(panic.contains("in reports::load"), "{panic}");
    assert!(
        panic.contains("watched at strict/tests/reports.rs:"),
        "{panic}"
    );
}

#[test]
fn long_arguments_are_cut() {
    if !is_interposed() {
        return;
    }
    let long = "x".repeat(10_000);
    let report = report(|| assert!(fs::File::open(&long).is_err()));
    assert!(report.starts_with("a poll made a blocking call: open64(\"xxx"));
    let (first, _) = report.split_once('\n').expect("lines");
    assert!(first.ends_with("x\")") && first.len() < 300, "{first}");
}
