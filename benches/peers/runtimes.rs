//! What runs the tasks that call the pools.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::RUNTIME_WORKERS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// tokio's, with `RUNTIME_WORKERS` workers.
    Tokio,
    /// tokio's, on the thread that runs it.
    CurrentThread,
    /// No runtime: every task in one future, on the thread that blocks on it.
    BlockOn,
    /// smol's executor, on `RUNTIME_WORKERS` threads.
    Smol,
}

impl Kind {
    pub(crate) fn title(self) -> String {
        match self {
            Kind::Tokio => format!("tokio, {RUNTIME_WORKERS} workers"),
            Kind::CurrentThread => "tokio, current thread".into(),
            Kind::BlockOn => "block_on, no runtime".into(),
            Kind::Smol => format!("smol, {RUNTIME_WORKERS} threads"),
        }
    }
}

/// A runtime of one implementation's own.
pub(crate) enum Runtime {
    /// Either of tokio's.
    Tokio(tokio::runtime::Runtime),
    BlockOn,
    Smol(Smol),
}

impl Runtime {
    /// `tokio` is the runtime if it is to be one of tokio's.
    pub(crate) fn new(kind: Kind, tokio: impl FnOnce() -> tokio::runtime::Runtime) -> Self {
        match kind {
            Kind::Tokio | Kind::CurrentThread => Runtime::Tokio(tokio()),
            Kind::BlockOn => Runtime::BlockOn,
            Kind::Smol => Runtime::Smol(Smol::new(RUNTIME_WORKERS)),
        }
    }

    /// Runs all of them at once, until the last has ended.
    pub(crate) fn run(&self, tasks: Vec<BoxFuture<'static, ()>>) {
        match self {
            Runtime::Tokio(runtime) => runtime.block_on(async {
                let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
                for task in tasks {
                    task.await.expect("no task of this bench panics");
                }
            }),
            Runtime::BlockOn => {
                let mut tasks: FuturesUnordered<_> = tasks.into_iter().collect();
                pollster::block_on(async { while tasks.next().await.is_some() {} });
            }
            Runtime::Smol(smol) => {
                let tasks: Vec<_> = tasks
                    .into_iter()
                    .map(|task| smol.executor.spawn(task))
                    .collect();
                pollster::block_on(async {
                    for task in tasks {
                        task.await;
                    }
                });
            }
        }
    }

    /// Runs one task, and gives what it gives.
    pub(crate) fn run_one<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let place = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&place);
        let task = async move {
            let value = task.await;
            *filled.lock().expect("nobody panics with it") = Some(value);
        };
        self.run(vec![Box::pin(task)]);
        let value = place.lock().expect("nobody panics with it").take();
        value.expect("the task has run to its end")
    }
}

/// What `smol::spawn` runs its tasks on, but not shared with others.
pub(crate) struct Smol {
    executor: Arc<smol::Executor<'static>>,
    /// Its threads end when this is gone.
    _stop: smol::channel::Sender<()>,
}

impl Smol {
    fn new(threads: usize) -> Self {
        let threads = NonZeroUsize::new(threads).expect("at least one thread");
        let executor = Arc::new(smol::Executor::new());
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        for _ in 0..threads.get() {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            thread::spawn(move || smol::block_on(executor.run(stopped.recv())));
        }
        Smol {
            executor,
            _stop: stop,
        }
    }
}
