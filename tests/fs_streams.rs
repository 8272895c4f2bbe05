//! `fs::lines` and `fs::chunks`: files as streams.

#![cfg(all(unix, feature = "fs"))]

mod common;

use common::{Occupied, Wakes, wait_until, watchdog};
use futures::stream::FusedStream;
use futures::{Stream, StreamExt, TryStreamExt};
use offramp::fs::{chunks, lines};
use offramp::{Backlog, Offload, OffloadError};
use std::error::Error;
use std::fmt::Debug;
use std::fs;
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;

fn file(contents: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, contents).unwrap();
    (directory, path)
}

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

fn all<T>(stream: impl Stream<Item = io::Result<T>>) -> Vec<io::Result<T>> {
    pollster::block_on(stream.collect())
}

fn poll_once<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    let (_, waker) = Wakes::new();
    Pin::new(stream).poll_next(&mut Context::from_waker(&waker))
}

/// How often this process has the file open.
fn times_open(path: &Path) -> usize {
    let path = fs::canonicalize(path).unwrap();
    let open = fs::read_dir("/proc/self/fd").expect("procfs");
    let paths = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    paths.filter(|open| *open == path).count()
}

/// One error, of this kind, which names the path; then nothing.
#[track_caller]
fn assert_fails<T: Debug>(
    stream: impl Stream<Item = io::Result<T>>,
    path: &Path,
    kind: ErrorKind,
) -> io::Error {
    let mut items = all(stream);
    assert_eq!(items.len(), 1, "{items:?}");
    let error = items.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    error
}

#[test]
fn lines_are_those_of_std() {
    let _watchdog = watchdog("lines");
    let long = "long ".repeat(50_000);
    let many: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
    let texts = ["", "\n", "one", "one\n", "a\r\nb\n\nc\rd\r\n", &long, &many];
    for text in texts {
        let (_directory, path) = file(text);
        let read = pollster::block_on(lines(&path).try_collect::<Vec<_>>()).unwrap();
        let expected: Vec<_> = text.as_bytes().lines().map(Result::unwrap).collect();
        assert!(read == expected, "{} lines", read.len());
    }
}

#[test]
fn a_line_that_is_not_utf8_is_one_item() {
    let _watchdog = watchdog("lines that are not UTF-8");
    let (_directory, path) = file(b"one\n\xff\xfe\nthree\n\xff");
    let read = all(lines(&path));
    assert_eq!(read.len(), 4);
    for (number, line) in read.into_iter().enumerate() {
        match number {
            0 => assert_eq!(line.unwrap(), "one"),
            2 => assert_eq!(line.unwrap(), "three"),
            _ => {
                let error = line.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                assert!(error.to_string().contains(path.to_str().unwrap()));
            }
        }
    }
}

#[test]
fn chunks_are_those_of_a_slice() {
    let _watchdog = watchdog("chunks");
    let contents: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    for length in [0, 1, 4_095, 4_096, 300_000] {
        let (_directory, path) = file(&contents[..length]);
        for size in [7, 4_096, 40_000, 300_000, 1 << 22, usize::MAX] {
            let read = chunks(&path, size).try_collect::<Vec<_>>();
            let read = pollster::block_on(read).unwrap();
            let expected: Vec<_> = contents[..length].chunks(size).collect();
            assert!(read == expected, "{length} bytes in chunks of {size}");
        }
    }
}

#[test]
#[should_panic = "chunks of 0 bytes"]
fn chunks_of_nothing() {
    let _ = chunks("file", 0);
}

#[test]
fn what_cannot_be_opened_or_read() {
    let _watchdog = watchdog("files that are not there");
    let (directory, path) = file("");
    let missing = path.with_file_name("missing");
    let error = assert_fails(lines(&missing), &missing, ErrorKind::NotFound);
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert_fails(chunks(&missing, 9), &missing, ErrorKind::NotFound);
    // A directory can be opened. Reading it fails each time, and is told once.
    let is_directory = ErrorKind::IsADirectory;
    let error = assert_fails(lines(directory.path()), directory.path(), is_directory);
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    assert_fails(chunks(directory.path(), 9), directory.path(), is_directory);
}

#[test]
fn a_call_that_fails_is_the_last_item() {
    let _watchdog = watchdog("a pool that is shut down");
    let (_directory, path) = file("one\ntwo\n");
    let offload = pool(1);
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    for error in [
        assert_fails(lines(&path).on(&offload), &path, ErrorKind::Other),
        assert_fails(chunks(&path, 1).on(&offload), &path, ErrorKind::Other),
    ] {
        let source = error.source().unwrap().downcast_ref::<OffloadError>();
        assert!(matches!(source, Some(OffloadError::ShutDown)), "{error}");
    }
    let (offload, other) = (pool(1), pool(1));
    let lane = other.lane("another's");
    let error = assert_fails(
        lines(&path).on(&offload).lane(&lane),
        &path,
        ErrorKind::Other,
    );
    let source = error.source().unwrap().downcast_ref::<OffloadError>();
    assert!(matches!(source, Some(OffloadError::Config(_))), "{error}");
}

#[test]
fn the_file_is_opened_by_the_pool_at_the_first_poll_and_closed_by_it() {
    let _watchdog = watchdog("a file that is opened and closed");
    let (_directory, path) = file("line\n".repeat(10_000));
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let mut stream = lines(&path).on(&offload);
    assert!(poll_once(&mut stream).is_pending());
    assert_eq!(times_open(&path), 0);
    occupied.release();
    wait_until("it is open", || times_open(&path) == 1);
    assert!(pollster::block_on(stream.next()).unwrap().is_ok());
    let occupied = Occupied::io(&offload, 1);
    drop(stream);
    assert_eq!(times_open(&path), 1, "not closed here");
    occupied.release();
    wait_until("it is closed", || times_open(&path) == 0);
    // Also at its end.
    assert_eq!(all(lines(&path).on(&offload)).len(), 10_000);
    wait_until("it is closed", || times_open(&path) == 0);
}

#[test]
fn a_consumer_that_stops_holds_no_thread_and_no_more_than_its_buffer() {
    let _watchdog = watchdog("a consumer that stops");
    let (_directory, path) = file(vec![b'\n'; 4 << 20]);
    let offload = pool(1);
    let most = |stream: &dyn Stream<Item = io::Result<Vec<u8>>>| stream.size_hint().0;
    // Bytes of a chunk, and how many of them may wait.
    for (size, buffer) in [(1, 64), (16 * 1024, 16), (1 << 20, 2)] {
        let mut stream = chunks(&path, size).on(&offload);
        assert!(pollster::block_on(stream.next()).unwrap().is_ok());
        wait_for_rest(&offload);
        let waiting = most(&stream);
        assert!(waiting > 0 && waiting <= buffer, "{waiting} of {size}");
    }
    let mut stream = lines(&path).on(&offload).buffer(5);
    assert!(pollster::block_on(stream.next()).unwrap().is_ok());
    wait_for_rest(&offload);
    let waiting = stream.size_hint().0;
    assert!(waiting > 0 && waiting <= 5, "{waiting}");
}

#[test]
fn once_over_a_stream_stays_over() {
    let (_directory, path) = file("line");
    let mut stream = lines(&path);
    assert!(!stream.is_terminated());
    assert_eq!(pollster::block_on(stream.next()).unwrap().unwrap(), "line");
    for _ in 0..3 {
        assert!(pollster::block_on(stream.next()).is_none());
        assert!(stream.is_terminated());
    }
}

#[test]
fn its_jobs_have_a_label() {
    let _watchdog = watchdog("a stream with a label");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    let offload = pool(1);
    let mut stream = lines(&path).on(&offload).label("tail");
    assert!(poll_once(&mut stream).is_pending());
    // Opens when somebody reads.
    let mut pipe = fs::File::options().write(true).open(&path).unwrap();
    let report = pollster::block_on(offload.shutdown(Duration::ZERO, Backlog::Drain));
    assert_eq!(report.still_running[0].label.as_deref(), Some("tail"));
    pipe.write_all(b"line\n").unwrap();
    drop(pipe);
    assert_eq!(pollster::block_on(stream.next()).unwrap().unwrap(), "line");
}
