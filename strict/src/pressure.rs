//! How long threads of this process have waited for a CPU.
//!
//! Who waits for a lock waits for its holder, and if that one has lost its CPU it is the
//! machine that is slow and not the code. The kernel counts that time for each thread, in
//! `/proc/self/task/*/schedstat`. It adds it up when the thread has got its CPU back: of a
//! holder that waits the whole time is told after it has let go.

use std::fmt::Write;
use std::time::Duration;

/// As many threads are looked at. More than that share CPUs in any case.
const MOST: usize = 128;

/// A thread, and the time that it has waited so far.
#[derive(Clone, Copy, Default)]
struct Delay {
    thread: i32,
    nanos: u64,
    /// It has a CPU, or waits for one.
    runs: bool,
}

/// Those of all threads.
pub(crate) struct Delays {
    known: [Delay; MOST],
    len: usize,
}

impl Delays {
    /// It allocates nothing, and leaves `errno` as it likes.
    pub(crate) fn now() -> Self {
        let mut delays = Self {
            known: [Delay::default(); MOST],
            len: 0,
        };
        for_each_thread(|thread| {
            if let Some(place) = delays.known.get_mut(delays.len) {
                *place = Delay {
                    thread,
                    nanos: delay_of(thread),
                    runs: runs(thread),
                };
                delays.len += 1;
            }
        });
        delays
    }

    fn all(&self) -> &[Delay] {
        &self.known[..self.len]
    }

    fn of(&self, thread: i32) -> Option<&Delay> {
        self.all().iter().find(|known| known.thread == thread)
    }

    /// For how long threads have waited for a CPU since, taken together: a holder may itself
    /// have waited for another one.
    pub(crate) fn elapsed(&self) -> Duration {
        let now = Self::now();
        let since = |delay: &Delay| {
            let before = self.of(delay.thread).map_or(0, |before| before.nanos);
            delay.nanos.saturating_sub(before)
        };
        let nanos = now.all().iter().map(since).fold(0, u64::saturating_add);
        // What a thread has waited that has ended since is not told any more: all of it,
        // unless it slept when we looked.
        let ended = |before: &&Delay| now.of(before.thread).is_none();
        if self.all().iter().filter(ended).any(|before| before.runs) {
            return Duration::MAX;
        }
        Duration::from_nanos(nanos)
    }
}

/// A file or folder of `/proc/self/task`, as long as it is read.
struct Open(i32);

impl Open {
    fn at(path: &Path) -> Option<Self> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: a string that ends in zero.
        let fd = unsafe { libc::open(path.bytes.as_ptr().cast(), flags) };
        (fd >= 0).then_some(Self(fd))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::close(self.0) };
    }
}

/// A short string that ends in zero.
struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Path {
    fn of(text: std::fmt::Arguments<'_>) -> Self {
        let mut path = Self {
            bytes: [0; 64],
            len: 0,
        };
        // There is room for the longest.
        let _ = path.write_fmt(text);
        path
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        // The last byte stays zero.
        let end = self.len + text.len();
        let place = self.bytes[..63].get_mut(self.len..end);
        place
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn for_each_thread(mut f: impl FnMut(i32)) {
    let Some(folder) = Open::at(&Path::of(format_args!("/proc/self/task"))) else {
        return;
    };
    // Of the alignment of the kernel's entries.
    let mut buffer = [0_u64; 512];
    loop {
        let (to, len) = (buffer.as_mut_ptr(), size_of_val(&buffer));
        // SAFETY: a buffer of that length. `readdir` would allocate.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, folder.0, to, len) };
        let Some(read) = usize::try_from(read).ok().filter(|read| *read > 0) else {
            return;
        };
        // SAFETY: the kernel has written so many bytes there.
        let mut entries = unsafe { std::slice::from_raw_parts(to.cast::<u8>(), read) };
        // Two numbers of eight bytes, the entry's length in two, a byte, and the name.
        while let Some((length, name)) = entries.get(16..18).zip(entries.get(19..)) {
            let length = u16::from_ne_bytes([length[0], length[1]]);
            if let Some(thread) = number(name) {
                f(thread as i32);
            }
            entries = entries.get(usize::from(length).max(19)..).unwrap_or(&[]);
        }
    }
}

/// The second of the three numbers.
fn delay_of(thread: i32) -> u64 {
    let path = Path::of(format_args!("/proc/self/task/{thread}/schedstat"));
    with_text_of(&path, |text| {
        let mut numbers = text.split(|byte| *byte == b' ');
        numbers.nth(1).and_then(number)
    })
    .unwrap_or(0)
}

/// Its state, which stands behind its name in brackets.
fn runs(thread: i32) -> bool {
    let path = Path::of(format_args!("/proc/self/task/{thread}/stat"));
    let runs = with_text_of(&path, |text| {
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        Some(text.get(name_end + 2) == Some(&b'R'))
    });
    runs.unwrap_or(true)
}

/// Calls `f` with the beginning of a file.
fn with_text_of<T>(path: &Path, f: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let file = Open::at(path)?;
    let mut text = [0_u8; 128];
    // SAFETY: a buffer of that length.
    let read = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    f(&text[..usize::try_from(read).ok()?])
}

/// The number that the text begins with.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        let so_far: u64 = number.unwrap_or(0);
        number = Some(
            so_far
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0')),
        );
    }
    number
}

#[cfg(test)]
mod tests {
    use super::Delays;
    use std::thread;
    use std::time::Duration;

    /// More threads than CPUs compute: some wait for one, and the kernel has told of them.
    #[test]
    fn threads_that_wait_for_a_cpu_are_seen() {
        let threads = 4 * thread::available_parallelism().map_or(1, usize::from);
        let before = Delays::now();
        assert!(before.all()[0].thread > 0);
        let start = std::time::Instant::now();
        let elapsed = thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| while start.elapsed() < Duration::from_secs(1) {});
            }
            thread::sleep(Duration::from_millis(900));
            before.elapsed()
        });
        assert!(elapsed > Duration::from_millis(10), "{elapsed:?}");
    }
}
