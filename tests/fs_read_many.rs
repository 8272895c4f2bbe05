//! `fs::read_many`: every file once, in order, within its bounds.

#![cfg(all(unix, feature = "fs"))]

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{Occupied, PATIENCE, Random, Wakes, alone, wait_until, watchdog};
use futures::stream::FusedStream;
use futures::{Stream, StreamExt};
use offramp::fs::{ReadMany, read_many};
use offramp::{Backlog, Offload, OffloadError, Policy};
use std::error::Error;
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const MOST_IN_A_JOB: usize = 64;

fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    builder.build().unwrap()
}

fn wait_for_rest(offload: &Offload) {
    wait_until("nothing waits or runs", || {
        let stats = offload.stats().io;
        stats.queued + stats.running == 0
    });
}

/// Files whose contents say which they are.
struct Files {
    directory: TempDir,
    paths: Vec<PathBuf>,
}

fn contents(number: usize) -> Vec<u8> {
    let mut contents = number.to_string().into_bytes();
    contents.resize(contents.len() + number % 3_000, b'.');
    contents
}

fn files(count: usize) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let make = |number: usize| {
        let path = directory.path().join(number.to_string());
        fs::write(&path, contents(number)).unwrap();
        path
    };
    let paths = (0..count).map(make).collect();
    Files { directory, paths }
}

/// A pipe: whoever opens it to read waits until somebody writes.
fn pipe(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    path
}

/// A pipe that somebody has opened to read, opened to write. Until it is dropped they read.
fn feed_slowly(path: &Path) -> fs::File {
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    let start = Instant::now();
    loop {
        match options.open(path) {
            Ok(pipe) => return pipe,
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                assert!(start.elapsed() < PATIENCE / 2, "nobody reads");
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lets somebody read this from a pipe, slowly.
fn feed(path: &Path, contents: &[u8]) {
    let mut pipe = feed_slowly(path);
    std::thread::sleep(Duration::from_millis(5));
    pipe.write_all(contents).unwrap();
}

/// Whether somebody has opened the pipe to read.
fn is_read(path: &Path) -> bool {
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).is_ok()
}

/// Counts what is taken from an iterator.
fn counted<T>(items: Vec<T>) -> (impl Iterator<Item = T>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let items = items.into_iter().inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    (items, taken)
}

fn poll_once<I>(stream: &mut ReadMany<I>) -> Poll<Option<io::Result<Vec<u8>>>>
where
    ReadMany<I>: Stream<Item = io::Result<Vec<u8>>> + Unpin,
{
    let (_, waker) = Wakes::new();
    Pin::new(stream).poll_next(&mut Context::from_waker(&waker))
}

/// What the call, not the file, failed with.
fn call_error(item: &io::Result<Vec<u8>>) -> &OffloadError {
    let error = item.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    error.source().unwrap().downcast_ref().unwrap()
}

#[test]
fn every_file_once_and_in_order() {
    let _watchdog = watchdog("many files");
    let files = files(2_500);
    let offload = pool(8);
    for concurrency in [0, 1, 3, 16, usize::MAX] {
        let before = offload.stats().io.submitted;
        let stream = read_many(&files.paths, concurrency).on(&offload);
        let read: Vec<_> = pollster::block_on(stream.collect());
        assert_eq!(read.len(), files.paths.len());
        for (number, item) in read.into_iter().enumerate() {
            assert!(item.unwrap() == contents(number), "{number}");
        }
        let jobs = offload.stats().io.submitted - before;
        assert!(concurrency > 16 || jobs < 1_000, "{jobs} for 2500 files");
    }
}

#[test]
fn no_paths_no_items() {
    let mut stream = read_many(Vec::<PathBuf>::new(), 4);
    assert!(!stream.is_terminated());
    for _ in 0..3 {
        assert!(matches!(poll_once(&mut stream), Poll::Ready(None)));
        assert!(stream.is_terminated());
    }
}

/// The kernel's own files say that they are empty, or of a page.
#[test]
fn files_that_are_not_as_long_as_they_say() {
    let _watchdog = watchdog("files of the kernel");
    let files = [
        "/proc/filesystems",
        "/proc/version",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/dev/null",
    ];
    let paths: Vec<_> = files
        .iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    assert!(paths.len() > 1);
    let read: Vec<_> = pollster::block_on(read_many(&paths, 2).collect());
    for (path, item) in paths.iter().zip(read) {
        assert_eq!(item.unwrap(), fs::read(path).unwrap(), "{path}");
    }
}

#[test]
fn an_error_is_one_item_which_names_its_file() {
    let _watchdog = watchdog("files that are not there");
    let mut files = files(300);
    let missing: Vec<_> = (0..300).step_by(7).collect();
    for &number in &missing {
        fs::remove_file(&files.paths[number]).unwrap();
    }
    files.paths[1] = files.directory.path().to_owned();
    let stream = read_many(files.paths.clone(), 4);
    let read: Vec<_> = pollster::block_on(stream.collect());
    assert_eq!(read.len(), 300);
    for (number, item) in read.into_iter().enumerate() {
        let kind = match number {
            1 => ErrorKind::IsADirectory,
            _ if missing.contains(&number) => ErrorKind::NotFound,
            _ => {
                assert!(item.unwrap() == contents(number));
                continue;
            }
        };
        let error = item.unwrap_err();
        assert_eq!(error.kind(), kind);
        let expected = format!("cannot read `{}`: ", files.paths[number].display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        let source = error.source().unwrap().downcast_ref::<io::Error>();
        assert!(source.unwrap().raw_os_error().is_some());
    }
}

/// Also where the files before them were fast, so that several came to one job.
#[test]
fn slow_files_are_read_concurrency_at_a_time() {
    const SLOW: usize = 40;
    let _watchdog = watchdog("slow files");
    for fast in [0, 400] {
        let files = files(fast);
        let slow: Vec<_> = (0..SLOW)
            .map(|number| pipe(&files.directory, &format!("pipe{number}")))
            .collect();
        let offload = pool(8);
        let paths: Vec<_> = files.paths.iter().chain(&slow).cloned().collect();
        let stream = read_many(paths, 4).on(&offload);
        let reader = std::thread::spawn(|| {
            let read: Vec<_> = pollster::block_on(stream.collect());
            read
        });
        // A job of several learns from the first one, and they may have come to two jobs.
        let mut reached_by = None;
        for (number, path) in slow.iter().enumerate() {
            feed(path, format!("pipe{number}").as_bytes());
            let start = Instant::now();
            while reached_by.is_none() && start.elapsed() < Duration::from_millis(300) {
                if offload.stats().io.running == 4 {
                    reached_by = Some(number);
                }
            }
            // One that has ended may be counted for a moment more.
            wait_until("there are four at most", || {
                let stats = offload.stats().io;
                stats.running + stats.queued <= 4
            });
        }
        assert!(reached_by.is_some_and(|number| number < SLOW / 2));
        let read = reader.join().unwrap();
        assert_eq!(read.len(), fast + SLOW);
        for (number, item) in read.into_iter().enumerate() {
            let expected = match number.checked_sub(fast) {
                Some(pipe) => format!("pipe{pipe}").into_bytes(),
                None => contents(number),
            };
            assert!(item.unwrap() == expected, "{number}");
        }
    }
}

#[test]
fn a_consumer_that_stops_stops_the_reading() {
    const CONCURRENCY: usize = 3;
    let _watchdog = watchdog("a consumer that stops");
    let files = files(3_000);
    let offload = pool(4);
    let (paths, taken) = counted(files.paths.clone());
    let mut stream = read_many(paths, CONCURRENCY).on(&offload);
    assert_eq!(taken.load(Ordering::SeqCst), 0, "lazy");
    let mut random = Random(0x57_0bb5);
    let mut read = 0;
    while read < 3_000 {
        for _ in 0..=random.below(400).min(2_999 - read) {
            let item = pollster::block_on(stream.next()).unwrap();
            assert!(item.unwrap() == contents(read as usize));
            read += 1;
        }
        wait_for_rest(&offload);
        let ahead = taken.load(Ordering::SeqCst) - read as usize;
        assert!(ahead <= CONCURRENCY * MOST_IN_A_JOB, "{ahead} ahead");
    }
    assert!(pollster::block_on(stream.next()).is_none());
}

#[test]
fn a_stream_holds_no_more_than_it_says() {
    const CONCURRENCY: usize = 4;
    const LARGE: usize = 1 << 20;
    alone("a_stream_holds_no_more_than_it_says", || {
        // Small ones first, so that there are several to a job when the large ones come.
        let mut files = files(500);
        for number in 0..60 {
            let path = files.directory.path().join(format!("large{number}"));
            fs::write(&path, vec![1; LARGE]).unwrap();
            files.paths.push(path);
        }
        let offload = pool(CONCURRENCY);
        let mut stream = read_many(files.paths, CONCURRENCY).on(&offload);
        let mut items = 0;
        let before = heap::live();
        let most = CONCURRENCY * (256 * 1024 + LARGE);
        while pollster::block_on(stream.next())
            .transpose()
            .unwrap()
            .is_some()
        {
            items += 1;
            wait_for_rest(&offload);
            let held = heap::live().saturating_sub(before);
            assert!(held < most + most / 8, "{held} bytes at {items}");
        }
        assert_eq!(items, 560);
    });
}

/// The job that is reading has more files to read; it reads none of them.
#[test]
fn dropped_it_stops_within_one_file() {
    let _watchdog = watchdog("a dropped stream");
    for attempt in 0.. {
        let files = files(200);
        let pipes = ["one", "other"].map(|name| pipe(&files.directory, name));
        let paths: Vec<_> = files
            .paths
            .iter()
            .take(127)
            .chain(&pipes)
            .cloned()
            .collect();
        let offload = pool(1);
        let (paths, taken) = counted(paths);
        let mut stream = read_many(paths, 1).on(&offload);
        while offload.stats().io.running == 0 || taken.load(Ordering::SeqCst) < 128 {
            let _ = poll_once(&mut stream);
        }
        // On a machine that is too busy the files were not fast enough to come together.
        let is_one_job = taken.load(Ordering::SeqCst) == 129;
        assert!(attempt < 20, "the pipes never came to one job");
        let [one, other] = &pipes;
        if is_one_job {
            let opened = feed_slowly(one);
            drop(stream);
            drop(opened);
            wait_for_rest(&offload);
            assert!(!is_read(other));
            return;
        }
        drop(stream);
        feed(one, b"");
    }
}

/// Where there is no room each file of the job is told so, and the stream goes on.
#[test]
fn what_is_refused_is_an_item_for_each_file() {
    let _watchdog = watchdog("refused jobs");
    let files = files(40);
    let builder = Offload::builder().io_max_threads(1).capacity(1);
    let offload = builder.policy(Policy::Reject).build().unwrap();
    let occupied = Occupied::io(&offload, 1);
    let waiting = offramp::offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let mut stream = read_many(&files.paths, 1).on(&offload);
    for path in &files.paths[..10] {
        let Poll::Ready(Some(item)) = poll_once(&mut stream) else {
            panic!("it waits");
        };
        assert!(matches!(call_error(&item), OffloadError::Overloaded { .. }));
        let message = item.unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    drop(waiting);
    occupied.release();
    wait_for_rest(&offload);
    let rest: Vec<_> = pollster::block_on(stream.collect());
    assert_eq!(rest.len(), 30);
    let last = rest.into_iter().next_back().unwrap();
    assert!(last.unwrap() == contents(39));
}

#[test]
fn after_a_shutdown_every_file_is_told_so() {
    let files = files(100);
    let offload = pool(2);
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    let stream = read_many(&files.paths, 3).on(&offload);
    let read: Vec<_> = pollster::block_on(stream.collect());
    assert_eq!(read.len(), 100);
    for item in &read {
        assert!(matches!(call_error(item), OffloadError::ShutDown));
    }
}

#[test]
fn its_jobs_have_a_lane_and_a_label() {
    let _watchdog = watchdog("options of a stream");
    let files = files(0);
    let path = pipe(&files.directory, "pipe");
    let (offload, other) = (pool(1), pool(1));
    let mut stream = read_many([&path], 1).on(&offload).label("configs");
    assert!(poll_once(&mut stream).is_pending());
    let being_read = feed_slowly(&path);
    let report = pollster::block_on(offload.shutdown(Duration::ZERO, Backlog::Drain));
    let job = &report.still_running[0];
    assert_eq!(job.label.as_deref(), Some("configs"));
    assert_eq!(job.call_site.file(), file!());
    drop(stream);
    drop(being_read);

    let lane = pool(1).lane("another's");
    let mut stream = read_many([&path], 1).on(&other).lane(&lane);
    let Poll::Ready(Some(item)) = poll_once(&mut stream) else {
        panic!("it waits");
    };
    assert!(matches!(call_error(&item), OffloadError::Config(_)));
}
