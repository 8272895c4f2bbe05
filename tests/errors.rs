//! What a call resolves to when it has no value: that it goes wherever errors go, and
//! that its text helps.

mod common;

use common::{Occupied, watchdog};
use offramp::{Backlog, Offload, OffloadError, Policy, Refused, Stopped};
use offramp::{offload_cpu, offload_cpu_with, offload_io, offload_io_with};
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::panic_any;
use std::time::Duration;

fn is_ordinary<E: Error + Send + Sync + 'static>() {}

#[test]
fn every_error_is_send_sync_and_static() {
    is_ordinary::<OffloadError>();
    is_ordinary::<Stopped>();
    is_ordinary::<offramp::ConfigError>();
    is_ordinary::<offramp::AlreadyInstalled>();
    is_ordinary::<Refused<fn()>>();
}

/// One thread, one waiting job.
fn small(policy: Policy) -> Offload {
    let builder = Offload::builder().io_max_threads(1).cpu_threads(1);
    builder.capacity(1).policy(policy).build().unwrap()
}

fn closed() -> Offload {
    let offload = Offload::builder().build().unwrap();
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    offload
}

fn panicked(message: &'static str) -> OffloadError {
    let offload = small(Policy::Wait);
    let call = offload_io(move || -> () { panic!("{message}") });
    call.on(&offload).wait().unwrap_err()
}

fn shut_down() -> OffloadError {
    offload_io(|| ()).on(&closed()).wait().unwrap_err()
}

fn no_threads() -> OffloadError {
    let builder = Offload::builder().io_spawner(|_| Err(io::Error::other("none")));
    let offload = builder.build().unwrap();
    offload_io(|| ()).on(&offload).wait().unwrap_err()
}

fn overloaded() -> OffloadError {
    let offload = small(Policy::Reject);
    let _busy = Occupied::io(&offload, 1);
    let waiting = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let error = offload_io(|| ()).on(&offload).wait().unwrap_err();
    drop(waiting);
    error
}

fn cancelled() -> OffloadError {
    let offload = small(Policy::Wait);
    let _busy = Occupied::io(&offload, 1);
    let waiting = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    waiting.abort();
    waiting.wait().unwrap_err()
}

#[test]
fn it_goes_into_io_errors_boxes_and_anyhow_and_comes_out_again() {
    let _watchdog = watchdog("errors into others");
    let error = io::Error::other(shut_down());
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(OffloadError::ShutDown)));
    assert_eq!(error.kind(), io::ErrorKind::Other);

    let error: Box<dyn Error + Send + Sync> = panicked("oh").into();
    let inner = error.downcast::<OffloadError>().unwrap();
    assert!(matches!(*inner, OffloadError::Panicked(panicked) if panicked.message() == Some("oh")));

    fn by_question_mark(offload: &Offload) -> anyhow::Result<u8> {
        Ok(offload_cpu(|| 1).on(offload).wait()?)
    }
    let error = by_question_mark(&closed()).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(OffloadError::ShutDown)));
}

/// An error type of the user's.
#[derive(Debug)]
enum Mine {
    Empty,
    Offload(OffloadError),
}

impl From<OffloadError> for Mine {
    fn from(error: OffloadError) -> Self {
        Self::Offload(error)
    }
}

#[test]
fn flatten_merges_the_call_s_failures_into_the_closure_s_error_type() {
    let _watchdog = watchdog("flatten");
    let offload = small(Policy::Wait);
    let parse = |text: &'static str| {
        move || {
            text.chars()
                .next()
                .ok_or(Mine::Empty)
                .map(|first| first as u32)
        }
    };
    pollster::block_on(async {
        let call = |text| offload_io(parse(text)).on(&offload).flatten();
        assert_eq!(call("a").await.unwrap(), 97);
        assert!(matches!(call("").await, Err(Mine::Empty)));

        let panics = || -> Result<(), Mine> { panic!("while parsing") };
        let Err(Mine::Offload(OffloadError::Panicked(panicked))) =
            offload_cpu(panics).on(&offload).flatten().await
        else {
            panic!("a panic is the call's failure");
        };
        assert_eq!(panicked.message(), Some("while parsing"));

        let handle = offload_io(parse("b")).on(&offload).try_spawn().unwrap();
        assert_eq!(handle.flatten::<u32, Mine>().await.unwrap(), 98);
        let refused = offload_io(parse("c")).on(&closed()).flatten().await;
        assert!(matches!(
            refused,
            Err(Mine::Offload(OffloadError::ShutDown))
        ));

        // And into one that takes anything.
        let call = offload_io(|| anyhow::Ok(1))
            .on(&offload)
            .flatten::<i32, anyhow::Error>();
        assert_eq!(call.await.unwrap(), 1);
    });
}

/// Lower case, one sentence without a full stop, no type's name; and where the caller
/// can do something about it, what.
#[track_caller]
fn assert_reads_well(error: &impl fmt::Display, advice: &str) {
    let text = error.to_string();
    let first = text.chars().next().expect("a text");
    assert!(first.is_lowercase() || first == '`', "{text}");
    assert!(!text.ends_with('.') && !text.contains("  "), "{text}");
    for name in ["OffloadError", "Overloaded", "ShutDown", "NoThreads"] {
        assert!(!text.contains(name), "{text}");
    }
    assert!(text.contains(advice), "no `{advice}` in: {text}");
}

#[test]
fn texts_are_lower_case_and_say_what_to_do() {
    let _watchdog = watchdog("texts");
    assert_reads_well(&overloaded(), "raise the limit");
    assert_reads_well(&overloaded(), "1 jobs are waiting");
    assert_reads_well(
        &no_threads(),
        "look at the process's thread and memory limits",
    );
    assert_reads_well(&shut_down(), "has been shut down");
    assert_reads_well(&cancelled(), "was cancelled");
    assert_reads_well(&panicked("out of cheese"), "panicked: out of cheese");
    let config = Offload::builder().capacity(0).build().unwrap_err();
    assert_reads_well(&config, "`capacity` is 0, but must be from 1 to");
    let refused = offload_io(|| ()).on(&closed()).try_spawn().unwrap_err();
    assert_reads_well(&refused, "the job was refused: ");
    assert_reads_well(&stopped(), "asked to stop");
}

#[test]
fn a_panic_is_told_with_label_and_message() {
    let _watchdog = watchdog("a panic's text");
    let offload = small(Policy::Wait);
    let call = offload_cpu(|| -> () { panic!("no {}", "cheese") }).label("make-pizza");
    let error = call.on(&offload).wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the offloaded job `make-pizza` panicked: no cheese"
    );
    let OffloadError::Panicked(panicked) = error else {
        panic!("it panicked");
    };
    assert_eq!(panicked.label(), Some("make-pizza"));
    assert!(format!("{panicked:?}").contains("no cheese"));

    let error = offload_io(|| -> () { panic_any(5) }).on(&offload).wait();
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        "the offloaded job panicked with a payload that is not a string"
    );
}

#[test]
fn a_refused_call_gives_its_closure_back_with_the_reason() {
    let _watchdog = watchdog("a refused call");
    let text = String::from("kept");
    let refused = offload_io(move || text.len())
        .on(&closed())
        .try_spawn()
        .unwrap_err();
    assert!(matches!(refused.reason(), OffloadError::ShutDown));
    let source = refused.source().and_then(|source| source.downcast_ref());
    assert!(matches!(source, Some(OffloadError::ShutDown)));
    assert!(format!("{refused:?}").contains("ShutDown"));
    assert_eq!(refused.into_inner()(), 4);

    let offload = small(Policy::Wait);
    let _busy = Occupied::io(&offload, 1);
    let _waiting = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let refused = offload_io(|| 5).on(&offload).try_spawn().unwrap_err();
    let (closure, reason) = refused.into_parts();
    assert!(matches!(reason, OffloadError::Overloaded { limit: 1, .. }));
    assert_eq!(closure(), 5);

    // The closure need not be printable, nor `Sync`, to be an error.
    let cell = std::cell::Cell::new(1);
    let refused = offload_io(move || cell.get()).on(&offload).try_spawn();
    let error: Box<dyn Error + Send> = Box::new(refused.unwrap_err());
    assert!(error.to_string().contains("overloaded"));
}

/// The proof that a checkpoint said "stop".
fn stopped() -> Stopped {
    let offload = small(Policy::Wait);
    let (sender, receiver) = std::sync::mpsc::channel();
    let (started, starts) = std::sync::mpsc::channel();
    let call = offload_io_with(move |job| {
        started.send(()).unwrap();
        loop {
            if let Err(stopped) = job.checkpoint() {
                sender.send(stopped).unwrap();
                return Err::<(), _>(stopped);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let handle = call.on(&offload).try_spawn().unwrap();
    starts.recv().unwrap();
    handle.abort();
    assert!(matches!(handle.wait(), Err(OffloadError::Cancelled)));
    receiver.recv().unwrap()
}

#[test]
fn stopped_goes_into_io_errors_and_offload_errors() {
    let _watchdog = watchdog("stopped");
    let stopped = stopped();
    assert!(matches!(
        OffloadError::from(stopped),
        OffloadError::Cancelled
    ));
    let error = io::Error::from(stopped);
    // Not `Interrupted`, which readers answer by trying again.
    assert_eq!(error.kind(), io::ErrorKind::Other);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(OffloadError::Cancelled)), "{error}");
}

#[test]
fn a_checkpoint_s_error_passes_through_any_function_by_question_mark() {
    let _watchdog = watchdog("checkpoints by question mark");
    let offload = small(Policy::Wait);
    let (started, starts) = std::sync::mpsc::channel();
    let call = offload_io(move || -> io::Result<()> {
        started.send(()).unwrap();
        loop {
            offramp::checkpoint()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let handle = call.on(&offload).try_spawn().unwrap();
    starts.recv().unwrap();
    handle.abort();
    let error = handle
        .wait()
        .expect("a closure with errors of its own has returned");
    let error = error.unwrap_err();
    let why = error.get_ref().unwrap().downcast_ref::<OffloadError>();
    assert!(matches!(why, Some(OffloadError::Cancelled)), "{error}");

    let call = offload_cpu_with(|job| {
        job.checkpoint()?;
        Ok(job.label().map(str::to_owned))
    });
    let label = call.label("sum").on(&offload).wait().unwrap();
    assert_eq!(label.as_deref(), Some("sum"));
}

#[test]
fn flatten_works_for_closures_that_return_an_io_result() {
    let missing = offload_io(|| std::fs::read("no such file")).flatten();
    let error = pollster::block_on(missing).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let panics = offload_io(|| -> std::io::Result<()> { panic!("expected") }).flatten();
    let error = pollster::block_on(panics).unwrap_err();
    assert!(error.to_string().contains("expected"), "{error}");
}
