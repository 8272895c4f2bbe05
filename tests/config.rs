//! Configuration: every value is checked and named, explicit ones go before the
//! environment's and these before the defaults.

mod common;

use common::{Gate, alone, alone_with, wait_until, watchdog};
use offramp::backend::{Backend, Threads, Turns};
use offramp::{Builder, ConfigError, Offload, OffloadError, Policy, defaults};
use offramp::{offload_cpu, offload_io};
use std::env;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A `build` that fails because of `setting`, whose value may be only what `allowed`
/// says.
#[track_caller]
fn assert_refused(builder: Builder, setting: &str, value: &str, allowed: &str) {
    let error = builder.build().expect_err(setting);
    assert_eq!(error.setting(), setting);
    assert_eq!((error.value(), error.allowed()), (value, allowed));
    let text = format!("`{setting}` is {value}, but must be {allowed}");
    assert_eq!(error.to_string(), text);
}

#[test]
fn every_value_out_of_its_range_is_named_with_the_range() {
    let new = Offload::builder;
    let threads = "from 1 to 1024";
    assert_refused(new().io_max_threads(0), "io_max_threads", "0", threads);
    assert_refused(
        new().io_max_threads(1025),
        "io_max_threads",
        "1025",
        threads,
    );
    assert_refused(new().cpu_threads(0), "cpu_threads", "0", threads);
    assert_refused(new().cpu_threads(1025), "cpu_threads", "1025", threads);

    let below_max = new().io_max_threads(4).io_min_threads(5);
    assert_refused(below_max, "io_min_threads", "5", "from 0 to 4");
    let below_default = new().io_min_threads(defaults::IO_MAX_THREADS + 1);
    assert_refused(below_default, "io_min_threads", "257", "from 0 to 256");

    let day = Duration::from_secs(24 * 60 * 60);
    let allowed = "from 1ms to 86400s";
    let keep_alive = |time| new().io_keep_alive(time);
    assert_refused(keep_alive(Duration::ZERO), "io_keep_alive", "0ns", allowed);
    let much = keep_alive(day + Duration::from_secs(1));
    assert_refused(much, "io_keep_alive", "86401s", allowed);

    let allowed = "from 65536 to 1073741824";
    assert_refused(
        new().io_stack_size(65_535),
        "io_stack_size",
        "65535",
        allowed,
    );
    let much = new().io_stack_size((1 << 30) + 1);
    assert_refused(much, "io_stack_size", "1073741825", allowed);

    let allowed = "from 1 to 1073741824";
    assert_refused(new().max_pending(0), "max_pending", "0", allowed);
    let much = new().max_pending((1 << 30) + 1);
    assert_refused(much, "max_pending", "1073741825", allowed);
    let below_pending = new().max_pending(10).capacity(11);
    assert_refused(below_pending, "capacity", "11", "from 1 to 10");
    assert_refused(new().capacity(0), "capacity", "0", "from 1 to 65536");
    let day = Duration::from_secs(24 * 60 * 60);
    let allowed = "from 1ms to 86400s";
    assert_refused(new().ageing(Duration::ZERO), "ageing", "0ns", allowed);
    let much = new().ageing(day + Duration::from_millis(1));
    assert_refused(much, "ageing", "86400.001s", allowed);
    let name = new().thread_name("a\0b");
    assert_refused(name, "thread_name", "a\0b", "text without a NUL");
}

#[test]
fn every_value_at_the_ends_of_its_range_is_taken() {
    let small = Offload::builder()
        .io_max_threads(1)
        .io_min_threads(0)
        .io_extra_threads(0)
        .io_keep_alive(Duration::from_millis(1))
        .io_stack_size(64 << 10)
        .cpu_threads(1)
        .ageing(Duration::from_millis(1))
        .max_pending(1)
        .capacity(1);
    let small = small.build().unwrap();
    let _watchdog = watchdog("the smallest pool");
    assert_eq!(offload_io(|| 1).on(&small).wait().unwrap(), 1);
    assert_eq!(offload_cpu(|| 2).on(&small).wait().unwrap(), 2);
    let large = Offload::builder()
        .io_max_threads(1024)
        .io_min_threads(1024)
        .io_extra_threads(1024)
        .io_keep_alive(Duration::from_secs(24 * 60 * 60))
        .io_stack_size(1 << 30)
        .cpu_threads(1024)
        .ageing(Duration::from_secs(24 * 60 * 60))
        .max_pending(1 << 30)
        .capacity(1 << 30);
    large.build().unwrap();
}

#[test]
fn a_small_max_pending_lowers_the_default_capacity_with_it() {
    let offload = Offload::builder().max_pending(10).build().unwrap();
    assert!(format!("{offload:?}").contains("capacity: 10, max_pending: 10"));
}

/// A backend without threads.
struct Nobody;

impl Backend for Nobody {
    fn demand(&self, turns: &Turns) {
        turns.fail_all();
    }

    fn close(&self, turns: &Turns) {
        turns.fail_all();
        turns.left();
    }

    fn threads(&self) -> Threads {
        Threads::default()
    }
}

#[test]
fn what_a_backend_of_one_s_own_excludes_is_named() {
    let io = || Offload::builder().io_backend(Nobody);
    let unset = "unset, because a backend of your own is used";
    for (setting, builder) in [
        ("io_min_threads", io().io_min_threads(1)),
        ("io_extra_threads", io().io_extra_threads(1)),
        ("io_max_threads", io().io_max_threads(1)),
        ("io_keep_alive", io().io_keep_alive(Duration::from_secs(1))),
        ("io_stack_size", io().io_stack_size(1 << 20)),
        ("io_spawner", io().io_spawner(|_| Ok(()))),
        (
            "cpu_threads",
            Offload::builder().cpu_backend(Nobody).cpu_threads(1),
        ),
    ] {
        assert_refused(builder, setting, "set", unset);
    }
    let offload = io().cpu_backend(Nobody).build().unwrap();
    let outcome = offload_io(|| ()).on(&offload).wait();
    assert!(matches!(outcome, Err(OffloadError::NoThreads)));
}

/// Variable, a bad value, and what the message says that it may be.
const BAD: [(&str, &str, &str); 18] = [
    ("OFFRAMP_IO_MIN_THREADS", "257", "from 0 to 256"),
    ("OFFRAMP_IO_EXTRA_THREADS", "1025", "from 0 to 1024"),
    ("OFFRAMP_MAX_ORPHANS", "0", "from 1 to"),
    ("OFFRAMP_WARN_AFTER_MS", "0", "from 1 to 86400000"),
    ("OFFRAMP_AGEING_MS", "0", "from 1 to 86400000"),
    (
        "OFFRAMP_IO_MIN_THREADS",
        "-1",
        "a whole number from 0 to 256",
    ),
    ("OFFRAMP_IO_MAX_THREADS", "0", "from 1 to 1024"),
    (
        "OFFRAMP_IO_MAX_THREADS",
        "many",
        "a whole number from 1 to 1024",
    ),
    (
        "OFFRAMP_IO_KEEP_ALIVE_MS",
        "0",
        "milliseconds from 1 to 86400000",
    ),
    (
        "OFFRAMP_IO_KEEP_ALIVE_MS",
        "10s",
        "milliseconds from 1 to 86400000",
    ),
    ("OFFRAMP_IO_STACK_SIZE", "1000", "from 65536 to 1073741824"),
    ("OFFRAMP_IO_STACK_SIZE", "2MiB", "a whole number from 65536"),
    ("OFFRAMP_CPU_THREADS", "0", "from 1 to 1024"),
    (
        "OFFRAMP_CPU_THREADS",
        "1.5",
        "a whole number from 1 to 1024",
    ),
    ("OFFRAMP_CAPACITY", "65537", "from 1 to 65536"),
    (
        "OFFRAMP_MAX_PENDING",
        "",
        "a whole number from 1 to 1073741824",
    ),
    ("OFFRAMP_POLICY", "Wait", "`wait` or `reject`"),
    ("OFFRAMP_POLICY", "drop", "`wait` or `reject`"),
];

#[test]
fn a_bad_variable_fails_the_first_call_with_its_name() {
    #[track_caller]
    fn assert_names(error: &ConfigError, (variable, value, allowed): (&str, &str, &str)) {
        assert_eq!(error.setting(), variable);
        assert!(error.value().contains(value) && error.allowed().contains(allowed));
        let text = error.to_string();
        assert!(text.starts_with(&format!("`{variable}` is ")), "{text}");
        assert!(text.contains(allowed), "{text}");
    }

    for case in BAD {
        let name = "a_bad_variable_fails_the_first_call_with_its_name";
        alone_with(name, &[(case.0, case.1)], || {
            // In the child the loop comes by with all cases.
            if env::var(case.0).as_deref() != Ok(case.1) {
                return;
            }
            let outcome = offload_io(|| ()).wait();
            let Err(OffloadError::Config(error)) = &outcome else {
                panic!("{case:?}: {outcome:?}");
            };
            assert_names(error, case);
            let source = outcome.as_ref().unwrap_err().source();
            assert!(source.is_some_and(|source| source.is::<ConfigError>()));
            // And the next one, and the other forms.
            let refused = offload_cpu(|| 5).try_spawn().unwrap_err();
            assert!(
                matches!(refused.reason(), OffloadError::Config(error) if error.setting() == case.0)
            );
            assert_eq!(refused.into_inner()(), 5);
            assert_names(&Offload::global().unwrap_err(), case);
            assert_names(&Offload::builder().build().unwrap_err(), case);
        });
    }
}

#[test]
fn a_variable_that_is_no_text_is_named_too() {
    let name = "a_variable_that_is_no_text_is_named_too";
    if env::var_os("OFFRAMP_CAPACITY").is_none() {
        use std::os::unix::ffi::OsStrExt;
        // `alone_with` knows text only: the child sets it for the grandchild.
        let value = std::ffi::OsStr::from_bytes(b"\xff1");
        let mut child = std::process::Command::new(env::current_exe().unwrap());
        child.args([name, "--exact"]).env("OFFRAMP_CAPACITY", value);
        assert!(child.output().unwrap().status.success());
        return;
    }
    let error = Offload::global().unwrap_err();
    assert_eq!(
        (error.setting(), error.allowed()),
        ("OFFRAMP_CAPACITY", "UTF-8 text")
    );
}

/// All variables, with values that no default has.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("OFFRAMP_IO_MIN_THREADS", "2"),
    ("OFFRAMP_IO_MAX_THREADS", " 5 "),
    ("OFFRAMP_IO_KEEP_ALIVE_MS", "1"),
    ("OFFRAMP_IO_STACK_SIZE", "300000"),
    ("OFFRAMP_CPU_THREADS", "3"),
    ("OFFRAMP_CAPACITY", "40"),
    ("OFFRAMP_MAX_PENDING", "50"),
    ("OFFRAMP_POLICY", "reject"),
];

/// What a pool should turn out to have.
struct Expected {
    io: (usize, usize),
    stack_size: Option<usize>,
    cpu_threads: usize,
    shown: &'static str,
}

#[track_caller]
fn assert_has(builder: Builder, expected: &Expected) {
    let (min, max) = expected.io;
    let stack_sizes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&stack_sizes);
    let offload = builder.io_spawner(move |task| {
        told.lock().unwrap().push(task.stack_size());
        thread::spawn(move || task.run());
        Ok(())
    });
    let offload = offload.build().unwrap();
    let text = format!("{offload:?}");
    assert!(text.contains(expected.shown), "{text}");

    let cpu_threads = offload_cpu(rayon::current_num_threads).on(&offload).wait();
    assert_eq!(cpu_threads.unwrap(), expected.cpu_threads);

    let gate = Gate::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let block = |_| {
        let (gate, now, most) = (gate.clone(), Arc::clone(&now), Arc::clone(&most));
        let job = move || {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            gate.pass();
            now.fetch_sub(1, SeqCst);
        };
        offload_io(job).on(&offload).try_spawn().unwrap()
    };
    let handles: Vec<_> = (0..max + 3).map(block).collect();
    wait_until("as many run as may", || now.load(SeqCst) == max);
    gate.open();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(most.load(SeqCst), max);
    let sizes = stack_sizes.lock().unwrap();
    assert!(
        sizes.iter().all(|size| *size == expected.stack_size),
        "{sizes:?}"
    );

    let start = Instant::now();
    wait_until("the others have left", || offload.stats().io.threads == min);
    assert!(start.elapsed() < defaults::IO_KEEP_ALIVE / 2);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(offload.stats().io.threads, min, "these stay");
}

#[test]
fn the_environment_goes_before_the_defaults() {
    alone_with(
        "the_environment_goes_before_the_defaults",
        &ENVIRONMENT,
        || {
            let expected = Expected {
                io: (2, 5),
                stack_size: Some(300_000),
                cpu_threads: 3,
                shown: "policy: Reject, capacity: 40, max_pending: 50",
            };
            assert_has(Offload::builder(), &expected);
            // The process-wide one too.
            assert!(format!("{:?}", Offload::global().unwrap()).contains(expected.shown));
        },
    );
}

#[test]
fn explicit_values_go_before_the_environment() {
    alone_with(
        "explicit_values_go_before_the_environment",
        &ENVIRONMENT,
        || {
            let builder = Offload::builder()
                .io_min_threads(1)
                .io_max_threads(4)
                .io_keep_alive(Duration::from_millis(2))
                .io_stack_size(400_000)
                .cpu_threads(2)
                .capacity(41)
                .max_pending(51)
                .policy(Policy::Wait);
            let expected = Expected {
                io: (1, 4),
                stack_size: Some(400_000),
                cpu_threads: 2,
                shown: "policy: Wait, capacity: 41, max_pending: 51",
            };
            assert_has(builder, &expected);
        },
    );
}

#[test]
fn an_explicit_value_is_taken_although_its_variable_is_bad() {
    let name = "an_explicit_value_is_taken_although_its_variable_is_bad";
    alone_with(name, &[("OFFRAMP_CAPACITY", "bad")], || {
        Offload::builder().capacity(1).build().unwrap();
        Offload::builder().build().unwrap_err();
    });
}

#[test]
fn without_either_the_defaults_hold() {
    alone("without_either_the_defaults_hold", || {
        let offload = Offload::builder().build().unwrap();
        let (capacity, pending) = (defaults::CAPACITY, defaults::MAX_PENDING);
        let shown = format!("policy: Wait, capacity: {capacity}, max_pending: {pending}");
        assert!(format!("{offload:?}").contains(&shown));
        let cpu_threads = offload_cpu(rayon::current_num_threads).on(&offload).wait();
        assert_eq!(cpu_threads.unwrap(), defaults::cpu_threads());
    });
}
