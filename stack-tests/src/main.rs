//! The detector's capture of stacks, in the profile that this is built in: each call that
//! blocks is captured while it does, and must name the function that made it.
//!
//! `stack-tests/profiles` runs it in the profiles that matter; `cargo test -p stack-tests`
//! runs the same and the storms as tests. Arguments: `stacks` prints what was found,
//! `times` how long each step takes; `signals-off`, `procfs-denied`, `reading-denied` and `signal-denied` are systems that
//! allow less.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod hardship;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(all(test, target_os = "linux"))]
mod odd;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(all(test, target_os = "linux"))]
mod storms;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(target_os = "linux")]
mod times;

// The crate's own source.
#[cfg(target_os = "linux")]
#[allow(dead_code, unused_imports)]
#[path = "../../src/watch/stack/mod.rs"]
mod stack;

#[cfg(target_os = "linux")]
fn main() {
    let mut wanted = scene::Wanted::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "times" => return times::print(),
            "stacks" => wanted.prints_stacks = true,
            "signals-off" => (wanted.signals, wanted.running) = (false, false),
            "procfs-denied" => {
                hardship::close_procfs();
                wanted.waiting = false;
            }
            "reading-denied" => hardship::refuse(libc::SYS_process_vm_readv),
            "signal-denied" => {
                hardship::refuse(libc::SYS_rt_tgsigqueueinfo);
                wanted.running = false;
            }
            _ => panic!("{argument}: one of stacks, times, signals-off, *-denied"),
        }
    }
    scene::play_all(wanted);
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: stacks need Linux");
}
