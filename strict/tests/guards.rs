//! Functions of libc are called in strange places: ours have to work there, and to leave what
//! they take over as it was.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;

use common::{is_interposed, report};
use offramp_strict::{Options, allow, run};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn nap() {
    thread::sleep(Duration::from_micros(10));
}

fn errno() -> c_int {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() }
}

fn set_errno(errno: c_int) {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() = errno }
}

#[test]
fn errno_is_the_calls_own() {
    let file = File::open("Cargo.toml").unwrap();
    let look = || {
        // SAFETY: a string.
        let fd = unsafe { libc::open(c"/there/is/no/such".as_ptr(), libc::O_RDONLY) };
        assert_eq!((fd, errno()), (-1, libc::ENOENT));
        set_errno(123);
        let mut buffer = [0_u8; 4];
        // SAFETY: a buffer of that length.
        let read = unsafe { libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), 4) };
        assert_eq!((read, errno()), (4, 123), "a call that succeeds leaves it");
        // SAFETY: a descriptor that is none, and nothing to read to.
        let read = unsafe { libc::read(-1, ptr::null_mut(), 0) };
        assert_eq!((read, errno()), (-1, libc::EBADF));
    };
    look();
    assert_eq!(
        catch_unwind(AssertUnwindSafe(|| run(async { look() }))).is_err(),
        is_interposed()
    );
}

/// Variadic arguments arrive, in a poll and outside.
#[test]
fn variadic_arguments_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str| {
        let path = folder.path().join(name);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // SAFETY: no pointers.
        let copy = unsafe {
            let fd = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100);
            assert!(fd >= 100);
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: as above.
        let flags = unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        fs::write(&path, vec![7; 8192]).unwrap();
        let file = File::open(&path).unwrap();
        // SAFETY: six arguments, of which the last says what is mapped; read within it, and
        // unmapped once.
        unsafe {
            let length = 4096_usize;
            let mapped = libc::syscall(
                libc::SYS_mmap,
                ptr::null_mut::<c_void>(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                4096_i64,
            );
            assert!(mapped > 0, "{}", std::io::Error::last_os_error());
            let mapped = ptr::with_exposed_provenance_mut::<u8>(mapped as usize);
            assert_eq!(*mapped, 7);
            libc::munmap(mapped.cast(), length);
        }
    };
    check("outside");
    run(async { allow("a fixture", || check("allowed")) });
    let _ = catch_unwind(AssertUnwindSafe(|| run(async { check("inside") })));
    assert!(folder.path().join("inside").exists());
}

/// What a panic does to print itself is not the poll's doing.
#[test]
fn a_caught_panic_is_no_report() {
    let name = "a_caught_panic_is_no_report";
    let key = "OFFRAMP_STRICT_TEST_PANICS";
    if std::env::var_os(key).is_some() {
        // It takes its time, which is that of the binary's size.
        Options::new().no_budget().run(async {
            assert!(catch_unwind(|| panic!("on purpose")).is_err());
        });
        return;
    }
    // The first backtrace of a process reads its symbols, from files.
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args([name, "--exact", "--nocapture"]);
    let output = test
        .env(key, "1")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("on purpose") && told.contains("guards::"),
        "{told}"
    );
}

static BEFORE_MAIN: AtomicBool = AtomicBool::new(false);

extern "C" fn before_main() {
    let mut byte = 0_u8;
    // SAFETY: room for a byte. Nothing of Rust's runtime is used.
    unsafe {
        let fd = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
        let read = libc::read(fd, (&raw mut byte).cast(), 1);
        libc::close(fd);
        BEFORE_MAIN.store(read == 1, SeqCst);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = before_main;

#[test]
fn calls_before_main_go_through() {
    assert!(BEFORE_MAIN.load(SeqCst));
}

/// Thread-local values are destroyed in an order that nobody knows.
#[test]
fn threads_that_end_are_looked_at_too() {
    struct Last(mpsc::Sender<bool>);
    impl Drop for Last {
        fn drop(&mut self) {
            nap();
            let failed = catch_unwind(|| run(async { nap() })).is_err();
            self.0.send(failed).unwrap();
        }
    }
    thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
    let (sender, failed) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Once before ours is first used, which then goes before it, and once after.
        LAST.set(Some(Last(sender.clone())));
        run(async {});
    });
    thread.join().unwrap();
    assert_eq!(
        failed.recv_timeout(Duration::from_secs(20)),
        Ok(is_interposed())
    );
}

/// A poll goes on in both processes. The child's fails there.
#[test]
fn a_child_after_fork_is_not_harmed() {
    let failed = catch_unwind(|| {
        run(async {
            // SAFETY: the child ends below, without a way back to the test.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                // SAFETY: should it hang, the kernel ends it.
                unsafe { libc::alarm(20) };
                nap();
                let failed = catch_unwind(|| run(async { nap() })).is_err();
                // SAFETY: as above.
                unsafe { libc::_exit(i32::from(failed != is_interposed())) };
            }
            let mut status = 0;
            let wait = || {
                // SAFETY: room for the answer.
                unsafe { libc::waitpid(child, &mut status, 0) }
            };
            assert_eq!(allow("the child is to end", wait), child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        });
    });
    assert!(failed.is_ok(), "the child's sleep was not ours");
}

/// C unwinds a thread that is cancelled, through whatever it waits in.
#[test]
fn a_thread_of_cs_can_be_cancelled() {
    unsafe extern "C-unwind" {
        fn read(fd: c_int, to: *mut c_void, len: usize) -> isize;
    }
    unsafe extern "C" {
        fn pthread_cancel(thread: libc::pthread_t) -> c_int;
        fn pthread_create(
            thread: *mut libc::pthread_t,
            attributes: *const libc::pthread_attr_t,
            start: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
            argument: *mut c_void,
        ) -> c_int;
    }
    unsafe extern "C-unwind" fn waits(pipe: *mut c_void) -> *mut c_void {
        let mut byte = 0_u8;
        // SAFETY: room for a byte.
        unsafe { read(pipe.addr() as c_int, (&raw mut byte).cast(), 1) };
        ptr::null_mut()
    }
    let mut pipe = [0; 2];
    // SAFETY: room for both ends; they are ours. The thread is joined, before they are
    // closed; it has no destructors.
    unsafe {
        assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
        let ends = pipe.map(|end| OwnedFd::from_raw_fd(end));
        let mut thread = 0;
        let reads = ptr::without_provenance_mut(pipe[0] as usize);
        assert_eq!(pthread_create(&mut thread, ptr::null(), waits, reads), 0);
        nap();
        assert_eq!(pthread_cancel(thread), 0);
        let mut result = ptr::null_mut();
        assert_eq!(libc::pthread_join(thread, &mut result), 0);
        assert_eq!(result.addr(), usize::MAX, "PTHREAD_CANCELED");
        drop(ends);
    }
}

/// What does not block is not told: each beside the same call that does.
#[test]
fn calls_that_do_not_wait_are_not_told() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let (mut here, mut there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.write_all(b"text").unwrap();
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let child = RefCell::new(child);
    let child_looks = || child.borrow_mut().try_wait().unwrap();
    Options::new().run(async {
        let mut buffer = [0; 8];
        assert_eq!(here.read(&mut buffer).unwrap(), 4);
        assert!(here.read(&mut buffer).is_err());
        assert_eq!(here.write(b"text").unwrap(), 4);
        assert!(child_looks().is_none());
        let mut look = libc::pollfd {
            fd: there.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: room for one answer.
        assert_eq!(unsafe { libc::poll(&mut look, 1, 0) }, 1);
        let flags = libc::MSG_DONTWAIT;
        let (to, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: a buffer of that length.
        let received = unsafe { libc::recv(there.as_raw_fd(), to, length, flags) };
        assert_eq!(received, 4);
    });
    allow("outside of a poll", || child.borrow_mut().kill()).unwrap();
    child.borrow_mut().wait().unwrap();
    if is_interposed() {
        there.write_all(b"text").unwrap();
        here.set_nonblocking(false).unwrap();
        let report = report(|| here.read(&mut [0; 8]).unwrap());
        assert!(report.contains("recv("), "{report}");
    }
}
