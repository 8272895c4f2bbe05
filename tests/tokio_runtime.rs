//! The feature `tokio`: the paused clock of its tests, and `wait` on its event loop.
#![cfg(feature = "tokio")]

mod common;

use common::watchdog;
use futures::StreamExt;
use offramp::{Offload, Unblock, offload_cpu, offload_io, offload_iter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;
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
