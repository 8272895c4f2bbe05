//! CPU hogs: processes that compute for as long as they are let.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::jobs::{Busy, Job};

/// What makes this executable one.
pub(crate) const FLAG: &str = "--burn";

/// Nobody's pass takes as long.
const LIFE: Duration = Duration::from_secs(600);

/// Killed when this is dropped, also by a panic.
pub(crate) struct Hogs(Vec<Child>);

impl Hogs {
    pub(crate) fn start(count: usize) -> Result<Self, String> {
        let this =
            std::env::current_exe().map_err(|e| format!("cannot find this executable: {e}"))?;
        let mut hogs = Hogs(Vec::new());
        for _ in 0..count {
            let hog = Command::new(&this)
                .arg(FLAG)
                .stdin(Stdio::null())
                .spawn()
                .map_err(|e| format!("cannot start a CPU hog: {e}"))?;
            hogs.0.push(hog);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            // One that is gone already is what is wanted.
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// A hog's life: until it is killed, its parent is gone, or it is forgotten.
pub(crate) fn burn() {
    let (born, parent) = (Instant::now(), parent());
    while born.elapsed() < LIFE && self::parent() == parent {
        Busy(1_000_000).run(0);
    }
}

#[cfg(unix)]
fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

#[cfg(not(unix))]
fn parent() -> u32 {
    0
}
