//! What is said about a thread. The same on every platform.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a thread was found doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits in the kernel.
    SystemCall(SystemCall),
    /// It runs, or could and waits for a CPU.
    OnCpu,
    /// The system does not say.
    Unknown,
    /// It has ended.
    Gone,
}

/// A system call that a thread waits in, with what it was called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SystemCall {
    /// -1: it waits in the kernel without having called, as a page that has to be read makes it.
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
    pub(crate) stack_pointer: u64,
    pub(crate) address: u64,
}

/// A thread's time, since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) on_cpu: Duration,
    /// It could have run, and had to wait for a CPU. A wait counts once it is over.
    pub(crate) run_queue: Duration,
}

/// How long a call waits at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// So long from its begin.
    Lasts(Duration),
    /// So long from the look at it.
    Remains(Duration),
    /// Until something happens.
    Forever,
}

/// A system call in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallDetail {
    /// Its name, or its number.
    pub(crate) name: String,
    /// The file, the socket's addresses, the process: what it waits on.
    pub(crate) on: Option<String>,
    pub(crate) wait: Option<Wait>,
    /// The kernel function that it waits in.
    pub(crate) kernel_function: Option<String>,
}

impl fmt::Display for CallDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(on) = &self.on {
            write!(f, " on {on}")?;
        }
        match self.wait {
            Some(Wait::Lasts(time)) => write!(f, ", for {time:?}"),
            Some(Wait::Remains(time)) => write!(f, ", for another {time:?}"),
            Some(Wait::Forever) => f.write_str(", without a time-out"),
            None => Ok(()),
        }
    }
}

/// By which way a stack came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Read through procfs while the thread waited.
    NoSignal,
    /// Copied by the thread itself, in a signal handler.
    Signal,
    /// There is none, for this reason.
    None(&'static str),
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// Innermost first. Each lies within the instruction that runs or calls.
    pub(crate) addresses: Vec<u64>,
    /// Callers are missing at the end, or may be missing in between.
    pub(crate) is_partial: bool,
    pub(crate) how: How,
}

impl Captured {
    pub(super) fn none(why: &'static str) -> Self {
        Self {
            addresses: Vec::new(),
            is_partial: true,
            how: How::None(why),
        }
    }
}

/// One function of a stack. An address has several where calls were inlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) function: Option<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) line: Option<u32>,
    /// The executable's or library's file name.
    pub(crate) module: Option<String>,
    /// From the module's begin, as tools for its file count. Without a module: the address.
    pub(crate) offset: u64,
    /// In hexadecimal, as `readelf -n` prints it.
    pub(crate) build_id: Option<String>,
    /// Its code is part of the next function's in the list.
    pub(crate) is_inlined: bool,
}
