//! Fair shares, measured from outside: what a caller sees of them, beside pools that have none.
//!
//! ```text
//! cargo bench --bench fairness               # the table, and the pictures of docs/fairness.md
//! cargo bench --bench fairness -- --check    # fails, naming each row that falls short
//! cargo bench --bench fairness -- --quick    # shorter windows
//! cargo bench --bench fairness -- --help
//! ```
//!
//! Every pool has the same number of threads and a runtime of its own. Jobs sleep, so what they take is the scheduler's
//! to give, not the machine's, and two CPUs will do. A job *starts* when its closure says so, and runs for as long as
//! its closure's own clock says: nothing here asks the pool that is measured. Where pools take turns the order is
//! shuffled. What other processes do still shows; a row that falls short under `--check` is measured twice more, and
//! falls short if it does in two of the three.

use std::process::ExitCode;
use std::time::Instant;

use lexopt::prelude::{Long, ValueExt};

use crate::report::Row;
use crate::stats::Shuffler;
use crate::subjects::Subject;

#[path = "fairness/capped.rs"]
mod capped;
#[path = "fairness/flood.rs"]
mod flood;
// The other benches use the rest of them.
#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;
#[path = "fairness/memory.rs"]
mod memory;
#[path = "fairness/overload.rs"]
mod overload;
#[path = "fairness/pictures.rs"]
mod pictures;
#[allow(dead_code)]
#[path = "common/pools.rs"]
mod pools;
#[path = "fairness/priority.rs"]
mod priority;
#[path = "fairness/report.rs"]
mod report;
#[path = "fairness/shares.rs"]
mod shares;
#[allow(dead_code)]
#[path = "common/stats.rs"]
mod stats;
#[path = "fairness/subjects.rs"]
mod subjects;
#[path = "fairness/tenants.rs"]
mod tenants;

/// Threads of every pool.
const THREADS: usize = 8;
/// Worker threads of each tokio runtime.
const RUNTIME_WORKERS: usize = 2;

const HELP: &str = "\
Fair shares, measured from outside, beside pools that have none.

  --quick       shorter windows; draws nothing
  --check       exit with 1, naming each row that falls short; draws nothing
  --only ROW    only the rows whose names contain ROW (may be repeated); draws nothing
  --seed N      seed of job lengths, arrivals and orders
";

pub(crate) struct Options {
    pub(crate) quick: bool,
    check: bool,
    only: Vec<String>,
    pub(crate) seed: u64,
}

impl Options {
    /// The pictures need all of it, undisturbed by second looks.
    pub(crate) fn draws(&self) -> bool {
        !self.quick && !self.check && self.only.is_empty()
    }
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        quick: false,
        check: false,
        only: Vec::new(),
        seed: 42,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // What cargo adds to every bench target.
            Long("bench") => {}
            Long("help") => return Ok(None),
            Long("quick") => options.quick = true,
            Long("check") => options.check = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// What the rows share.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) shuffler: Shuffler,
    /// offramp is the first.
    pub(crate) subjects: Vec<&'static dyn Subject>,
    pub(crate) drawn: pictures::Drawn,
}

/// A row, or several that are measured together.
type Measure = fn(&mut Bench) -> Vec<Row>;

const MEASURES: [(&str, Measure); 8] = [
    ("flood", flood::rows),
    ("weights", shares::weighted),
    ("equal", shares::equal),
    ("capped", capped::rows),
    ("tenants", tenants::rows),
    ("overload", overload::rows),
    ("high", priority::overtaking),
    ("ageing", priority::ageing),
];

/// Measures, and again where it is to be checked and fell short: what else the machine does passes.
fn measured(bench: &mut Bench, measure: Measure) -> Vec<Row> {
    let holds = |rows: &[Row]| rows.iter().all(|row| row.holds);
    let first = measure(bench);
    if holds(&first) || !bench.options.check {
        return first;
    }
    println!("  short: twice more");
    let second = measure(bench);
    if !holds(&second) {
        return second;
    }
    measure(bench)
}

fn run(options: Options) -> Result<bool, String> {
    machine::print_environment();
    println!(
        "pools: {THREADS} threads each; tokio runtimes: {RUNTIME_WORKERS} workers; seed {}, {} run",
        options.seed,
        if options.quick { "quick" } else { "long" }
    );
    let (before, born) = (machine::machine_time(), Instant::now());
    let mut bench = Bench {
        shuffler: Shuffler::new(options.seed),
        subjects: subjects::all(),
        drawn: pictures::Drawn::default(),
        options,
    };
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        let only = &bench.options.only;
        if only.is_empty() || only.iter().any(|part| name.contains(part.as_str())) {
            println!("measuring: {name}");
            rows.extend(measured(&mut bench, measure));
        }
    }
    report::print(&rows, &bench.subjects);
    println!("\nin {} s", born.elapsed().as_secs());
    let load = before.and_then(|before| machine::foreign_load(before, machine::usage().cpu));
    if let Some(percent) = load {
        println!("other processes used {percent:.0} % of the machine's CPU time");
    }
    if bench.options.draws() {
        pictures::draw(&bench.drawn)?;
    }
    let short: Vec<_> = rows.iter().filter(|row| !row.holds).collect();
    for row in &short {
        println!("SHORT: {}: {}", row.name, row.wanted);
    }
    if bench.options.check && short.is_empty() {
        println!("check: passed");
    }
    Ok(short.is_empty() || !bench.options.check)
}

fn main() -> ExitCode {
    let outcome = match options() {
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(options),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fairness: {error}");
            ExitCode::from(2)
        }
    }
}
