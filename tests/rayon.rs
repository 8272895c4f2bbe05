//! CPU jobs on rayon: parallel sections inside of a job run on the job's own pool, and
//! no root (a job's closure) ever starts on the stack of another.

mod common;

use common::{Gate, PATIENCE, alone, pin_to, wait_until, watchdog};
use offramp::backend::Rayon;
use offramp::{Backlog, Handle, Offload, offload_cpu};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::Cell;
use std::collections::VecDeque;
use std::hint;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

thread_local! {
    /// Roots, and pieces of parallel sections, that have begun on this thread's stack
    /// and not ended.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A root's or a piece's place on its thread's stack.
struct OnStack;

impl OnStack {
    /// Also tells how many there are on this stack with it.
    fn begin() -> (Self, usize) {
        DEPTH.set(DEPTH.get() + 1);
        (Self, DEPTH.get())
    }
}

impl Drop for OnStack {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

fn pool(threads: usize) -> Offload {
    let builder = Offload::builder().cpu_threads(threads);
    builder.thread_name("par").build().unwrap()
}

fn shared(threads: usize) -> (Arc<ThreadPool>, Offload) {
    let rayon = ThreadPoolBuilder::new().num_threads(threads);
    let rayon = rayon.thread_name(|index| format!("mine-{index}"));
    let rayon = Arc::new(rayon.build().unwrap());
    let backend = Rayon::shared(Arc::clone(&rayon));
    let offload = Offload::builder().cpu_backend(backend).build().unwrap();
    (rayon, offload)
}

/// A parallel section of pieces that are long enough to be stolen, and that each have
/// one of their own, in which the thief waits.
fn section(pieces: usize) -> usize {
    let spin = || {
        for _ in 0..100 {
            hint::spin_loop();
        }
    };
    let piece = |_| {
        let _on_stack = OnStack::begin();
        rayon::join(spin, spin);
        1
    };
    (0..pieces).into_par_iter().map(piece).sum()
}

/// Submits `count` roots made by `root`, `at_once` of them under way at a time, and
/// gives each one's outcome to `check`.
fn stream<R: Send + 'static, F: FnOnce() -> R + Send + 'static>(
    offload: &Offload,
    (count, at_once): (usize, usize),
    root: impl Fn() -> F,
    check: impl Fn(R),
) {
    let mut under_way: VecDeque<Handle<R>> = VecDeque::new();
    for _ in 0..count {
        if under_way.len() == at_once {
            check(under_way.pop_front().unwrap().wait().unwrap());
        }
        let call = offload_cpu(root()).on(offload);
        under_way.push_back(call.try_spawn().unwrap());
    }
    for handle in under_way {
        check(handle.wait().unwrap());
    }
}

/// The deadlock that a nested root makes: a waiting worker takes a root that wants the
/// lock which the root below it on the same stack holds.
fn lock_then_par_iter(threads: usize) {
    const ROUNDS: usize = 10_000;
    const PIECES: usize = 8;
    let _watchdog = watchdog("a lock held over a parallel section");
    let offload = pool(threads);
    let lock = Arc::new(Mutex::new(0));
    for _ in 0..ROUNDS {
        let root = || {
            let lock = Arc::clone(&lock);
            move || {
                let (_on_stack, depth) = OnStack::begin();
                let mut sum = lock.lock().unwrap();
                *sum += section(PIECES);
                depth
            }
        };
        stream(&offload, (threads, threads), root, |depth| {
            assert_eq!(depth, 1)
        });
    }
    assert_eq!(*lock.lock().unwrap(), ROUNDS * threads * PIECES);
}

#[test]
fn roots_that_lock_around_par_iter_never_hang_on_one_thread() {
    lock_then_par_iter(1);
}

#[test]
fn roots_that_lock_around_par_iter_never_hang_on_two_threads() {
    lock_then_par_iter(2);
}

#[test]
fn roots_that_lock_around_par_iter_never_hang_on_four_threads() {
    lock_then_par_iter(4);
}

#[test]
fn a_hundred_thousand_parallel_roots_run_one_by_one_on_their_stacks() {
    let _watchdog = watchdog("100,000 roots");
    let offload = pool(2);
    let root = || {
        || {
            let (_on_stack, depth) = OnStack::begin();
            (depth, section(4))
        }
    };
    // Few at once: workers wait in sections while roots come. Many: a backlog.
    for at_once in [3, 1_000] {
        let check = |outcome| assert_eq!(outcome, (1, 4));
        stream(&offload, (50_000, at_once), root, check);
    }
    assert_eq!(offload.stats().cpu.completed, 100_000);
}

#[test]
fn par_iter_inside_of_a_job_runs_in_the_job_s_pool() {
    let _watchdog = watchdog("par_iter inside of a job");
    for threads in [1, 2, 4] {
        let offload = pool(threads);
        let job = || {
            let here = |_| thread::current().name().map(str::to_owned).unwrap();
            let mut names: Vec<_> = (0..1_000).into_par_iter().map(here).collect();
            names.extend(rayon::broadcast(|_| here(0)));
            names.sort();
            names.dedup();
            (rayon::current_num_threads(), here(0), names)
        };
        let (count, root, names) = offload_cpu(job).on(&offload).wait().unwrap();
        assert_eq!(count, threads);
        let workers: Vec<_> = (0..threads)
            .map(|index| format!("par-cpu-{index}"))
            .collect();
        assert_eq!(
            names, workers,
            "the broadcast has been everywhere, and nowhere else"
        );
        assert!(workers.contains(&root));
    }
}

#[test]
fn what_a_root_leaves_in_rayon_s_queues_runs_while_the_pool_is_idle() {
    let _watchdog = watchdog("rayon::spawn in a root");
    for threads in [1, 2] {
        let offload = pool(threads);
        let (sender, spawned) = mpsc::channel();
        let job = move || rayon::spawn(move || sender.send(thread::current().id()).unwrap());
        offload_cpu(job).on(&offload).wait().unwrap();
        spawned
            .recv_timeout(PATIENCE)
            .expect("it runs without another root");
    }
}

/// On one CPU a worker without a root sleeps for some milliseconds where submitters find it, not in rayon.
#[test]
fn on_one_cpu_lone_roots_run_on_one_thread_one_after_the_other() {
    const ROOTS: usize = 200;
    let name = "on_one_cpu_lone_roots_run_on_one_thread_one_after_the_other";
    alone(name, || {
        pin_to(1);
        let offload = pool(2);
        let run = |_| offload_cpu(|| thread::current().id()).on(&offload).wait();
        let threads: Vec<_> = (0..ROOTS).map(|root| run(root).unwrap()).collect();
        let in_a_row = threads.windows(2).filter(|two| two[0] == two[1]).count();
        // Released by the bell they take turns.
        assert!(in_a_row > ROOTS * 3 / 4, "{in_a_row} of {ROOTS}");
    });
}

#[test]
fn on_one_cpu_a_worker_that_sleeps_outside_of_rayon_keeps_no_piece_waiting() {
    let name = "on_one_cpu_a_worker_that_sleeps_outside_of_rayon_keeps_no_piece_waiting";
    alone(name, || {
        pin_to(1);
        let _watchdog = watchdog("pieces that need the other worker");
        let offload = pool(2);
        for round in 0..300 {
            let root = || {
                let (comes, waits) = mpsc::channel();
                let (here, _there) = rayon::join(
                    move || waits.recv_timeout(PATIENCE),
                    move || comes.send(()).unwrap(),
                );
                here.expect("the other worker serves the piece");
            };
            offload_cpu(root).on(&offload).wait().unwrap();
            if round % 10 == 0 {
                // Now both of them wait in rayon.
                thread::sleep(Duration::from_millis(25));
            }
        }
    });
}

#[test]
fn a_hundred_thousand_roots_run_on_a_pool_of_the_user_s_own() {
    // One by one: each comes when the pool is about to have nothing to do.
    for (threads, at_once) in [(1, 1), (2, 1_000)] {
        let _watchdog = watchdog("a pool of the user's own");
        let (rayon, offload) = shared(threads);
        let is_mine = |name: &str| name.starts_with("mine-");
        let root = || move || (section(4), thread::current().name().is_some_and(is_mine));
        let check = |outcome| assert_eq!(outcome, (4, true));
        stream(&offload, (50_000, at_once), root, check);

        let kept = offload.clone();
        pollster::block_on(offload.shutdown(None, Backlog::Drain));
        assert_eq!(kept.stats().cpu.threads, 0);
        drop((offload, kept));
        let is_alone = || Arc::strong_count(&rayon) == 1;
        wait_until("the pool is the user's alone", is_alone);
        assert_eq!(rayon.install(|| section(4)), 4, "it is still the user's");
    }
}

/// A root that is followed by another one before it ends, until it is `over`.
fn follow(offload: Offload, over: Arc<AtomicBool>) {
    let on = offload.clone();
    let root = move || {
        section(4);
        if !over.load(Ordering::SeqCst) {
            follow(offload, over);
        }
    };
    offload_cpu(root).on(&on).try_spawn().unwrap().detach();
}

#[test]
fn roots_without_end_do_not_starve_other_work_on_a_pool_of_the_user_s_own() {
    for threads in [1, 2] {
        let _watchdog = watchdog("other work beside roots");
        let (rayon, offload) = shared(threads);
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..10 {
            follow(offload.clone(), Arc::clone(&over));
        }
        for _ in 0..30 {
            assert_eq!(rayon.install(|| section(4)), 4);
            let (sender, spawned) = mpsc::channel();
            rayon.spawn(move || sender.send(()).unwrap());
            spawned.recv_timeout(PATIENCE).expect("a spawned task runs");
        }
        over.store(true, Ordering::SeqCst);
        wait_until("the last roots have ended", || {
            let cpu = offload.stats().cpu;
            cpu.queued + cpu.running == 0
        });
    }
}

#[test]
fn dropping_the_last_offload_runs_what_was_detached_and_keeps_the_user_s_pool() {
    let _watchdog = watchdog("a drop with detached roots");
    let (rayon, offload) = shared(2);
    let (gate, ran) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..100 {
        let (gate, ran) = (gate.clone(), Arc::clone(&ran));
        let root = move || {
            gate.pass();
            section(4);
            ran.fetch_add(1, Ordering::SeqCst);
        };
        offload_cpu(root).on(&offload).try_spawn().unwrap().detach();
    }
    drop(offload);
    gate.open();
    wait_until("all have run", || ran.load(Ordering::SeqCst) == 100);
    wait_until("the pool is the user's alone", || {
        Arc::strong_count(&rayon) == 1
    });
    assert_eq!(rayon.install(|| section(4)), 4);
}

#[test]
fn a_panic_in_a_task_that_a_job_spawned_ends_that_task_only() {
    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let task = move || {
        sender.send(()).unwrap();
        panic!("expected");
    };
    let spawned = offload_cpu(move || rayon::spawn(task)).on(&offload);
    spawned.wait().unwrap();
    receiver.recv().expect("the task runs");
    // On the same thread, so after the panic.
    assert_eq!(offload_cpu(|| 1).on(&offload).wait().unwrap(), 1);
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
}
