//! Context: what is bound to the caller's thread, carried over to the job's.

use crate::builder::Builder;
use crate::core::unwind::contain;
use std::sync::Arc;

/// Carries what is bound to a caller's thread (a request's id, a span, a locale) over to
/// the thread that runs its job.
///
/// Set by [`Builder::context_hook`]. A call's context is captured where it is submitted (in
/// its first poll, or in `try_spawn`), entered before its closure runs, and exited after it,
/// on the job's thread; also if the closure panics. What `par_iter` moves to other threads
/// does not have it. A call that never starts drops it with its closure.
///
/// A hook that panics loses nothing but the context: a call whose `capture` or `enter`
/// panicked runs without it, and its `exit` is not called.
///
/// ```
/// use offramp::{ContextHook, Offload, offload_io};
/// use std::cell::Cell;
///
/// thread_local! {
///     static REQUEST: Cell<u64> = const { Cell::new(0) };
/// }
///
/// struct Request;
///
/// impl ContextHook for Request {
///     type Context = u64;
///
///     fn capture(&self) -> Option<u64> {
///         Some(REQUEST.get()).filter(|id| *id != 0)
///     }
///
///     fn enter(&self, id: &mut u64) {
///         *id = REQUEST.replace(*id);
///     }
///
///     fn exit(&self, id: &mut u64) {
///         REQUEST.set(*id);
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let offload = Offload::builder().context_hook(Request).build()?;
/// REQUEST.set(42);
/// let seen = offload_io(|| REQUEST.get()).on(&offload).await?;
/// assert_eq!(seen, 42);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait ContextHook: Send + Sync + 'static {
    /// What is carried. Dropped on the job's thread after `exit`.
    type Context: Send + 'static;

    /// The caller's context. `None`: there is nothing to carry, and the call costs nothing
    /// more. Called on an event loop, as a rule: it must not block.
    fn capture(&self) -> Option<Self::Context>;

    /// The job's closure is about to run on this thread.
    fn enter(&self, context: &mut Self::Context);

    /// It has run. Contexts are exited in the reverse order of their entering.
    fn exit(&self, context: &mut Self::Context);
}

/// A hook of any kind.
pub(crate) trait AnyHook: Send + Sync {
    fn capture(self: Arc<Self>) -> Option<Box<dyn AnyContext>>;
}

/// One captured context.
pub(crate) trait AnyContext: Send {
    fn enter(&mut self);
    fn exit(&mut self);
}

struct Captured<H: ContextHook> {
    hook: Arc<H>,
    context: H::Context,
}

impl<H: ContextHook> AnyHook for H {
    fn capture(self: Arc<Self>) -> Option<Box<dyn AnyContext>> {
        let context = ContextHook::capture(&*self)?;
        Some(Box::new(Captured {
            hook: self,
            context,
        }))
    }
}

impl<H: ContextHook> AnyContext for Captured<H> {
    fn enter(&mut self) {
        self.hook.enter(&mut self.context);
    }

    fn exit(&mut self) {
        self.hook.exit(&mut self.context);
    }
}

/// A builder's hooks, in order.
pub(crate) type Hooks = Vec<Arc<dyn AnyHook>>;

/// What was captured for one call.
#[expect(clippy::box_collection, reason = "one word in each job that has none")]
pub(crate) struct Contexts(Option<Box<Vec<Box<dyn AnyContext>>>>);

impl Contexts {
    #[inline]
    pub(crate) fn capture(hooks: &Hooks) -> Self {
        let mut captured = Vec::new();
        for hook in hooks {
            contain(|| captured.extend(Arc::clone(hook).capture()));
        }
        Self((!captured.is_empty()).then(|| Box::new(captured)))
    }

    /// `None`: there are none.
    #[inline]
    pub(crate) fn enter(self) -> Option<Entered> {
        let contexts = self.0?;
        let mut entered = Vec::new();
        for mut context in *contexts {
            if contain(|| context.enter()) {
                entered.push(context);
            } else {
                contain(|| drop(context));
            }
        }
        Some(Entered(entered))
    }
}

/// Contexts that this thread is in until this is dropped.
pub(crate) struct Entered(Vec<Box<dyn AnyContext>>);

impl Drop for Entered {
    fn drop(&mut self) {
        while let Some(mut context) = self.0.pop() {
            contain(|| context.exit());
            contain(|| drop(context));
        }
    }
}

impl Builder {
    /// Calls carry what `hook` captures to the threads that run them. There can be several;
    /// they are entered in the order of these calls.
    ///
    /// With the feature `tracing` a call's closure runs in the span in which it was
    /// submitted, without a hook.
    pub fn context_hook(mut self, hook: impl ContextHook) -> Self {
        self.context_hooks.push(Arc::new(hook));
        self
    }
}
