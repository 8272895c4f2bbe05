//! Calls on processes.

use super::Case;
use crate::common::report;
use std::mem::MaybeUninit;
use std::process::{Child, Command};
use std::ptr;

pub(super) const CASES: &[Case] = &[
    ("posix_spawn", posix_spawn),
    ("posix_spawnp", posix_spawnp),
    ("waitpid", waitpid),
    ("waitid", waitid),
];

fn child() -> Child {
    Command::new("true").spawn().unwrap()
}

fn posix_spawn() -> String {
    let mut child = 0;
    let report = report(|| {
        let path = c"/bin/true".as_ptr();
        let arguments = [path.cast_mut(), ptr::null_mut()];
        let environment = [ptr::null_mut()];
        // SAFETY: lists that end in null, and defaults.
        let failed = unsafe {
            libc::posix_spawn(
                &mut child,
                path,
                ptr::null(),
                ptr::null(),
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        };
        assert_eq!(failed, 0);
    });
    // SAFETY: our child; how it ended is not asked for.
    assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child);
    assert!(report.contains("(\"/bin/true\")"), "{report}");
    report
}

fn posix_spawnp() -> String {
    let mut started = None;
    let report = report(|| started = Some(child()));
    assert!(started.unwrap().wait().unwrap().success());
    assert!(report.contains("(\"true\")"), "{report}");
    report
}

fn waitpid() -> String {
    let mut child = child();
    report(|| assert!(child.wait().unwrap().success()))
}

fn waitid() -> String {
    let mut child = child();
    let report = report(|| {
        let mut information = MaybeUninit::uninit();
        // SAFETY: room for the answer.
        let failed = unsafe {
            libc::waitid(
                libc::P_PID,
                child.id(),
                information.as_mut_ptr(),
                // For its owner it stays to be waited for.
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        assert_eq!(failed, 0);
    });
    assert!(child.wait().unwrap().success());
    report
}
