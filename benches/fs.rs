//! `read_many` beside a loop of `tokio::fs::read`: the same files, the same concurrency, the same number of threads.
//!
//!     cargo bench --bench fs --features fs -- --check
//!
//! The files are small and in the page cache, so what is compared is the way to them and back. Both sides run in a task
//! of one and the same tokio runtime, whose blocking pool may have as many threads as offramp's I/O pool; with the
//! concurrency equal to it neither has more threads than files to read. A round reads all files once with each, in
//! shuffled order, and a ratio is formed inside the round, so a disturbance hits both sides of it. A median below what
//! `--check` asks for is measured twice more, and counts if it is in two of the three. CPU time is shown, too: on a
//! machine that is busy with something else it says more than the clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::StreamExt;
use offramp::Offload;
use tokio::runtime::Runtime;

use crate::options::Options;

// The other benches use the rest of them.
#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;
#[path = "common/options.rs"]
mod options;
#[allow(dead_code)]
#[path = "common/stats.rs"]
mod stats;

const FILES: usize = 10_000;
/// Files are of this many bytes up to 4 KiB.
const SMALLEST: usize = 300;
const LARGEST: usize = 4096;
const CONCURRENCIES: [usize; 3] = [4, 16, 64];
const RUNTIME_WORKERS: usize = 2;

/// What `--check` asks for: so many times as fast.
const WANTED: f64 = 2.0;

const HELP: &str = "\
read_many beside a loop of tokio::fs::read. Ratios above 1 mean that read_many is faster.

  --check      exit with 1 if read_many is less than twice as fast
";

/// The files, and how many bytes they have in all.
fn make_files(directory: &Path) -> std::io::Result<(Vec<PathBuf>, usize)> {
    let mut bytes = 0;
    let make = |number: usize| -> std::io::Result<PathBuf> {
        let size = SMALLEST + number * 7919 % (LARGEST - SMALLEST);
        bytes += size;
        let path = directory.join(format!("{number:05}"));
        fs::write(&path, vec![number as u8; size])?;
        Ok(path)
    };
    let paths = (0..FILES).map(make).collect::<Result<_, _>>()?;
    Ok((paths, bytes))
}

async fn with_read_many(paths: Vec<PathBuf>, concurrency: usize, offload: Offload) -> usize {
    let files = offramp::fs::read_many(paths, concurrency).on(&offload);
    files.map(|file| file.unwrap().len()).fold(0, add).await
}

async fn with_tokio(paths: Vec<PathBuf>, concurrency: usize) -> usize {
    let files = futures::stream::iter(paths).map(tokio::fs::read);
    let files = files.buffered(concurrency);
    files.map(|file| file.unwrap().len()).fold(0, add).await
}

async fn add(sum: usize, bytes: usize) -> usize {
    sum + bytes
}

/// One of the two has read all of the files.
#[derive(Clone, Copy, Default)]
struct Pass {
    wall_ms: f64,
    cpu_ms: f64,
}

/// Reads all of them once. Which of the two it is, `is_ours` says.
fn timed(
    runtime: &Runtime,
    offload: &Offload,
    paths: &[PathBuf],
    concurrency: usize,
    is_ours: bool,
) -> (Pass, usize) {
    let (paths, offload) = (paths.to_vec(), offload.clone());
    let (before, start) = (machine::usage(), Instant::now());
    let task = if is_ours {
        runtime.spawn(with_read_many(paths, concurrency, offload))
    } else {
        runtime.spawn(with_tokio(paths, concurrency))
    };
    let bytes = runtime.block_on(task).expect("the task does not panic");
    let pass = Pass {
        wall_ms: in_ms(start.elapsed()),
        cpu_ms: in_ms(machine::usage().since(before).cpu),
    };
    (pass, bytes)
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(passes: &[[Pass; 2]], of: impl Fn(&[Pass; 2]) -> f64) -> stats::Spread {
    let values: Vec<_> = passes.iter().map(of).collect();
    stats::range(&values).expect("at least one round")
}

/// The median ratio for this concurrency.
fn cell(paths: &[PathBuf], bytes: usize, concurrency: usize, options: &Options) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_WORKERS)
        .max_blocking_threads(concurrency)
        .build()
        .expect("a runtime");
    let offload = Offload::builder()
        .io_max_threads(concurrency)
        .build()
        .expect("valid sizes");
    let mut shuffler = stats::Shuffler::new(options.seed);
    let mut passes = Vec::new();
    // One more, for the threads and the caches, that does not count.
    for round in 0..=options.rounds {
        let mut order = [true, false];
        shuffler.shuffle(&mut order);
        let mut both = [Pass::default(); 2];
        for is_ours in order {
            let (pass, read) = timed(&runtime, &offload, paths, concurrency, is_ours);
            assert_eq!(read, bytes, "every file is read, whole");
            both[usize::from(is_ours)] = pass;
        }
        if round > 0 {
            passes.push(both);
        }
    }
    let ratio = median(&passes, |[theirs, ours]| theirs.wall_ms / ours.wall_ms);
    println!(
        "{concurrency:>11} {:>10.1} {:>10.1} {:>7.2} {:>6.2} .. {:<6.2} {:>9.1} {:>9.1}",
        median(&passes, |[_, ours]| ours.wall_ms).median,
        median(&passes, |[theirs, _]| theirs.wall_ms).median,
        ratio.median,
        ratio.low,
        ratio.high,
        median(&passes, |[_, ours]| ours.cpu_ms).median,
        median(&passes, |[theirs, _]| theirs.cpu_ms).median,
    );
    ratio.median
}

fn run(options: &Options) -> std::io::Result<bool> {
    machine::print_environment();
    let directory = tempfile::tempdir()?;
    let (paths, bytes) = make_files(directory.path())?;
    println!(
        "{FILES} files of {SMALLEST} to {LARGEST} bytes, {} KiB in all; tokio: {RUNTIME_WORKERS} workers; \
         {} rounds, seed {}",
        bytes / 1024,
        options.rounds,
        options.seed
    );
    println!("                  wall, ms             ratio                  CPU, ms");
    println!("concurrency  read_many      tokio  median  least .. most  read_many     tokio");
    let is_slow = |concurrency: &usize| {
        let is_slow = || cell(&paths, bytes, *concurrency, options) < WANTED;
        // What else the machine does passes: the middle one of three counts.
        is_slow() && options.check && (is_slow() || is_slow())
    };
    let slow: Vec<_> = CONCURRENCIES.into_iter().filter(is_slow).collect();
    if options.check {
        match slow.is_empty() {
            true => println!("check: passed, at least {WANTED} times as fast"),
            false => println!("check: BEHIND with a concurrency of {slow:?}"),
        }
    }
    Ok(slow.is_empty())
}

fn main() -> ExitCode {
    options::main("fs", HELP, 1, |options| {
        run(options).map_err(|error| error.to_string())
    })
}
