//! A thread's files in procfs, held open: they stay that thread's, whoever gets its number.

use super::super::types::{Doing, SystemCall, Times};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct ThreadFiles {
    folder: File,
    syscall: Option<File>,
    schedstat: Option<File>,
}

/// A thread's account at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) times: Times,
    /// How often it was put on a CPU.
    pub(super) runs: u64,
}

/// A thread's longer account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    blocked_signals: u64,
    /// How often it left the CPU of its own accord.
    pub(super) sleeps: u64,
}

impl Status {
    /// Whether it holds this signal back.
    pub(super) fn blocks(&self, signal: i32) -> bool {
        self.blocked_signals >> (signal - 1) & 1 == 1
    }
}

impl ThreadFiles {
    /// This thread's. `None`: there is no procfs.
    pub(super) fn of_this_thread() -> Option<Self> {
        let folder = File::open("/proc/thread-self").ok()?;
        Some(Self {
            syscall: open_in(&folder, c"syscall").ok(),
            schedstat: open_in(&folder, c"schedstat").ok(),
            folder,
        })
    }

    /// What it does, by the kernel's word for it.
    pub(super) fn doing(&self) -> Doing {
        let mut buffer = [0; 256];
        let syscall = self.syscall.as_ref();
        let read = syscall.map(|file| file.read_at(&mut buffer, 0));
        match read {
            Some(Ok(length)) => parse_doing(&buffer[..length]).unwrap_or(Doing::Unknown),
            Some(Err(error)) if error.raw_os_error() == Some(libc::ESRCH) => Doing::Gone,
            _ => self.doing_by_state(),
        }
    }

    /// Whether `syscall` can be read, whatever it says.
    pub(super) fn tells_calls(&self) -> bool {
        let file = self.syscall.as_ref();
        file.is_some_and(|file| file.read_at(&mut [0; 256], 0).is_ok())
    }

    /// Where `syscall` is denied: `stat` never is. The kernel answers "running" in the one
    /// by the very state that the other prints.
    fn doing_by_state(&self) -> Doing {
        match self.state() {
            Some(b'R') => Doing::OnCpu,
            Some(b'X' | b'Z') | None => Doing::Gone,
            Some(_) => Doing::Unknown,
        }
    }

    fn state(&self) -> Option<u8> {
        let stat = self.text(c"stat")?;
        // The name, in parentheses, may have any.
        let after_name = stat.rsplit_once(") ")?.1;
        after_name.bytes().next()
    }

    pub(super) fn account(&self) -> Option<Account> {
        let mut buffer = [0; 128];
        let length = self.schedstat.as_ref()?.read_at(&mut buffer, 0).ok()?;
        parse_account(&buffer[..length])
    }

    /// The kernel function that it waits in.
    pub(super) fn kernel_function(&self) -> Option<String> {
        self.text(c"wchan").filter(|name| name != "0")
    }

    /// `None` where a line of it is missing.
    pub(super) fn status(&self) -> Option<Status> {
        let status = self.text(c"status")?;
        let line = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        Some(Status {
            blocked_signals: u64::from_str_radix(line("SigBlk:")?, 16).ok()?,
            sleeps: line("voluntary_ctxt_switches:")?.parse().ok()?,
        })
    }

    fn text(&self, name: &CStr) -> Option<String> {
        let file = open_in(&self.folder, name).ok()?;
        io::read_to_string(file).ok()
    }
}

fn open_in(folder: &File, name: &CStr) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: an open descriptor and a string that ends.
    let file = unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else's.
    Ok(unsafe { File::from_raw_fd(file) })
}

/// `running`, or number, six arguments, stack pointer and address; or -1 and the last two.
fn parse_doing(line: &[u8]) -> Option<Doing> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    if line == "running" {
        return Some(Doing::OnCpu);
    }
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    if number != -1 {
        for argument in &mut arguments {
            *argument = hex()?;
        }
    }
    Some(Doing::SystemCall(SystemCall {
        number,
        arguments,
        stack_pointer: hex()?,
        address: hex()?,
    }))
}

fn parse_account(line: &[u8]) -> Option<Account> {
    let line = std::str::from_utf8(line).ok()?;
    let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Account {
        times: Times {
            on_cpu: Duration::from_nanos(next()?),
            run_queue: Duration::from_nanos(next()?),
        },
        runs: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        assert_eq!(parse_doing(b"running\n"), Some(Doing::OnCpu));
        let call = parse_doing(b"230 0x1 0x0 0x7f 0x0 0x0 0xffffffffffffffff 0x7ffd10 0x7f00\n");
        let Some(Doing::SystemCall(call)) = call else {
            panic!("{call:?}");
        };
        assert_eq!(call.number, 230);
        assert_eq!(call.arguments, [1, 0, 0x7f, 0, 0, u64::MAX]);
        assert_eq!((call.stack_pointer, call.address), (0x7ffd10, 0x7f00));

        let Some(Doing::SystemCall(call)) = parse_doing(b"-1 0x10 0x20\n") else {
            panic!("a page fault");
        };
        assert_eq!(
            (call.number, call.stack_pointer, call.address),
            (-1, 0x10, 0x20)
        );
        for broken in [&b""[..], b"1 0x", b"x", b"1 0x1 0x2\n", b"\xff"] {
            assert_eq!(parse_doing(broken), None, "{broken:?}");
        }
        assert_eq!(parse_account(b"1 2\n"), None);
        assert_eq!(parse_account(b"1000 2 3\n").unwrap().runs, 3);
    }

    #[test]
    fn a_thread_reads_of_itself_that_it_reads() {
        let files = ThreadFiles::of_this_thread().unwrap();
        match files.doing() {
            Doing::SystemCall(call) => assert_eq!(call.number, libc::SYS_pread64),
            doing => panic!("{doing:?}"),
        }
        assert_eq!(files.doing_by_state(), Doing::OnCpu);
        let before = files.status().unwrap();
        std::thread::sleep(Duration::from_millis(1));
        assert!(files.status().unwrap().sleeps > before.sleeps);
        assert!(!before.blocks(libc::SIGUSR2));
    }

    #[test]
    fn files_of_a_thread_that_has_ended_say_so() {
        let files = std::thread::spawn(ThreadFiles::of_this_thread).join();
        let files = files.unwrap().unwrap();
        // The kernel needs a moment more than `join` does.
        while files.doing() != Doing::Gone {
            std::thread::yield_now();
        }
        assert_eq!(files.doing_by_state(), Doing::Gone);
    }
}
