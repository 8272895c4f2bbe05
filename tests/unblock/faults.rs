//! What fails, panics, or is refused.

use crate::common::{Occupied, watchdog};
use crate::{panic_quietly, pool};
use futures::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use futures::{FutureExt, StreamExt};
use offramp::{Offload, OffloadError, Policy, Unblock};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn offload_error(error: &io::Error) -> &OffloadError {
    let inner = error.get_ref().expect("an error of ours");
    inner.downcast_ref().expect("an `OffloadError`")
}

/// Does as it is told, and counts how often it is dropped.
struct Faulty {
    now: &'static str,
    has_panicked: bool,
    drops: Arc<AtomicUsize>,
}

/// Counted among the drops: a call after a panic.
const MISUSE: usize = 100;

impl Faulty {
    fn new(now: &'static str) -> (Arc<AtomicUsize>, Self) {
        let drops = Arc::default();
        let faulty = Self {
            now,
            has_panicked: false,
            drops: Arc::clone(&drops),
        };
        (drops, faulty)
    }

    fn act(&mut self) -> io::Result<usize> {
        if self.has_panicked {
            self.drops.fetch_add(MISUSE, SeqCst);
        }
        match self.now {
            "fails" => {
                self.now = "works";
                Err(io::Error::other("as told"))
            }
            "is interrupted" => {
                self.now = "works";
                Err(ErrorKind::Interrupted.into())
            }
            "lies" => Ok(usize::MAX),
            "panics" => {
                self.has_panicked = true;
                panic_quietly();
                unreachable!()
            }
            _ => Ok(1),
        }
    }
}

impl Read for Faulty {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.act()
    }
}

impl Write for Faulty {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.act()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.act().map(drop)
    }
}

impl Seek for Faulty {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        self.act().map(|n| n as u64)
    }
}

impl Iterator for Faulty {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.act().ok()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.drops.fetch_add(1, SeqCst);
    }
}

#[test]
fn an_error_of_a_write_comes_at_the_next_write_flush_or_close() {
    let _watchdog = watchdog("errors of writes");
    let offload = pool(1);
    let failing = || {
        let (_, faulty) = Faulty::new("fails");
        Unblock::new(faulty).on(&offload)
    };
    futures::executor::block_on(async {
        for at in [
            "write",
            "flush",
            "close",
            "flush after a read",
            "flush after a look",
        ] {
            let mut unblock = failing();
            assert_eq!(unblock.write(b"x").await.unwrap(), 1, "it is accepted");
            let told = match at {
                "write" => unblock.write(b"y").await.map(drop),
                "close" => unblock.close().await,
                "flush after a read" => {
                    assert_eq!(unblock.read(&mut [0]).await.unwrap(), 1);
                    unblock.flush().await
                }
                "flush after a look" => {
                    assert_eq!(unblock.get_mut().await.now, "works");
                    unblock.flush().await
                }
                _ => unblock.flush().await,
            };
            assert_eq!(told.unwrap_err().to_string(), "as told", "{at}");
            // Once, and then it goes on.
            unblock.write_all(b"z").await.unwrap();
            unblock.flush().await.unwrap();
            unblock.close().await.unwrap();
        }
        // A flush that failed is to be done again.
        let mut unblock = failing();
        unblock.get_mut().await.now = "works";
        unblock.write_all(b"x").await.unwrap();
        unblock.with_mut(|faulty| faulty.now = "fails").await;
        unblock.flush().await.unwrap_err();
        unblock.with_mut(|faulty| faulty.now = "fails").await;
        unblock.close().await.unwrap_err();
        unblock.close().await.unwrap();
    });
}

#[test]
fn errors_of_reads_and_seeks_come_where_they_belong() {
    let _watchdog = watchdog("errors of reads");
    let offload = pool(1);
    futures::executor::block_on(async {
        let (_, faulty) = Faulty::new("fails");
        let mut unblock = Unblock::new(faulty).on(&offload);
        let error = unblock.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.to_string(), "as told");
        assert_eq!(unblock.read(&mut [0]).await.unwrap(), 1);
        unblock
            .with_mut(|faulty| faulty.now = "is interrupted")
            .await;
        assert_eq!(unblock.read(&mut [0]).await.unwrap(), 1);
        unblock.with_mut(|faulty| faulty.now = "fails").await;
        let error = unblock.seek(SeekFrom::Start(0)).await.unwrap_err();
        assert_eq!(error.to_string(), "as told");

        // Of a read whose future is gone: at the next read, not at a write.
        unblock.with_mut(|faulty| faulty.now = "fails").await;
        let occupied = Occupied::io(&offload, 1);
        assert!(unblock.read(&mut [0]).now_or_never().is_none());
        occupied.release();
        unblock.write_all(b"x").await.unwrap();
        let error = unblock.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.to_string(), "as told");
    });
}

#[test]
fn a_seek_that_was_given_up_is_not_taken_for_a_later_one() {
    let _watchdog = watchdog("a seek that is given up");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut file = Unblock::new(Cursor::new(vec![0; 100])).on(&offload);
        let give_up = |file: &mut Unblock<Cursor<Vec<u8>>>, to| {
            let occupied = Occupied::io(&offload, 1);
            assert!(file.seek(to).now_or_never().is_none());
            occupied.release();
        };
        let forward = SeekFrom::Current(10);
        give_up(&mut file, forward);
        // To another place: the first has happened by then.
        let here = SeekFrom::Current(0);
        assert_eq!(file.seek(here).await.unwrap(), 10);
        give_up(&mut file, forward);
        file.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(file.seek(forward).await.unwrap(), 35);
        give_up(&mut file, forward);
        file.with_mut(|file| file.set_position(0)).await;
        assert_eq!(file.seek(forward).await.unwrap(), 10);
        give_up(&mut file, forward);
        file.get_mut().await.set_position(0);
        assert_eq!(file.seek(forward).await.unwrap(), 10);
        // Nor is its error.
        file.read_exact(&mut [0; 1]).await.unwrap();
        let back = SeekFrom::Current(-30);
        give_up(&mut file, back);
        file.read_exact(&mut [0; 29]).await.unwrap();
        assert_eq!(file.seek(back).await.unwrap(), 10);
    });
}

#[test]
fn after_a_panic_the_value_is_dropped_and_every_call_an_error() {
    let _watchdog = watchdog("panics of the value");
    let offload = pool(1);
    futures::executor::block_on(async {
        for method in ["read", "write", "flush", "seek", "close", "with_mut", "lie"] {
            let (drops, faulty) = Faulty::new("works");
            let mut unblock = Unblock::new(faulty).on(&offload).label("faulty");
            unblock.write_all(b"x").await.unwrap();
            let now = if method == "lie" { "lies" } else { "panics" };
            unblock.with_mut(move |faulty| faulty.now = now).await;
            let error = match method {
                "read" | "lie" => unblock.read(&mut [0]).await.unwrap_err(),
                "write" => {
                    assert_eq!(unblock.write(b"y").await.unwrap(), 1, "it is accepted");
                    unblock.write(b"z").await.unwrap_err()
                }
                "flush" => unblock.flush().await.unwrap_err(),
                "close" => unblock.close().await.unwrap_err(),
                "seek" => unblock.seek(SeekFrom::Start(0)).await.unwrap_err(),
                _ => {
                    let panics = |faulty: &mut Faulty| {
                        faulty.has_panicked = true;
                        panic_quietly();
                    };
                    unblock.try_with_mut(panics).await.unwrap_err()
                }
            };
            let OffloadError::Panicked(panicked) = offload_error(&error) else {
                panic!("{method}: {error}");
            };
            assert_eq!(panicked.label(), Some("faulty"), "{method}");
            assert_eq!(drops.load(SeqCst), 1, "{method}");
            let later = [
                unblock.read(&mut [0]).await.map(drop),
                unblock.write(b"y").await.map(drop),
                unblock.flush().await,
                unblock.close().await,
                unblock.seek(SeekFrom::Start(0)).await.map(drop),
                unblock.try_with_mut(|_| ()).await,
            ];
            for later in later {
                let error = later.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotConnected);
                assert!(error.to_string().contains("`faulty` panicked"), "{error}");
            }
            assert_eq!(unblock.next().await, None);
            let gone = AssertUnwindSafe(unblock.into_inner()).catch_unwind().await;
            assert!(gone.is_err());
        }
    });
}

#[test]
fn a_call_that_panics_panics_here_with_its_payload() {
    let _watchdog = watchdog("with_mut that panics");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut unblock = Unblock::new(()).on(&offload);
        let call = unblock.with_mut(|()| panic_quietly());
        let payload = AssertUnwindSafe(call).catch_unwind().await.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"quietly"));
    });
}

#[test]
fn an_iterator_that_panics_does_so_here_after_its_items() {
    let _watchdog = watchdog("items that panic");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut count = 0;
        let items = std::iter::repeat_with(move || {
            count += 1;
            if count == 5 {
                panic_quietly();
            }
            count
        });
        let mut items = Unblock::new(items).on(&offload);
        for number in 1..5 {
            assert_eq!(items.next().await, Some(number));
        }
        let panic = AssertUnwindSafe(items.next()).catch_unwind().await;
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"quietly"));
        assert_eq!(items.next().await, None);
    });
}

#[test]
fn a_refused_call_has_changed_nothing() {
    let _watchdog = watchdog("refusals");
    let builder = Offload::builder().io_max_threads(1).capacity(1);
    let offload = builder.policy(Policy::Reject).build().unwrap();
    let fill = || {
        let occupied = Occupied::io(&offload, 1);
        let waits = offramp::offload_io(|| ()).on(&offload).try_spawn().unwrap();
        (occupied, waits)
    };
    futures::executor::block_on(async {
        let mut file = Unblock::new(Cursor::new(b"content".to_vec())).on(&offload);
        let (occupied, waits) = fill();
        let refused = [
            file.read(&mut [0]).await.map(drop),
            file.seek(SeekFrom::Start(1)).await.map(drop),
            file.try_with_mut(|_| ()).await,
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert!(matches!(
                offload_error(&error),
                OffloadError::Overloaded { .. }
            ));
        }
        // One that was accepted must run: it waits.
        assert_eq!(file.write(b"C").await.unwrap(), 1);
        occupied.release();
        waits.await.unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "ontent");
        assert_eq!(file.into_inner().await.into_inner(), b"Content");
    });
}

#[test]
fn a_flush_flushes_what_was_written_by_other_ways_and_nothing_twice() {
    let _watchdog = watchdog("flushes");
    let offload = pool(1);
    futures::executor::block_on(async {
        let (sent, received) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut writer = Unblock::new(io::BufWriter::new(sent)).on(&offload);
        let mut received = Unblock::new(received).on(&offload);
        let mut byte = [0];
        writer.write_all(b"1").await.unwrap();
        writer.flush().await.unwrap();
        received.read_exact(&mut byte).await.unwrap();
        writer
            .with_mut(|writer| writer.write_all(b"2"))
            .await
            .unwrap();
        writer.flush().await.unwrap();
        received.read_exact(&mut byte).await.unwrap();
        writer.get_mut().await.write_all(b"3").unwrap();
        writer.flush().await.unwrap();
        received.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"3");
        let jobs = offload.stats().io.submitted;
        writer.flush().await.unwrap();
        assert_eq!(offload.stats().io.submitted, jobs);
    });
}

#[test]
fn what_is_closed_is_an_error_but_to_close_it_again() {
    let _watchdog = watchdog("closed");
    let offload = pool(1);
    futures::executor::block_on(async {
        let (drops, faulty) = Faulty::new("works");
        let mut unblock = Unblock::new(faulty).on(&offload);
        unblock.write_all(b"x").await.unwrap();
        unblock.close().await.unwrap();
        assert_eq!(drops.load(SeqCst), 1);
        unblock.close().await.unwrap();
        let error = unblock.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert!(error.to_string().contains("closed"), "{error}");
        let gone = AssertUnwindSafe(unblock.get_mut()).catch_unwind().await;
        assert!(gone.is_err());
    });
}
