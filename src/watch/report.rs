//! A report: which task blocked, where, in what, and what to do about it.

use super::state::State;
use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

/// A poll that keeps its thread from all other tasks, or that did.
///
/// `Display` writes it as several lines of text.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The same in all reports of one poll.
    pub incident: u64,
    /// Whether it still blocks.
    pub phase: Phase,
    /// How long it has been blocking, at least; when it is over, in all. The watchdog looks
    /// every half threshold, so it may have been that much longer.
    pub duration: Duration,
    /// What the watchdog was set to.
    pub threshold: Duration,
    /// Which task it is.
    pub task: TaskInfo,
    /// The thread's name.
    pub thread: Option<String>,
    /// What the thread does.
    pub state: State,
    /// How much of the time the thread was on a CPU, if the system tells.
    pub on_cpu: Option<Duration>,
    /// How much of the time it waited for a CPU, if the system tells.
    pub waited_for_cpu: Option<Duration>,
    /// Its stack, innermost first. Empty when it is over.
    pub frames: Vec<Frame>,
    /// Whether frames are missing at the outer end.
    pub is_partial: bool,
    /// Why there are no frames.
    pub no_frames: Option<&'static str>,
    /// What to do about it.
    pub advice: Option<Advice>,
    /// How many incidents at the same place were not reported since the last that was.
    pub repeated: u64,
    /// How many reports of all places the limit per minute held back since the last report.
    pub held_back: u64,
}

/// Whether a report's poll still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Phase {
    /// It blocks now.
    Blocking {
        /// So many times the threshold have passed: 1, 2, 4 and so on.
        times: u32,
    },
    /// The poll has returned.
    Over,
}

/// The task of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskInfo {
    /// The future's type. `None`: one that only the runtime knows.
    pub type_name: Option<&'static str>,
    /// What [`watched`](super::Watch::watched) said.
    pub name: Option<&'static str>,
    /// What [`in_lane`](super::Watched::in_lane) said.
    pub lane: Option<&'static str>,
    /// Where it was watched, which is where it was spawned as a rule.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub watched_at: Option<&'static Location<'static>>,
}

#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(
    location: &Option<&'static Location<'static>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match location {
        Some(location) => serializer.collect_str(location),
        None => serializer.serialize_none(),
    }
}

/// One function of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Frame {
    /// Its name, if the build has symbols.
    pub function: Option<String>,
    /// The source file, if the build has line tables.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// The executable's or the library's file name.
    pub module: Option<String>,
    /// From the module's begin, as tools like `addr2line` count. Without a module the address.
    pub offset: u64,
    /// The module's build id: for which build to ask such a tool.
    pub build_id: Option<String>,
    /// Its code is part of the next function's in the list.
    pub is_inlined: bool,
    /// Whose it is.
    pub owner: Owner,
    /// The one to change: the innermost of the application's own.
    pub is_blamed: bool,
}

/// Who wrote a frame's function, as far as names and paths tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Owner {
    /// The application.
    Application,
    /// A crate from a registry, or one that is none of the others.
    Dependency,
    /// The standard library, an async runtime, or this crate.
    Runtime,
    /// The C library, or another one without Rust's names.
    System,
}

/// What to do about a call that blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Advice {
    /// With what.
    pub wrap_in: Remedy,
    /// The line of the blamed frame, or its function. `None`: there is no such frame.
    pub at: Option<String>,
}

/// The function that gets a call off the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Remedy {
    /// [`offload_io`](fn@crate::offload_io), for what waits.
    OffloadIo,
    /// [`offload_cpu`](fn@crate::offload_cpu), for what computes.
    OffloadCpu,
}

impl Report {
    /// The frame to change.
    #[must_use]
    pub fn blamed(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.is_blamed)
    }
}

/// Characters of a type's name in text; the field has all.
const LONGEST_TYPE: usize = 120;

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.type_name.unwrap_or("a task that is not watched");
        // Combinators and routers make types of pages. The begin is what was spawned.
        match name.char_indices().nth(LONGEST_TYPE) {
            Some((end, _)) => write!(f, "{}…", &name[..end])?,
            None => f.write_str(name)?,
        }
        if let Some(lane) = self.lane {
            write!(f, ", in lane `{lane}`")?;
        }
        match self.watched_at {
            Some(location) => write!(f, ", watched at {location}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OffloadIo => "offload_io",
            Self::OffloadCpu => "offload_cpu",
        })
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_deref();
        let (what, at) = at.map_or(("what blocks", ""), |at| ("the call at ", at));
        write!(f, "wrap {what}{at} in `{}`", self.wrap_in)
    }
}
