//! The default sizes, each with its reason.

use std::thread;
use std::time::Duration;

/// I/O threads that stay when there is nothing to do: none. A thread costs some 50 µs
/// to start and nothing to be without; a service that makes calls all the time keeps
/// its threads busy, hence alive, anyway.
pub const IO_MIN_THREADS: usize = 0;

/// Most I/O threads. Blocked threads cost memory, not CPU: a stack's touched pages and
/// some kernel memory, 20 to 50 KiB each, so 256 of them around 10 MiB. Remote services
/// and disks seldom profit from more calls at once, and a container's limit on
/// processes is often 1,024 or more.
pub const IO_MAX_THREADS: usize = 256;

/// I/O threads that may stand in for others whose jobs wait for jobs. Such waits should be
/// few and short; 128 hold a burst of them, and a hundred levels of nesting even where one
/// thread is the maximum. They are started only then.
pub const IO_EXTRA_THREADS: usize = 128;

/// How long an I/O thread beyond the minimum waits for work: long enough to bridge
/// the gaps of request traffic, short enough to give a burst's memory back soon.
pub const IO_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Jobs that may wait before `try_spawn` and [`Policy::Reject`](crate::Policy::Reject)
/// refuse: four for each of the most threads. With calls of 100 ms a job at the end of
/// such a queue starts after half a second; who wants to know early that more makes no
/// sense learns it here.
pub const CAPACITY: usize = 4 * IO_MAX_THREADS;

/// Jobs that may wait at all. A job costs some 100 bytes beside its closure, so the
/// queue stays below 10 MiB; awaiting callers beyond this are better told.
pub const MAX_PENDING: usize = 65_536;

/// How long a [class](crate::Priority) of calls may be passed over: a tenth of a second. Ten
/// starts a second keep a lower class alive, and take less than a percent from a higher one
/// whose jobs are shorter than a millisecond; and who waits for a job of a lower class
/// still sees it as slow, not as stuck.
pub const AGEING: Duration = Duration::from_millis(100);

/// From when on a running job is worth a line in the log: a minute. Hardly a call that
/// somebody waits for takes so long, and one that never ends is found soon enough.
pub const WARN_AFTER: Duration = Duration::from_secs(60);

/// Items of an [`offload_iter`](crate::offload_iter) that may wait for their consumer: a chunk
/// costs some 10 µs for the hand-over to a thread and back, so with 64 items, half of which
/// are a chunk, below 1 µs an item; and what a consumer that has stopped leaves behind
/// stays small.
pub const ITER_BUFFER: usize = 64;

/// How long a chunk of an [`offload_iter`](crate::offload_iter) may run before it gives its
/// thread to others that wait: as long as an ordinary call to a disk or to a service
/// near by takes, and a thousand times what the hand-over costs.
pub const ITER_SLICE: Duration = Duration::from_millis(10);

/// Bytes that an [`Unblock`](crate::Unblock) reads or writes in one call, and reads ahead:
/// some 30 µs of copying from the page cache, so that the hand-over of some 10 µs is not most
/// of it, in what a CPU's second-level cache holds.
pub const UNBLOCK_CAPACITY: usize = 256 * 1024;

/// First part of the threads' names.
pub const THREAD_NAME: &str = "offramp";

/// Threads of the CPU pool: as many as the process may use CPUs by its affinity and,
/// on Linux, by its cgroup's quota (rounded down, at least 1).
#[must_use]
pub fn cpu_threads() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
