//! `Offload::misuse`: jobs in the wrong pool, and jobs that take far longer than usual.

mod common;

use common::{wait_until, watchdog};
use offramp::{Misuse, MisuseKind, Offload, offload_cpu, offload_cpu_with, offload_io};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_millis(30);

fn pools() -> Offload {
    let builder = Offload::builder().io_max_threads(2).cpu_threads(2);
    builder.build().unwrap()
}

fn spin() {
    let start = Instant::now();
    while start.elapsed() < LONG {
        std::hint::spin_loop();
    }
}

fn of_kind(offload: &Offload, kind: MisuseKind) -> Option<Misuse> {
    let misuse = offload.misuse();
    misuse.into_iter().find(|misuse| misuse.kind == kind)
}

/// The log's lines about misuse.
struct Lines;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "offramp" {
            LINES.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}

#[test]
fn an_io_job_that_computes() {
    let _watchdog = watchdog("an I/O job that computes");
    listen();
    let offload = pools();
    // A machine with much else to do may not give it a CPU for most of its time at once.
    wait_until("it is seen", || {
        for _ in 0..16 {
            let call = offload_io(spin).on(&offload).label("spins, in misuse.rs");
            call.wait().unwrap();
        }
        of_kind(&offload, MisuseKind::BurnsCpu).is_some()
    });
    let misuse = of_kind(&offload, MisuseKind::BurnsCpu).unwrap();
    assert_eq!(misuse.pool, "io");
    assert!(misuse.call_site.file().ends_with("misuse.rs"));
    assert_eq!(misuse.label.as_deref(), Some("spins, in misuse.rs"));
    assert!(misuse.seen >= 1 && misuse.seen <= misuse.looked_at);
    assert!(misuse.ran >= LONG && misuse.on_cpu >= misuse.ran / 2);
    assert!(misuse.advice().contains("offload_cpu"));
    let text = misuse.to_string();
    assert!(text.contains(&misuse.call_site.to_string()), "{text}");
    // Sampled: far fewer than there were.
    assert!(misuse.looked_at <= offload.stats().io.completed / 4);
    for _ in 0..64 {
        offload_io(spin).on(&offload).wait().unwrap();
    }
    let lines = LINES.lock().unwrap();
    let about = |line: &&String| line.contains("spins, in misuse.rs");
    assert_eq!(lines.iter().filter(about).count(), 1, "{lines:?}");
}

#[test]
fn a_cpu_job_that_sleeps() {
    let _watchdog = watchdog("a CPU job that sleeps");
    let offload = pools();
    wait_until("it is seen", || {
        for _ in 0..16 {
            let call = offload_cpu(|| thread::sleep(LONG)).on(&offload);
            call.wait().unwrap();
        }
        of_kind(&offload, MisuseKind::Sleeps).is_some()
    });
    let misuse = of_kind(&offload, MisuseKind::Sleeps).unwrap();
    assert_eq!(misuse.pool, "cpu");
    assert!(misuse.advice().contains("offload_io"));
    assert!(misuse.on_cpu < misuse.ran / 2, "{misuse:?}");
}

/// Also beside three threads for each CPU that never sleep.
#[test]
fn jobs_that_are_at_home_are_not_reported() {
    let _watchdog = watchdog("jobs at home");
    let offload = pools();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 * thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for _ in 0..40 {
            offload_cpu(spin).on(&offload).wait().unwrap();
            let sleep = || thread::sleep(Duration::from_millis(15));
            offload_io(sleep).on(&offload).wait().unwrap();
            // It moves what blocks to where that belongs.
            let inner = offload.clone();
            let moves = offload_cpu_with(move |job| {
                job.block_on(offload_io(sleep).on(&inner)).unwrap();
                Ok(())
            });
            moves.on(&offload).wait().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for _ in 0..200 {
        // Too short to matter.
        let short = || thread::sleep(Duration::from_micros(100));
        offload_cpu(short).on(&offload).wait().unwrap();
    }
    let misuse = offload.misuse();
    let wrong = |misuse: &&Misuse| misuse.kind != MisuseKind::TakesLong;
    assert!(!misuse.iter().any(|misuse| wrong(&misuse)), "{misuse:?}");
}

#[test]
fn a_job_that_takes_far_longer_than_usual() {
    let _watchdog = watchdog("a job that takes long");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let sleep = |millis| {
        let job = move || thread::sleep(Duration::from_millis(millis));
        offload_io(job).on(&offload).wait().unwrap();
    };
    // One thread looks at every sixteenth: at sixteen of these.
    for _ in 0..256 {
        sleep(1);
    }
    assert_eq!(of_kind(&offload, MisuseKind::TakesLong), None);
    for _ in 0..16 {
        sleep(250);
    }
    let misuse = of_kind(&offload, MisuseKind::TakesLong).expect("one of sixteen is looked at");
    assert_eq!((misuse.seen, misuse.looked_at), (1, 17));
    assert!(misuse.ran >= Duration::from_millis(250));
    assert!(misuse.advice().contains("timeout"));
}

#[test]
fn small_jobs_are_looked_at_less_often() {
    let _watchdog = watchdog("small jobs and a long one");
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let call = |job: fn()| offload_io(job).on(&offload).wait().unwrap();
    const SMALL: u64 = 64 * 100;
    for _ in 0..SMALL {
        call(|| {});
    }
    let found = || of_kind(&offload, MisuseKind::TakesLong);
    wait_until("a long one is looked at", || {
        call(|| thread::sleep(Duration::from_millis(100)));
        found().is_some()
    });
    let looked_at = found().unwrap().looked_at;
    // Every sixty-fourth, but where a job lost its CPU and did not look small.
    assert!((50..SMALL / 32).contains(&looked_at), "{looked_at}");
}
