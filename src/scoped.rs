//! [`Scoped`]: another default for a while, in tests.

use crate::offload::Offload;
use pin_project::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static SCOPE: RefCell<Option<Offload>> = const { RefCell::new(None) };
}

/// The default of this thread is another one until this is dropped.
pub(crate) struct Scope {
    before: Option<Offload>,
}

impl Scope {
    /// The default of this thread, if it is another one.
    pub(crate) fn present() -> Option<Offload> {
        let scoped = SCOPE.try_with(|scope| scope.borrow().clone());
        scoped.ok().flatten()
    }

    pub(crate) fn enter(offload: &Offload) -> Self {
        let before = SCOPE.try_with(|scope| scope.replace(Some(offload.clone())));
        Self {
            before: before.unwrap_or_default(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let before = self.before.take();
        drop(SCOPE.try_with(|scope| scope.replace(before)));
    }
}

/// The future made by [`Offload::scoped`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
#[pin_project]
pub struct Scoped<F> {
    offload: Offload,
    #[pin]
    future: F,
}

impl<F> Scoped<F> {
    pub(crate) fn new(offload: Offload, future: F) -> Self {
        Self { offload, future }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = Scope::enter(this.offload);
        this.future.poll(cx)
    }
}
