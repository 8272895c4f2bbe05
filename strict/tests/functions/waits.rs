//! Sleeping, and waiting for other threads.

use super::Case;
use crate::common::report;
use std::mem::MaybeUninit;
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    ("clock_nanosleep", clock_nanosleep),
    ("nanosleep", nanosleep),
    ("usleep", usleep),
    ("sleep", sleep),
    ("syscall", mutex),
    ("pthread_join", pthread_join),
    ("pthread_cond_wait", pthread_cond_wait),
    ("pthread_cond_timedwait", pthread_cond_timedwait),
    ("sem_wait", sem_wait),
    ("sem_timedwait", sem_timedwait),
];

/// What else ends in the same system call, with what it is.
pub(super) const MORE: &[Case] = &[
    ("a lock for reading", rwlock),
    ("a value that another thread makes", once),
    ("a lock of parking_lot", lock_of_parking_lot),
    ("a channel", channel),
    ("a condition variable", condvar),
    (
        "a condition variable of parking_lot",
        condvar_of_parking_lot,
    ),
    ("a parked thread", parked),
    ("a barrier", barrier),
    ("an executor within", executor_within),
];

/// For how long others are waited for: above every limit.
const WAIT: Duration = Duration::from_millis(60);

fn clock_nanosleep() -> String {
    let report = report(|| thread::sleep(Duration::from_micros(10)));
    assert!(report.contains("clock_nanosleep(10µs)"), "{report}");
    report
}

fn nanosleep() -> String {
    report(|| {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 10,
        };
        // SAFETY: a time, and nothing for the rest.
        assert_eq!(unsafe { libc::nanosleep(&time, std::ptr::null_mut()) }, 0);
    })
}

fn usleep() -> String {
    // SAFETY: no pointers.
    report(|| assert_eq!(unsafe { libc::usleep(10) }, 0))
}

fn sleep() -> String {
    // SAFETY: no pointers.
    report(|| assert_eq!(unsafe { libc::sleep(1) }, 0))
}

/// A thread that does `f` a while after `ready` was met.
fn later(ready: &Arc<Barrier>, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let ready = ready.clone();
    thread::spawn(move || {
        ready.wait();
        thread::sleep(WAIT);
        f();
    })
}

/// The report on `waits`, which `f` on another thread ends a while later.
fn until(f: impl FnOnce() + Send + 'static, waits: impl FnOnce()) -> String {
    let ready = Arc::new(Barrier::new(2));
    let other = later(&ready, f);
    ready.wait();
    let report = report(waits);
    other.join().unwrap();
    report
}

/// The report on `locks`, while another thread holds it: `hold` calls what it is given with
/// the lock held.
fn while_held<T: Send + Sync + 'static>(
    lock: T,
    hold: fn(&T, &dyn Fn()),
    locks: impl FnOnce(&T),
) -> String {
    let (lock, ready) = (Arc::new(lock), Arc::new(Barrier::new(2)));
    let other = thread::spawn({
        let (lock, ready) = (lock.clone(), ready.clone());
        move || {
            hold(&lock, &|| {
                ready.wait();
                thread::sleep(WAIT);
            });
        }
    });
    ready.wait();
    let report = report(|| locks(&lock));
    other.join().unwrap();
    report
}

fn mutex() -> String {
    while_held(
        Mutex::new(0),
        |lock, held| {
            let _guard = lock.lock().unwrap();
            held();
        },
        |lock| *lock.lock().unwrap() += 1,
    )
}

fn rwlock() -> String {
    while_held(
        RwLock::new(0),
        |lock, held| {
            let _guard = lock.write().unwrap();
            held();
        },
        |lock| assert_eq!(*lock.read().unwrap(), 0),
    )
}

fn once() -> String {
    while_held(
        OnceLock::new(),
        |value, held| {
            value.get_or_init(|| {
                held();
                1
            });
        },
        |value| assert_eq!(*value.get_or_init(|| 2), 1),
    )
}

fn lock_of_parking_lot() -> String {
    while_held(
        parking_lot::Mutex::new(0),
        |lock, held| {
            let _guard = lock.lock();
            held();
        },
        |lock| *lock.lock() += 1,
    )
}

fn channel() -> String {
    let (sender, receiver) = mpsc::channel();
    until(
        move || sender.send(7).unwrap(),
        || assert_eq!(receiver.recv(), Ok(7)),
    )
}

fn condvar() -> String {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let there = pair.clone();
    until(
        move || {
            *there.0.lock().unwrap() = true;
            there.1.notify_one();
        },
        || {
            let done = pair.0.lock().unwrap();
            drop(pair.1.wait_while(done, |done| !*done).unwrap());
        },
    )
}

fn condvar_of_parking_lot() -> String {
    let pair = Arc::new((parking_lot::Mutex::new(false), parking_lot::Condvar::new()));
    let there = pair.clone();
    until(
        move || {
            *there.0.lock() = true;
            there.1.notify_one();
        },
        || pair.1.wait_while(&mut pair.0.lock(), |done| !*done),
    )
}

fn parked() -> String {
    let thread = thread::current();
    until(move || thread.unpark(), || thread::park_timeout(WAIT * 4))
}

fn barrier() -> String {
    let both = Arc::new(Barrier::new(2));
    let there = both.clone();
    until(
        move || {
            there.wait();
        },
        || {
            both.wait();
        },
    )
}

/// The classic: a sync function in async code that runs async code.
fn executor_within() -> String {
    let (sender, receiver) = futures::channel::oneshot::channel();
    until(
        move || sender.send(7).unwrap(),
        || assert_eq!(futures::executor::block_on(receiver), Ok(7)),
    )
}

fn pthread_join() -> String {
    let ready = Arc::new(Barrier::new(2));
    let other = later(&ready, || ());
    ready.wait();
    report(|| other.join().unwrap())
}

/// A lock and a condition of C's.
struct Condition {
    mutex: libc::pthread_mutex_t,
    condition: libc::pthread_cond_t,
}

/// Waits for what nobody signals but the thread that ends it.
fn on_condition(wait: impl FnOnce(*mut Condition)) -> String {
    /// A pointer that other threads may have: to what is made for them.
    struct Shared(*mut Condition);
    // SAFETY: libc's functions on it are for several threads.
    unsafe impl Send for Shared {}

    let condition = Box::into_raw(Box::new(Condition {
        mutex: libc::PTHREAD_MUTEX_INITIALIZER,
        condition: libc::PTHREAD_COND_INITIALIZER,
    }));
    let there = Shared(condition);
    let report = until(
        move || {
            let Shared(there) = { there };
            // SAFETY: it lives until this thread has been joined.
            unsafe {
                libc::pthread_mutex_lock(&raw mut (*there).mutex);
                libc::pthread_cond_signal(&raw mut (*there).condition);
                libc::pthread_mutex_unlock(&raw mut (*there).mutex);
            }
        },
        || {
            // SAFETY: as above; this thread unlocks what it has locked.
            unsafe {
                libc::pthread_mutex_lock(&raw mut (*condition).mutex);
                wait(condition);
                libc::pthread_mutex_unlock(&raw mut (*condition).mutex);
            }
        },
    );
    // SAFETY: the other thread has ended.
    drop(unsafe { Box::from_raw(condition) });
    report
}

fn pthread_cond_wait() -> String {
    on_condition(|condition| {
        // SAFETY: it is locked by this thread, and alive.
        let failed = unsafe {
            libc::pthread_cond_wait(&raw mut (*condition).condition, &raw mut (*condition).mutex)
        };
        assert_eq!(failed, 0);
    })
}

/// A time that is long over when a test has failed to come to its end.
fn in_a_minute() -> libc::timespec {
    let mut time = MaybeUninit::uninit();
    // SAFETY: room for the answer.
    let mut time = unsafe {
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_REALTIME, time.as_mut_ptr()),
            0
        );
        time.assume_init()
    };
    time.tv_sec += 60;
    time
}

fn pthread_cond_timedwait() -> String {
    on_condition(|condition| {
        let until = in_a_minute();
        // SAFETY: it is locked by this thread, and alive.
        let failed = unsafe {
            libc::pthread_cond_timedwait(
                &raw mut (*condition).condition,
                &raw mut (*condition).mutex,
                &until,
            )
        };
        assert_eq!(failed, 0);
    })
}

/// Waits for a semaphore that another thread posts to.
fn on_semaphore(wait: impl FnOnce(*mut libc::sem_t)) -> String {
    /// As above.
    struct Shared(*mut libc::sem_t);
    // SAFETY: as above.
    unsafe impl Send for Shared {}

    let semaphore = Box::into_raw(Box::new(MaybeUninit::<libc::sem_t>::uninit()));
    let posted = semaphore.cast::<libc::sem_t>();
    // SAFETY: a place for it.
    assert_eq!(unsafe { libc::sem_init(posted, 0, 0) }, 0);
    let there = Shared(posted);
    let report = until(
        move || {
            let Shared(there) = { there };
            // SAFETY: it lives until this thread has been joined.
            assert_eq!(unsafe { libc::sem_post(there) }, 0);
        },
        || wait(posted),
    );
    // SAFETY: the other thread has ended.
    drop(unsafe { Box::from_raw(semaphore) });
    report
}

fn sem_wait() -> String {
    on_semaphore(|semaphore| {
        // SAFETY: it is alive.
        assert_eq!(unsafe { libc::sem_wait(semaphore) }, 0);
    })
}

fn sem_timedwait() -> String {
    on_semaphore(|semaphore| {
        let until = in_a_minute();
        // SAFETY: it is alive.
        assert_eq!(unsafe { libc::sem_timedwait(semaphore, &until) }, 0);
    })
}
