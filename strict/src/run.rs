//! One call of `run`: what polls it, and what its futures on other threads have done.

use crate::options::Flavor;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// What the futures of one `run` share.
#[derive(Default)]
pub(crate) struct Run {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The first report of a future that is not the run's own.
    report: Option<String>,
    /// Wakes the run's own future, so that it fails although what it waits for never comes.
    waker: Option<Waker>,
}

impl Run {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's own future is polled.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut state = self.state();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// A future of the run's has blocked, and fails where it is polled.
    pub(crate) fn fail(&self, report: &str) {
        let waker = {
            let mut state = self.state();
            state.report.get_or_insert_with(|| report.to_owned());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fails the run if one of its futures has.
    pub(crate) fn raise(&self) {
        let report = self.state().report.take();
        if let Some(report) = report {
            panic!("{report}");
        }
    }
}

/// Polls `future` to its end.
pub(crate) fn block_on<F: Future>(flavor: Flavor, future: F) -> F::Output {
    match flavor {
        Flavor::Plain => plain(future),
        #[cfg(feature = "tokio")]
        Flavor::CurrentThread => tokio(tokio::runtime::Builder::new_current_thread(), future),
        #[cfg(feature = "tokio")]
        Flavor::MultiThread { workers } => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            if let Some(workers) = workers {
                builder.worker_threads(workers);
            }
            tokio(builder, future)
        }
        #[cfg(feature = "smol")]
        Flavor::Smol => smol::block_on(future),
    }
}

#[cfg(feature = "tokio")]
fn tokio<F: Future>(mut builder: tokio::runtime::Builder, future: F) -> F::Output {
    let runtime = builder.enable_all().build();
    let runtime = runtime.expect("the test's runtime should start");
    runtime.block_on(future)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn plain<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake-up before this is remembered.
            Poll::Pending => thread::park(),
        }
    }
}
