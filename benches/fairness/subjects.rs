//! The pools that are compared, each with the same number of threads and a runtime of the same kind.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use futures::future::{BoxFuture, FutureExt};
use offramp::{Offload, OffloadError};
use tokio::runtime::Runtime;

use crate::pools::{Blocking, Pool, Rayon, Tokio};
use crate::{RUNTIME_WORKERS, THREADS};

/// More than any row has waiting: where the queue ends is not what is measured here, and no peer's does.
const CAPACITY: usize = 1 << 20;

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// What a caller gets that waits for so long and no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Value,
    /// At once, or later: it will not run.
    Refused,
    TooLate,
}

/// A pool that a row can use without knowing its type.
pub(crate) trait Subject: Send + Sync {
    fn name(&self) -> &'static str;

    fn runtime(&self) -> &Runtime;

    /// Submits now, for this tenant where the pool knows of such. Dropping the future does what it does there.
    fn start(&self, tenant: usize, work: Work) -> BoxFuture<'static, ()>;

    /// Submits, and waits until then.
    fn before(&self, deadline: Instant, work: Work) -> BoxFuture<'static, Answer>;

    /// All that was submitted before has been started, where that is the order.
    fn settle(&self) {
        let last = self.start(0, Box::new(|| {}));
        self.runtime().block_on(last);
    }
}

/// A pool of `threads` threads.
pub(crate) fn offload(threads: usize) -> Offload {
    Offload::builder()
        .io_max_threads(threads)
        .capacity(CAPACITY)
        .max_pending(CAPACITY)
        .build()
        .expect("a valid configuration")
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_WORKERS)
        .max_blocking_threads(THREADS)
        .enable_time()
        .build()
        .expect("a tokio runtime")
}

struct Offramp {
    runtime: Runtime,
    offload: Offload,
}

impl Subject for Offramp {
    fn name(&self) -> &'static str {
        "offramp"
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn start(&self, tenant: usize, work: Work) -> BoxFuture<'static, ()> {
        let call = offramp::offload_io(work).tenant(tenant).on(&self.offload);
        let Ok(handle) = call.try_spawn() else {
            panic!("a pool with room for every job refused one");
        };
        handle
            .map(|outcome| outcome.expect("no job of this bench fails"))
            .boxed()
    }

    fn before(&self, deadline: Instant, work: Work) -> BoxFuture<'static, Answer> {
        let call = offramp::offload_io(work)
            .deadline(deadline)
            .on(&self.offload);
        call.map(|outcome| match outcome {
            Ok(()) => Answer::Value,
            Err(OffloadError::Overloaded { .. }) => Answer::Refused,
            Err(OffloadError::DeadlineExceeded { .. }) => Answer::TooLate,
            Err(other) => panic!("no job of this bench fails: {other}"),
        })
        .boxed()
    }
}

/// A pool that knows nobody, with tokio's time-out around the wait.
struct Peer<P> {
    name: &'static str,
    runtime: Runtime,
    pool: P,
}

impl<P: Pool> Peer<P> {
    fn started(&self, work: Work) -> impl Future<Output = ()> + Send + 'static {
        let _inside = self.runtime.enter();
        let started = self.pool.start(move || {
            work();
            0
        });
        started.map(|outcome| {
            P::value(outcome);
        })
    }
}

impl<P: Pool> Subject for Peer<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn start(&self, _tenant: usize, work: Work) -> BoxFuture<'static, ()> {
        self.started(work).boxed()
    }

    fn before(&self, deadline: Instant, work: Work) -> BoxFuture<'static, Answer> {
        let started = self.started(work);
        let waiting = async move {
            match tokio::time::timeout_at(deadline.into(), started).await {
                Ok(()) => Answer::Value,
                Err(_) => Answer::TooLate,
            }
        };
        waiting.boxed()
    }
}

/// offramp first, then its peers. They last for ever: tasks of theirs may be about at the end.
pub(crate) fn all() -> Vec<&'static dyn Subject> {
    fn peer<P: Pool>(name: &'static str, pool: P) -> &'static dyn Subject {
        let runtime = runtime();
        Box::leak(Box::new(Peer {
            name,
            runtime,
            pool,
        }))
    }

    let cap = NonZeroUsize::new(THREADS).expect("at least one thread");
    blocking::set_max_blocking_threads(cap);
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build()
        .expect("a rayon pool");
    let offramp = Offramp {
        runtime: runtime(),
        offload: offload(THREADS),
    };
    vec![
        Box::leak(Box::new(offramp)),
        peer("tokio", Tokio),
        peer("blocking", Blocking),
        peer("rayon + oneshot", Rayon(Arc::new(rayon))),
    ]
}
