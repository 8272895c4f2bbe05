//! The command line.

use std::path::PathBuf;

use lexopt::prelude::{Long, ValueExt};

use crate::hogs;
use crate::passes::Pass;

/// What `--help` prints, before the names of the passes.
pub(crate) const HELP: &str = "\
offramp beside its peers. Times in ns per job; ratios above 1 mean that offramp is faster.

  --quick         only the cells of the key rows, and fewer rounds
  --check         exit with 1, naming each row that falls short of its target
  --only CELL     only this cell, or those whose names contain CELL (may be repeated)
  --impl NAME     only this implementation, or those whose names contain NAME (may be repeated)
  --pass PASS     only this pass (may be repeated)
  --rounds N      rounds of each cell
  --seed N        seed of the order of the implementations
  --csv FILE      writes every sample
  --pictures DIR  draws what was measured
  --from FILE     measures nothing: judges and draws what --csv has written earlier
";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) check: bool,
    pub(crate) only: Vec<String>,
    pub(crate) implementations: Vec<String>,
    pub(crate) passes: Vec<Pass>,
    pub(crate) rounds: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) pictures: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    /// Where a pass' own process leaves its samples. Not for people.
    pub(crate) samples: Option<PathBuf>,
}

/// Whether the filters let `name`, one of `all`, through. A filter that is a whole name means that one only.
pub(crate) fn admits(filters: &[String], name: &str, all: &[&str]) -> bool {
    filters.is_empty()
        || filters.iter().any(|filter| {
            let whole = all.contains(&filter.as_str());
            name == filter || (!whole && name.contains(filter.as_str()))
        })
}

#[derive(Debug)]
pub(crate) enum Action {
    Help,
    Run(Options),
    /// To be a CPU hog.
    Burn,
}

pub(crate) fn parse() -> Result<Action, lexopt::Error> {
    let mut options = Options {
        quick: false,
        check: false,
        only: Vec::new(),
        implementations: Vec::new(),
        passes: Vec::new(),
        rounds: None,
        seed: 42,
        csv: None,
        pictures: None,
        from: None,
        samples: None,
    };
    let burn = hogs::FLAG.trim_start_matches('-');
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // What cargo adds to every bench target.
            Long("bench") => {}
            Long("help") => return Ok(Action::Help),
            Long("quick") => options.quick = true,
            Long("check") => options.check = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("impl") => options.implementations.push(parser.value()?.string()?),
            Long("pass") => options.passes.push(parser.value()?.parse_with(pass_named)?),
            Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("csv") => options.csv = Some(parser.value()?.into()),
            Long("pictures") => options.pictures = Some(parser.value()?.into()),
            Long("from") => options.from = Some(parser.value()?.into()),
            Long("samples") => options.samples = Some(parser.value()?.into()),
            Long(flag) if flag == burn => return Ok(Action::Burn),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Run(options))
}

fn pass_named(name: &str) -> Result<Pass, String> {
    Pass::named(name).ok_or_else(|| "unknown pass, see --help".into())
}
