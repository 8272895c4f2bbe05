//! What a pool costs that has nothing to do any more.

use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::heap;
use crate::machine;
use crate::pools::Pool;

/// Threads go after so much idleness, where that can be said. (`blocking` has its half second.)
pub(crate) const KEEP_ALIVE: Duration = Duration::from_millis(300);
/// Before it has to be quiet.
const SETTLES: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(3);

/// What makes this executable watch one pool and say what it saw.
pub(crate) const FLAG: &str = "--idle";

#[derive(Clone, Copy)]
pub(crate) struct Idle {
    /// Bytes that are in use since before the pool was made.
    pub(crate) heap: i64,
    /// Of the process, while it was watched.
    pub(crate) cpu_us: u64,
    pub(crate) switches: u64,
    /// Threads of the pool.
    pub(crate) threads: usize,
    /// Others of its makers: a timer.
    pub(crate) others: usize,
}

/// Makes a pool, has each of its `threads` threads work, and watches it from a second later on.
pub(crate) fn watch<P: Pool, K>(threads: usize, make: impl FnOnce() -> (P, K)) -> Idle {
    let heap_before = heap::live();
    let (pool, keep) = make();
    all_work(&pool, threads);
    thread::sleep(SETTLES);
    let before = machine::usage();
    thread::sleep(WATCHED);
    let usage = machine::usage().since(before);
    let heap = heap::live() - heap_before;
    let names = thread_names();
    let others = names.iter().filter(|name| name.ends_with("-timer")).count();
    drop((pool, keep));
    Idle {
        heap,
        cpu_us: usage.cpu.as_micros() as u64,
        switches: usage.switches,
        threads: names.len() - others,
        others,
    }
}

/// For [`in_new_process`].
pub(crate) fn print(idle: Idle) {
    let Idle {
        heap,
        cpu_us,
        switches,
        threads,
        others,
    } = idle;
    println!("{heap} {cpu_us} {switches} {threads} {others}");
}

/// What pool number `subject` does in a process where no other has been: `blocking`, for one, has threads that never
/// go, and wake up twice a second.
pub(crate) fn in_new_process(subject: usize) -> Result<Idle, String> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find this executable: {e}"))?;
    let output = Command::new(this)
        .args([FLAG, &subject.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot watch an idle pool: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<i64> = text
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [heap, cpu_us, switches, threads, others] = numbers[..] else {
        return Err(format!(
            "an idle pool's process ended with {}",
            output.status
        ));
    };
    Ok(Idle {
        heap,
        cpu_us: cpu_us as u64,
        switches: switches as u64,
        threads: threads as usize,
        others: others as usize,
    })
}

/// Jobs that wait for each other have a thread each.
fn all_work<P: Pool>(pool: &P, threads: usize) {
    let together = Arc::new(Barrier::new(threads));
    let started: Vec<_> = (0..threads)
        .map(|_| {
            let together = Arc::clone(&together);
            pool.start(move || {
                together.wait();
                0
            })
        })
        .collect();
    pollster::block_on(async {
        for one in started {
            P::value(one.await);
        }
    });
}

/// Of the threads beside this one; elsewhere than on Linux none is known.
fn thread_names() -> Vec<String> {
    let this = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter(|task| task.file_name() != *this)
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}
