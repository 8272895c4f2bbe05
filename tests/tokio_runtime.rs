//! The feature `tokio`: the paused clock of its tests, `wait` on its event loop, and the
//! caller's runtime inside of a job.
#![cfg(feature = "tokio")]

mod common;

use common::watchdog;
use futures::StreamExt;
use offramp::{Offload, OffloadError, Unblock, offload_cpu, offload_cpu_with, offload_dedicated};
use offramp::{offload_io, offload_io_with, offload_iter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{Instant, pause, resume, sleep, timeout};

const LONG: Duration = Duration::from_secs(100);

fn slow(number: u32) -> impl FnOnce() -> u32 + Send + 'static {
    move || {
        thread::sleep(Duration::from_millis(100));
        number
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_jump_over_a_running_job() {
    let _watchdog = watchdog("a paused clock");
    let offload = Offload::builder().build().unwrap();
    let start = Instant::now();
    let io = timeout(LONG, offload_io(slow(1)).on(&offload)).await;
    assert_eq!(io.expect("no time has passed").unwrap(), 1);
    let cpu = timeout(LONG, offload_cpu(slow(2)).on(&offload)).await;
    assert_eq!(cpu.expect("no time has passed").unwrap(), 2);
    let handle = offload_io(slow(3)).on(&offload).try_spawn().unwrap();
    let spawned = timeout(LONG, handle).await;
    assert_eq!(spawned.expect("no time has passed").unwrap(), 3);
    assert!(start.elapsed() < LONG);

    // With nothing under way it jumps as ever.
    sleep(LONG).await;
    assert!(start.elapsed() >= LONG);
    // Nor does a call that was dropped hold it.
    let dropped = timeout(LONG, async {
        let call = offload_io(slow(4)).on(&offload);
        let _ = timeout(Duration::ZERO, call).await;
        sleep(LONG * 2).await;
    });
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn a_clock_that_goes_is_left_alone() {
    let _watchdog = watchdog("a clock that goes");
    let offload = Offload::builder().build().unwrap();
    offload_io(|| ()).on(&offload).await.unwrap();
    pause();
    offload_io(slow(1)).on(&offload).await.unwrap();
    resume();
    let call = timeout(Duration::from_millis(5), offload_io(slow(1)).on(&offload));
    assert!(call.await.is_err());
}

/// The message that `f` panics with.
fn panics(f: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
    Some(payload.downcast_ref::<&str>().map_or_else(
        || payload.downcast_ref::<String>().unwrap().clone(),
        |text| (*text).to_owned(),
    ))
}

async fn wait_is_refused_in_a_task(offload: Offload) {
    let ask = |message: Option<String>| {
        let message = message.expect("it would block the event loop");
        assert!(message.contains(".await"), "{message}");
    };
    for _ in 0..10 {
        ask(panics(|| offload_io(|| ()).on(&offload).wait().unwrap()));
        let handle = offload_io(|| ()).on(&offload).try_spawn().unwrap();
        ask(panics(|| handle.wait().unwrap()));
    }
    // The budget that the look took is back, and the call goes on.
    assert!(tokio::task::coop::has_budget_remaining());
    offload_io(|| ()).on(&offload).await.unwrap();
    // Where blocking is allowed it is.
    let inner = offload.clone();
    let blocking = move || offload_io(|| 7).on(&inner).wait().unwrap();
    assert_eq!(tokio::task::spawn_blocking(blocking).await.unwrap(), 7);
    let inner = offload.clone();
    let job = move || offload_cpu(|| 8).on(&inner).wait().unwrap();
    assert_eq!(offload_io(job).on(&offload).await.unwrap(), 8);
}

#[tokio::test]
async fn wait_panics_on_a_current_thread_event_loop() {
    let _watchdog = watchdog("wait in a task");
    wait_is_refused_in_a_task(Offload::builder().build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_panics_on_a_multi_thread_event_loop_but_not_in_block_in_place() {
    let _watchdog = watchdog("wait in a task");
    let offload = Offload::builder().build().unwrap();
    let inner = offload.clone();
    tokio::spawn(wait_is_refused_in_a_task(inner))
        .await
        .unwrap();
    let in_place = || offload_io(|| 9).on(&offload).wait().unwrap();
    assert_eq!(tokio::task::block_in_place(in_place), 9);
}

#[test]
fn beside_a_runtime_wait_is_allowed() {
    let offload = Offload::builder().build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    assert_eq!(offload_io(|| 1).on(&offload).wait().unwrap(), 1);
}

#[test]
fn a_job_runs_in_the_runtime_of_its_caller_and_in_no_other() {
    let _watchdog = watchdog("the caller's runtime");
    let builder = Offload::builder().io_max_threads(1);
    let offload = builder.cpu_threads(1).build().unwrap();
    let runtimes = [Runtime::new().unwrap(), Runtime::new().unwrap()];
    let id = || Handle::try_current().ok().map(|runtime| runtime.id());
    for _ in 0..3 {
        for runtime in &runtimes {
            let expected = Some(runtime.handle().id());
            let outcomes = runtime.block_on(async {
                [
                    offload_io(id).on(&offload).await,
                    offload_cpu(id).on(&offload).await,
                    offload_io_with(move |_| Ok(id())).on(&offload).await,
                    offload_cpu_with(move |_| Ok(id())).on(&offload).await,
                    offload_dedicated(id).on(&offload).await,
                    offload_io(id).on(&offload).try_spawn().unwrap().await,
                ]
            });
            for outcome in outcomes {
                assert_eq!(outcome.unwrap(), expected);
            }
            // Not what the last job left on the thread: also a panic leaves it.
            let panics = offload_io(|| panic!("expected")).on(&offload);
            let panicked: Result<(), _> = runtime.block_on(panics);
            assert!(matches!(panicked, Err(OffloadError::Panicked(_))));
            assert_eq!(offload_io(id).on(&offload).wait().unwrap(), None);
            assert_eq!(offload_cpu(id).on(&offload).wait().unwrap(), None);
        }
    }
}

#[test]
fn the_runtime_is_that_of_the_submission() {
    let offload = Offload::builder().build().unwrap();
    let runtime = Runtime::new().unwrap();
    let id = || Handle::current().id();
    // Made outside, first polled inside.
    let call = offload_io(id).on(&offload);
    assert_eq!(runtime.block_on(call).unwrap(), runtime.handle().id());
}

#[tokio::test]
async fn tasks_can_be_spawned_and_awaited_inside_of_a_job() {
    let _watchdog = watchdog("tasks inside of a job");
    let offload = Offload::builder().build().unwrap();
    let job = || {
        let task = tokio::spawn(async {
            sleep(Duration::from_millis(1)).await;
            20
        });
        let here = Handle::current().block_on(async { 1 });
        here + Handle::current().block_on(task).unwrap()
    };
    assert_eq!(offload_io(job).on(&offload).await.unwrap(), 21);
    assert_eq!(offload_cpu(job).on(&offload).await.unwrap(), 21);
}

#[tokio::test]
async fn a_call_awaited_in_a_block_on_inside_of_a_job_is_seen() {
    let _watchdog = watchdog("a call in a block_on");
    for extra in [1, 0] {
        let builder = Offload::builder().io_max_threads(1);
        let offload = builder.io_extra_threads(extra).build().unwrap();
        let inner = offload.clone();
        let job = move || Handle::current().block_on(offload_io(|| 1).on(&inner));
        match offload_io(job).on(&offload).await.unwrap() {
            // In a thread that stands in for the one that waits.
            Ok(value) => assert_eq!((value, extra), (1, 1)),
            Err(OffloadError::WouldDeadlock) => assert_eq!(extra, 0),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn inside_of_a_job_wait_is_allowed_but_not_in_a_task_that_runs_there() {
    let _watchdog = watchdog("wait inside of a job");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let (inner, cpu) = (offload.clone(), offload.clone());
    let job = move || {
        let wait = || offload_io(|| 1).on(&inner).wait().unwrap();
        let handle = offload_io(|| 10).on(&inner).try_spawn().unwrap();
        let outside = wait() + handle.wait().unwrap();
        let in_task = Handle::current().block_on(async { panics(|| assert_eq!(wait(), 1)) });
        (outside, in_task)
    };
    let (outside, in_task) = offload_io(job).on(&offload).await.unwrap();
    assert_eq!(outside, 11);
    assert!(in_task.unwrap().contains(".await"));
    let job = move || offload_io(|| 2).on(&cpu).wait().unwrap();
    assert_eq!(offload_cpu(job).on(&offload).await.unwrap(), 2);
}

#[test]
fn a_job_that_waits_keeps_no_task_of_its_runtime_going() {
    let _watchdog = watchdog("a runtime that ends");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let occupied = common::Occupied::io(&offload, 1);
    let runtime = Runtime::new().unwrap();
    let (sender, ended) = mpsc::channel::<()>();
    runtime.spawn(async move {
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    let entered = runtime.enter();
    let waits = offload_io(|| Handle::try_current().is_ok()).on(&offload);
    let waits = waits.try_spawn().unwrap();
    drop(entered);
    drop(runtime);
    // The handle that was taken along keeps no task going.
    assert!(ended.recv().is_err());
    occupied.release();
    assert!(waits.wait().unwrap());
}

#[tokio::test]
async fn what_is_refused_is_the_closure_itself() {
    let builder = Offload::builder().io_max_threads(1);
    let offload = builder.capacity(1).build().unwrap();
    let occupied = common::Occupied::io(&offload, 1);
    let waits = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    fn one() -> u32 {
        1
    }
    let call: fn() -> u32 = one;
    let refused = offload_io(call).on(&offload).try_spawn().unwrap_err();
    let closure: fn() -> u32 = refused.into_inner();
    assert_eq!(closure(), 1);
    occupied.release();
    waits.await.unwrap();
}

/// A stream's chunk takes real time, which a paused clock does not jump over; and a consumer
/// that sleeps in between is not held up by a chunk that is over.
#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_a_stream_that_is_waited_for() {
    let _watchdog = watchdog("a stream and a paused clock");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let slow = (0..5).inspect(|_| thread::sleep(Duration::from_millis(20)));
    let mut stream = offload_iter(slow).on(&offload);
    for number in 0..5 {
        let next = timeout(Duration::from_secs(1), stream.next());
        assert_eq!(next.await.unwrap().unwrap().unwrap(), number);
        sleep(Duration::from_secs(3_600)).await;
    }
    assert!(stream.next().await.is_none());

    let mut list = Unblock::new(vec![0]).on(&offload);
    let slow = list.with_mut(|_| thread::sleep(Duration::from_millis(20)));
    timeout(Duration::from_secs(1), slow).await.unwrap();
    sleep(Duration::from_secs(3_600)).await;

    // A chunk goes on while its consumer sleeps.
    let goes_on = || (0..3).inspect(|n| thread::sleep(Duration::from_millis(1 + 100 * n)));
    let mut items = Unblock::new(goes_on()).on(&offload);
    let mut stream = offload_iter(goes_on()).on(&offload);
    for number in 0..3 {
        assert_eq!(items.next().await, Some(number));
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(stream.next().await.unwrap().unwrap(), number);
        sleep(Duration::from_secs(3_600)).await;
    }
}

/// The same for files, of which some are read while their consumer sleeps.
#[cfg(all(unix, feature = "fs"))]
#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_files_that_are_waited_for() {
    let _watchdog = watchdog("files and a paused clock");
    let directory = tempfile::tempdir().unwrap();
    let paths = [0, 1, 2].map(|number| directory.path().join(number.to_string()));
    let writers = paths.clone().map(|path| {
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a string with an end.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            std::fs::write(path, "late").unwrap();
        })
    });
    let offload = Offload::builder().io_max_threads(4).build().unwrap();
    let mut files = offramp::fs::read_many(paths, 3).on(&offload);
    for _ in 0..3 {
        let next = timeout(Duration::from_secs(1), files.next());
        assert_eq!(next.await.unwrap().unwrap().unwrap(), b"late");
        sleep(Duration::from_secs(3_600)).await;
    }
    for writer in writers {
        writer.join().unwrap();
    }
}
