//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lexopt::prelude::{Long, ValueExt};

use crate::event_loop::EventLoop;
use crate::plan::Plan;
use crate::run::Mode;

pub(crate) const USAGE: &str = "\
Runs agent sessions with sync calls on the event loop, then offloaded, and compares them.

    --sessions N      sessions that start at once (10)
    --delay MS        time that the service takes for a document, and for an answer (500)
    --failures PCT    calls to the model that fail, per cent (20; 0 turns failures off)
    --seed N          decides which calls fail (1)
    --runtime NAME    current-thread, multi-thread or smol (current-thread)
    --mode NAME       blocked, offloaded or both (both)
    --io-threads N    most threads that the offloaded calls may use (256)
    --service URL     use the service at URL, not an own one
    --serve ADDR      only run the service, at ADDR, for another process's --service
    --dir PATH        where the files go (the system's temporary directory)
    --check           measure what this example promises, with 10 and 100 sessions; the exit
                      status is 1 if something falls short
    --help            this text
";

pub(crate) enum Task {
    Run,
    Check,
    Serve(String),
    Help,
}

pub(crate) struct Args {
    pub(crate) task: Task,
    pub(crate) sessions: usize,
    pub(crate) plan: Plan,
    pub(crate) event_loop: EventLoop,
    pub(crate) modes: &'static [Mode],
    pub(crate) io_threads: usize,
    pub(crate) service: Option<String>,
    pub(crate) dir: Option<PathBuf>,
}

pub(crate) fn parse() -> Result<Args> {
    let mut args = Args {
        task: Task::Run,
        sessions: 10,
        plan: Plan {
            seed: 1,
            delay: Duration::from_millis(500),
            failures: 20,
        },
        event_loop: EventLoop::CurrentThread,
        modes: &[Mode::Blocked, Mode::Offloaded],
        io_threads: 256,
        service: None,
        dir: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next().context("see --help")? {
        let Long(name) = arg else {
            bail!("{}; see --help", arg.unexpected());
        };
        let flag = format!("--{name}");
        match flag.as_str() {
            "--help" => args.task = Task::Help,
            "--check" => args.task = Task::Check,
            "--serve" => args.task = Task::Serve(text(&mut parser, &flag)?),
            "--sessions" => args.sessions = number(&mut parser, &flag)?,
            "--delay" => args.plan.delay = Duration::from_millis(number(&mut parser, &flag)?),
            "--failures" => args.plan.failures = number(&mut parser, &flag)?,
            "--seed" => args.plan.seed = number(&mut parser, &flag)?,
            "--io-threads" => args.io_threads = number(&mut parser, &flag)?,
            "--service" => args.service = Some(text(&mut parser, &flag)?),
            "--dir" => args.dir = Some(text(&mut parser, &flag)?.into()),
            "--runtime" => {
                let name = text(&mut parser, &flag)?;
                args.event_loop = EventLoop::named(&name)
                    .with_context(|| format!("--runtime knows no {name:?}; see --help"))?;
            }
            "--mode" => {
                args.modes = match text(&mut parser, &flag)?.as_str() {
                    "blocked" => &[Mode::Blocked],
                    "offloaded" => &[Mode::Offloaded],
                    "both" => &[Mode::Blocked, Mode::Offloaded],
                    other => bail!("--mode knows no {other:?}; see --help"),
                };
            }
            _ => bail!("there is no {flag}; see --help"),
        }
    }
    ensure!(args.sessions > 0, "--sessions must be at least 1");
    ensure!(args.io_threads > 0, "--io-threads must be at least 1");
    ensure!(
        args.plan.failures <= 100,
        "--failures is a percentage, 0 to 100"
    );
    Ok(args)
}

fn text(parser: &mut lexopt::Parser, flag: &str) -> Result<String> {
    let value = parser.value().context("see --help")?;
    value
        .into_string()
        .map_err(|_| anyhow!("{flag} wants text"))
}

fn number<T>(parser: &mut lexopt::Parser, flag: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let value = parser.value().context("see --help")?;
    value
        .parse()
        .map_err(|error| anyhow!("{flag} wants a whole number: {error}"))
}
