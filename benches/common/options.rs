//! The command line of a bench that measures rounds.

use std::process::ExitCode;

use lexopt::prelude::{Long, ValueExt};

/// What `--help` says below what is the bench's own.
const HELP: &str = "  --quick      fewer rounds
  --rounds N   rounds
  --seed N     seed of the order inside the rounds
";

pub(crate) struct Options {
    pub(crate) check: bool,
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}

/// Runs the bench called `name`, with `least` rounds or more, as the command line says. `run` answers whether all that
/// `--check` asks for holds.
pub(crate) fn main(
    name: &str,
    help: &str,
    least: usize,
    run: impl FnOnce(&Options) -> Result<bool, String>,
) -> ExitCode {
    let outcome = match parse(least) {
        Ok(None) => {
            print!("{help}{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(options)) => run(&options).map(|holds| holds || !options.check),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// `None`: help is wanted.
fn parse(least: usize) -> Result<Option<Options>, lexopt::Error> {
    let (mut quick, mut check, mut rounds, mut seed) = (false, false, None, 42);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // What cargo adds to every bench target.
            Long("bench") => {}
            Long("help") => return Ok(None),
            Long("quick") => quick = true,
            Long("check") => check = true,
            Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    let rounds = rounds.unwrap_or(if quick { 7 } else { 31 });
    if rounds < least {
        return Err(format!("--rounds: at least {least}").into());
    }
    Ok(Some(Options {
        check,
        rounds,
        seed,
    }))
}
