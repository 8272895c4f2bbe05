//! Where there is no procfs as Linux has it, or an unknown processor: durations alone.

use super::types::{CallDetail, Captured, Doing, Resolved, SystemCall, Times};
use std::fmt;

/// A thread, of which nothing can be said here.
#[derive(Debug)]
pub(crate) struct Target(());

impl Target {
    pub(crate) fn of_this_thread() -> Self {
        Self(())
    }

    pub(crate) fn look(&self) -> Doing {
        Doing::Unknown
    }

    pub(crate) fn times(&self) -> Option<Times> {
        None
    }

    pub(crate) fn system_call(&self, call: &SystemCall) -> CallDetail {
        CallDetail {
            name: format!("system call {}", call.number),
            on: None,
            wait: None,
            kernel_function: None,
        }
    }

    pub(crate) fn capture(&self, _: &Doing, _: &dyn Fn() -> bool) -> Captured {
        Captured::none("stacks need Linux on x86-64 or aarch64")
    }
}

/// What the detector can say here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mode(());

pub(crate) fn mode(_: bool) -> Mode {
    Mode(())
}

pub(crate) fn mode_with(_: Option<i32>) -> Mode {
    Mode(())
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("durations alone: stacks need Linux on x86-64 or aarch64")
    }
}

/// Nothing: no capture has addresses here.
pub(crate) fn symbolize(_: &[u64]) -> Vec<Resolved> {
    Vec::new()
}
