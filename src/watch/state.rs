//! What a blocked thread was found doing.

use super::stack;
use std::fmt;
use std::time::Duration;

/// Why a poll does not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum State {
    /// It waits in a system call: for a file, a socket, a lock, a time, another process.
    SystemCall(Call),
    /// It computes.
    BurningCpu,
    /// The system does not tell.
    Unknown,
}

/// A system call in which a thread waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Call {
    /// Its name, or its number.
    pub name: String,
    /// The file, the socket's addresses, the process: what it waits on.
    pub on: Option<String>,
    /// How long it waits at most, if it tells.
    pub time_out: Option<TimeOut>,
    /// The kernel's function that it waits in.
    pub kernel_function: Option<String>,
}

/// For how long a system call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum TimeOut {
    /// So long from its begin.
    After(Duration),
    /// So long from when it was looked at.
    In(Duration),
    /// Until something happens.
    Never,
}

impl From<stack::CallDetail> for Call {
    fn from(detail: stack::CallDetail) -> Self {
        Self {
            name: detail.name,
            on: detail.on,
            time_out: detail.wait.map(|wait| match wait {
                stack::Wait::Lasts(time) => TimeOut::After(time),
                stack::Wait::Remains(time) => TimeOut::In(time),
                stack::Wait::Forever => TimeOut::Never,
            }),
            kernel_function: detail.kernel_function,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemCall(call) => write!(f, "in system call {call}"),
            Self::BurningCpu => f.write_str("burning CPU"),
            Self::Unknown => f.write_str("unknown: the system does not tell"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(on) = &self.on {
            write!(f, " on {on}")?;
        }
        match self.time_out {
            Some(TimeOut::After(time)) => write!(f, ", for {time:?}"),
            Some(TimeOut::In(time)) => write!(f, ", for another {time:?}"),
            Some(TimeOut::Never) => f.write_str(", without a time-out"),
            None => Ok(()),
        }
    }
}
