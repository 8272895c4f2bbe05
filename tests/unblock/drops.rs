//! Dropped at every point: what was accepted is written, and the pool drops the value.

use crate::common::{Gate, Wakes, wait_until, watchdog};
use crate::{at_rest, pool};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{AsyncRead, AsyncWrite, Stream};
use offramp::{Backlog, Offload, Unblock};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

/// What a [`Recorder`] has seen.
#[derive(Default, Debug)]
struct Record {
    written: Vec<u8>,
    /// How much had been written at the last flush.
    flushed: usize,
    /// By which thread it was dropped, each time.
    dropped_by: Vec<String>,
}

/// Reads, writes and counts; each call takes a little while.
struct Recorder {
    record: Arc<Mutex<Record>>,
    reads: u8,
}

impl Recorder {
    fn new() -> (Arc<Mutex<Record>>, Self) {
        let record = Arc::default();
        let recorder = Self {
            record: Arc::clone(&record),
            reads: 0,
        };
        (record, recorder)
    }
}

impl Write for Recorder {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        thread::yield_now();
        // A short one: there is a rest to be written.
        let some = &buf[..buf.len().min(2)];
        self.record.lock().unwrap().written.extend_from_slice(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut record = self.record.lock().unwrap();
        record.flushed = record.written.len();
        Ok(())
    }
}

impl Read for Recorder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        thread::yield_now();
        if self.reads == 9 || buf.is_empty() {
            return Ok(0);
        }
        self.reads += 1;
        buf[0] = self.reads;
        Ok(1)
    }
}

impl Iterator for Recorder {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        thread::yield_now();
        self.reads += 1;
        (self.reads < 10).then_some(self.reads)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or("nameless").to_owned();
        self.record.lock().unwrap().dropped_by.push(name);
    }
}

#[track_caller]
fn dropped_on_the_pool(record: &Mutex<Record>) {
    wait_until("the value is dropped", || {
        !record.lock().unwrap().dropped_by.is_empty()
    });
    let record = record.lock().unwrap();
    assert_eq!(record.dropped_by.len(), 1, "{record:?}");
    assert!(record.dropped_by[0].starts_with("offramp-io"), "{record:?}");
}

/// Polls `step` so often, then drops the adapter, for every number of polls until `step`
/// says that it is through. `look` looks at what is left.
fn grid(
    offload: &Offload,
    mut step: impl FnMut(Pin<&mut Unblock<Recorder>>, &mut Context<'_>, usize) -> Poll<bool>,
    mut look: impl FnMut(&Record, usize),
) {
    // Waits for the wake-up after each poll, or for nothing.
    for waits in [true, false] {
        let mut is_through = false;
        let mut polls = 0;
        while !is_through && (waits || polls < 200) {
            let (record, recorder) = Recorder::new();
            let mut unblock = Unblock::with_capacity(3, recorder).on(offload);
            let (wakes, waker) = Wakes::new();
            let mut cx = Context::from_waker(&waker);
            let mut steps = 0;
            // One poll at least: one that was never used is dropped here.
            polls += 1;
            for _ in 0..polls {
                let before = wakes.count();
                match step(Pin::new(&mut unblock), &mut cx, steps) {
                    Poll::Ready(true) => {
                        is_through = true;
                        break;
                    }
                    Poll::Ready(false) => steps += 1,
                    Poll::Pending if waits => {
                        wait_until("it is woken", || wakes.count() > before);
                    }
                    Poll::Pending => {}
                }
            }
            drop(unblock);
            dropped_on_the_pool(&record);
            look(&record.lock().unwrap(), steps);
        }
    }
    at_rest(offload);
    assert_eq!(offload.stats().io.orphans, 0);
}

#[test]
fn what_was_accepted_is_written_and_flushed_wherever_it_is_dropped() {
    let _watchdog = watchdog("the grid of writes");
    const BYTES: &[u8] = b"twenty bytes of text";
    for threads in [1, 2] {
        let offload = pool(threads);
        let (accepted, most) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let write = |unblock: Pin<&mut Unblock<Recorder>>, cx: &mut Context<'_>, steps| {
            if steps == 0 {
                accepted.set(0);
            }
            let rest = &BYTES[accepted.get()..];
            if rest.is_empty() {
                return unblock.poll_flush(cx).map(|flushed| flushed.is_ok());
            }
            unblock.poll_write(cx, rest).map(|written| {
                accepted.set(accepted.get() + written.unwrap());
                false
            })
        };
        grid(&offload, write, |record, _| {
            assert_eq!(record.written, &BYTES[..accepted.get()]);
            assert_eq!(record.flushed, record.written.len());
            most.set(most.get().max(accepted.get()));
        });
        assert_eq!(most.get(), BYTES.len());
    }
}

#[test]
fn a_close_flushes_and_drops_wherever_the_adapter_is_dropped() {
    let _watchdog = watchdog("the grid of closes");
    let offload = pool(1);
    let write = |unblock: Pin<&mut Unblock<Recorder>>, cx: &mut Context<'_>, steps| match steps {
        0 => unblock
            .poll_write(cx, b"one")
            .map(|written| written.unwrap() != 3),
        _ => unblock.poll_close(cx).map(|closed| closed.is_ok()),
    };
    grid(&offload, write, |record, steps| {
        assert_eq!(
            (steps, &*record.written, record.flushed),
            (1, &b"one"[..], 3)
        );
    });
}

#[test]
fn a_reader_is_dropped_on_the_pool_wherever_the_adapter_is_dropped() {
    let _watchdog = watchdog("the grid of reads");
    let offload = pool(2);
    let read = |unblock: Pin<&mut Unblock<Recorder>>, cx: &mut Context<'_>, steps| {
        let mut buf = [0; 2];
        unblock
            .poll_read(cx, &mut buf)
            .map(|read| match read.unwrap() {
                0 => true,
                read => {
                    assert_eq!((read, usize::from(buf[0])), (1, steps + 1));
                    false
                }
            })
    };
    let mut most = 0;
    grid(&offload, read, |_, steps| most = most.max(steps));
    assert_eq!(most, 9);
}

#[test]
fn an_iterator_is_dropped_on_the_pool_wherever_the_adapter_is_dropped() {
    let _watchdog = watchdog("the grid of items");
    let offload = pool(2);
    let next = |unblock: Pin<&mut Unblock<Recorder>>, cx: &mut Context<'_>, steps| {
        unblock.poll_next(cx).map(|item| match item {
            None => true,
            Some(item) => {
                assert_eq!(usize::from(item), steps + 1);
                false
            }
        })
    };
    let mut most = 0;
    grid(&offload, next, |_, steps| most = most.max(steps));
    assert_eq!(most, 9);
}

#[test]
fn one_that_was_never_used_is_dropped_here() {
    let offload = pool(1);
    let (record, recorder) = Recorder::new();
    drop(Unblock::new(recorder).on(&offload));
    let here = thread::current().name().unwrap().to_owned();
    assert_eq!(record.lock().unwrap().dropped_by, [here]);
    assert_eq!(offload.stats().io.submitted, 0);
}

#[test]
fn accepted_bytes_survive_a_shutdown_that_discards() {
    let _watchdog = watchdog("a shutdown");
    let offload = pool(1);
    let occupied = crate::common::Occupied::io(&offload, 1);
    let (record, recorder) = Recorder::new();
    let mut unblock = Unblock::new(recorder).on(&offload);
    let mut cx = Context::from_waker(Waker::noop());
    let accepted = Pin::new(&mut unblock).poll_write(&mut cx, b"accepted");
    assert!(matches!(accepted, Poll::Ready(Ok(8))));
    let mut shutdown = std::pin::pin!(offload.shutdown(None, Backlog::Discard));
    assert!(shutdown.as_mut().poll(&mut cx).is_pending());
    occupied.release();
    pollster::block_on(async {
        // It is told to whoever stays, and the value is still there.
        let refused = unblock.write_all(b" and not").await.unwrap_err();
        assert!(refused.to_string().contains("shut down"), "{refused}");
        assert_eq!(
            unblock.get_mut().await.record.lock().unwrap().written,
            b"accepted"
        );
    });
    drop(unblock);
    let record = record.lock().unwrap();
    // Nowhere else was left to do this.
    assert_eq!((record.flushed, record.dropped_by.len()), (8, 1));
}

/// Blocks, as a terminal does.
struct Blocked {
    gate: Gate,
    _recorder: Recorder,
}

impl Read for Blocked {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.gate.pass();
        Ok(0)
    }
}

#[test]
fn a_drop_does_not_wait_for_a_read_that_blocks() {
    let _watchdog = watchdog("a read that blocks");
    let offload = pool(1);
    let (gate, (record, recorder)) = (Gate::new(), Recorder::new());
    let blocked = Blocked {
        gate: gate.clone(),
        _recorder: recorder,
    };
    let mut unblock = Unblock::new(blocked).on(&offload);
    let mut buf = [0];
    {
        let mut read = unblock.read(&mut buf);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut read).poll(&mut cx).is_pending());
    }
    wait_until("it reads", || offload.stats().io.running == 1);
    drop(unblock);
    assert!(record.lock().unwrap().dropped_by.is_empty());
    assert_eq!(offload.stats().io.orphans, 1);
    gate.open();
    dropped_on_the_pool(&record);
}
