//! A system call in words, from its number and arguments.
//!
//! The arguments are as old as the look at them: by now the descriptor may be another file,
//! and the pointer may lead nowhere. Reading them is safe all the same, and a report that
//! names the wrong file is rare.

use super::super::types::{CallDetail, SystemCall, Wait};
use super::address;
use super::memory;
use super::system_calls;
use std::path::Path;
use std::time::Duration;

/// What of the arguments says what is waited on.
enum On {
    /// The descriptor at this place.
    File(usize),
    /// The path at this place.
    Path(usize),
    /// The socket at 0, and the address at 1 that it connects to.
    Connection,
    /// The array at 0 of as many polled descriptors as 1 says.
    Polled,
    /// The process at this place, as `wait4` takes it.
    Child,
    Nothing,
}

/// What of the arguments says for how long.
enum Limit {
    /// A pointer to seconds and nanoseconds; null: for ever.
    Time(usize),
    /// The same with microseconds.
    Microseconds(usize),
    Milliseconds(usize),
    /// Time at 3, absolute by the operation at 1.
    Futex,
    /// Time at 2, of the clock at 0, absolute by the flags at 1.
    Sleep,
    Nothing,
}

pub(super) fn describe(call: &SystemCall, kernel_function: Option<String>) -> CallDetail {
    let name = system_calls::name(call.number);
    let (on, limit) = name.map_or((On::Nothing, Limit::Nothing), meaning);
    CallDetail {
        name: match name {
            Some(name) => name.to_owned(),
            None if call.number == -1 => "a page of memory".to_owned(),
            None => format!("system call {}", call.number),
        },
        on: on.read(&call.arguments),
        wait: limit.read(&call.arguments),
        kernel_function,
    }
}

fn meaning(name: &str) -> (On, Limit) {
    match name {
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "write" | "pwrite64" | "writev"
        | "pwritev" | "pwritev2" | "fsync" | "fdatasync" | "syncfs" | "sync_file_range"
        | "flock" | "fcntl" | "ftruncate" | "fallocate" | "fadvise64" | "readahead" | "fstat"
        | "fchmod" | "getdents" | "getdents64" | "ioctl" | "lseek" | "close" | "sendfile"
        | "copy_file_range" | "splice" | "accept" | "accept4" | "recvfrom" | "recvmsg"
        | "recvmmsg" | "sendto" | "sendmsg" | "sendmmsg" | "shutdown" | "mq_timedsend"
        | "mq_timedreceive" | "io_uring_enter" => (On::File(0), Limit::Nothing),
        "open" | "creat" | "stat" | "lstat" | "access" | "unlink" | "rename" | "mkdir"
        | "rmdir" | "link" | "symlink" | "readlink" | "chmod" | "chown" | "truncate" | "execve"
        | "statfs" | "mount" | "umount2" => (On::Path(0), Limit::Nothing),
        "openat" | "openat2" | "newfstatat" | "statx" | "faccessat" | "faccessat2" | "unlinkat"
        | "renameat" | "renameat2" | "mkdirat" | "linkat" | "readlinkat" | "fchmodat"
        | "fchownat" | "utimensat" | "execveat" => (On::Path(1), Limit::Nothing),
        "connect" => (On::Connection, Limit::Nothing),
        "poll" => (On::Polled, Limit::Milliseconds(2)),
        "ppoll" => (On::Polled, Limit::Time(2)),
        "select" => (On::Nothing, Limit::Microseconds(4)),
        "pselect6" => (On::Nothing, Limit::Time(4)),
        "epoll_wait" | "epoll_pwait" => (On::Nothing, Limit::Milliseconds(3)),
        "epoll_pwait2" => (On::Nothing, Limit::Time(3)),
        "futex" => (On::Nothing, Limit::Futex),
        "nanosleep" => (On::Nothing, Limit::Time(0)),
        "clock_nanosleep" => (On::Nothing, Limit::Sleep),
        "rt_sigtimedwait" => (On::Nothing, Limit::Time(2)),
        "wait4" => (On::Child, Limit::Nothing),
        _ => (On::Nothing, Limit::Nothing),
    }
}

impl On {
    fn read(self, arguments: &[u64; 6]) -> Option<String> {
        match self {
            On::File(at) => file(arguments[at] as i32),
            On::Path(at) => path(arguments[at]),
            On::Connection => {
                let length = usize::try_from(arguments[2]).ok()?.min(128);
                let bytes = memory::read_vec(arguments[1], length);
                address::of_bytes(&bytes).map(|to| format!("a socket to {to}"))
            }
            On::Polled => match arguments[1] {
                0 => None,
                // The descriptor is an entry's first field.
                1 => file(memory::read_u64(arguments[0])? as i32),
                count => Some(format!("{count} files")),
            },
            On::Child => match arguments[0] as i32 {
                process if process > 0 => Some(format!("process {process}")),
                _ => Some("a child process".to_owned()),
            },
            On::Nothing => None,
        }
    }
}

/// What a descriptor is: a path, a socket with its addresses, or the kernel's word for it.
fn file(descriptor: i32) -> Option<String> {
    let link = std::fs::read_link(Path::new("/proc/self/fd").join(descriptor.to_string()));
    let link = link.ok()?.to_string_lossy().into_owned();
    if link.starts_with("socket:") {
        let ends = (address::own(descriptor), address::peer(descriptor));
        return Some(match ends {
            (Some(own), Some(peer)) => format!("a socket from {own} to {peer}"),
            (Some(own), None) => format!("a socket at {own}"),
            (None, Some(peer)) => format!("a socket to {peer}"),
            (None, None) => "a socket".to_owned(),
        });
    }
    if link.starts_with("pipe:") {
        return Some("a pipe".to_owned());
    }
    Some(link)
}

fn path(at: u64) -> Option<String> {
    const MOST: usize = 4096;
    let bytes = memory::read_vec(at, MOST);
    let length = bytes.iter().position(|byte| *byte == 0)?;
    let path = String::from_utf8_lossy(&bytes[..length]).into_owned();
    (!path.is_empty()).then_some(path)
}

impl Limit {
    fn read(self, arguments: &[u64; 6]) -> Option<Wait> {
        match self {
            Limit::Time(at) => relative(arguments[at], 1),
            Limit::Microseconds(at) => relative(arguments[at], 1000),
            Limit::Milliseconds(at) => Some(match u64::try_from(arguments[at] as i32) {
                Ok(milliseconds) => Wait::Lasts(Duration::from_millis(milliseconds)),
                Err(_) => Wait::Forever,
            }),
            Limit::Futex => {
                let operation = arguments[1] as i32;
                let is_real_time = operation & libc::FUTEX_CLOCK_REALTIME != 0;
                match operation & libc::FUTEX_CMD_MASK {
                    libc::FUTEX_WAIT => relative(arguments[3], 1),
                    libc::FUTEX_WAIT_BITSET if is_real_time => {
                        absolute(arguments[3], libc::CLOCK_REALTIME)
                    }
                    libc::FUTEX_WAIT_BITSET => absolute(arguments[3], libc::CLOCK_MONOTONIC),
                    _ => None,
                }
            }
            Limit::Sleep if arguments[1] as i32 & libc::TIMER_ABSTIME != 0 => {
                absolute(arguments[2], arguments[0] as libc::clockid_t)
            }
            Limit::Sleep => relative(arguments[2], 1),
            Limit::Nothing => None,
        }
    }
}

fn relative(at: u64, unit: u64) -> Option<Wait> {
    match at {
        0 => Some(Wait::Forever),
        at => time(at, unit).map(Wait::Lasts),
    }
}

fn absolute(at: u64, clock: libc::clockid_t) -> Option<Wait> {
    if at == 0 {
        return Some(Wait::Forever);
    }
    let until = time(at, 1)?;
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills `now`, or refuses the clock.
    if unsafe { libc::clock_gettime(clock, &mut now) } != 0 {
        return None;
    }
    let now = duration(now.tv_sec as u64, now.tv_nsec as u64)?;
    Some(Wait::Remains(until.saturating_sub(now)))
}

/// Seconds, and a fraction in units of so many nanoseconds.
fn time(at: u64, unit: u64) -> Option<Duration> {
    let seconds = memory::read_u64(at)?;
    let fraction = memory::read_u64(at.checked_add(8)?)?;
    duration(seconds, fraction.checked_mul(unit)?)
}

fn duration(seconds: u64, nanoseconds: u64) -> Option<Duration> {
    let nanoseconds = u32::try_from(nanoseconds).ok()?;
    (nanoseconds < 1_000_000_000).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn call(number: i64, arguments: [u64; 6]) -> CallDetail {
        let call = SystemCall {
            number,
            arguments,
            stack_pointer: 0,
            address: 0,
        };
        describe(&call, None)
    }

    #[test]
    fn a_file_has_its_path() {
        let file = std::fs::File::open("/dev/zero").unwrap();
        let read = call(libc::SYS_read, [file.as_raw_fd() as u64, 0, 0, 0, 0, 0]);
        assert_eq!(read.to_string(), "read on /dev/zero");
        let path = c"/dev/null".as_ptr() as u64;
        let open = call(libc::SYS_openat, [0, path, 0, 0, 0, 0]);
        assert_eq!(open.to_string(), "openat on /dev/null");
    }

    #[test]
    fn a_socket_has_its_addresses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(at).unwrap();
        let from = stream.local_addr().unwrap();
        let recv = call(
            libc::SYS_recvfrom,
            [stream.as_raw_fd() as u64, 0, 0, 0, 0, 0],
        );
        assert_eq!(recv.on, Some(format!("a socket from {from} to {at}")));
        let accept = call(
            libc::SYS_accept4,
            [listener.as_raw_fd() as u64, 0, 0, 0, 0, 0],
        );
        assert_eq!(accept.on, Some(format!("a socket at {at}")));
    }

    #[test]
    fn times_are_read_through_their_pointers() {
        let two_seconds = [2u64, 500_000_000];
        let at = two_seconds.as_ptr() as u64;
        let sleep = call(libc::SYS_clock_nanosleep, [1, 0, at, 0, 0, 0]);
        assert_eq!(sleep.to_string(), "clock_nanosleep, for 2.5s");
        let long_ago = call(libc::SYS_clock_nanosleep, [1, 1, at, 0, 0, 0]);
        assert_eq!(long_ago.wait, Some(Wait::Remains(Duration::ZERO)));
        let lock = call(
            libc::SYS_futex,
            [at, libc::FUTEX_WAIT_BITSET as u64, 0, 0, 0, 0],
        );
        assert_eq!(lock.to_string(), "futex, without a time-out");
        let poll = call(libc::SYS_ppoll, [0, 0, at, 0, 0, 0]);
        assert_eq!(poll.wait, Some(Wait::Lasts(Duration::from_millis(2500))));
        let nonsense = [u64::MAX, u64::MAX];
        for at in [8, u64::MAX, nonsense.as_ptr() as u64] {
            assert_eq!(call(libc::SYS_nanosleep, [at, 0, 0, 0, 0, 0]).wait, None);
        }
    }

    #[test]
    fn arguments_that_lead_nowhere_are_left_out() {
        for number in (0..=500).chain([-1, i64::MAX]) {
            for argument in [0, 8, u64::MAX, 1 << 62] {
                let detail = call(number, [argument; 6]);
                assert!(!detail.name.is_empty());
            }
        }
        assert_eq!(call(100_000, [0; 6]).to_string(), "system call 100000");
    }
}
