//! tokio's runtimes: also tasks that nobody [`watch`](fn@super::watch)ed are looked at.
//!
//! A runtime tells, through hooks, when a worker goes to wait for events and when it is back.
//! A worker that sits in one and the same system call in between, with no CPU time passing, is
//! blocked in it, whatever task that is. What such hooks do not show is when one task ends and
//! the next begins: so of tasks that are not watched only system calls are reported, not
//! computing, and not by name. Built with `--cfg tokio_unstable` there are hooks around each
//! poll as well; then every task is watched, and named by where it was spawned where tokio
//! tells.

use super::slot;
use ::tokio::runtime::Builder;

/// Sets all hooks of a runtime that is about to be built.
///
/// It replaces `on_thread_park`, `on_thread_unpark` and `on_thread_stop`, of which a runtime has
/// one each. To have hooks of your own, too, call [`on_unpark`] and [`on_park`] from them.
///
/// ```
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// let runtime = offramp::watch::tokio::hooks(builder.worker_threads(1)).build()?;
/// # runtime.block_on(async {});
/// # Ok::<_, std::io::Error>(())
/// ```
pub fn hooks(builder: &mut Builder) -> &mut Builder {
    builder
        .on_thread_park(on_park)
        .on_thread_unpark(on_unpark)
        .on_thread_stop(on_park);
    #[cfg(tokio_unstable)]
    unstable::hooks(builder);
    builder
}

/// For `on_thread_unpark`: the worker has something to do.
pub fn on_unpark() {
    slot::set_working(true);
}

/// For `on_thread_park` and `on_thread_stop`: the worker is going to wait.
pub fn on_park() {
    slot::set_working(false);
}

#[cfg(tokio_unstable)]
mod unstable {
    use super::super::slot;
    use super::super::task::Task;
    use ::tokio::runtime::Builder;

    /// A poll's begin and end come as two calls, on the same thread.
    pub(super) fn hooks(builder: &mut Builder) {
        builder
            .on_before_task_poll(|task| {
                slot::begin_poll(Task::of(None, None, Some(task.spawned_at())))
            })
            .on_after_task_poll(|_| slot::end_poll());
    }
}
