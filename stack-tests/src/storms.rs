//! Many threads in the most delicate places of a process, captured all the time: nothing
//! hangs, nothing crashes, and no call notices.
//!
//! `STACK_CAPTURES` is the number of captures of each storm; 10,000 take minutes.

use crate::scene::PATIENCE;
use crate::stack::{self, How, Target};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 16;

pub(crate) fn captures() -> usize {
    match std::env::var("STACK_CAPTURES") {
        Ok(number) => number.parse().expect("STACK_CAPTURES: a number"),
        Err(_) => 60,
    }
}

/// What captures came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) by_signal: usize,
    pub(crate) without: usize,
    pub(crate) none: Vec<&'static str>,
    pub(crate) partial: usize,
}

impl Tally {
    pub(crate) fn taken(&self) -> usize {
        self.by_signal + self.without
    }
}

/// Threads that do `work` over and over, captured `times` times in all.
pub(crate) fn storm(
    name: &str,
    threads: usize,
    times: usize,
    work: impl Fn(usize) + Send + Sync,
) -> Tally {
    stack::mode(true);
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let mut tally = Tally::default();
    let began = Instant::now();
    thread::scope(|scope| {
        let (sender, targets) = mpsc::channel();
        for number in 0..threads {
            let (sender, work, stop, rounds) = (sender.clone(), &work, &stop, &rounds);
            scope.spawn(move || {
                sender.send(Arc::new(Target::of_this_thread())).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    work(number);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let next = |_| targets.recv_timeout(PATIENCE).unwrap();
        let targets: Vec<Arc<Target>> = (0..threads).map(next).collect();
        // Also when a check fails: the threads stop.
        let _stop = StopAtEnd(&stop);
        for number in 0..times {
            let target = &targets[number % threads];
            let captured = target.capture(&target.look(), &|| true);
            match captured.how {
                How::Signal => tally.by_signal += 1,
                How::NoSignal => tally.without += 1,
                How::None(why) => {
                    assert_eq!(captured.addresses, []);
                    tally.none.push(why);
                    continue;
                }
            }
            assert!(!captured.addresses.is_empty());
            tally.partial += usize::from(captured.is_partial);
        }
        // The threads go on: nobody was left with a lock or without its registers.
        let before = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) < before + threads {
            assert!(began.elapsed() < PATIENCE.max(Duration::from_millis(times as u64 * 200)));
            thread::sleep(Duration::from_millis(1));
        }
    });
    tally.none.sort_unstable();
    let none = tally.none.chunk_by(|a, b| a == b).map(|c| (c[0], c.len()));
    println!(
        "{name}: {} by signal, {} without, {} of them partial; none: {:?}; {:?}",
        tally.by_signal,
        tally.without,
        tally.partial,
        Vec::from_iter(none),
        began.elapsed(),
    );
    tally
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a thread that lacks a CPU costs is its own stack, and nothing else.
fn check(tally: &Tally) {
    const LACKS_A_CPU: &[&str] = &[
        "it went on",
        "it waits for a CPU",
        "it did not answer the signal",
        "it did not finish its answer",
        "an earlier request is still being answered",
    ];
    let mut none = tally.none.iter();
    assert!(none.all(|why| LACKS_A_CPU.contains(why)), "{tally:?}");
    assert!(tally.taken() * 20 > captures(), "{tally:?}");
}

fn allocate(number: usize) {
    let mut kept = Vec::new();
    for size in 1..300 {
        kept.push(vec![0u8; size * (number + 1) * 5]);
        if size % 3 == 0 {
            kept.swap_remove(size / 3);
        }
    }
    black_box(kept);
}

fn load_a_library(number: usize) {
    let libraries = [
        c"libutil.so.1",
        c"libresolv.so.2",
        c"libanl.so.1",
        c"librt.so.1",
    ];
    let name = libraries[number % libraries.len()].as_ptr();
    // SAFETY: libraries of the C library's, of which nothing is used.
    unsafe {
        let library = libc::dlopen(name, libc::RTLD_NOW);
        if !library.is_null() {
            libc::dlclose(library);
        }
    }
}

fn panic_deep_down(number: usize) {
    fn descend(depth: usize) -> usize {
        let kept = Box::new(depth);
        if depth == 0 {
            std::panic::resume_unwind(Box::new(1));
        }
        descend(depth - 1) + *black_box(kept)
    }
    let caught = std::panic::catch_unwind(|| descend(black_box(number % 7 + 1)));
    assert!(caught.is_err());
}

fn fork(_: usize) {
    // SAFETY: the child does nothing but end.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        let mut status = 1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

#[test]
fn allocating_threads() {
    check(&storm("allocating", THREADS, captures(), allocate));
}

#[test]
fn threads_that_load_and_unload_libraries() {
    check(&storm("loading", THREADS, captures(), load_a_library));
}

#[test]
fn panicking_threads() {
    check(&storm("panicking", THREADS, captures(), panic_deep_down));
}

#[test]
fn forking_threads() {
    check(&storm("forking", 4, captures(), fork));
}

#[test]
fn all_of_it_at_once() {
    let works = [allocate, load_a_library, panic_deep_down, fork];
    let tally = storm("all", THREADS, captures(), |number| {
        works[number % works.len()](number);
    });
    check(&tally);
}

/// Threads inherit it.
fn pin_this_thread_to_one_cpu() {
    // SAFETY: a set of CPUs without pointers, filled by the first call.
    unsafe {
        let size = size_of::<libc::cpu_set_t>();
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size, &mut cpus), 0);
        let allowed = 0..libc::CPU_SETSIZE as usize;
        let first = allowed.into_iter().find(|cpu| libc::CPU_ISSET(*cpu, &cpus));
        libc::CPU_ZERO(&mut cpus);
        libc::CPU_SET(first.unwrap(), &mut cpus);
        assert_eq!(libc::sched_setaffinity(0, size, &cpus), 0);
    }
}

#[test]
fn all_of_it_on_one_cpu() {
    pin_this_thread_to_one_cpu();
    let works = [allocate, load_a_library, panic_deep_down, fork];
    let tally = storm("one CPU", 4, captures(), |number| {
        works[number % works.len()](number);
    });
    check(&tally);
}
