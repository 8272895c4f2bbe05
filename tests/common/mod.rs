//! What the integration tests share: bounds against hangs, gates that hold workers,
//! wakers that count, and processes of their own for tests that count threads, pin
//! CPUs or look at the heap.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

use offramp::{Handle, Offload};
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, mem, process};

/// How long anything may take before it counts as hung. Never a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the process, with a message, unless it is dropped within [`PATIENCE`].
#[must_use = "a watchdog watches until it is dropped"]
pub(crate) struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// Watches over a test that might hang.
pub(crate) fn watchdog(what: &'static str) -> Watchdog {
    watchdog_after(PATIENCE, what)
}

fn watchdog_after(patience: Duration, what: &'static str) -> Watchdog {
    let (alive, dropped) = mpsc::channel();
    let watch = move || {
        if dropped.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not `eprintln!`, whose output the test harness may have captured.
            let threads = thread_names().join(", ");
            let _ = writeln!(io::stderr(), "HANG: {what}; threads: {threads}");
            process::abort();
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)
        .expect("a thread for the watchdog");
    Watchdog { _alive: alive }
}

/// Waits until `condition` holds; panics after half of [`PATIENCE`], before a watchdog
/// ends the process.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE / 2,
            "waited too long until {what}"
        );
        thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until the I/O pool has nothing to do.
#[track_caller]
pub(crate) fn at_rest(offload: &Offload) {
    wait_until("no job is left", || {
        let io = offload.stats().io;
        io.running == 0 && io.queued == 0
    });
}

/// Runs `body` in a process of its own, under a watchdog: no other test's threads,
/// heap or affinity are in there. `test` is the calling test's own name, with its
/// modules (`module::test`).
///
/// ```ignore
/// #[test]
/// fn no_thread_is_left() {
///     common::alone("no_thread_is_left", || { .. });
/// }
/// ```
#[track_caller]
pub(crate) fn alone(test: &'static str, body: impl FnOnce()) {
    alone_within(PATIENCE, test, &[], body);
}

/// [`alone`] with variables added to the child's environment.
#[track_caller]
pub(crate) fn alone_with(test: &'static str, variables: &[(&str, &str)], body: impl FnOnce()) {
    alone_within(PATIENCE, test, variables, body);
}

/// [`alone_with`], for what may take so long.
#[track_caller]
pub(crate) fn alone_within(
    patience: Duration,
    test: &'static str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) {
    const CHILD: &str = "OFFRAMP_TESTS_CHILD";
    if env::var(CHILD).as_deref() == Ok(test) {
        let _watchdog = watchdog_after(patience, test);
        return body();
    }
    let output = Command::new(env::current_exe().expect("the path of this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .envs(variables.iter().copied())
        .output()
        .expect("a child process");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        // A name that matches no test would pass by running nothing.
        output.status.success() && text.contains("1 passed"),
        "{test} in its own process: {}\n{text}\n{errors}",
        output.status
    );
}

/// The CPUs this thread may run on.
pub(crate) fn cpus() -> Vec<usize> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is as large as the call is told.
    let rc = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    assert_eq!(rc, 0, "sched_getaffinity: {}", io::Error::last_os_error());
    // SAFETY: all numbers are below the set's size.
    let is_in = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_in).collect()
}

/// Pins this thread, and the threads it starts from now on, to the first `count` CPUs
/// that it may run on (to all of them if there are fewer).
pub(crate) fn pin_to(count: usize) {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in cpus().into_iter().take(count) {
        // SAFETY: the number comes from such a set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is as large as the call is told.
    let rc = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) };
    assert_eq!(rc, 0, "sched_setaffinity: {}", io::Error::last_os_error());
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("procfs").count()
}

/// The same without the pools' timers, which are there while jobs are.
pub(crate) fn threads_but_timers() -> usize {
    let names = thread_names();
    names
        .iter()
        .filter(|name| !name.ends_with("-timer"))
        .count()
}

/// Their names, as far as the kernel keeps them (15 bytes).
pub(crate) fn thread_names() -> Vec<String> {
    fs::read_dir("/proc/self/task")
        .expect("procfs")
        // A thread may leave between the two reads.
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// Holds whoever waits at it until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *self.shared.0.lock().unwrap() = true;
        self.shared.1.notify_all();
    }

    /// Blocks this thread until the gate is open.
    pub(crate) fn pass(&self) {
        let mut is_open = self.shared.0.lock().unwrap();
        while !*is_open {
            is_open = self.shared.1.wait(is_open).unwrap();
        }
    }
}

/// I/O workers held busy: nothing else gets its turn on them until the release.
pub(crate) struct Occupied {
    gate: Gate,
    handles: Vec<Handle<()>>,
}

impl Occupied {
    /// Gives `offload`'s I/O pool `workers` jobs that wait at a gate, in a lane of their own,
    /// and returns when all of them run.
    pub(crate) fn io(offload: &Offload, workers: usize) -> Self {
        let gate = Gate::new();
        let (running, started) = mpsc::channel();
        let lane = offload.lane("occupied");
        let handles = (0..workers)
            .map(|_| {
                let (gate, running) = (gate.clone(), running.clone());
                let hold = move || {
                    running.send(()).unwrap();
                    gate.pass();
                };
                offramp::offload_io(hold).lane(&lane).try_spawn().unwrap()
            })
            .collect();
        for _ in 0..workers {
            started.recv_timeout(PATIENCE).expect("a worker starts");
        }
        Self { gate, handles }
    }

    /// What they wait at.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lets the workers go, and returns when their jobs have ended.
    pub(crate) fn release(mut self) {
        self.gate.open();
        let handles = mem::take(&mut self.handles);
        // Not by `wait`: some tests do this on an event loop, which has nothing else to do.
        wait_until("the workers are released", || {
            handles.iter().all(|handle| handle.is_finished())
        });
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        // A test that fails meanwhile must not leave threads behind a closed gate.
        self.gate.open();
    }
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Random numbers with a seed, the same in every run (splitmix64: Steele, Lea and
/// Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Whether a type has a trait. An associated constant of the type itself goes before a
/// trait's, but is there only where its bound holds.
macro_rules! has {
    ($type:ty, $trait:ident) => {{
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}
pub(crate) use has;
