//! A lock whose holder has lost its CPU is waited for long, and nobody's code is to blame.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use offramp_strict::defaults::LOCK_LIMIT;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Binds this thread to the first CPU that it may have.
fn to_one_cpu() {
    // SAFETY: sets of CPUs are plain data, of the size that is told.
    unsafe {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init();
        let size = size_of_val(&set);
        assert_eq!(libc::sched_getaffinity(0, size, &mut set), 0);
        let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| libc::CPU_ISSET(*cpu, &set));
        let first = first.expect("it has one");
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(first, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size, &set), 0);
    }
}

/// From now on this thread runs when nobody else wants to.
fn last_of_all() {
    // SAFETY: the priority is zero, as it has to be.
    unsafe {
        let priority = MaybeUninit::<libc::sched_param>::zeroed().assume_init();
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority), 0);
    }
}

/// What this thread has had of a CPU.
fn cpu_time() -> Duration {
    // SAFETY: room for the answer.
    let time = unsafe {
        let mut time = MaybeUninit::<libc::timespec>::zeroed().assume_init();
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time),
            0
        );
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Locks while the holder of the lock has to leave its CPU to another thread, and gives for
/// how long that took.
fn locks_while_the_holder_is_starved() -> Duration {
    let (lock, held, done) = (Mutex::new(()), Barrier::new(3), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            to_one_cpu();
            held.wait();
            while !done.load(SeqCst) {
                std::hint::spin_loop();
            }
        });
        scope.spawn(|| {
            to_one_cpu();
            let guard = lock.lock().unwrap();
            held.wait();
            last_of_all();
            // It computes for a moment, when it may.
            let end = cpu_time() + Duration::from_millis(1);
            while cpu_time() < end {}
            drop(guard);
            // What it had waited for is known as long as it is there.
            while !done.load(SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        /// Lets the holder have its CPU, also if the test fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let _done = Done(&done);
        held.wait();
        let start = Instant::now();
        offramp_strict::Options::new().no_budget().run(async {
            drop(lock.lock().unwrap());
        });
        start.elapsed()
    })
}

#[test]
fn a_holder_that_waits_for_a_cpu_is_excused() {
    let mut waits = Vec::new();
    for _ in 0..50 {
        waits.push(locks_while_the_holder_is_starved());
        let long = waits.iter().filter(|wait| **wait > LOCK_LIMIT).count();
        if long == 1 {
            return;
        }
    }
    panic!("no holder was starved: {waits:?}");
}
