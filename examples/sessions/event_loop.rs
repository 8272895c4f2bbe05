//! The runtimes that the sessions can run on. The offloaded calls are the same under
//! each: only spawning and sleeping differ.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::RemoteHandle;

use crate::usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventLoop {
    CurrentThread,
    MultiThread,
    Smol,
}

impl EventLoop {
    pub(crate) fn named(name: &str) -> Option<EventLoop> {
        [
            EventLoop::CurrentThread,
            EventLoop::MultiThread,
            EventLoop::Smol,
        ]
        .into_iter()
        .find(|event_loop| event_loop.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            EventLoop::CurrentThread => "current-thread",
            EventLoop::MultiThread => "multi-thread",
            EventLoop::Smol => "smol",
        }
    }

    /// Threads that poll tasks: one event loop each.
    pub(crate) fn loops(self) -> usize {
        match self {
            EventLoop::CurrentThread => 1,
            EventLoop::MultiThread => usage::cores(),
            // What `smol::spawn` uses, unless told otherwise by this variable.
            EventLoop::Smol => std::env::var("SMOL_THREADS")
                .ok()
                .and_then(|n| n.parse().ok())
                .unwrap_or(1),
        }
    }

    /// The same kind with one thread.
    pub(crate) fn single(self) -> EventLoop {
        match self {
            EventLoop::MultiThread => EventLoop::CurrentThread,
            one => one,
        }
    }

    pub(crate) fn block_on<F: Future>(self, future: F) -> Result<F::Output> {
        let mut builder = match self {
            EventLoop::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            EventLoop::MultiThread => tokio::runtime::Builder::new_multi_thread(),
            EventLoop::Smol => return Ok(smol::block_on(future)),
        };
        let runtime = builder
            .worker_threads(self.loops())
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        Ok(runtime.block_on(future))
    }

    /// A task on the loop. Its handle gives its output, or its panic; dropping the handle
    /// ends the task.
    pub(crate) fn spawn<F>(self, future: F) -> RemoteHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (task, handle) = future.remote_handle();
        match self {
            EventLoop::Smol => smol::spawn(task).detach(),
            _ => drop(tokio::spawn(task)),
        }
        handle
    }

    pub(crate) async fn sleep(self, time: Duration) {
        match self {
            EventLoop::Smol => drop(smol::Timer::after(time).await),
            _ => tokio::time::sleep(time).await,
        }
    }
}
