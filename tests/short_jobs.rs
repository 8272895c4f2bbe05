//! Of workers with short jobs no more are awake than get a CPU. Should the jobs take long after all,
//! the others are called.

mod common;

use common::{Gate, pin_to, wait_until, watchdog};
use offramp::{Offload, offload_io};
use std::hint;
use std::time::{Duration, Instant};

fn short() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(2) {
        hint::spin_loop();
    }
}

/// From now on the pool expects jobs to be short.
fn get_used_to_them(offload: &Offload) {
    for _ in 0..300 {
        offload_io(short).on(offload).wait().unwrap();
    }
}

/// More jobs that wait than are expected to, and one behind them for whose end they wait.
fn each_gets_a_thread_though_they_were_expected_to_be_short() {
    const WAIT: usize = 7;
    let builder = Offload::builder().io_max_threads(WAIT + 1);
    let offload = builder.build().unwrap();
    for _ in 0..10 {
        get_used_to_them(&offload);
        let gate = Gate::new();
        let waits: Vec<_> = (0..WAIT)
            .map(|_| {
                let gate = gate.clone();
                let call = offload_io(move || gate.pass()).on(&offload);
                call.try_spawn().unwrap_or_else(|_| panic!("there is room"))
            })
            .collect();
        let opens = offload_io(move || gate.open()).on(&offload);
        opens.wait().unwrap();
        for call in waits {
            call.wait().unwrap();
        }
    }
    wait_until("all is over", || offload.stats().io.running == 0);
}

#[test]
fn each_gets_a_thread_on_one_cpu() {
    let _watchdog = watchdog("short jobs that wait, on one CPU");
    pin_to(1);
    each_gets_a_thread_though_they_were_expected_to_be_short();
}

#[test]
fn each_gets_a_thread_on_two_cpus() {
    let _watchdog = watchdog("short jobs that wait, on two CPUs");
    pin_to(2);
    each_gets_a_thread_though_they_were_expected_to_be_short();
}

/// An average of 1 to 5 microseconds, and a part that sleeps.
#[test]
fn a_few_that_sleep_among_many_do_not_keep_the_others() {
    let _watchdog = watchdog("short jobs beside some that sleep");
    let builder = Offload::builder().io_max_threads(8);
    let offload = builder.build().unwrap();
    get_used_to_them(&offload);
    let calls: Vec<_> = (0..800)
        .map(|call| {
            let work = move || match call % 40 {
                0 => std::thread::sleep(Duration::from_millis(1)),
                _ => short(),
            };
            let call = offload_io(work).on(&offload);
            call.try_spawn().unwrap_or_else(|_| panic!("there is room"))
        })
        .collect();
    for call in calls {
        call.wait().unwrap();
    }
    let io = offload.stats().io;
    assert_eq!((io.completed, io.queued), (1_100, 0));
}
