//! Misuse: call sites whose jobs are in the wrong pool, or run for much longer than they used
//! to. Seen by a look at every few jobs.

use crate::core::job_ref::JobRef;
use crate::core::unwind::contain;
use crate::pool::Kind;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::time::Duration;

/// A thread looks at its first job, and then at every so many-th: a reading of its CPU
/// clock, some 200 ns, is then a dozen ns a job.
const EVERY: u32 = 16;

/// After one of less than ten microseconds, in nanoseconds, the next look is at the so many-th:
/// for jobs like it those dozen are a burden.
const SMALL: u64 = 10_000;
const EVERY_SMALL: u32 = 64;

/// Shorter jobs are at home anywhere: 10 ms.
const LEAST: Duration = Duration::from_millis(10);

/// A job that has run for less is not far beyond what others took: 100 ms.
const LEAST_LONG: Duration = Duration::from_millis(100);

/// How many times as long as usual is far beyond it.
const FAR: u32 = 16;

/// So many jobs of a call site say what is usual.
const ENOUGH: u64 = 16;

/// A call site whose jobs do in their pool what they should not: see
/// [`Offload::misuse`](crate::Offload::misuse).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misuse {
    /// What was seen.
    pub kind: MisuseKind,
    /// The pool: `io` or `cpu`.
    pub pool: &'static str,
    /// Where the calls are made.
    pub call_site: &'static Location<'static>,
    /// The [`label`](crate::Offloaded::label) of the last of them.
    pub label: Option<Cow<'static, str>>,
    /// How many of the jobs looked at were like that.
    pub seen: u64,
    /// How many were looked at: a sample of all.
    pub looked_at: u64,
    /// For how long the longest of them ran, without the time that it waited for other calls.
    pub ran: Duration,
    /// For how long of that it had a CPU.
    pub on_cpu: Duration,
}

/// What is wrong with the jobs of a call site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MisuseKind {
    /// A job of the I/O pool ran for at least 10 ms, and had a CPU for four fifths of it.
    BurnsCpu,
    /// A job of the CPU pool ran for at least 10 ms, and slept for two thirds of it, though it
    /// could have had a CPU.
    Sleeps,
    /// A job ran for at least 100 ms, 16 times as long as others of its call site on average.
    TakesLong,
}

impl Misuse {
    /// What to do about it, in a few words.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.kind {
            MisuseKind::BurnsCpu => {
                "it computes, and there are many more I/O threads than CPUs: use `offload_cpu`"
            }
            MisuseKind::Sleeps => {
                "it blocks, and keeps a CPU from others: use `offload_io`, or `job.io(..)` for the \
                 part that blocks"
            }
            MisuseKind::TakesLong => {
                "it takes far longer than usual: give such calls a `timeout`, and a lane with \
                 `max_running`; for one that is to go on use `offload_dedicated`"
            }
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, site) = (self.pool, self.call_site);
        write!(f, "a job of pool `{pool}`, called at {site}")?;
        if let Some(label) = &self.label {
            write!(f, " ({label})")?;
        }
        write!(
            f,
            ", ran for {:?}, {:?} of it on a CPU: {}",
            self.ran,
            self.on_cpu,
            self.advice()
        )
    }
}

/// What has been seen of one pool's jobs.
pub(crate) struct Sites {
    pool: Kind,
    sites: Mutex<HashMap<usize, Site>>,
}

struct Site {
    call_site: &'static Location<'static>,
    label: Option<Cow<'static, str>>,
    looked_at: u64,
    time: Duration,
    found: Vec<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    kind: MisuseKind,
    seen: u64,
    ran: Duration,
    on_cpu: Duration,
}

/// A job that is looked at.
pub(crate) struct Sample {
    on_cpu: Duration,
}

thread_local! {
    /// Jobs until the next look.
    static UNTIL: Cell<u32> = const { Cell::new(0) };
    /// How long this thread had waited for a CPU when that was last asked.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Sample {
    /// A job starts on this thread. `None`: it is not looked at.
    pub(crate) fn start() -> Option<Self> {
        let until = UNTIL.get();
        if until > 0 {
            UNTIL.set(until - 1);
            return None;
        }
        UNTIL.set(EVERY - 1);
        let on_cpu = thread_time::on_cpu()?;
        Some(Self { on_cpu })
    }
}

impl Sites {
    pub(crate) fn new(pool: Kind) -> Self {
        Self {
            pool,
            sites: Mutex::default(),
        }
    }

    /// The job of `sample` has run for `ran`, here.
    pub(crate) fn look(&self, sample: &Sample, job: JobRef<'_>, ran: u64) {
        if ran < SMALL {
            UNTIL.set(EVERY_SMALL - 1);
        }
        let ran = Duration::from_nanos(ran);
        // Of shorter ones it is not asked.
        let now = (ran >= LEAST).then(thread_time::on_cpu).flatten();
        let on_cpu = now.unwrap_or_default().saturating_sub(sample.on_cpu);
        let on_cpu = on_cpu.min(ran);
        let place = match self.pool {
            Kind::Io => burns(ran, on_cpu).then_some(MisuseKind::BurnsCpu),
            Kind::Cpu => sleeps(ran, on_cpu).then_some(MisuseKind::Sleeps),
            Kind::Dedicated => return,
        };
        let label = job.label();
        let mut sites = self.sites.lock();
        let call_site = job.call_site();
        let site = sites
            .entry(ptr::from_ref(call_site).addr())
            .or_insert_with(|| Site::new(call_site));
        let is_far = site.is_far(ran);
        site.looked_at += 1;
        site.time += ran;
        if label.is_some() && site.label.as_ref() != label {
            site.label = label.cloned();
        }
        let kinds = [place, is_far.then_some(MisuseKind::TakesLong)];
        let mut new = Vec::new();
        for kind in kinds.into_iter().flatten() {
            if site.found(kind, ran, on_cpu) {
                new.extend(site.misuse(self.pool, kind));
            }
        }
        drop(sites);
        for misuse in new {
            contain(|| log::warn!(target: "offramp", "{misuse}"));
        }
    }

    pub(crate) fn all(&self) -> Vec<Misuse> {
        let sites = self.sites.lock();
        let of = |site: &Site| -> Vec<_> {
            let kinds = site.found.iter().map(|found| found.kind);
            kinds
                .filter_map(|kind| site.misuse(self.pool, kind))
                .collect()
        };
        sites.values().flat_map(of).collect()
    }
}

impl Site {
    fn new(call_site: &'static Location<'static>) -> Self {
        Self {
            call_site,
            label: None,
            looked_at: 0,
            time: Duration::ZERO,
            found: Vec::new(),
        }
    }

    fn is_far(&self, ran: Duration) -> bool {
        let count = u32::try_from(self.looked_at).unwrap_or(u32::MAX);
        self.looked_at >= ENOUGH && ran >= LEAST_LONG && ran / FAR >= self.time / count
    }

    /// `true`: for the first time.
    fn found(&mut self, kind: MisuseKind, ran: Duration, on_cpu: Duration) -> bool {
        if let Some(found) = self.found.iter_mut().find(|found| found.kind == kind) {
            found.seen += 1;
            if ran > found.ran {
                (found.ran, found.on_cpu) = (ran, on_cpu);
            }
            return false;
        }
        self.found.push(Found {
            kind,
            seen: 1,
            ran,
            on_cpu,
        });
        true
    }

    fn misuse(&self, pool: Kind, kind: MisuseKind) -> Option<Misuse> {
        let found = self.found.iter().find(|found| found.kind == kind)?;
        Some(Misuse {
            kind,
            pool: pool.name(),
            call_site: self.call_site,
            label: self.label.clone(),
            seen: found.seen,
            looked_at: self.looked_at,
            ran: found.ran,
            on_cpu: found.on_cpu,
        })
    }
}

fn burns(ran: Duration, on_cpu: Duration) -> bool {
    ran >= LEAST && on_cpu >= ran / 5 * 4
}

fn sleeps(ran: Duration, on_cpu: Duration) -> bool {
    let asleep = ran.saturating_sub(on_cpu);
    if ran < LEAST || asleep < ran / 3 * 2 {
        return false;
    }
    // It may have waited for a CPU, which others had. No more than this thread has since it
    // was last asked.
    let Some(waited) = thread_time::waited_for_cpu() else {
        return false;
    };
    let waited = waited.saturating_sub(WAITED.replace(waited));
    asleep.saturating_sub(waited) >= ran / 3 * 2
}

#[cfg(unix)]
mod thread_time {
    use std::time::Duration;

    /// For how long this thread has had a CPU.
    pub(super) fn on_cpu() -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a valid place for the answer.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanos = u32::try_from(time.tv_nsec).ok()?;
        (failed == 0).then(|| Duration::new(seconds, nanos))
    }

    /// For how long it has waited for one, though it could have run.
    #[cfg(target_os = "linux")]
    pub(super) fn waited_for_cpu() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let waited = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(Duration::from_nanos(waited))
    }

    /// Nobody tells, so nobody is blamed.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn waited_for_cpu() -> Option<Duration> {
        None
    }
}

#[cfg(not(unix))]
mod thread_time {
    use std::time::Duration;

    pub(super) fn on_cpu() -> Option<Duration> {
        None
    }

    pub(super) fn waited_for_cpu() -> Option<Duration> {
        None
    }
}
