//! Threads that the system, or a spawner of the user's own, refuses to start: a normal
//! path. With a worker alive the pool goes on, with none every call is told at once.

mod common;
#[path = "spawn_refused/system_limit.rs"]
mod system_limit;

use common::{Occupied, Random, Wakes, wait_until, watchdog};
use futures::future::join_all;
use offramp::backend::{Backend, ThreadTask, Threads, Turns};
use offramp::{Offload, OffloadError, offload_io};
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

/// What the spawner does with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Start,
    /// Answers an error.
    Refuse,
    /// Answers `Ok`, but drops the task.
    Lose,
    Panic,
    /// Answers `Ok`, and puts the task aside.
    Keep,
}

/// The three ways of not starting a thread.
const REFUSALS: [Mood; 3] = [Mood::Refuse, Mood::Lose, Mood::Panic];

#[derive(Clone)]
struct Spawner {
    mood: Arc<Mutex<Mood>>,
    attempts: Arc<AtomicUsize>,
    kept: Arc<Mutex<Vec<ThreadTask>>>,
}

impl Spawner {
    fn new(mood: Mood) -> Self {
        Self {
            mood: Arc::new(Mutex::new(mood)),
            attempts: Arc::default(),
            kept: Arc::default(),
        }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    fn take_kept(&self) -> Vec<ThreadTask> {
        mem::take(&mut *self.kept.lock().unwrap())
    }

    fn spawn(&self, task: ThreadTask) -> io::Result<()> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Start => {
                let builder = thread::Builder::new().name(task.name().to_owned());
                builder.spawn(move || task.run()).map(drop)
            }
            Mood::Refuse => Err(io::Error::other("no more threads today")),
            Mood::Lose => Ok(()),
            Mood::Panic => panic!("the spawner panics"),
            Mood::Keep => {
                self.kept.lock().unwrap().push(task);
                Ok(())
            }
        }
    }

    /// A pool of at most `max` I/O threads that this starts.
    fn pool(&self, max: usize) -> Offload {
        let spawner = self.clone();
        let builder = Offload::builder().io_max_threads(max);
        let builder = builder.io_spawner(move |task| spawner.spawn(task));
        builder.build().unwrap()
    }
}

fn is_no_threads<T>(outcome: &Result<T, OffloadError>) -> bool {
    matches!(outcome, Err(OffloadError::NoThreads))
}

/// Whether `offload` runs `width` jobs at the same time. A job that finds too few
/// threads waits for them, so this hangs where the pool does not grow.
fn assert_grows_to(offload: &Offload, width: usize) {
    let barrier = Arc::new(Barrier::new(width));
    let meet = |_| {
        let barrier = Arc::clone(&barrier);
        let job = move || barrier.wait();
        offload_io(job).on(offload).try_spawn().unwrap()
    };
    let handles: Vec<_> = (0..width).map(meet).collect();
    wait_until("the pool has grown", || {
        // Growing is tried again with the next call, after a pause of up to a second.
        offload_io(|| ()).on(offload).try_spawn().unwrap().detach();
        thread::sleep(Duration::from_millis(5));
        handles.iter().all(|handle| handle.is_finished())
    });
}

#[test]
fn without_any_worker_every_future_is_no_threads_in_under_a_second() {
    for mood in REFUSALS {
        let _watchdog = watchdog("no worker at all");
        let spawner = Spawner::new(mood);
        let offload = spawner.pool(4);
        let start = Instant::now();
        let calls = (0..100).map(|_| offload_io(|| ()).on(&offload));
        let outcomes = pollster::block_on(join_all(calls));
        assert!(outcomes.iter().all(is_no_threads), "{mood:?}: {outcomes:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "{mood:?}");

        let stats = offload.stats().io;
        assert_eq!((stats.submitted, stats.failed), (100, 100), "{mood:?}");
        assert_eq!((stats.queued, stats.running, stats.threads), (0, 0, 0));

        spawner.set(Mood::Start);
        assert_grows_to(&offload, 4);
    }
}

#[test]
fn a_refusal_wakes_whoever_waits_and_panics_in_that_stay_inside() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a capture panics while its job is failed");
        }
    }

    for mood in REFUSALS {
        let _watchdog = watchdog("a refusal wakes whoever waits");
        let spawner = Spawner::new(Mood::Keep);
        let offload = spawner.pool(1);
        let (bomb, (wakes, waker)) = (Bomb, Wakes::new());
        let mut cx = Context::from_waker(&waker);
        let mut call = offload_io(move || drop(bomb)).on(&offload);
        let mut other = offload_io(|| ()).on(&offload);
        assert!(Pin::new(&mut call).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut other).poll(&mut cx).is_pending());
        assert_eq!((spawner.attempts(), wakes.count()), (1, 0));
        // The thread that both wait for does not come after all.
        drop(spawner.take_kept());
        assert_eq!(wakes.count(), 2, "{mood:?}");
        assert!(is_no_threads(&call.wait()) && is_no_threads(&other.wait()));

        // The same inside of a poll, while the spawner's own panic unwinds.
        spawner.set(mood);
        let bomb = Bomb;
        let outcome = offload_io(move || drop(bomb)).on(&offload).wait();
        assert!(is_no_threads(&outcome), "{mood:?}: {outcome:?}");
    }
}

#[test]
fn with_a_worker_alive_its_pool_goes_on_and_grows_when_it_may() {
    for mood in REFUSALS {
        let _watchdog = watchdog("existing workers go on");
        let spawner = Spawner::new(Mood::Start);
        let offload = spawner.pool(8);
        let (busy, threads) = (Occupied::io(&offload, 2), offload.stats().io.threads);
        busy.release();

        spawner.set(mood);
        let before = spawner.attempts();
        let calls = (0..500).map(|number| offload_io(move || number).on(&offload));
        let outcomes = pollster::block_on(join_all(calls));
        let numbers = outcomes.into_iter().map(Result::unwrap);
        assert!(numbers.eq(0..500), "{mood:?}");
        assert_eq!(offload.stats().io.threads, threads, "{mood:?}");

        // With all workers busy each call is a reason to grow; they do not all try.
        let busy = Occupied::io(&offload, threads);
        let waiting: Vec<_> = (0..500)
            .map(|_| offload_io(|| ()).on(&offload).try_spawn().unwrap())
            .collect();
        let attempts = spawner.attempts() - before;
        assert!(
            attempts < 50,
            "{mood:?}: {attempts} attempts for 1,000 calls"
        );
        busy.release();
        for handle in waiting {
            handle.wait().unwrap();
        }

        spawner.set(Mood::Start);
        assert_grows_to(&offload, 8);
    }
}

/// The only worker is stuck until the second job runs, whose thread was refused. Nobody
/// submits anything any more: only time can help.
#[test]
fn growth_is_tried_again_by_itself() {
    for mood in REFUSALS {
        let _watchdog = watchdog("growth by time");
        let spawner = Spawner::new(Mood::Start);
        let offload = spawner.pool(2);
        offload_io(|| ()).on(&offload).wait().unwrap();
        // Else a second thread might be started for the next one.
        wait_until("it sleeps", || offload.stats().io.idle == 1);
        let (send, receive) = mpsc::channel();
        let stuck = offload_io(move || receive.recv().unwrap()).on(&offload);
        let stuck = stuck.try_spawn().unwrap();
        wait_until("it runs", || offload.stats().io.running == 1);

        spawner.set(mood);
        let before = spawner.attempts();
        let helps = offload_io(move || send.send(7).unwrap()).on(&offload);
        let helps = helps.try_spawn().unwrap();
        wait_until("refused, and more than once", || {
            spawner.attempts() >= before + 2
        });
        assert!(!helps.is_finished());
        spawner.set(Mood::Start);
        assert_eq!(stuck.wait().unwrap(), 7, "{mood:?}");
        helps.wait().unwrap();
    }
}

#[test]
fn a_task_that_is_kept_and_run_later_serves_what_waited_for_it() {
    let _watchdog = watchdog("a kept task");
    let spawner = Spawner::new(Mood::Keep);
    let offload = spawner.pool(2);
    let calls = (0..10).map(|number| offload_io(move || number).on(&offload));
    let handles: Vec<_> = calls.map(|call| call.try_spawn().unwrap()).collect();
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    spawner.set(Mood::Start);
    for task in spawner.take_kept() {
        spawner.spawn(task).unwrap();
    }
    for (number, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), number);
    }
}

#[test]
fn a_task_that_is_kept_does_not_keep_idle_workers_from_new_jobs() {
    let _watchdog = watchdog("a kept task beside an idle worker");
    let spawner = Spawner::new(Mood::Start);
    let spawn = spawner.clone();
    let offload = Offload::builder()
        .io_max_threads(2)
        // A worker that leaves looks into the queue once more: it is not to leave.
        .io_keep_alive(Duration::from_secs(3_600))
        .io_spawner(move |task| spawn.spawn(task))
        .build()
        .unwrap();
    let busy = Occupied::io(&offload, 1);
    spawner.set(Mood::Keep);
    let waiting = offload_io(|| ()).on(&offload).try_spawn().unwrap();
    assert_eq!(
        spawner.attempts(),
        2,
        "the only worker is busy: it asks for another"
    );
    busy.release();
    waiting
        .wait()
        .expect("the busy worker takes it when it is free");
    wait_until("the worker sleeps", || offload.stats().io.idle == 1);
    let call = offload_io(|| 1).on(&offload).try_spawn().unwrap();
    wait_until("the idle worker takes it", || call.is_finished());
    drop(spawner.take_kept());
}

/// A backend that takes turns and does not use them.
struct Wasteful;

impl Backend for Wasteful {
    fn demand(&self, turns: &Turns) {
        while let Some(turn) = turns.next() {
            drop(turn);
        }
    }

    fn close(&self, turns: &Turns) {
        turns.left();
    }

    fn threads(&self) -> Threads {
        Threads::default()
    }
}

#[test]
fn a_turn_that_its_backend_drops_is_no_threads_and_counted_as_failed() {
    let builder = Offload::builder().io_backend(Wasteful);
    let offload = builder.build().unwrap();
    for _ in 0..3 {
        assert!(is_no_threads(&offload_io(|| ()).on(&offload).wait()));
    }
    let stats = offload.stats().io;
    assert_eq!((stats.submitted, stats.failed, stats.queued), (3, 3, 0));
}

/// Any call may meet any of these, in any order: it is answered all the same.
#[test]
fn under_random_refusals_every_call_is_answered() {
    const CALLS: usize = 1_000;
    const SUBMITTERS: u64 = 2;
    let _watchdog = watchdog("random refusals");
    let random = Mutex::new(Random(1));
    let spawner = Spawner::new(Mood::Start);
    let spawn = spawner.clone();
    let offload = Offload::builder()
        .io_max_threads(3)
        .io_keep_alive(Duration::from_millis(1))
        .io_spawner(move |task| {
            let mood = match random.lock().unwrap().below(8) {
                0..3 => Mood::Start,
                3..5 => Mood::Refuse,
                5..7 => Mood::Lose,
                _ => Mood::Keep,
            };
            spawn.set(mood);
            spawn.spawn(task)
        });
    let offload = offload.build().unwrap();
    let (run, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let submit = |seed| {
        let mut random = Random(seed);
        for _ in 0..CALLS {
            let count = match offload_io(|| ()).on(&offload).wait() {
                Ok(()) => &run,
                Err(OffloadError::NoThreads) => &failed,
                Err(error) => panic!("{error}"),
            };
            count.fetch_add(1, Ordering::SeqCst);
            if random.below(10) == 0 {
                // Long enough for workers to leave.
                thread::sleep(Duration::from_millis(3));
            }
        }
    };
    thread::scope(|scope| {
        let submit = &submit;
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|seed| scope.spawn(move || submit(seed)))
            .collect();
        // Kept tasks come late, or not at all.
        let mut random = Random(99);
        while !submitters.iter().all(|submitter| submitter.is_finished()) {
            thread::sleep(Duration::from_micros(500));
            for task in spawner.take_kept() {
                if random.below(2) == 0 {
                    scope.spawn(move || task.run());
                }
            }
        }
    });
    let (run, failed) = (run.into_inner(), failed.into_inner());
    assert_eq!(run + failed, CALLS * SUBMITTERS as usize);
    assert!(run > 0 && failed > 0, "{run} run, {failed} failed");
}
