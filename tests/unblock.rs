//! `Unblock`: a blocking reader, writer, or iterator as an async one.
#![cfg(all(feature = "futures-io", feature = "tokio"))]

mod common;
#[macro_use]
#[path = "common/runtimes.rs"]
mod runtimes;

#[path = "unblock/drops.rs"]
mod drops;
#[path = "unblock/faults.rs"]
mod faults;
#[path = "unblock/tokio_traits.rs"]
mod tokio_traits;

use common::{PATIENCE, Random, at_rest, watchdog};
use futures::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use futures::{AsyncRead, StreamExt};
use offramp::{Offload, Unblock, defaults};
use std::collections::VecDeque;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

fn pool(threads: usize) -> Offload {
    Offload::builder().io_max_threads(threads).build().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

async fn files_with_the_traits_of_futures() {
    let offload = pool(2);
    let bytes = pattern(1_000_003);
    for capacity in [1_000, 65_536, defaults::UNBLOCK_CAPACITY] {
        let file = tempfile::tempfile().unwrap();
        let mut file = Unblock::with_capacity(capacity, file).on(&offload);
        file.write_all(&bytes).await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(file.seek(SeekFrom::Start(0)).await.unwrap(), 0);
        let mut read = Vec::new();
        file.read_to_end(&mut read).await.unwrap();
        assert!(read == bytes);
        assert_eq!(file.read(&mut [0; 8]).await.unwrap(), 0);
        file.close().await.unwrap();
    }
}

/// Reads, writes and seeks, at random, do the same as on the file itself.
async fn like_the_file_itself() {
    let offload = pool(1);
    let mut random = Random(7);
    for capacity in [1, 5, 64, 4_096] {
        let bytes = pattern(300);
        let (mut model, mut file) = (Cursor::new(bytes.clone()), tempfile::tempfile().unwrap());
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        let mut file = Unblock::with_capacity(capacity, file).on(&offload);
        for _ in 0..300 {
            match random.below(4) {
                0 | 1 => {
                    let mut expected = vec![0; random.below(40) as usize];
                    let mut found = expected.clone();
                    // As much as there is: the model knows no short reads.
                    let read = model.read(&mut expected).unwrap();
                    file.read_exact(&mut found[..read]).await.unwrap();
                    assert_eq!(found, expected);
                    let rest = file.read(&mut [0; 4]).await.unwrap();
                    model.seek_relative(rest as i64).unwrap();
                }
                2 => {
                    let to = match random.below(3) {
                        0 => SeekFrom::Start(random.below(320)),
                        1 => SeekFrom::End(-(random.below(320) as i64)),
                        _ => SeekFrom::Current(random.below(80) as i64 - 40),
                    };
                    match (model.seek(to), file.seek(to).await) {
                        (Ok(expected), Ok(found)) => assert_eq!(found, expected, "{to:?}"),
                        (Err(_), Err(_)) => {}
                        other => panic!("{to:?}: {other:?}"),
                    }
                }
                _ => {
                    // As documented: from where it is, after a seek.
                    let here = SeekFrom::Current(0);
                    assert_eq!(file.seek(here).await.unwrap(), model.position());
                    let some = pattern(random.below(10) as usize);
                    model.write_all(&some).unwrap();
                    file.write_all(&some).await.unwrap();
                }
            }
        }
        file.flush().await.unwrap();
        file.seek(SeekFrom::Start(0)).await.unwrap();
        let mut whole = Vec::new();
        file.read_to_end(&mut whole).await.unwrap();
        assert!(&whole == model.get_ref());
    }
}

async fn items_of_an_iterator() {
    let offload = pool(2);
    for capacity in [1, 3, 64] {
        let mut items = Unblock::with_capacity(capacity, 0..1_000).on(&offload);
        for number in 0..500 {
            assert_eq!(items.next().await, Some(number));
        }
        // What has been pulled is not lost by a look at the iterator.
        let next = items.with_mut(|range| range.start).await;
        assert!((500..=500 + capacity as i32).contains(&next));
        for number in 500..1_000 {
            assert_eq!(items.next().await, Some(number));
        }
        assert_eq!(items.next().await, None);
        assert_eq!(items.next().await, None);
        // It is the iterator's `None`, not the end.
        *items.get_mut().await = 7..8;
        assert_eq!(items.next().await, Some(7));
        assert_eq!(items.next().await, None);
        assert!(items.into_inner().await.is_empty());
    }
}

/// An answer to each question: a call that went on for more would wait for ever.
async fn a_conversation() {
    let offload = pool(2);
    let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        let (mut server, mut line) = (server, [0; 4]);
        while server.read_exact(&mut line).is_ok() {
            server.write_all(&line).unwrap();
        }
    });
    let mut client = Unblock::new(client).on(&offload);
    let mut answer = [0; 4];
    for number in 0..500_u32 {
        client.write_all(&number.to_ne_bytes()).await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(u32::from_ne_bytes(answer), number);
    }
    client.close().await.unwrap();
    echo.join().unwrap();
}

under_each_runtime! {
    files_are_read_and_written_by_the_traits_of_futures: files_with_the_traits_of_futures();
    files_are_read_and_written_by_tokios_traits: tokio_traits::files();
    random_calls_do_what_they_do_on_the_file_itself: like_the_file_itself();
    an_iterator_is_a_stream: items_of_an_iterator();
    a_conversation_goes_to_and_fro: a_conversation();
}

/// Endless bytes, counted.
struct Zeros(Arc<AtomicUsize>);

impl Read for Zeros {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.fetch_add(buf.len(), SeqCst);
        Ok(buf.len())
    }
}

#[test]
fn no_more_than_the_capacity_is_read_ahead_and_no_thread_is_held() {
    let _watchdog = watchdog("reading ahead");
    let offload = pool(1);
    let read = Arc::new(AtomicUsize::new(0));
    let zeros = Zeros(Arc::clone(&read));
    let mut zeros = Unblock::with_capacity(100, zeros).on(&offload);
    futures::executor::block_on(async {
        assert_eq!(zeros.read(&mut []).await.unwrap(), 0);
        assert_eq!(offload.stats().io.submitted, 0);
        for taken in (10..=1_000).step_by(10) {
            zeros.read_exact(&mut [0; 10]).await.unwrap();
            at_rest(&offload);
            assert_eq!(read.load(SeqCst), usize::next_multiple_of(taken, 100));
            assert_eq!(zeros.read_ahead().len(), read.load(SeqCst) - taken);
        }
    });
    assert_eq!(offload.stats().io.submitted, 10);
}

/// What was written can be read.
#[derive(Default)]
struct Loop(VecDeque<u8>);

impl Read for Loop {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Loop {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_read_ahead_is_kept_whatever_is_called_in_between() {
    let _watchdog = watchdog("bytes read ahead");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut looped = Unblock::new(Loop::default()).on(&offload);
        looped.write_all(b"first ").await.unwrap();
        let mut byte = [0];
        looped.read_exact(&mut byte).await.unwrap();
        assert_eq!(looped.read_ahead(), b"irst ");
        looped.write_all(b"second ").await.unwrap();
        assert_eq!(looped.read_ahead(), b"", "a call is under way");
        looped.flush().await.unwrap();
        assert_eq!(looped.read_ahead(), b"irst ");
        assert_eq!(looped.with_mut(|looped| looped.0.len()).await, 7);
        assert_eq!(looped.get_mut().await.0.len(), 7);
        let mut rest = Vec::new();
        looped.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"irst second ");
        // Here it is lost, as documented.
        looped.write_all(b"third").await.unwrap();
        looped.read_exact(&mut byte).await.unwrap();
        assert!(looped.into_inner().await.0.is_empty());
    });
}

#[test]
fn a_seek_that_cannot_be_expressed_from_where_the_value_is_goes_in_two_steps() {
    let _watchdog = watchdog("a far seek");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut file = Unblock::new(Cursor::new(pattern(100))).on(&offload);
        file.read_exact(&mut [0; 10]).await.unwrap();
        let error = file.seek(SeekFrom::Current(i64::MIN)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 10);
        // One that fails at once leaves what was read ahead.
        file.read_exact(&mut [0; 10]).await.unwrap();
        file.seek(SeekFrom::Current(-30)).await.unwrap_err();
        assert_eq!(file.read_ahead().len(), 80);
        file.seek(SeekFrom::Current(-20)).await.unwrap();
        let mut byte = [0];
        file.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte[0], pattern(1)[0]);
    });
}

#[test]
fn a_call_of_any_kind_runs_on_the_pool_and_comes_back() {
    let _watchdog = watchdog("with_mut");
    let offload = pool(1);
    futures::executor::block_on(async {
        let mut number = Unblock::new(1_u32).on(&offload);
        let name = number.with_mut(|number| {
            *number += 1;
            thread::current().name().unwrap().to_owned()
        });
        assert!(name.await.starts_with("offramp-io"));
        let plus = |by: u32| move |number: &mut u32| std::mem::replace(number, *number + by);
        assert_eq!(number.try_with_mut(plus(10)).await.unwrap(), 2);
        assert_eq!(*number.get_mut().await, 12);
        assert_eq!(number.into_inner().await, 12);
    });
}

#[test]
fn a_call_whose_future_is_dropped_goes_on_and_the_next_one_waits_for_it() {
    let _watchdog = watchdog("a dropped with_mut");
    let offload = pool(2);
    futures::executor::block_on(async {
        let mut list = Unblock::new(Vec::new()).on(&offload);
        let (go_on, held) = mpsc::channel::<()>();
        {
            let push = list.with_mut(move |list| {
                held.recv_timeout(PATIENCE).unwrap();
                list.push(1);
            });
            assert!(futures::poll!(std::pin::pin!(push)).is_pending());
        }
        {
            let push = list.with_mut(|list| list.push(2));
            let mut push = std::pin::pin!(push);
            assert!(futures::poll!(push.as_mut()).is_pending());
            go_on.send(()).unwrap();
            push.await;
        }
        assert_eq!(list.into_inner().await, [1, 2]);
    });
}

#[test]
fn options_come_before_the_first_use() {
    let _watchdog = watchdog("options");
    let (offload, other) = (pool(1), pool(1));
    futures::executor::block_on(async {
        let lane = other.lane("elsewhere");
        let mut refused = Unblock::new(Cursor::new(vec![1])).on(&offload).lane(&lane);
        let error = refused.read(&mut [0]).await.unwrap_err();
        assert!(error.to_string().contains("lane"), "{error}");
        let mut zeros = Unblock::new(io::repeat(0)).on(&offload).label("zeros");
        zeros.read_exact(&mut [1]).await.unwrap();
        let mut zeros = zeros.on(&other).lane(&lane).label("late");
        let big = defaults::UNBLOCK_CAPACITY + 1;
        zeros.read_exact(&mut vec![1; big]).await.unwrap();
        let error = zeros.try_with_mut(|_| panic_quietly()).await.unwrap_err();
        assert!(error.to_string().contains("`zeros`"), "{error}");
        assert_eq!(other.stats().io.submitted, 0);
    });
}

/// Past the panic hook, which would print it.
fn panic_quietly() {
    std::panic::resume_unwind(Box::new("quietly"));
}

#[test]
fn both_kinds_of_traits_hold_for_one_type() {
    fn is_both<T: AsyncRead + tokio::io::AsyncRead>(_: &T) {}
    is_both(&Unblock::new(io::empty()));
    let debug = |unblock: &Unblock<u32>| format!("{unblock:?}");
    assert_eq!(debug(&Unblock::new(7)), "Unblock { io: Some(7), .. }");
}
