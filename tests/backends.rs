//! What backends do beside what all of them promise: a turn dropped, a runtime that ends.

#[cfg(feature = "tokio")]
mod common;

use offramp::backend::{Backend, Threads, Turns};
use offramp::{Offload, offload_io};

/// Takes a turn and drops it.
#[derive(Debug)]
struct Careless;

impl Backend for Careless {
    fn demand(&self, turns: &Turns) {
        drop(turns.next());
    }

    fn close(&self, _: &Turns) {}

    fn threads(&self) -> Threads {
        Threads::default()
    }
}

#[test]
fn a_turn_dropped_unrun_fails_its_job() {
    let offload = Offload::builder().io_backend(Careless).build().unwrap();
    let outcome = offload_io(|| ()).on(&offload).wait();
    assert!(matches!(outcome, Err(offramp::OffloadError::NoThreads)));
    let stats = offload.stats().io;
    assert_eq!((stats.submitted, stats.failed, stats.queued), (1, 1, 0));
}

#[cfg(feature = "tokio")]
mod tokio_pool {
    use super::*;
    use crate::common;
    use offramp::backend::Tokio;
    use offramp::{Backlog, OffloadError};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread;
    use tokio::runtime::{Builder, Handle};

    #[test]
    fn jobs_run_on_the_runtimes_blocking_pool() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("the-runtime")
            .build()
            .unwrap();
        let offload = Offload::builder()
            .io_backend(Tokio::new(runtime.handle().clone(), 2))
            .build()
            .unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        runtime.block_on(async {
            let call = || {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                offload_io(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    // Inside of the runtime's context, on its thread.
                    let _ = Handle::current();
                    thread::current().name().map(str::to_owned)
                })
                .on(&offload)
            };
            for outcome in futures::future::join_all((0..1_000).map(|_| call())).await {
                assert_eq!(outcome.unwrap().as_deref(), Some("the-runtime"));
            }
            assert!(most.load(Ordering::SeqCst) <= 2);
            offload.shutdown(None, Backlog::Drain).await;
        });
    }

    #[test]
    fn jobs_that_wait_when_the_runtime_ends_resolve() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let offload = Offload::builder()
            .io_backend(Tokio::new(runtime.handle().clone(), 1))
            .build()
            .unwrap();
        // Occupies the runtime's only blocking thread, so that our task waits.
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let released = Mutex::new(released);
        runtime.spawn_blocking(move || {
            started.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        });
        has_started.recv().unwrap();
        let waits = offload_io(|| ()).on(&offload).try_spawn().unwrap();
        runtime.shutdown_background();
        drop(release);
        // A thread that was busy still takes what it finds.
        let outcome = waits.wait();
        assert!(
            matches!(outcome, Ok(()) | Err(OffloadError::NoThreads)),
            "{outcome:?}"
        );
        // Until it has left, that thread would take this one, too.
        common::wait_until("the thread has left", || offload.stats().io.threads == 0);
        let later = offload_io(|| ()).on(&offload).wait();
        assert!(matches!(later, Err(OffloadError::NoThreads)), "{later:?}");
    }
}
