//! What the bench needs from the operating system, and what it prints about the machine.

use std::process::Command;
use std::time::Duration;

/// CPU time and context switches of this process so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

#[cfg(unix)]
pub(crate) fn usage() -> Usage {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of our own, which the call only writes to.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) };
    assert_eq!(status, 0, "getrusage cannot fail for this process");
    // SAFETY: zeroed above, which is a valid value of this plain struct, and then written by the call.
    let raw = unsafe { raw.assume_init() };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Usage {
        cpu: time(raw.ru_utime) + time(raw.ru_stime),
        switches: (raw.ru_nvcsw + raw.ru_nivcsw) as u64,
    }
}

#[cfg(not(unix))]
pub(crate) fn usage() -> Usage {
    Usage::default()
}

/// How often this thread has lost its CPU to another one without having asked to wait.
#[cfg(target_os = "linux")]
pub(crate) fn preemptions() -> u64 {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of our own, which the call only writes to.
    let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, raw.as_mut_ptr()) };
    assert_eq!(status, 0, "getrusage cannot fail for this thread");
    // SAFETY: zeroed above, which is a valid value of this plain struct, and then written by the call.
    unsafe { raw.assume_init() }.ru_nivcsw as u64
}

/// Not known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn preemptions() -> u64 {
    0
}

/// Keeps this thread, and every thread it starts, on the first `count` of the CPUs it may use.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to(count: usize) -> Result<(), String> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: all bits zero is an empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours and `size` is its size.
    if unsafe { libc::sched_getaffinity(0, size, &mut allowed) } != 0 {
        return Err(format!(
            "cannot read the CPU mask: {}",
            std::io::Error::last_os_error()
        ));
    }
    // SAFETY: as above.
    let mut kept: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: every index is below the size of the set.
    let usable = (0..libc::CPU_SETSIZE as usize)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &allowed) })
        .take(count);
    for cpu in usable {
        // SAFETY: as above.
        unsafe { libc::CPU_SET(cpu, &mut kept) };
    }
    // SAFETY: the set is ours and `size` is its size.
    if unsafe { libc::sched_setaffinity(0, size, &kept) } != 0 {
        return Err(format!(
            "cannot pin to {count} CPU: {}",
            std::io::Error::last_os_error()
        ));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to(_count: usize) -> Result<(), String> {
    Err("pinning is only known on Linux".into())
}

/// CPU time of the whole machine since boot: busy and total, in ticks.
#[derive(Clone, Copy)]
pub(crate) struct MachineTime {
    busy: u64,
    total: u64,
}

/// `None` where `/proc` does not tell.
pub(crate) fn machine_time() -> Option<MachineTime> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|f| f.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is already in user.
    let total = ticks.iter().take(8).sum::<u64>();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(MachineTime {
        busy: total - idle,
        total,
    })
}

/// The share of the machine's CPU time that something else used (or the host took), in percent.
pub(crate) fn foreign_load(since: MachineTime, own: Duration) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let now = machine_time()?;
    let total = now
        .total
        .checked_sub(since.total)
        .filter(|&ticks| ticks > 0)? as f64;
    let busy = now.busy.saturating_sub(since.busy) as f64;
    Some(((busy - own.as_secs_f64() * TICKS_PER_SECOND) / total * 100.0).max(0.0))
}

/// What a reader needs to judge the figures.
pub(crate) fn print_environment() {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "machine: {cpus} CPUs usable, {}, {}",
        cpu_model(),
        std::env::consts::ARCH
    );
    println!("system: {} {}", std::env::consts::OS, kernel());
    println!("compiler: {} (at run time), profile bench", rustc());
    let versions: Vec<String> = [
        "offramp",
        "tokio",
        "blocking",
        "rayon",
        "tokio-rayon",
        "smol",
    ]
    .into_iter()
    .map(|name| {
        format!(
            "{name} {}",
            locked_version(name).unwrap_or_else(|| "?".into())
        )
    })
    .collect();
    println!("crates: {}", versions.join(", "));
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split(':').nth(1));
    model.map_or_else(|| "CPU model unknown".into(), |model| model.trim().into())
}

fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    text.map_or_else(|_| "kernel unknown".into(), |text| text.trim().into())
}

fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok();
    output
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "rustc unknown".into(), |text| text.trim().into())
}

/// The version in the lock file, the newest if there are several.
fn locked_version(name: &str) -> Option<String> {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).ok()?;
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut found = None;
    while let Some(line) = lines.next() {
        if line == wanted {
            found = lines.next()?.split('"').nth(1).map(str::to_owned);
        }
    }
    found
}
