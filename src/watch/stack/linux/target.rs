//! A thread that is watched, as others see it.

use super::super::types::{CallDetail, Captured, Doing, How, SystemCall, Times};
use super::call_detail;
use super::procfs::{Account, ThreadFiles};
use super::registers::Registers;
use super::signal;
use super::snapshot::Snapshot;
use super::unwind::{self, Frame};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a capture is begun anew because the thread went on meanwhile. One that makes
/// many short calls is caught between two of them.
const MOST_ATTEMPTS: usize = 8;

/// It is worth another try.
pub(super) const WENT_ON: &str = "it went on";

/// So much CPU time a thread has to take without a sleep before it is signalled. One that
/// was seen running by chance sleeps again before that; so does one that is just about to
/// leave a call and only lacks a CPU for it, and whose call a signal would still cut short.
const RUNS_FOR: Duration = Duration::from_micros(300);

/// How often it is looked at meanwhile.
const LOOKS_EVERY: Duration = Duration::from_micros(500);

/// How long it may take for that.
const GETS_CPU_WITHIN: Duration = Duration::from_millis(100);

/// A thread. Made by itself; looked at by others for as long as it lives.
#[derive(Debug)]
pub(crate) struct Target {
    thread: i32,
    stack: Range<u64>,
    clock: Option<libc::clockid_t>,
    files: Option<ThreadFiles>,
    root: Mutex<Root>,
}

/// A thread's outermost frame: found by whoever needs it first, from what the thread copied
/// of its own stack when it was made a target. So the thread itself never unwinds.
#[derive(Debug)]
enum Root {
    Copied(Snapshot),
    Found(Option<Frame>),
}

impl Target {
    /// This thread.
    #[inline(never)]
    pub(crate) fn of_this_thread() -> Self {
        let stack = stack_of_this_thread().unwrap_or(0..0);
        Self {
            // SAFETY: it takes and changes nothing.
            thread: unsafe { libc::gettid() },
            clock: clock_of_this_thread(),
            files: ThreadFiles::of_this_thread(),
            root: Mutex::new(Root::Copied(Snapshot::read(Registers::here(), &stack))),
            stack,
        }
    }

    /// What it does right now: one read of procfs.
    pub(crate) fn look(&self) -> Doing {
        match &self.files {
            Some(files) => files.doing(),
            None => Doing::Unknown,
        }
    }

    /// Whether procfs names the calls that it waits in.
    pub(super) fn tells_calls(&self) -> bool {
        self.files.as_ref().is_some_and(ThreadFiles::tells_calls)
    }

    /// Its time on CPUs and in front of them.
    pub(crate) fn times(&self) -> Option<Times> {
        let mut times = self.account()?.times;
        // The account is written by the scheduler's tick, the clock when it is read.
        times.on_cpu = self.cpu_time().unwrap_or(times.on_cpu);
        Some(times)
    }

    fn cpu_time(&self) -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the kernel fills `time`, or refuses the clock of a thread that has ended.
        let got = unsafe { libc::clock_gettime(self.clock?, &mut time) };
        (got == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    fn account(&self) -> Option<Account> {
        self.files.as_ref()?.account()
    }

    /// The call in words. What its arguments point to is as old as the look at it.
    pub(crate) fn system_call(&self, call: &SystemCall) -> CallDetail {
        let kernel_function = self.files.as_ref().and_then(ThreadFiles::kernel_function);
        call_detail::describe(call, kernel_function)
    }

    /// Its stack, while it does what it does. `still` says whether that is what the caller
    /// saw: it is asked before a signal and after the copy, and a stack of something else is
    /// thrown away.
    pub(crate) fn capture(&self, doing: &Doing, still: &dyn Fn() -> bool) -> Captured {
        let mut doing = *doing;
        let mut failed = WENT_ON;
        for _ in 0..MOST_ATTEMPTS {
            let taken = match doing {
                _ if !still() => return Captured::none(WENT_ON),
                Doing::SystemCall(call) => (self.copy_waiting(&call), How::NoSignal),
                Doing::OnCpu => (self.copy_running(still), How::Signal),
                Doing::Unknown => return Captured::none("procfs does not say where it waits"),
                Doing::Gone => return Captured::none("it has ended"),
            };
            match taken {
                (Ok(_), _) if !still() => return Captured::none(WENT_ON),
                (Ok(snapshot), how) => {
                    let mut captured = self.unwound(&snapshot, how);
                    if unwind::lock().may_be_landing(&captured.addresses) {
                        failed = WENT_ON;
                        continue;
                    }
                    if let (Doing::SystemCall(SystemCall { number: 0.., .. }), [innermost, ..]) =
                        (doing, &mut *captured.addresses)
                    {
                        // Procfs says where the call returns to.
                        *innermost = innermost.saturating_sub(1);
                    }
                    return captured;
                }
                (Err(why), _) => failed = why,
            }
            let before = doing;
            doing = self.look();
            if failed != WENT_ON && doing == before {
                // Trying again changes nothing.
                break;
            }
        }
        Captured::none(failed)
    }

    /// Registers by procfs and bytes by the kernel, if it did not run meanwhile.
    fn copy_waiting(&self, call: &SystemCall) -> Result<Snapshot, &'static str> {
        let before = self.account();
        if self.look() != Doing::SystemCall(*call) {
            return Err(WENT_ON);
        }
        let registers = Registers {
            address: call.address,
            stack_pointer: call.stack_pointer,
            frame_pointer: None,
            link: None,
        };
        let snapshot = Snapshot::read(registers, &self.stack);
        if self.look() != Doing::SystemCall(*call) || self.account() != before {
            return Err(WENT_ON);
        }
        if snapshot.bytes.is_empty() {
            return Err("its stack cannot be read");
        }
        Ok(snapshot)
    }

    /// Asked of the thread itself, if it goes on running.
    fn copy_running(&self, still: &dyn Fn() -> bool) -> Result<Snapshot, &'static str> {
        let Some(signal) = signal::taken() else {
            return Err("it runs, and signals are off");
        };
        let status = || self.files.as_ref().and_then(ThreadFiles::status);
        let Some(before) = status() else {
            return Err("procfs denies `status`");
        };
        if before.blocks(signal) {
            // It would stay pending, and end the program that such a thread executes.
            return Err("it blocks the signal");
        }
        let (since, began) = (self.cpu_time(), Instant::now());
        loop {
            thread::sleep(LOOKS_EVERY);
            if status() != Some(before) {
                return Err(WENT_ON);
            }
            match (self.cpu_time(), since) {
                (Some(now), Some(since)) if now.saturating_sub(since) >= RUNS_FOR => break,
                (Some(_), Some(_)) if began.elapsed() < GETS_CPU_WITHIN => {}
                (Some(_), Some(_)) => return Err("it waits for a CPU"),
                _ => return Err("its CPU time is not known"),
            }
        }
        let may_signal = || still() && self.look() == Doing::OnCpu;
        signal::ask(self.thread, &self.stack, may_signal)
    }

    /// This thread, asked by itself: it answers before the call that asks returns.
    pub(super) fn try_signal(&self) -> Result<(), &'static str> {
        let Some(status) = self.files.as_ref().and_then(ThreadFiles::status) else {
            return Err("procfs denies `status`");
        };
        match signal::taken() {
            Some(signal) if !status.blocks(signal) => {
                signal::ask(self.thread, &self.stack, || true).map(drop)
            }
            // Others may well let it through.
            _ => Ok(()),
        }
    }

    /// Tables that are broken in a way that nobody thought of cost a stack, and no thread.
    fn unwound(&self, snapshot: &Snapshot, how: How) -> Captured {
        let unwind = || {
            let root = self.root();
            unwind::lock().walk_to(snapshot, root)
        };
        let Ok((walk, is_partial)) = panic::catch_unwind(AssertUnwindSafe(unwind)) else {
            return Captured::none("unwinding it panicked");
        };
        Captured {
            addresses: walk.frames.iter().map(|frame| frame.address).collect(),
            is_partial,
            how,
        }
    }

    fn root(&self) -> Option<Frame> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        match &*root {
            Root::Found(frame) => *frame,
            Root::Copied(snapshot) => {
                let frame = unwind::lock().walk(snapshot, snapshot.registers).root();
                *root = Root::Found(frame);
                frame
            }
        }
    }
}

/// One that others can read.
fn clock_of_this_thread() -> Option<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: this thread's, and room for the answer.
    let got = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    (got == 0).then_some(clock)
}

/// From its lowest address to the highest.
fn stack_of_this_thread() -> Option<Range<u64>> {
    // SAFETY: all zeroes is room for attributes, which the first call fills, if it succeeds,
    // and the last one empties.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let (mut start, mut size) = (std::ptr::null_mut(), 0);
        let got = libc::pthread_attr_getstack(&attributes, &mut start, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
        (got == 0).then_some(start as u64..start as u64 + size as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// What is found without a signal is what the thread itself finds: the signal is sent to
    /// a waiting thread here, which the crate never does.
    fn same_both_ways(wait: fn(&mpsc::Receiver<()>), call: i64) {
        signal::take(signal::default_signal()).unwrap();
        let (ready, is_ready) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let thread = thread::spawn(move || {
            ready.send(Target::of_this_thread()).unwrap();
            wait(&ends);
        });
        let target = is_ready.recv().unwrap();
        let compared = loop {
            let Doing::SystemCall(found) = target.look() else {
                continue;
            };
            let Ok(read) = target.copy_waiting(&found) else {
                continue;
            };
            let asked = signal::ask(target.thread, &target.stack, || {
                target.look() == Doing::SystemCall(found)
            });
            let Ok(asked) = asked else { continue };
            if found.number == call {
                break [read, asked].map(|snapshot| target.unwound(&snapshot, How::NoSignal));
            }
        };
        drop(end);
        thread.join().unwrap();
        let [read, asked] = compared;
        // Of the innermost the one has the call's instruction, the other the next one's.
        assert_eq!(read.addresses[1..], asked.addresses[1..]);
        assert_eq!((read.is_partial, asked.is_partial), (false, false));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_sleeping_thread_has_the_same_stack_without_a_signal() {
        same_both_ways(
            |ends| {
                while ends.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                    thread::sleep(Duration::from_millis(100));
                }
            },
            libc::SYS_clock_nanosleep,
        );
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_receiving_thread_has_the_same_stack_without_a_signal() {
        same_both_ways(|ends| assert!(ends.recv().is_err()), libc::SYS_futex);
    }

    #[test]
    fn times_grow_while_a_thread_runs() {
        let target = Target::of_this_thread();
        let began = Instant::now();
        let before = target.times().unwrap();
        while target.times().unwrap().on_cpu < before.on_cpu + Duration::from_millis(5) {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        assert!(began.elapsed() >= Duration::from_millis(5));
    }

    #[inline(never)]
    fn unwind_once() {
        panic::resume_unwind(Box::new(""));
    }

    #[inline(never)]
    fn unwind_until(ends: &mpsc::Receiver<()>) {
        while ends.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            assert!(panic::catch_unwind(unwind_once).is_err());
        }
    }

    #[test]
    fn a_thread_that_unwinds_has_all_of_its_callers() {
        super::super::mode(true);
        let (ready, is_ready) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        let thread = thread::spawn(move || {
            ready.send(Target::of_this_thread()).unwrap();
            unwind_until(&ends);
        });
        let target = is_ready.recv().unwrap();
        let start = unwind_until as fn(_) as usize as u64;
        let mut stacks = 0;
        for capture in 0..500 {
            let captured = target.capture(&Doing::OnCpu, &|| true);
            let mut addresses = captured.addresses.iter();
            // None at all is no wrong one.
            let has_caller = addresses.any(|at| (start..start + 4096).contains(at));
            assert!(
                has_caller || captured.addresses.is_empty(),
                "{capture}: {captured:?}"
            );
            stacks += usize::from(has_caller);
        }
        drop(end);
        thread.join().unwrap();
        assert!(stacks > 0);
    }
}
