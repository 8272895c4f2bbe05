//! Which implementations a pass runs, and with what sizes: a runtime each, of the same kind.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::args::{self, Options};
use crate::bare::Bare;
use crate::cells::Cell;
use crate::jobs;
use crate::load;
use crate::passes::Pass;
use crate::pools::{Blocking, OfframpCpu, OfframpIo, Pool, TokioOf, TokioRayon};
use crate::push::{COMPUTES, Computing};
use crate::runtimes::{Kind, Runtime};
use crate::sample::Sample;
use crate::{CPU_THREADS, RUNTIME_WORKERS};

/// More than any cell has in flight: backpressure is not what is measured here, and no peer has it.
const CAPACITY: usize = 1 << 20;

/// What tokio takes when nothing is said.
const TOKIO_DEFAULT: usize = 512;

/// Names that targets refer to.
pub(crate) const OFFRAMP_IO: &str = "offramp-io";
pub(crate) const OFFRAMP_BULK: &str = "offramp-bulk";
pub(crate) const OFFRAMP_JOINED: &str = "offramp-joined";
pub(crate) const OFFRAMP_CPU: &str = "offramp-cpu";
pub(crate) const OFFRAMP_DEFAULT: &str = "offramp-default";
pub(crate) const TOKIO_CAPPED: &str = "tokio-capped";
pub(crate) const TOKIO_SHARDED: &str = "tokio-sharded";
pub(crate) const TOKIO_DEFAULTS: &str = "tokio-default";
pub(crate) const BLOCKING_CAPPED: &str = "blocking-capped";
pub(crate) const BLOCKING_DEFAULT: &str = "blocking-default";
pub(crate) const TOKIO_RAYON: &str = "tokio-rayon";
pub(crate) const COMPUTING: &str = "computing";
pub(crate) const BARE: &str = "bare-thread";

/// An implementation that a suite can run without knowing its type.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    fn round(&self, cell: &Cell, million: Duration) -> Sample;
}

struct Entry<P> {
    name: &'static str,
    runtime: Runtime,
    pool: P,
    /// Whose pool is measured, where the tasks run elsewhere.
    _pools_own: Option<tokio::runtime::Runtime>,
}

impl<P: Pool> Subject for Entry<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&self, cell: &Cell, million: Duration) -> Sample {
        load::round(&self.runtime, &self.pool, cell, million)
    }
}

/// Makes the subjects of a pass.
struct Maker {
    kind: Kind,
    io_threads: usize,
    /// How long a million steps of a busy job take.
    million: Duration,
    /// What there is once in a process, and has to be made before its second thread.
    sharded: Option<tokio::runtime::Builder>,
}

impl Maker {
    fn builder(&self) -> tokio::runtime::Builder {
        match self.kind {
            Kind::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        }
    }

    fn build(
        &self,
        mut builder: tokio::runtime::Builder,
        blocking_threads: usize,
    ) -> tokio::runtime::Runtime {
        if self.kind != Kind::CurrentThread {
            builder.worker_threads(RUNTIME_WORKERS);
        }
        builder
            .max_blocking_threads(blocking_threads)
            .enable_all()
            .build()
            .expect("a tokio runtime")
    }

    fn entry<P: Pool>(&self, name: &'static str, pool: P) -> Box<dyn Subject> {
        let runtime = Runtime::new(self.kind, || self.build(self.builder(), self.io_threads));
        Box::new(Entry {
            name,
            runtime,
            pool,
            _pools_own: None,
        })
    }

    fn tokio(
        &self,
        name: &'static str,
        builder: tokio::runtime::Builder,
        blocking_threads: usize,
    ) -> Box<dyn Subject> {
        let own = self.build(builder, blocking_threads);
        let pool = TokioOf(own.handle().clone());
        let (runtime, _pools_own) = match self.kind {
            Kind::Tokio | Kind::CurrentThread => (Runtime::Tokio(own), None),
            kind => (
                Runtime::new(kind, || unreachable!("not one of tokio's")),
                Some(own),
            ),
        };
        Box::new(Entry {
            name,
            runtime,
            pool,
            _pools_own,
        })
    }

    fn offload(&self) -> offramp::Offload {
        offramp::Offload::builder()
            .io_min_threads(0)
            .io_max_threads(self.io_threads)
            .cpu_threads(CPU_THREADS)
            .capacity(CAPACITY)
            .max_pending(CAPACITY)
            .build()
            .expect("a valid configuration")
    }

    fn together(&self, name: &'static str, way: Way) -> Box<dyn Subject> {
        let pool = OfframpIo(self.offload());
        self.entry(name, Together { pool, way })
    }

    fn make(&mut self, name: &'static str) -> Box<dyn Subject> {
        match name {
            OFFRAMP_IO => self.entry(name, OfframpIo(self.offload())),
            OFFRAMP_BULK => self.together(name, Way::Bulk),
            OFFRAMP_JOINED => self.together(name, Way::Joined),
            OFFRAMP_CPU => self.entry(name, OfframpCpu(self.offload())),
            OFFRAMP_DEFAULT => {
                let offload = offramp::Offload::builder()
                    .capacity(CAPACITY)
                    .max_pending(CAPACITY)
                    .build()
                    .expect("a valid configuration");
                self.entry(name, OfframpIo(offload))
            }
            TOKIO_CAPPED => self.tokio(name, self.builder(), self.io_threads),
            TOKIO_DEFAULTS => self.tokio(name, self.builder(), TOKIO_DEFAULT),
            TOKIO_SHARDED => {
                let builder = self.sharded.take().expect("made at first, for one subject");
                self.tokio(name, builder, self.io_threads)
            }
            BLOCKING_CAPPED => {
                let cap = NonZeroUsize::new(self.io_threads).expect("at least one thread");
                blocking::set_max_blocking_threads(cap);
                self.entry(name, Blocking)
            }
            BLOCKING_DEFAULT => self.entry(name, Blocking),
            TOKIO_RAYON => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(CPU_THREADS);
                self.entry(
                    name,
                    TokioRayon(Arc::new(pool.build().expect("a rayon pool"))),
                )
            }
            BARE => self.entry(name, Bare::new()),
            COMPUTING => {
                let steps = jobs::steps_in(COMPUTES, self.million);
                self.entry(name, Computing { steps })
            }
            other => unreachable!("no subject is called {other}"),
        }
    }
}

/// tokio's sharded queue is chosen by a variable that is read when a builder is made. (The builder's method for it is
/// there only with `--cfg tokio_unstable`, which would change all the rest of tokio, too.)
fn sharded(builder: impl FnOnce() -> tokio::runtime::Builder) -> tokio::runtime::Builder {
    const VARIABLE: &str = "TOKIO_UNSTABLE_SHARDED_BLOCKING_QUEUE";
    // SAFETY: this process has no other thread yet.
    unsafe { std::env::set_var(VARIABLE, "1") };
    let builder = builder();
    // SAFETY: as above.
    unsafe { std::env::remove_var(VARIABLE) };
    builder
}

fn names(pass: Pass) -> &'static [&'static str] {
    match pass {
        Pass::CpuPools | Pass::OneCpuPools => &[OFFRAMP_CPU, OFFRAMP_IO, TOKIO_RAYON],
        Pass::Defaults => &[
            OFFRAMP_IO,
            OFFRAMP_DEFAULT,
            TOKIO_DEFAULTS,
            BLOCKING_DEFAULT,
        ],
        Pass::Push => &[
            OFFRAMP_IO,
            TOKIO_CAPPED,
            TOKIO_SHARDED,
            BLOCKING_CAPPED,
            COMPUTING,
        ],
        Pass::Futexes | Pass::OneCpuFutexes => &[
            OFFRAMP_IO,
            OFFRAMP_CPU,
            TOKIO_CAPPED,
            TOKIO_SHARDED,
            BLOCKING_CAPPED,
            TOKIO_RAYON,
            BARE,
        ],
        Pass::Least => &[OFFRAMP_IO, OFFRAMP_BULK, OFFRAMP_JOINED, BARE],
        Pass::SameCap => &[
            OFFRAMP_IO,
            OFFRAMP_BULK,
            TOKIO_CAPPED,
            TOKIO_SHARDED,
            BLOCKING_CAPPED,
        ],
        Pass::Flat => &[OFFRAMP_IO, TOKIO_CAPPED, BLOCKING_CAPPED],
        _ => &[OFFRAMP_IO, TOKIO_CAPPED, TOKIO_SHARDED, BLOCKING_CAPPED],
    }
}

/// The implementations of a pass. Those that are filtered out are never made, so they have no threads. To be called
/// before the process has a second thread.
pub(crate) fn of_pass(pass: Pass, million: Duration, options: &Options) -> Vec<Box<dyn Subject>> {
    let names = names(pass);
    let mut maker = Maker {
        kind: pass.runtime(),
        io_threads: pass.io_threads(),
        million,
        sharded: None,
    };
    maker.sharded = Some(sharded(|| maker.builder()));
    names
        .iter()
        .filter(|name| args::admits(&options.implementations, name, names))
        .map(|name| maker.make(name))
        .collect()
}

/// offramp's I/O pool, where many calls are not started one by one.
#[derive(Clone)]
struct Together {
    pool: OfframpIo,
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    /// Handed over by one call.
    Bulk,
    /// A future each, which are joined.
    Joined,
}

impl Pool for Together {
    type Started = <OfframpIo as Pool>::Started;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        self.pool.start(work)
    }

    fn value(outcome: <Self::Started as Future>::Output) -> u64 {
        OfframpIo::value(outcome)
    }

    async fn all<F>(&self, works: impl Iterator<Item = F> + Send) -> Vec<u64>
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        match self.way {
            Way::Bulk => {
                let outcomes = offramp::offload_io_all(works).on(&self.pool.0).await;
                outcomes.into_iter().map(Self::value).collect()
            }
            Way::Joined => {
                let calls: Vec<_> = works.map(|work| self.pool.call(work)).collect();
                futures::future::join_all(calls).await
            }
        }
    }
}
