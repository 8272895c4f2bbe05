//! `--check`: what this example promises, measured here and now.
//!
//! Every figure is that of one pair of runs. On a busy machine a pair can be spoilt by
//! its neighbours, so a promise that a pair did not keep is tried with a new pair,
//! [`TRIES`] in all; the bounds stay what they are.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::args::Args;
use crate::bench::Bench;
use crate::heartbeat::Lag;
use crate::plan::Plan;
use crate::report::time;
use crate::run::{Measured, Mode, Scope};
use crate::usage;

const TRIES: u32 = 3;

const CALLS_RATIO: f64 = 9.0;
const WHOLE_FACTOR: f64 = 1.15;
const FAILING_FACTOR: f64 = 1.2;
const LAG_P999_FACTOR: u32 = 3;
const LAG_MAX_SHARE: u32 = 50;
const EMBEDDING: Duration = Duration::from_millis(10);

/// Says which promises were kept; false if any was not.
pub(crate) fn check(args: &Args) -> Result<bool> {
    ensure!(
        args.service.is_none(),
        "--check needs the example's own service: it must know the delays beforehand"
    );
    ensure!(
        args.event_loop.loops() == 1,
        "--check compares with one event loop: use current-thread or smol"
    );
    ensure!(
        args.plan.failures > 0,
        "--check turns failures off by itself where it should: leave some on"
    );
    let steady = args.plan.without_failures();
    let checker = Checker {
        plan: args.plan,
        steady: Bench::prepare(args, steady)?,
        failing: Bench::prepare(args, args.plan)?,
    };

    let mut short = Vec::new();
    let mut promise = |name: &str, measure: &dyn Fn() -> Result<Verdict>| -> Result<()> {
        for attempt in 1..=TRIES {
            let others = Others::watch();
            let verdict = measure()?;
            let kept = if verdict.kept { "kept " } else { "SHORT" };
            println!("{kept}  {name}: {}{}", verdict.figures, others.share());
            if verdict.kept {
                return Ok(());
            }
            if attempt == TRIES {
                short.push(format!("{name}: {}", verdict.figures));
            }
        }
        Ok(())
    };
    promise("10 sessions, fetch and ask only", &|| checker.calls(10))?;
    for sessions in [10, 100] {
        promise(&format!("{sessions} whole sessions"), &|| {
            checker.whole(sessions)
        })?;
        promise(&format!("{sessions} sessions with failures"), &|| {
            checker.with_failures(sessions)
        })?;
    }
    let blocked = checker.run(&checker.steady, Mode::Blocked, Scope::Whole, 0..10)?;
    promise("10 sessions, both ways", &|| checker.answers(&blocked))?;
    promise("loop lag", &|| checker.lag(&blocked.lag))?;

    for line in &short {
        println!("fell short: {line}");
    }
    Ok(short.is_empty())
}

struct Checker {
    plan: Plan,
    steady: Bench,
    failing: Bench,
}

/// What other processes took of the CPUs while a promise was measured: no bound, but the
/// usual reason for a bad figure.
struct Others {
    start: Instant,
    own: Duration,
    machine: Option<Duration>,
}

impl Others {
    fn watch() -> Others {
        Others {
            start: Instant::now(),
            own: usage::process_cpu(),
            machine: usage::machine_cpu(),
        }
    }

    fn share(&self) -> String {
        let (Some(before), Some(after)) = (self.machine, usage::machine_cpu()) else {
            return String::new();
        };
        let own = usage::process_cpu() - self.own;
        let others = after.saturating_sub(before).saturating_sub(own);
        let all = self.start.elapsed() * usage::cores() as u32;
        format!(
            "  [others took {:.0} % of the CPU]",
            100.0 * others.as_secs_f64() / all.as_secs_f64()
        )
    }
}

struct Verdict {
    kept: bool,
    figures: String,
}

impl Checker {
    fn run(
        &self,
        bench: &Bench,
        mode: Mode,
        scope: Scope,
        ids: impl IntoIterator<Item = usize>,
    ) -> Result<Measured> {
        let ids: Vec<usize> = ids.into_iter().collect();
        bench.run(mode, scope, &ids)
    }

    /// Waiting only: on the loop the sum, offloaded the maximum.
    fn calls(&self, sessions: usize) -> Result<Verdict> {
        let blocked = self
            .run(&self.steady, Mode::Blocked, Scope::Calls, 0..sessions)?
            .wall;
        let offloaded = self
            .run(&self.steady, Mode::Offloaded, Scope::Calls, 0..sessions)?
            .wall;
        let ratio = blocked.as_secs_f64() / offloaded.as_secs_f64();
        Ok(Verdict {
            kept: ratio >= CALLS_RATIO,
            figures: format!(
                "blocked {} / offloaded {} = {ratio:.2}, at least {CALLS_RATIO}",
                time(blocked),
                time(offloaded)
            ),
        })
    }

    /// Whole sessions: as long as the slowest part needs, whether that is the service or
    /// the CPU.
    fn whole(&self, sessions: usize) -> Result<Verdict> {
        let steady = self.plan.without_failures();
        let run = self.run(&self.steady, Mode::Offloaded, Scope::Whole, 0..sessions)?;
        let service = (0..sessions)
            .map(|id| steady.service_path(id))
            .max()
            .unwrap_or_default();
        // All of the process's CPU time, its service's included.
        let cpu = run.cpu / usage::cores() as u32;
        let bound = service.max(cpu).mul_f64(WHOLE_FACTOR) + steady.delay;
        let embedding = run.embedding / sessions as u32;
        Ok(Verdict {
            kept: run.wall <= bound && embedding >= EMBEDDING,
            figures: format!(
                "{}, at most {WHOLE_FACTOR} x max(service {}, CPU/cores {}) + {} = {}; \
                 CPU per session {}, of it embedding {}, at least {}",
                time(run.wall),
                time(service),
                time(cpu),
                time(steady.delay),
                time(bound),
                time(run.cpu / sessions as u32),
                time(embedding),
                time(EMBEDDING),
            ),
        })
    }

    /// With failures and back-off: hardly longer than the slowest session needs when it
    /// is alone.
    fn with_failures(&self, sessions: usize) -> Result<Verdict> {
        let slowest = (0..sessions)
            .max_by_key(|&id| self.failing.alone(id))
            .unwrap_or(0);
        let alone = self.run(&self.failing, Mode::Offloaded, Scope::Whole, [slowest])?;
        let run = self.run(&self.failing, Mode::Offloaded, Scope::Whole, 0..sessions)?;
        let bound = alone.wall.mul_f64(FAILING_FACTOR);
        Ok(Verdict {
            kept: run.wall <= bound,
            figures: format!(
                "{} with {} failed tries, at most {FAILING_FACTOR} x {} = {}: session \
                 {slowest} alone, with {} failed tries; CPU per session {}",
                time(run.wall),
                run.failures,
                time(alone.wall),
                time(bound),
                alone.failures,
                time(run.cpu / sessions as u32),
            ),
        })
    }

    fn answers(&self, blocked: &Measured) -> Result<Verdict> {
        let offloaded = self.run(&self.steady, Mode::Offloaded, Scope::Whole, 0..10)?;
        let same = blocked
            .answers
            .iter()
            .zip(&offloaded.answers)
            .filter(|(a, b)| a == b)
            .count();
        Ok(Verdict {
            kept: same == 10,
            figures: format!("{same} of 10 answers are the same"),
        })
    }

    /// The loop of 10 and of 100 sessions, with and without failures, against the idle
    /// loop beside it at the same time: thousands of beats, or a p99.9 would be a
    /// maximum. An idle loop beforehand, while the cores have nothing to do, is shown to
    /// compare.
    fn lag(&self, blocked: &Lag) -> Result<Verdict> {
        let alone = self.steady.idle(Duration::from_secs(2))?;
        let (mut lag, mut idle) = (Lag::default(), Lag::default());
        for (bench, sessions) in [
            (&self.steady, 10),
            (&self.steady, 100),
            (&self.failing, 10),
            (&self.failing, 100),
        ] {
            let run = self.run(bench, Mode::Offloaded, Scope::Whole, 0..sessions)?;
            lag = lag.and(run.lag);
            idle = idle.and(run.idle_lag);
        }
        let (p999, max) = (idle.p999() * LAG_P999_FACTOR, blocked.max() / LAG_MAX_SHARE);
        Ok(Verdict {
            kept: lag.p999() <= p999 && lag.max() <= max,
            figures: format!(
                "p99.9 {} ({} beats), at most {LAG_P999_FACTOR} x {} = {}: an idle loop in \
                 the same runs ({} beats; {} with the cores idle too); max {}, at most {} / \
                 {LAG_MAX_SHARE} = {}: the blocked run",
                time(lag.p999()),
                lag.beats(),
                time(idle.p999()),
                time(p999),
                idle.beats(),
                time(alone.p999()),
                time(lag.max()),
                time(blocked.max()),
                time(max),
            ),
        })
    }
}
