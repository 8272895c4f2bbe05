//! Which implementations a pass runs, and with what sizes: a runtime each, of the same kind.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::args::{self, Options, Pass};
use crate::load::{self, Sample};
use crate::pools::{Blocking, OfframpCpu, OfframpIo, Pool, Rayon, Tokio};
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
pub(crate) fn of_pass(pass: Pass, options: &Options) -> Vec<Box<dyn Subject>> {
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
