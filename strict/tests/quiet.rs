//! Async code that does nothing wrong is not reported: sockets, files, timers, children and
//! locks of the runtimes, again and again. `OFFRAMP_STRICT_RUNS=1000` for the full number.
#![cfg(all(feature = "tokio", feature = "smol"))]

mod common;

use common::runs;
use futures::future::join_all;
use offramp_strict::{Flavor, Options, assert_armed, spawn, watch};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::sync::{Mutex, Notify, RwLock, Semaphore, mpsc};

const WORKERS: Flavor = Flavor::MultiThread { workers: Some(4) };

/// Runs it many times with each of tokio's schedulers.
fn quiet_on_tokio<F: Future<Output = io::Result<()>>>(times: usize, test: impl Fn() -> F) {
    if common::is_interposed() {
        assert_armed();
    }
    for flavor in [Flavor::CurrentThread, WORKERS] {
        for _ in 0..runs(times).div_ceil(2) {
            let options = Options::new().flavor(flavor);
            options.run(test()).expect("no errors");
        }
    }
}

async fn echo(listener: TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let (mut reads, mut writes) = stream.split();
    tokio::io::copy(&mut reads, &mut writes).await?;
    Ok(())
}

#[test]
fn tokio_net() {
    quiet_on_tokio(200, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = spawn(echo(listener));
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&[7; 100_000]).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        assert_eq!(answer.len(), 100_000);
        server.await??;

        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").await?,
            UdpSocket::bind("127.0.0.1:0").await?,
        );
        a.send_to(b"text", b.local_addr()?).await?;
        assert_eq!(b.recv_from(&mut [0; 4]).await?.0, 4);

        let (mut a, mut b) = UnixStream::pair()?;
        a.write_all(b"text").await?;
        b.read_exact(&mut [0; 4]).await?;
        Ok(())
    });
}

#[test]
fn tokio_looks_up_names_on_its_pool() {
    quiet_on_tokio(10, async || {
        assert!(tokio::net::lookup_host("localhost:80").await?.count() > 0);
        Ok(())
    });
}

#[test]
fn tokio_fs() {
    let folder = tempfile::tempdir().unwrap();
    quiet_on_tokio(200, async || {
        let path = folder.path().join("a");
        tokio::fs::write(&path, "text").await?;
        let mut file = tokio::fs::File::open(&path).await?;
        let mut text = String::new();
        file.read_to_string(&mut text).await?;
        assert_eq!(text, "text");
        assert_eq!(tokio::fs::metadata(&path).await?.len(), 4);
        let mut entries = tokio::fs::read_dir(folder.path()).await?;
        while entries.next_entry().await?.is_some() {}
        tokio::fs::remove_file(&path).await
    });
}

#[test]
fn tokio_timers() {
    quiet_on_tokio(200, async || {
        let naps = (0..20).map(|n| tokio::time::sleep(Duration::from_micros(n * 50)));
        join_all(naps).await;
        let never = std::future::pending::<()>();
        let late = tokio::time::timeout(Duration::from_millis(1), never).await;
        assert!(late.is_err());
        let mut interval = tokio::time::interval(Duration::from_micros(100));
        for _ in 0..3 {
            interval.tick().await;
        }
        Ok(())
    });
}

#[test]
fn tokio_process() {
    quiet_on_tokio(6, async || {
        let output = tokio::process::Command::new("true").output().await?;
        assert!(output.status.success());
        Ok(())
    });
}

/// It may block: that is what it is for.
#[test]
fn tokio_block_in_place() {
    for _ in 0..runs(10) {
        Options::new().flavor(WORKERS).run(async {
            let task = spawn(async {
                tokio::task::block_in_place(|| std::fs::read("Cargo.toml").unwrap().len())
            });
            assert!(task.await.unwrap() > 0);
        });
    }
}

/// tokio's own locks wait for each other, by the same system call as a user's.
#[test]
fn a_contended_mutex_of_tokio() {
    quiet_on_tokio(1_000, async || {
        let sum = Arc::new(Mutex::new(0));
        let tasks = (0..50).map(|_| {
            let sum = sum.clone();
            spawn(async move {
                for _ in 0..20 {
                    *sum.lock().await += 1;
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in join_all(tasks).await {
            task?;
        }
        assert_eq!(*sum.lock().await, 50 * 20);
        Ok(())
    });
}

#[test]
fn other_contended_things_of_tokio() {
    quiet_on_tokio(200, async || {
        let lock = Arc::new(RwLock::new(0));
        let permits = Arc::new(Semaphore::new(3));
        let notify = Arc::new(Notify::new());
        let (sender, mut receiver) = mpsc::channel(2);
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (lock, permits) = (lock.clone(), permits.clone());
                let (notify, sender) = (notify.clone(), sender.clone());
                spawn(async move {
                    let _permit = permits.acquire().await;
                    *lock.write().await += 1;
                    sender.send(n).await.expect("it is received");
                    notify.notify_waiters();
                })
            })
            .collect();
        drop(sender);
        let mut sum = 0;
        while let Some(n) = receiver.recv().await {
            sum += n;
        }
        assert_eq!(sum, (0..20).sum());
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

/// A lock that is held for nanoseconds is fine in async code, as tokio's documentation says.
#[test]
fn a_contended_lock_of_std() {
    quiet_on_tokio(200, async || {
        let sum = Arc::new(std::sync::Mutex::new(0));
        let tasks = (0..50).map(|_| {
            let sum = sum.clone();
            spawn(async move {
                for _ in 0..50 {
                    *sum.lock().unwrap() += 1;
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in join_all(tasks).await {
            task?;
        }
        assert_eq!(*sum.lock().unwrap(), 50 * 50);
        Ok(())
    });
}

/// What a task prints goes where the test's output goes; and the kernel's own files are no
/// disk: how many CPUs there are is read from them.
#[test]
fn printing_and_the_number_of_cpus() {
    Options::new().run(async {
        io::Write::write_all(&mut io::stdout(), b"printed\n").unwrap();
        io::Write::write_all(&mut io::stderr(), b"printed\n").unwrap();
        assert!(std::thread::available_parallelism().is_ok());
        assert!(std::fs::read_to_string("/proc/self/status").is_ok());
        std::thread::spawn(|| ());
    });
}

#[test]
fn smol_net_fs_timers_and_locks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for _ in 0..runs(100) {
        let done = Options::new().flavor(Flavor::Smol).run(async {
            use smol::io::{AsyncReadExt, AsyncWriteExt};

            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let server = smol::spawn(watch(async move {
                let (mut stream, _) = listener.accept().await?;
                smol::io::copy(stream.clone(), &mut stream).await
            }));
            let mut stream = smol::net::TcpStream::connect(address).await?;
            stream.write_all(b"text").await?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert_eq!(answer, "text");
            server.await?;

            smol::fs::write(&path, "text").await?;
            assert_eq!(smol::fs::read(&path).await?, b"text");
            smol::Timer::after(Duration::from_micros(100)).await;

            let sum = Arc::new(smol::lock::Mutex::new(0));
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let sum = sum.clone();
                    smol::spawn(watch(async move { *sum.lock().await += 1 }))
                })
                .collect();
            for task in tasks {
                task.await;
            }
            assert_eq!(*sum.lock().await, 20);
            Ok::<_, io::Error>(())
        });
        done.expect("no errors");
    }
}
