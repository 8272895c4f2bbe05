//! What the process costs: CPU time and threads, as the operating system counts them.

use std::time::Duration;

/// User and system time of the whole process so far: event loop, pools, and the example's
/// own service.
pub(crate) fn process_cpu() -> Duration {
    // SAFETY: all-zero is a valid `rusage`, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The calling thread's CPU time so far.
pub(crate) fn thread_cpu() -> Duration {
    // SAFETY: all-zero is a valid `timespec`, and the call only writes to it.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What all processes together have used of the CPUs since the start of the machine, to
/// the hundredth of a second; none where the system does not show it in `/proc`.
pub(crate) fn machine_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map(str::parse::<u64>);
    let mut next = || ticks.next()?.ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _waiting) = (next()?, next()?);
    let interrupts = next()? + next()? + next()?;
    Some(Duration::from_millis(
        10 * (user + nice + system + interrupts),
    ))
}

/// Threads of this process right now; none where the system does not show them in
/// `/proc`.
pub(crate) fn threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task")
        .ok()
        .map(Iterator::count)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
