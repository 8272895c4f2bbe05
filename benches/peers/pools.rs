//! The implementations, behind one small trait.
//!
//! Each is called the way its documentation says, with nothing shared between them: a runtime each, of the same kind.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::args::{self, Options, Pass};
use crate::load::{self, Sample};
use crate::suite::Cell;
use crate::{CPU_THREADS, IO_THREADS, RUNTIME_WORKERS};

/// More than any cell has in flight: backpressure is not what is measured here, and no peer has it.
const CAPACITY: usize = 1 << 20;

/// What tokio takes when nothing is said.
const TOKIO_DEFAULT: usize = 512;

/// Names that the report refers to.
pub(crate) const OFFRAMP_IO: &str = "offramp-io";
pub(crate) const OFFRAMP_CPU: &str = "offramp-cpu";
pub(crate) const OFFRAMP_DEFAULT: &str = "offramp-default";
pub(crate) const TOKIO_CAPPED: &str = "tokio-capped";

/// A place where closures run off the event loop.
pub(crate) trait Pool: Clone + Send + Sync + 'static {
    /// A job that is on its way.
    type Started: Future<Output: Send> + Send + 'static;

    /// Submits now, awaits later.
    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static;

    /// The job's own value.
    fn value(outcome: <Self::Started as Future>::Output) -> u64;

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
struct OfframpIo(offramp::Offload);

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
struct OfframpCpu(offramp::Offload);

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
struct Tokio;

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

/// `blocking::unblock`: one pool for the whole process.
#[derive(Clone)]
struct Blocking;

impl Pool for Blocking {
    type Started = blocking::Task<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        blocking::unblock(work)
    }

    fn value(outcome: u64) -> u64 {
        outcome
    }
}

/// What people write by hand, and what `tokio-rayon` is inside: rayon's `spawn` and tokio's oneshot channel.
#[derive(Clone)]
struct Rayon(Arc<rayon::ThreadPool>);

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

/// An implementation that a suite can run without knowing its type.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    fn round(&self, cell: &Cell) -> Sample;
}

struct Entry<P> {
    name: &'static str,
    runtime: Runtime,
    pool: P,
}

impl<P: Pool> Subject for Entry<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&self, cell: &Cell) -> Sample {
        load::round(&self.runtime, &self.pool, cell)
    }
}

fn entry<P: Pool>(name: &'static str, blocking_threads: usize, pool: P) -> Box<dyn Subject> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_WORKERS)
        .max_blocking_threads(blocking_threads)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    Box::new(Entry {
        name,
        runtime,
        pool,
    })
}

fn offramp_capped() -> offramp::Offload {
    offramp::Offload::builder()
        .io_min_threads(0)
        .io_max_threads(IO_THREADS)
        .cpu_threads(CPU_THREADS)
        .capacity(CAPACITY)
        .max_pending(CAPACITY)
        .build()
        .expect("a valid configuration")
}

fn offramp_default() -> offramp::Offload {
    offramp::Offload::builder()
        .capacity(CAPACITY)
        .max_pending(CAPACITY)
        .build()
        .expect("a valid configuration")
}

/// How an implementation is made; its name is handed in.
type Make = fn(&'static str) -> Box<dyn Subject>;

fn make_offramp_io(name: &'static str) -> Box<dyn Subject> {
    entry(name, IO_THREADS, OfframpIo(offramp_capped()))
}

fn make_offramp_cpu(name: &'static str) -> Box<dyn Subject> {
    entry(name, IO_THREADS, OfframpCpu(offramp_capped()))
}

fn make_offramp_default(name: &'static str) -> Box<dyn Subject> {
    entry(name, IO_THREADS, OfframpIo(offramp_default()))
}

fn make_tokio_capped(name: &'static str) -> Box<dyn Subject> {
    entry(name, IO_THREADS, Tokio)
}

fn make_tokio_default(name: &'static str) -> Box<dyn Subject> {
    entry(name, TOKIO_DEFAULT, Tokio)
}

fn make_blocking_capped(name: &'static str) -> Box<dyn Subject> {
    let cap = NonZeroUsize::new(IO_THREADS).expect("at least one thread");
    blocking::set_max_blocking_threads(cap);
    entry(name, IO_THREADS, Blocking)
}

fn make_blocking_default(name: &'static str) -> Box<dyn Subject> {
    entry(name, IO_THREADS, Blocking)
}

fn make_rayon(name: &'static str) -> Box<dyn Subject> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(CPU_THREADS)
        .build();
    let pool = Arc::new(pool.expect("a rayon pool"));
    entry(name, IO_THREADS, Rayon(pool))
}

/// The implementations of a pass. Those that are filtered out are never made, so they have no threads.
pub(crate) fn subjects(pass: Pass, options: &Options) -> Vec<Box<dyn Subject>> {
    let makers: &[(&'static str, Make)] = match pass {
        Pass::SameCap | Pass::OneCpu => &[
            (OFFRAMP_IO, make_offramp_io),
            (TOKIO_CAPPED, make_tokio_capped),
            ("blocking-capped", make_blocking_capped),
        ],
        Pass::CpuPools | Pass::OneCpuPools => &[
            (OFFRAMP_CPU, make_offramp_cpu),
            ("rayon-oneshot", make_rayon),
        ],
        Pass::Defaults => &[
            (OFFRAMP_IO, make_offramp_io),
            (OFFRAMP_DEFAULT, make_offramp_default),
            ("tokio-default", make_tokio_default),
            ("blocking-default", make_blocking_default),
        ],
    };
    let names: Vec<&str> = makers.iter().map(|(name, _)| *name).collect();
    makers
        .iter()
        .filter(|(name, _)| args::admits(&options.implementations, name, &names))
        .map(|(name, make)| make(name))
        .collect()
}
