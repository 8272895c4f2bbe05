//! The forms of closure that can be offloaded.

use crate::cancel::Stopped;
use crate::context::{Contexts, Hooks};
use crate::core::job::Work;
use crate::core::unwind::contain;
use crate::core::view::Job;
use std::marker::PhantomData;

/// A closure without arguments: [`offload_io`](fn@crate::offload_io).
#[derive(Debug)]
pub enum Plain {}

/// A closure that sees its [`Job`]: [`offload_io_with`](crate::offload_io_with).
#[derive(Debug)]
pub enum WithJob {}

mod sealed {
    use super::{Job, Stopped};

    /// The forms of closure that can be offloaded.
    pub trait Closure<R, Form>: Send + 'static {
        fn call(self, job: &Job) -> Result<R, Stopped>;
    }
}
pub(crate) use sealed::Closure;

impl<F: FnOnce() -> R + Send + 'static, R> Closure<R, Plain> for F {
    fn call(self, _: &Job) -> Result<R, Stopped> {
        Ok(self())
    }
}

impl<F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static, R> Closure<R, WithJob> for F {
    fn call(self, job: &Job) -> Result<R, Stopped> {
        self(job)
    }
}

/// A closure as the core's work.
pub(crate) struct Body<F, R, Form> {
    closure: F,
    contexts: Contexts,
    /// The runtime that the call was made in, entered while the closure runs.
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
    types: PhantomData<fn() -> (R, Form)>,
}

impl<F, R, Form> Body<F, R, Form> {
    /// Made on the thread that makes the call.
    #[inline]
    pub(crate) fn new(closure: F, hooks: &Hooks) -> Self {
        Self {
            closure,
            contexts: Contexts::capture(hooks),
            #[cfg(feature = "tokio")]
            runtime: tokio::runtime::Handle::try_current().ok(),
            types: PhantomData,
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_in_runtime(&self) -> bool {
        self.runtime.is_some()
    }

    pub(crate) fn into_closure(self) -> F {
        contain(|| drop(self.contexts));
        self.closure
    }
}

impl<F, R, Form> Work for Body<F, R, Form>
where
    F: Closure<R, Form>,
    R: Send + 'static,
    Form: 'static,
{
    type Output = R;

    #[inline]
    fn run(self, job: &Job) -> Result<R, Stopped> {
        let _exits = self.contexts.enter();
        // Left before the handle is dropped, also in a panic.
        #[cfg(feature = "tokio")]
        let _entered = self.runtime.as_ref().map(tokio::runtime::Handle::enter);
        self.closure.call(job)
    }
}
