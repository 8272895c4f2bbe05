//! What offramp and its peers keep in memory, and what they do while there is nothing to do.
//!
//! ```text
//! cargo bench --bench memory                # the table: half a minute
//! cargo bench --bench memory -- --check     # fails, naming each row that falls short
//! cargo bench --bench memory -- --help
//! ```
//!
//! Apart from the other benches, because its allocator counts. Figures are of one pool at a time, each with the same
//! four threads (CPU pools: two), tokio's with a runtime that runs no task. Jobs return a `u64` and capture 32 bytes.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::prelude::{Long, ValueExt};
use offramp::{Handle, Offload};

use crate::idle::Idle;
use crate::pools::{Blocking, OfframpCpu, OfframpIo, Pool, TokioOf, TokioRayon};

#[path = "memory/heap.rs"]
mod heap;
#[path = "memory/idle.rs"]
mod idle;
#[path = "memory/jobs.rs"]
mod jobs;
// The other benches use the rest of them.
#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "common/pools.rs"]
mod pools;

const IO_THREADS: usize = 4;
const CPU_THREADS: usize = 2;
/// More than any row has waiting.
const CAPACITY: usize = 1 << 20;

/// Columns of the table: offramp's first.
const SUBJECTS: [&str; 5] = [
    "offramp-io",
    "offramp-cpu",
    "tokio",
    "tokio-rayon",
    "blocking",
];

const HELP: &str = "\
What offramp and its peers keep in memory, and what they do while there is nothing to do.

  --check       exit with 1, naming each row that falls short
  --only ROW    only the rows whose names contain ROW (may be repeated)
";

struct Options {
    check: bool,
    only: Vec<String>,
    /// Which pool a process of its own is to watch. Not for people.
    idle: Option<usize>,
}

/// A line of the table: what each of the subjects has.
struct Row {
    name: &'static str,
    what: &'static str,
    /// Of offramp's I/O pool; and of its CPU pool where that is said.
    wanted: String,
    measured: [String; SUBJECTS.len()],
    holds: bool,
}

fn offload() -> Offload {
    Offload::builder()
        .io_min_threads(1)
        .io_max_threads(IO_THREADS)
        .io_keep_alive(idle::KEEP_ALIVE)
        .cpu_threads(CPU_THREADS)
        .capacity(CAPACITY)
        .max_pending(CAPACITY)
        .build()
        .expect("a valid configuration")
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(IO_THREADS)
        .thread_keep_alive(idle::KEEP_ALIVE)
        .build()
        .expect("a tokio runtime")
}

fn rayon_pool() -> Arc<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(CPU_THREADS);
    Arc::new(pool.build().expect("a rayon pool"))
}

/// Measures one pool after the other, none beside another.
macro_rules! of_each {
    ($measure:expr) => {{
        fn one<P: Pool, K>(threads: usize, make: impl FnOnce() -> (P, K)) -> f64 {
            let measure: fn(&P, usize) -> f64 = $measure;
            let (pool, _keep) = make();
            measure(&pool, threads)
        }
        [
            one(IO_THREADS, || (OfframpIo(offload()), ())),
            one(CPU_THREADS, || (OfframpCpu(offload()), ())),
            one(IO_THREADS, tokio_pool),
            one(CPU_THREADS, || (TokioRayon(rayon_pool()), ())),
            one(IO_THREADS, || (Blocking, ())),
        ]
    }};
}

fn tokio_pool() -> (TokioOf, tokio::runtime::Runtime) {
    let runtime = tokio_runtime();
    (TokioOf(runtime.handle().clone()), runtime)
}

fn allocations() -> Result<Vec<Row>, String> {
    let of_each = of_each!(|pool, _| jobs::allocations(pool));
    Ok(vec![Row {
        name: "allocations",
        what: "allocations of a job that is awaited",
        wanted: "1".into(),
        // What grows now and then is none of a job's.
        holds: of_each[..2]
            .iter()
            .all(|count| count.round() == 1.0 && *count < 1.01),
        measured: of_each.map(|count| format!("{count:.2}")),
    }])
}

fn queued() -> Result<Vec<Row>, String> {
    const MOST: f64 = 72.0;
    let of_each = of_each!(jobs::queued);
    let handles = [
        size_of::<Handle<u64>>(),
        size_of::<Handle<u64>>(),
        size_of::<<TokioOf as Pool>::Started>(),
        size_of::<<TokioRayon as Pool>::Started>(),
        size_of::<<Blocking as Pool>::Started>(),
    ];
    Ok(vec![
        Row {
            name: "queued",
            what: "bytes on the heap of one of 100,000 jobs that wait, beyond what the closure captures",
            wanted: format!("at most {MOST}"),
            holds: of_each[..2].iter().all(|bytes| *bytes <= MOST),
            measured: of_each.map(|bytes| format!("{bytes:.1}")),
        },
        Row {
            name: "queued, handle",
            what: "bytes of its handle",
            wanted: "–".into(),
            holds: true,
            measured: handles.map(|bytes| bytes.to_string()),
        },
    ])
}

fn flood() -> Result<Vec<Row>, String> {
    let of_each = of_each!(|pool, _| jobs::flood(pool));
    Ok(vec![Row {
        name: "flood",
        what: "most bytes on the heap at once, for each of 100,000 jobs of 1 us that come as fast as they can",
        wanted: "–".into(),
        holds: true,
        measured: of_each.map(|bytes| format!("{bytes:.1}")),
    }])
}

/// One of `SUBJECTS`, alone in this process.
fn watch(subject: usize) -> Result<Idle, String> {
    match subject {
        0 => Ok(idle::watch(IO_THREADS, || (OfframpIo(offload()), ()))),
        1 => Ok(idle::watch(CPU_THREADS, || (OfframpCpu(offload()), ()))),
        2 => Ok(idle::watch(IO_THREADS, tokio_pool)),
        3 => Ok(idle::watch(CPU_THREADS, || (TokioRayon(rayon_pool()), ()))),
        4 => {
            cap_blocking();
            Ok(idle::watch(IO_THREADS, || (Blocking, ())))
        }
        other => Err(format!("there is no subject {other}")),
    }
}

fn idle() -> Result<Vec<Row>, String> {
    /// What the bench itself needs to fall asleep and wake up.
    const MOST_US: u64 = 300;
    const MOST_SWITCHES: u64 = 3;
    let mut all = Vec::new();
    for subject in 0..SUBJECTS.len() {
        all.push(idle::in_new_process(subject)?);
    }
    let of_each = |text: fn(&Idle) -> String| std::array::from_fn(|subject| text(&all[subject]));
    let is_quiet = |idle: &Idle| idle.cpu_us <= MOST_US && idle.switches <= MOST_SWITCHES;
    Ok(vec![
        Row {
            name: "idle, CPU",
            what: "CPU time of an idle pool in three seconds, from a second after its last job on (context switches)",
            wanted: format!(
                "none: at most {MOST_US} us and {MOST_SWITCHES} switches, the bench's own"
            ),
            holds: all[..2].iter().all(is_quiet),
            measured: of_each(|idle| format!("{} us ({})", idle.cpu_us, idle.switches)),
        },
        Row {
            name: "idle, threads",
            what: "its threads then (`+ 1`: a timer); those for I/O had four",
            wanted: "the minimum: 1".into(),
            // A CPU pool keeps its threads. None: not known here.
            holds: all[0].threads <= 1,
            measured: of_each(|idle| match idle.others {
                0 => idle.threads.to_string(),
                others => format!("{} + {others}", idle.threads),
            }),
        },
        Row {
            name: "idle, heap",
            what: "bytes on the heap of an idle pool",
            wanted: "–".into(),
            holds: true,
            measured: of_each(|idle| idle.heap.to_string()),
        },
    ])
}

type Measure = fn() -> Result<Vec<Row>, String>;

const MEASURES: [(&str, Measure); 4] = [
    ("allocations", allocations),
    ("queued", queued),
    ("flood", flood),
    ("idle", idle),
];

/// Measures, and again where it is to be checked and fell short: what else the machine does passes.
fn measured(measure: Measure, check: bool) -> Result<Vec<Row>, String> {
    let holds = |rows: &[Row]| rows.iter().all(|row| row.holds);
    let first = measure()?;
    if holds(&first) || !check {
        return Ok(first);
    }
    println!("  short: twice more");
    let second = measure()?;
    if !holds(&second) {
        return Ok(second);
    }
    measure()
}

fn cap_blocking() {
    let cap = NonZeroUsize::new(IO_THREADS).expect("at least one thread");
    blocking::set_max_blocking_threads(cap);
}

fn run(options: &Options) -> Result<bool, String> {
    if let Some(subject) = options.idle {
        idle::print(watch(subject)?);
        return Ok(true);
    }
    machine::print_environment();
    cap_blocking();
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        let only = &options.only;
        if only.is_empty() || only.iter().any(|part| name.contains(part.as_str())) {
            rows.extend(measured(measure, options.check)?);
        }
    }
    println!("\n| row | measured | wanted | {} |", SUBJECTS.join(" | "));
    println!("|---|---|---{}|", "|---".repeat(SUBJECTS.len()));
    for row in &rows {
        let measured = row.measured.join(" | ");
        println!(
            "| {} | {} | {} | {measured} |",
            row.name, row.what, row.wanted
        );
    }
    let short: Vec<_> = rows.iter().filter(|row| !row.holds).collect();
    for row in &short {
        println!("SHORT: {}: {}", row.name, row.wanted);
    }
    if options.check && short.is_empty() {
        println!("check: passed");
    }
    Ok(short.is_empty() || !options.check)
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        check: false,
        only: Vec::new(),
        idle: None,
    };
    let idle = idle::FLAG.trim_start_matches('-');
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // What cargo adds to every bench target.
            Long("bench") => {}
            Long("help") => return Ok(None),
            Long("check") => options.check = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long(flag) if flag == idle => options.idle = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let outcome = match options() {
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(&options),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::from(2)
        }
    }
}
