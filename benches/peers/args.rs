//! The command line.

use lexopt::prelude::{Long, ValueExt};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
offramp beside its peers. Times in ns per job; ratios above 1 mean that offramp is faster.

  --quick         fewer rounds and cells
  --check         exit with 1, naming each cell, where offramp is behind tokio with the same cap
  --only CELL     only this cell, or those whose names contain CELL (may be repeated)
  --impl NAME     only this implementation, or those whose names contain NAME (may be repeated)
  --pass PASS     only this pass, in this process: same-cap, cpu-pools,
                  defaults, one-cpu or one-cpu-pools
  --pin N         keep the process on N of its CPUs (Linux)
  --rounds N      rounds of each cell
  --seed N        seed of the order of the implementations
";

/// One process' share of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    SameCap,
    CpuPools,
    Defaults,
    OneCpu,
    OneCpuPools,
}

impl Pass {
    pub(crate) const ALL: [Pass; 5] = [
        Pass::SameCap,
        Pass::CpuPools,
        Pass::Defaults,
        Pass::OneCpu,
        Pass::OneCpuPools,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pass::SameCap => "same-cap",
            Pass::CpuPools => "cpu-pools",
            Pass::Defaults => "defaults",
            Pass::OneCpu => "one-cpu",
            Pass::OneCpuPools => "one-cpu-pools",
        }
    }

    pub(crate) fn is_one_cpu(self) -> bool {
        matches!(self, Pass::OneCpu | Pass::OneCpuPools)
    }
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) check: bool,
    pub(crate) only: Vec<String>,
    pub(crate) implementations: Vec<String>,
    pub(crate) pass: Option<Pass>,
    pub(crate) pin: Option<usize>,
    pub(crate) rounds: Option<usize>,
    pub(crate) seed: u64,
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
}

pub(crate) fn parse() -> Result<Action, lexopt::Error> {
    let mut options = Options {
        quick: false,
        check: false,
        only: Vec::new(),
        implementations: Vec::new(),
        pass: None,
        pin: None,
        rounds: None,
        seed: 42,
    };
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
            Long("pass") => options.pass = Some(parser.value()?.parse_with(pass_named)?),
            Long("pin") => options.pin = Some(parser.value()?.parse()?),
            Long("rounds") => options.rounds = Some(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Run(options))
}

fn pass_named(name: &str) -> Result<Pass, String> {
    let known = Pass::ALL.into_iter().find(|pass| pass.name() == name);
    known.ok_or_else(|| "unknown pass, see --help".into())
}
