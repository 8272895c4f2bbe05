//! What works on this system, found out by trying.

use super::super::types::Doing;
use super::elf::{self, Names};
use super::landing;
use super::memory;
use super::signal;
use super::target::Target;
use std::ffi::c_int;
use std::fmt;

/// What the detector can say here. Printed, it is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mode {
    waiting: Result<(), &'static str>,
    running: Result<c_int, &'static str>,
    names: Names,
}

/// Tries it all, on this thread. With `signals` it takes the default signal, for good.
pub(crate) fn mode(signals: bool) -> Mode {
    mode_with(signals.then(signal::default_signal))
}

/// As [`mode`], with a real-time signal of the caller's choice.
pub(crate) fn mode_with(wanted: Option<c_int>) -> Mode {
    Mode {
        waiting: try_waiting(),
        running: match wanted {
            Some(wanted) => try_running(wanted).map(|()| wanted),
            None => Err("signals are off"),
        },
        names: elf::of_executable(),
    }
}

fn try_waiting() -> Result<(), &'static str> {
    if !cfg!(target_arch = "x86_64") {
        return Err("procfs lacks registers of this processor");
    }
    let target = Target::of_this_thread();
    if !target.tells_calls() {
        return Err(match target.look() {
            Doing::Unknown => "there is no procfs",
            _ => "procfs denies `syscall`",
        });
    }
    let probe = 42u64;
    match memory::read_u64(&raw const probe as u64) {
        Some(42) => Ok(()),
        _ => Err("memory cannot be read by the kernel"),
    }
}

fn try_running(wanted: c_int) -> Result<(), &'static str> {
    signal::take(wanted)?;
    landing::find_unwinders();
    Target::of_this_thread().try_signal()
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waiting {
            Ok(()) => f.write_str("stacks of waiting threads through procfs")?,
            Err(why) => write!(f, "no stacks of waiting threads ({why})")?,
        }
        match self.running {
            Ok(signal) => write!(f, ", of running ones by signal {signal}")?,
            Err(why) => write!(f, ", none of running ones ({why})")?,
        }
        f.write_str(match self.names {
            Names::Lines => "; functions and lines",
            Names::Functions => "; functions, without lines and inlined ones",
            Names::None => "; stripped: modules and offsets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_said_in_one_line() {
        let all = Mode {
            waiting: Ok(()),
            running: Ok(50),
            names: Names::Lines,
        };
        assert_eq!(
            all.to_string(),
            "stacks of waiting threads through procfs, of running ones by signal 50; functions and lines"
        );
        let none = Mode {
            waiting: Err("procfs denies `syscall`"),
            running: Err("signals are off"),
            names: Names::None,
        };
        assert_eq!(
            none.to_string(),
            "no stacks of waiting threads (procfs denies `syscall`), none of running ones \
             (signals are off); stripped: modules and offsets"
        );
    }

    #[test]
    fn without_signals_none_is_taken() {
        assert_eq!(mode(false).running, Err("signals are off"));
        assert_eq!(
            mode_with(Some(libc::SIGTERM)).running,
            Err("it is no real-time signal")
        );
    }
}
