//! Thread-local destructors, which run after all that a pool thread does for the crate.

use super::{Kind, call, quiet};
use crate::common::{PATIENCE, wait_until, watchdog};
use offramp::Offload;
use std::cell::RefCell;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

thread_local! {
    static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// Run by a thread-local's destructor.
struct AtExit(Option<Box<dyn FnOnce()>>);

impl AtExit {
    /// Leaves `f` to this thread's end.
    fn set(f: impl FnOnce() + 'static) {
        LAST.set(Some(Self(Some(Box::new(f)))));
    }
}

impl Drop for AtExit {
    fn drop(&mut self) {
        self.0.take().expect("dropped once")();
    }
}

#[test]
fn a_thread_local_s_destructor_on_a_leaving_thread_may_use_the_crate() {
    for kind in [Kind::Io, Kind::Cpu] {
        let _watchdog = watchdog("a thread-local's destructor uses the crate");
        let (name, keep_alive) = (quiet("exit"), Duration::from_millis(1));
        let builder = Offload::builder()
            .io_keep_alive(keep_alive)
            .thread_name(name);
        let leaving = builder.build().unwrap();
        let staying = Offload::builder().io_min_threads(1).build().unwrap();
        // An I/O thread leaves although its pool lives, a CPU thread only with it.
        let own = (kind == Kind::Io).then(|| leaving.clone());
        let last = Offload::builder().build().unwrap();

        let (other, (done, ends)) = (staying.clone(), mpsc::channel());
        let at_exit = move || {
            let _ = catch_unwind(|| panic!("the destructor catches its own panic"));
            assert!(offramp::checkpoint().is_ok());
            let spawned = offramp::offload_io(|| ()).on(&last).try_spawn().unwrap();
            // The handle's drop cancels, and ends a pool.
            drop((spawned, last));
            for offload in [Some(other), own].iter().flatten() {
                let answer = call(offload, kind, || 6).wait().unwrap();
                done.send(answer).unwrap();
            }
        };
        let set = call(&leaving, kind, move || AtExit::set(at_exit)).wait();
        set.expect("the job itself does not panic");
        if kind == Kind::Cpu {
            drop(leaving);
        }
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(6));
        if kind == Kind::Io {
            assert_eq!(ends.recv_timeout(PATIENCE), Ok(6));
        }
        assert_eq!(call(&staying, kind, || 7).wait().unwrap(), 7);
    }
}

/// What no library can contain, because the standard library aborts the process: the
/// pool's threads are no better, and no worse, than a plain one.
#[test]
fn a_panic_that_leaves_a_thread_local_s_destructor_aborts_as_on_any_thread() {
    const CASE: &str = "OFFRAMP_TESTS_ABORT";
    const TEST: &str = "a_panic_that_leaves_a_thread_local_s_destructor_aborts_as_on_any_thread";
    let fail = || AtExit::set(|| panic!("out of a destructor"));
    match env::var(CASE).as_deref() {
        Ok("std") => {
            let _ = thread::spawn(fail).join();
        }
        Ok("pool") => {
            let offload = Offload::builder().io_keep_alive(Duration::from_millis(1));
            let offload = offload.build().unwrap();
            offramp::offload_io(fail).on(&offload).wait().unwrap();
            wait_until("the process is aborted", || false);
        }
        _ => {
            for case in ["std", "pool"] {
                let mut child = Command::new(env::current_exe().unwrap());
                let name = format!("thread_exit::{TEST}");
                child
                    .args([&*name, "--exact", "--nocapture"])
                    .env(CASE, case);
                let output = child.output().expect("a child process");
                let errors = String::from_utf8_lossy(&output.stderr);
                let signal = output.status.signal();
                assert_eq!(signal, Some(libc::SIGABRT), "{case}: {errors}");
                assert!(errors.contains("thread local panicked on drop"), "{errors}");
            }
        }
    }
}
