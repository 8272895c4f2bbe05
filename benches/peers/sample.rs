//! What a round measured, and what can be asked of it.

use std::time::{Duration, Instant};

use crate::futexes;
use crate::machine::{self, Usage};

/// One implementation's round of one cell.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) jobs: u64,
    pub(crate) ns: u64,
    /// Of the whole process, meanwhile.
    pub(crate) cpu_ns: u64,
    pub(crate) switches: u64,
    /// Where they were counted.
    pub(crate) futexes: Option<u64>,
    /// Where each submission was timed.
    pub(crate) push: Option<Push>,
}

/// How long submissions took, in ns.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Push {
    pub(crate) median: u64,
    pub(crate) p99: u64,
    pub(crate) p9999: u64,
    /// The same with those in which the submitter was preempted. They are left out of the ones above.
    pub(crate) with_preempted: u64,
    pub(crate) worst: u64,
}

impl Sample {
    pub(crate) fn ns_per_job(&self) -> f64 {
        self.ns as f64 / self.jobs.max(1) as f64
    }

    pub(crate) fn cpu_per_job(&self) -> f64 {
        self.cpu_ns as f64 / self.jobs.max(1) as f64
    }

    pub(crate) fn futexes_per_job(&self) -> Option<f64> {
        let calls = self.futexes? as f64;
        Some(calls / self.jobs.max(1) as f64)
    }
}

/// A point of time and what the process had used by then.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    usage: Usage,
    futexes: Option<u64>,
}

impl Mark {
    pub(crate) fn now() -> Self {
        Mark {
            futexes: futexes::counted(),
            usage: machine::usage(),
            at: Instant::now(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// What `jobs` jobs took since.
    pub(crate) fn sample(&self, jobs: u64) -> Sample {
        let at = Instant::now();
        let end = Mark {
            at,
            usage: machine::usage(),
            futexes: futexes::counted(),
        };
        self.until(&end, jobs)
    }

    /// What `jobs` jobs took from here to `end`.
    pub(crate) fn until(&self, end: &Mark, jobs: u64) -> Sample {
        let usage = end.usage.since(self.usage);
        Sample {
            jobs,
            ns: (end.at - self.at).as_nanos() as u64,
            cpu_ns: usage.cpu.as_nanos() as u64,
            switches: usage.switches,
            futexes: end
                .futexes
                .zip(self.futexes)
                .map(|(end, start)| end - start),
            push: None,
        }
    }
}
