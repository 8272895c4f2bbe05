//! The I/O pool's threads: how many there are, when they leave, and what they are.

mod common;

use common::{Gate, Occupied, thread_names, wait_until, watchdog};
use log::{Level, LevelFilter, Log, Metadata, Record};
use offramp::{Backlog, Offload, offload_cpu, offload_io};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// The threads of the pool with this first part of a name that the system has.
fn named(prefix: &str) -> usize {
    let names = thread_names();
    let is_pools = |name: &&String| name.starts_with(prefix) && !name.ends_with("-timer");
    names.iter().filter(is_pools).count()
}

fn after_a_burst_and_quiet_exactly_min_are_left(min: usize) {
    const KEEP_ALIVE: Duration = Duration::from_millis(50);
    let _watchdog = watchdog("a burst of 200 blocking jobs");
    let name = format!("burst{min}");
    let builder = Offload::builder().io_min_threads(min).thread_name(&name);
    // Beside them there is the timer while jobs are.
    let name = format!("{name}-io");
    let offload = builder.io_keep_alive(KEEP_ALIVE).build().unwrap();
    for _ in 0..2 {
        let burst = Occupied::io(&offload, 200);
        // A race of two demands may have started one too many.
        wait_until("each blocking job has a thread", || named(&name) >= 200);
        burst.release();
        // A listing may miss some threads while others leave: both, and awaited.
        let are_left = || offload.stats().io.threads == min && named(&name) == min;
        wait_until("the burst's threads have left", are_left);
        thread::sleep(KEEP_ALIVE * 6);
        assert_eq!(offload.stats().io.threads, min, "the others stay");
        wait_until("they are listed", || named(&name) == min);
    }
}

#[test]
fn after_200_blocking_jobs_and_quiet_no_thread_is_left() {
    after_a_burst_and_quiet_exactly_min_are_left(0);
}

#[test]
fn after_200_blocking_jobs_and_quiet_the_minimum_of_three_is_left() {
    after_a_burst_and_quiet_exactly_min_are_left(3);
}

#[test]
fn a_steady_trickle_keeps_few_threads_and_not_the_peak_s() {
    const KEEP_ALIVE: Duration = Duration::from_millis(200);
    let _watchdog = watchdog("a trickle after a burst");
    let builder = Offload::builder().io_keep_alive(KEEP_ALIVE);
    let offload = builder.build().unwrap();
    Occupied::io(&offload, 100).release();
    let start = Instant::now();
    let mut calls = 0;
    // More calls in each keep-alive time than there are threads to keep awake.
    while start.elapsed() < KEEP_ALIVE * 5 || calls < 600 {
        offload_io(|| ()).on(&offload).wait().unwrap();
        calls += 1;
        thread::sleep(Duration::from_millis(1));
    }
    let threads = offload.stats().io.threads;
    assert!(threads <= 10, "{threads} of 100 threads are left");
}

#[test]
fn a_pool_never_has_more_threads_than_its_maximum() {
    let _watchdog = watchdog("the maximum");
    let builder = Offload::builder().io_max_threads(5).thread_name("most");
    let offload = builder.build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..200)
        .map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let job = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
            };
            offload_io(job).on(&offload).try_spawn().unwrap()
        })
        .collect();
    for handle in handles {
        handle.wait().unwrap();
        assert!(offload.stats().io.threads <= 5);
    }
    assert_eq!(most.load(Ordering::SeqCst), 5, "it is used, and kept");
    wait_until("all are listed", || named("most-io") == 5);
}

#[test]
fn threads_are_named_after_the_pool() {
    let _watchdog = watchdog("names");
    let name = || thread::current().name().map(str::to_owned).unwrap();
    for (prefix, offload) in [
        ("offramp", Offload::builder()),
        ("mail", Offload::builder().thread_name("mail")),
    ] {
        let offload = offload.cpu_threads(1).build().unwrap();
        let io = offload_io(name).on(&offload).wait().unwrap();
        assert_eq!(io, format!("{prefix}-io-0"));
        let cpu = offload_cpu(name).on(&offload).wait().unwrap();
        assert_eq!(cpu, format!("{prefix}-cpu-0"));
    }
}

#[test]
fn a_larger_stack_holds_a_deeper_recursion() {
    /// Some 16 MiB deep: eight times what a thread has by default.
    fn recurse(depth: usize) -> usize {
        let frame = std::hint::black_box([depth; 128]);
        if depth == 0 {
            return 0;
        }
        recurse(depth - 1) + frame[depth % 128] / depth
    }

    let _watchdog = watchdog("a deep recursion");
    let builder = Offload::builder().io_stack_size(64 << 20);
    let offload = builder.build().unwrap();
    let deep = offload_io(|| recurse(16 << 10)).on(&offload);
    assert_eq!(deep.wait().unwrap(), 16 << 10);
}

#[test]
fn a_spawner_is_told_name_and_stack_size() {
    let _watchdog = watchdog("a spawner of the user's own");
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let builder = Offload::builder().thread_name("own").io_stack_size(1 << 20);
    let offload = builder.io_spawner(move |task| {
        let what = (task.name().to_owned(), task.stack_size());
        tell.lock().unwrap().push(what);
        thread::spawn(move || task.run());
        Ok(())
    });
    let offload = offload.build().unwrap();
    offload_io(|| ()).on(&offload).wait().unwrap();
    let told = told.lock().unwrap();
    assert_eq!(*told, [("own-io-0".to_owned(), Some(1 << 20))]);
}

#[test]
fn hooks_run_once_on_each_thread_the_first_before_any_job() {
    thread_local! {
        static STARTED: Cell<bool> = const { Cell::new(false) };
    }

    /// On which threads a hook was called, each time.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<ThreadId>>>);

    impl Calls {
        fn add(&self) {
            self.0.lock().unwrap().push(thread::current().id());
        }

        /// The threads, each of which must have called once.
        fn threads(&self) -> HashSet<ThreadId> {
            let calls = self.0.lock().unwrap();
            let threads: HashSet<_> = calls.iter().copied().collect();
            assert_eq!(threads.len(), calls.len(), "called twice on one thread");
            threads
        }
    }

    let _watchdog = watchdog("hooks");
    let (starts, stops) = (Calls::default(), Calls::default());
    let (start, stop) = (starts.clone(), stops.clone());
    let builder = Offload::builder()
        .io_max_threads(4)
        .cpu_threads(3)
        .on_thread_start(move || {
            STARTED.set(true);
            start.add();
        })
        .on_thread_stop(move || stop.add());
    let offload = builder.build().unwrap();
    Occupied::io(&offload, 4).release();
    for _ in 0..100 {
        assert!(offload_io(|| STARTED.get()).on(&offload).wait().unwrap());
        assert!(offload_cpu(|| STARTED.get()).on(&offload).wait().unwrap());
    }
    wait_until("all CPU threads have started", || {
        starts.threads().len() == 7
    });
    assert_eq!(stops.threads().len(), 0);
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    assert_eq!(starts.threads().len(), 7);
    assert_eq!(stops.threads(), starts.threads());
}

/// CPU time that this process uses while it waits for some.
fn idle_cpu_time() -> (Duration, Duration) {
    let used = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call fills the structure that it is given.
        let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        assert_eq!(rc, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (start, before) = (Instant::now(), used());
    thread::sleep(Duration::from_millis(500));
    (used() - before, start.elapsed())
}

#[test]
fn idle_pools_use_no_cpu_also_beside_a_job_that_waits() {
    common::alone("idle_pools_use_no_cpu_also_beside_a_job_that_waits", || {
        let builder = Offload::builder().io_min_threads(4).cpu_threads(4);
        let offload = builder.build().unwrap();
        Occupied::io(&offload, 8).release();
        let broadcast = || rayon::broadcast(|_| ()).len();
        assert_eq!(offload_cpu(broadcast).on(&offload).wait().unwrap(), 4);
        let (used, wall) = idle_cpu_time();
        assert!(used < wall / 50, "idle: {used:?} of CPU in {wall:?}");

        let gate = Gate::new();
        let (io, cpu) = (gate.clone(), gate.clone());
        let io = offload_io(move || io.pass()).on(&offload).try_spawn();
        let cpu = offload_cpu(move || cpu.pass()).on(&offload).try_spawn();
        wait_until("both run", || {
            let stats = offload.stats();
            stats.io.running + stats.cpu.running == 2
        });
        let (used, wall) = idle_cpu_time();
        assert!(
            used < wall / 50,
            "beside two jobs: {used:?} of CPU in {wall:?}"
        );
        gate.open();
        io.unwrap().wait().unwrap();
        cpu.unwrap().wait().unwrap();
    });
}

/// Keeps what the crate logs.
struct Lines(Mutex<Vec<(Level, String)>>);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "offramp"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

/// The lines so far that name `pool`.
fn lines_about(pool: &str) -> Vec<(Level, String)> {
    static LINES: Lines = Lines(Mutex::new(Vec::new()));
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).expect("the only logger");
        log::set_max_level(LevelFilter::Trace);
    });
    let lines = LINES.0.lock().unwrap();
    let named = |line: &&(Level, String)| line.1.contains(&format!("`{pool}`"));
    lines.iter().filter(named).cloned().collect()
}

#[test]
fn a_saturated_pool_says_so_in_one_line() {
    let _watchdog = watchdog("saturation");
    assert!(lines_about("full-io").is_empty());
    let builder = || Offload::builder().io_max_threads(2);
    let full = builder().thread_name("full").build().unwrap();
    for _ in 0..3 {
        let busy = Occupied::io(&full, 2);
        let calls = (0..50).map(|_| offload_io(|| ()).on(&full));
        let waiting: Vec<_> = calls.map(|call| call.try_spawn().unwrap()).collect();
        busy.release();
        for handle in waiting {
            handle.wait().unwrap();
        }
        wait_until("the pool is at rest", || full.stats().io.idle == 2);
    }
    let lines = lines_about("full-io");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].0, Level::Warn);
    let text = "pool `full-io` is saturated: all 2 threads are busy, ";
    assert!(lines[0].1.starts_with(text), "{lines:?}");

    // Each pool speaks for itself, and one with threads to spare says nothing.
    let other = builder().thread_name("other").build().unwrap();
    let busy = [Occupied::io(&other, 1), Occupied::io(&other, 1)];
    assert!(lines_about("other-io").is_empty());
    let waits = offload_io(|| ()).on(&other).try_spawn().unwrap();
    assert_eq!(lines_about("other-io").len(), 1);
    drop(busy);
    waits.wait().unwrap();
}
