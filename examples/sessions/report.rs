//! The table, and what it says in words.

use std::fmt::Write;
use std::time::Duration;

use crate::args::Args;
use crate::bench::Bench;
use crate::heartbeat::percentile;
use crate::run::{Measured, Mode};
use crate::usage;

const LABEL: usize = 24;
const COLUMN: usize = 20;

pub(crate) fn heading(args: &Args, bench: &Bench) -> String {
    let service = match &args.service {
        Some(url) => format!("the service is at {url}"),
        None => format!(
            "the service takes {} a call, {} % of the model's fail, seed {}",
            time(args.plan.delay),
            args.plan.failures,
            args.plan.seed
        ),
    };
    format!(
        "{} sessions at once, {} KiB to embed each; {service}; {} loop, {} cores",
        args.sessions,
        bench.knowledge_bytes / 1024,
        args.event_loop.name(),
        usage::cores(),
    )
}

pub(crate) fn table(columns: &[(Mode, Measured)]) -> String {
    let mut text = String::new();
    row(&mut text, "", columns, |(mode, _)| {
        format!("{mode:?}").to_lowercase()
    });
    row(&mut text, "wall time", columns, |(_, m)| time(m.wall));
    row(&mut text, "sessions/s", columns, |(_, m)| {
        format!("{:.1}", m.latencies.len() as f64 / m.wall.as_secs_f64())
    });
    row(&mut text, "session latency p50", columns, |(_, m)| {
        time(percentile(&m.latencies, 0.5))
    });
    row(&mut text, "session latency p99", columns, |(_, m)| {
        time(percentile(&m.latencies, 0.99))
    });
    row(&mut text, "loop lag p99.9 / max", columns, |(_, m)| {
        format!("{} / {}", time(m.lag.p999()), time(m.lag.max()))
    });
    row(&mut text, "  of an idle loop beside", columns, |(_, m)| {
        format!("{} / {}", time(m.idle_lag.p999()), time(m.idle_lag.max()))
    });
    row(&mut text, "CPU seconds", columns, |(_, m)| {
        format!("{:.2}", m.cpu.as_secs_f64())
    });
    row(&mut text, "  of it embedding", columns, |(_, m)| {
        format!("{:.2}", m.embedding.as_secs_f64())
    });
    row(&mut text, "threads", columns, |(_, m)| {
        m.threads.map_or("-".to_owned(), |n| n.to_string())
    });
    row(&mut text, "failed tries", columns, |(_, m)| {
        m.failures.to_string()
    });
    row(&mut text, "calls, longest", columns, |(_, m)| {
        time(longest(m))
    });
    row(&mut text, "calls, all together", columns, |(_, m)| {
        time(m.in_service.iter().sum())
    });
    row(&mut text, "the wall time was", columns, |(_, m)| {
        nature(m).to_owned()
    });
    text
}

pub(crate) fn comparison(before: &Measured, after: &Measured) -> String {
    let faster = before.wall.as_secs_f64() / after.wall.as_secs_f64();
    format!("\nOffloaded, all sessions end {faster:.1} times as soon, with the same answers.\n")
}

/// Whether the sessions waited for each other (the sum of their calls) or only for their
/// own (the maximum): the one that the wall time is nearer to, as a ratio.
pub(crate) fn nature(m: &Measured) -> &'static str {
    let sum = m.in_service.iter().sum::<Duration>().as_secs_f64();
    let maximum = longest(m).as_secs_f64();
    match m.wall.as_secs_f64() {
        _ if m.in_service.len() < 2 => "one session's",
        wall if wall * wall < sum * maximum => "the maximum",
        _ => "the sum",
    }
}

fn longest(m: &Measured) -> Duration {
    m.in_service.iter().max().copied().unwrap_or_default()
}

fn row(
    text: &mut String,
    label: &str,
    columns: &[(Mode, Measured)],
    cell: impl Fn(&(Mode, Measured)) -> String,
) {
    let _ = write!(text, "{label:LABEL$}");
    for column in columns {
        let _ = write!(text, "{:>COLUMN$}", cell(column));
    }
    text.push('\n');
}

/// Three digits or so: what a person compares.
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms >= 1000.0 => format!("{:.2} s", ms / 1000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.2} ms"),
    }
}
