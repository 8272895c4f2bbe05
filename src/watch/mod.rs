//! The detector: names the calls that block an event loop, while they block it.
//!
//! * [`watch`](fn@watch) goes around a future, [`Watch::watched`] gives it a name as well. It
//!   works on every runtime, and costs nanoseconds for each poll.
//! * A [`Watchdog`] looks at all such polls from a thread of its own. One that takes longer
//!   than the threshold is reported: the task, the stack, the system call or that it burns CPU,
//!   and what to do about it.
//! * A [`LagMonitor`] measures how late an event loop gets to its tasks.
//!
//! What it sees, what it does not, how to read a report, and what it costs is told in
//! `docs/detector.md`.

mod blame;
mod classify;
mod counters;
mod future;
mod lag;
mod limit;
mod outputs;
mod patrol;
mod report;
mod reporter;
mod slot;
#[cfg(feature = "smol")]
pub mod smol;
#[allow(dead_code)]
pub(crate) mod stack;
mod state;
mod task;
mod text;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
mod tower;
mod watchdog;

#[cfg(feature = "serde")]
pub use self::outputs::to_json_lines;
#[cfg(feature = "tracing")]
pub use self::outputs::to_tracing;
#[cfg(feature = "tower")]
pub use self::tower::{WatchLayer, WatchService};
pub use self::{
    counters::WatchStats,
    future::{Watch, Watched, unwatched, watch},
    lag::{DEBUG_ABOVE, HEARTBEAT, Heartbeat, Lag, LagMonitor, LagMonitorBuilder, WARN_ABOVE},
    outputs::{to_log, to_writer},
    report::{Advice, Frame, Owner, Phase, Remedy, Report, TaskInfo},
    state::{Call, State, TimeOut},
    watchdog::{
        REPEAT_AFTER, REPORTS_PER_MINUTE, StartError, THRESHOLD, Watchdog, WatchdogBuilder,
    },
};
