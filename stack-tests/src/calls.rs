//! Calls that block, each in a function whose name a report has to show.

use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::panic;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// What the calls block on, until `release`.
pub(crate) struct Props {
    pub(crate) stop: AtomicBool,
    pub(crate) lock: Mutex<bool>,
    changed: Condvar,
    fifo: PathBuf,
    listener: TcpListener,
    sender: Mutex<Option<mpsc::Sender<()>>>,
    receiver: Mutex<mpsc::Receiver<()>>,
    _folder: tempfile::TempDir,
}

impl Props {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let (sender, receiver) = mpsc::channel();
        Self {
            stop: AtomicBool::new(false),
            lock: Mutex::new(false),
            changed: Condvar::new(),
            fifo,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            sender: Mutex::new(Some(sender)),
            receiver: Mutex::new(receiver),
            _folder: folder,
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Ends every one of the calls; what holds `lock` is the caller's.
    pub(crate) fn release(&self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.sender.lock().unwrap().take());
        // Whoever reads the other end sees it end.
        let mut both_ways = fs::OpenOptions::new();
        let fifo = both_ways.read(true).write(true).open(&self.fifo).unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(fifo);
        self.listener.set_nonblocking(true).unwrap();
        drop(self.listener.accept());
    }
}

/// A call that blocks.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) function: fn(&Props),
    /// In which of these system calls it is found. None: on a CPU.
    pub(crate) waits_in: &'static [&'static str],
    /// With debug information the function has this one inlined.
    pub(crate) inlined: Option<&'static str>,
}

macro_rules! calls {
    ($($function:ident in [$($call:literal),*] $(inlines $inlined:ident)?;)*) => {
        &[$(Call {
            name: stringify!($function),
            function: $function,
            waits_in: &[$($call),*],
            inlined: [$(Some(stringify!($inlined)),)? None][0],
        }),*]
    };
}

#[cfg(test)]
pub(crate) use calls;

pub(crate) const CALLS: &[Call] = calls! {
    sleeps in ["clock_nanosleep"];
    reads_a_fifo in ["openat", "open", "read"];
    locks_a_mutex in ["futex"];
    waits_for_a_change in ["futex"];
    receives_a_message in ["futex"];
    joins_a_thread in ["futex"];
    reads_a_socket in ["recvfrom"];
    runs_a_program in ["poll"];
    sleeps_in_a_helper in ["clock_nanosleep"] inlines helper_that_sleeps;
    sleeps_deep_down in ["clock_nanosleep"];
    sleeps_without_libc in ["nanosleep"];
    spins in [];
    sorts in [];
    allocates in [];
    formats in [];
    panics in [];
    spins_in_a_helper in [] inlines helper_that_spins;
};

#[inline(never)]
pub(crate) fn sleeps(props: &Props) {
    while props.goes_on() {
        thread::sleep(Duration::from_millis(200));
    }
}

#[inline(never)]
fn reads_a_fifo(props: &Props) {
    black_box(fs::read(&props.fifo)).unwrap();
}

#[inline(never)]
fn locks_a_mutex(props: &Props) {
    let mut locked = props.lock.lock().unwrap();
    *black_box(&mut *locked) = true;
}

#[inline(never)]
fn waits_for_a_change(props: &Props) {
    let other = Mutex::new(());
    let mut guard = other.lock().unwrap();
    while props.goes_on() {
        let time = Duration::from_millis(200);
        guard = props.changed.wait_timeout(guard, time).unwrap().0;
    }
}

#[inline(never)]
fn receives_a_message(props: &Props) {
    let received = props.receiver.lock().unwrap().recv();
    assert!(black_box(received).is_err());
}

#[inline(never)]
fn joins_a_thread(props: &Props) {
    thread::scope(|scope| {
        let other = scope.spawn(|| props.receiver.lock().unwrap().recv());
        assert!(black_box(other.join()).unwrap().is_err());
    });
    // Not the last that it does: it would be gone by then.
    black_box(props);
}

#[inline(never)]
fn reads_a_socket(props: &Props) {
    let mut stream = TcpStream::connect(props.listener.local_addr().unwrap()).unwrap();
    let read = stream.read(&mut [0; 16]);
    let _ = black_box(read);
}

#[inline(never)]
fn runs_a_program(props: &Props) {
    let output = Command::new("cat").arg(&props.fifo).output();
    assert!(black_box(output).unwrap().status.success());
}

#[inline(always)]
fn helper_that_sleeps(time: Duration) {
    thread::sleep(black_box(time));
}

#[inline(never)]
fn sleeps_in_a_helper(props: &Props) {
    while props.goes_on() {
        helper_that_sleeps(Duration::from_millis(200));
    }
}

#[inline(never)]
fn sleeps_deep_down(props: &Props) {
    fn descend(depth: usize, props: &Props) -> usize {
        let frame = black_box([depth; 64]);
        if depth == 0 {
            sleeps(props);
        } else {
            descend(depth - 1, props);
        }
        black_box(frame[1])
    }
    black_box(descend(40, props));
}

/// As `rustix` does it: the instruction is in this function.
#[inline(never)]
fn sleeps_without_libc(props: &Props) {
    while props.goes_on() {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel reads `time`, and writes nothing.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_nanosleep => _,
                in("rdi") &raw const time,
                in("rsi") 0,
                out("rcx") _,
                out("r11") _,
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: as above.
        unsafe {
            libc::nanosleep(&time, std::ptr::null_mut());
        }
    }
}

#[inline(never)]
pub(crate) fn spins(props: &Props) {
    let mut number = 1u64;
    while props.goes_on() {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005));
    }
}

#[inline(never)]
fn sorts(props: &Props) {
    while props.goes_on() {
        let mut numbers: Vec<u64> = (0..20_000)
            .map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        numbers.sort();
        black_box(numbers);
    }
}

#[inline(never)]
fn allocates(props: &Props) {
    while props.goes_on() {
        for size in 1..200 {
            black_box(vec![0u8; size * 7]);
        }
    }
}

#[inline(never)]
fn formats(props: &Props) {
    while props.goes_on() {
        black_box(format!(
            "{:?} {}",
            black_box([1.5, 2.25]),
            black_box("text")
        ));
    }
}

/// Unwinds all the time. The hook is not called.
#[inline(never)]
fn panics(props: &Props) {
    while props.goes_on() {
        if cfg!(panic = "abort") {
            std::hint::spin_loop();
        } else {
            let _ = panic::catch_unwind(|| panic::resume_unwind(Box::new(black_box(1))));
        }
    }
}

#[inline(always)]
fn helper_that_spins(number: u64) -> u64 {
    (0..1000).fold(number, |number, more| black_box(number.wrapping_add(more)))
}

#[inline(never)]
fn spins_in_a_helper(props: &Props) {
    let mut number = 1;
    while props.goes_on() {
        number = helper_that_spins(number);
    }
    black_box(number);
}
