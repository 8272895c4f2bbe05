//! The implementations, behind one small trait.
//!
//! Each is called the way its documentation says, with nothing shared between them.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_rayon::AsyncThreadPool;

/// A place where closures run off the event loop.
pub(crate) trait Pool: Clone + Send + Sync + 'static {
    /// A job that is on its way.
    type Started: Future<Output: Send> + Send + 'static;

    /// Submits now, awaits later.
    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static;

    /// Lets it run, and asks no more of it. Dropping it is that, or cancels it.
    fn detach(started: Self::Started) {
        drop(started);
    }

    /// The job's own value.
    fn value(outcome: <Self::Started as Future>::Output) -> u64;

    /// Submits all, then awaits them in order.
    fn all<F>(&self, works: impl Iterator<Item = F> + Send) -> impl Future<Output = Vec<u64>> + Send
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let started: Vec<_> = works.map(|work| self.start(work)).collect();
        async move {
            let mut outputs = Vec::with_capacity(started.len());
            for one in started {
                outputs.push(Self::value(one.await));
            }
            outputs
        }
    }

    /// Submits and awaits.
    fn call<F>(&self, work: F) -> impl Future<Output = u64> + Send
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let started = self.start(work);
        async move { Self::value(started.await) }
    }
}

/// offramp's I/O pool. `call` is the lazy future, `start` is `try_spawn`.
#[derive(Clone)]
pub(crate) struct OfframpIo(pub(crate) offramp::Offload);

impl Pool for OfframpIo {
    type Started = offramp::Handle<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let Ok(handle) = offramp::offload_io(work).on(&self.0).try_spawn() else {
            panic!("a pool with room for every job refused one");
        };
        handle
    }

    fn detach(started: Self::Started) {
        started.detach();
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("no job of this bench fails")
    }

    fn call<F>(&self, work: F) -> impl Future<Output = u64> + Send
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let call = offramp::offload_io(work).on(&self.0);
        async move { Self::value(call.await) }
    }
}

/// offramp's CPU pool.
#[derive(Clone)]
pub(crate) struct OfframpCpu(pub(crate) offramp::Offload);

impl Pool for OfframpCpu {
    type Started = offramp::Handle<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let Ok(handle) = offramp::offload_cpu(work).on(&self.0).try_spawn() else {
            panic!("a pool with room for every job refused one");
        };
        handle
    }

    fn detach(started: Self::Started) {
        started.detach();
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("no job of this bench fails")
    }

    fn call<F>(&self, work: F) -> impl Future<Output = u64> + Send
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let call = offramp::offload_cpu(work).on(&self.0);
        async move { Self::value(call.await) }
    }
}

/// `tokio::task::spawn_blocking` of the runtime it is called on.
#[derive(Clone)]
pub(crate) struct Tokio;

impl Pool for Tokio {
    type Started = tokio::task::JoinHandle<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        tokio::task::spawn_blocking(work)
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("no job of this bench fails")
    }
}

/// `spawn_blocking` of a runtime that is named, for tasks that run elsewhere.
#[derive(Clone)]
pub(crate) struct TokioOf(pub(crate) tokio::runtime::Handle);

impl Pool for TokioOf {
    type Started = tokio::task::JoinHandle<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        self.0.spawn_blocking(work)
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("no job of this bench fails")
    }
}

/// `blocking::unblock`: one pool for the whole process.
#[derive(Clone)]
pub(crate) struct Blocking;

impl Pool for Blocking {
    type Started = blocking::Task<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        blocking::unblock(work)
    }

    fn detach(started: Self::Started) {
        started.detach();
    }

    fn value(outcome: u64) -> u64 {
        outcome
    }
}

/// `tokio_rayon::AsyncThreadPool` on a pool of its own.
#[derive(Clone)]
pub(crate) struct TokioRayon(pub(crate) Arc<rayon::ThreadPool>);

impl Pool for TokioRayon {
    type Started = tokio_rayon::AsyncRayonHandle<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        self.0.spawn_async(work)
    }

    fn value(outcome: u64) -> u64 {
        outcome
    }
}

/// What people write by hand: rayon's `spawn` and tokio's oneshot channel.
#[derive(Clone)]
pub(crate) struct Rayon(pub(crate) Arc<rayon::ThreadPool>);

impl Pool for Rayon {
    type Started = oneshot::Receiver<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.0.spawn(move || {
            // The receiver is always awaited here.
            let _ = sender.send(work());
        });
        receiver
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        outcome.expect("no job of this bench fails")
    }
}
