//! What a thread does, asked from another one.

mod types;

pub(crate) use self::types::{CallDetail, Captured, Doing, How, Resolved, SystemCall, Times, Wait};

use std::time::Duration;

pub(crate) struct Target {
    #[cfg(target_os = "linux")]
    tid: i32,
}

#[derive(Clone, Debug)]
pub(crate) struct Mode;

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no stacks")
    }
}

pub(crate) fn mode(_signals: bool) -> Mode {
    Mode
}

impl Target {
    pub(crate) fn of_this_thread() -> Target {
        Target {
            #[cfg(target_os = "linux")]
            // SAFETY: it has no arguments and cannot fail.
            tid: unsafe { libc::gettid() },
        }
    }

    fn read(&self, what: &str) -> Option<String> {
        #[cfg(target_os = "linux")]
        return std::fs::read_to_string(format!("/proc/self/task/{}/{what}", self.tid)).ok();
        #[cfg(not(target_os = "linux"))]
        return None;
    }

    pub(crate) fn look(&self) -> Doing {
        match self.read("syscall") {
            None => Doing::Unknown,
            Some(line) if line.starts_with("running") => Doing::OnCpu,
            Some(line) => {
                let mut words = line.split_whitespace();
                let number = words.next().and_then(|n| n.parse().ok()).unwrap_or(-1);
                Doing::SystemCall(SystemCall {
                    number,
                    arguments: [0; 6],
                    stack_pointer: 0,
                    address: 0,
                })
            }
        }
    }

    pub(crate) fn times(&self) -> Option<Times> {
        let text = self.read("schedstat")?;
        let mut numbers = text.split_whitespace().map_while(|n| n.parse().ok());
        Some(Times {
            on_cpu: Duration::from_nanos(numbers.next()?),
            run_queue: Duration::from_nanos(numbers.next()?),
        })
    }

    pub(crate) fn system_call(&self, call: &SystemCall) -> CallDetail {
        CallDetail {
            name: call.number.to_string(),
            on: None,
            wait: None,
            kernel_function: None,
        }
    }

    pub(crate) fn capture(&self, _doing: &Doing, _still: &dyn Fn() -> bool) -> Captured {
        Captured {
            addresses: Vec::new(),
            is_partial: true,
            how: How::None("not built"),
        }
    }
}

pub(crate) fn symbolize(_addresses: &[u64]) -> Vec<Resolved> {
    Vec::new()
}
