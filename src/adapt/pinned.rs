//! [`Pinned`]: a value that never leaves the thread that made it.

use crate::builder::ConfigError;
use crate::cancel::Stopped;
use crate::closure::WithJob;
use crate::core::view::Job;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::offload::Offload;
use crate::pool::Kind;
use crate::shutdown::Backlog;
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

thread_local! {
    /// The value of this thread, if it is one of `Pinned`'s.
    static VALUE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// A value on a thread of its own: for what is not `Send`, or bound to the thread that made
/// it (a COM object, a GUI toolkit, a C library with thread-local state).
///
/// Made by [`Blocking::pinned`](crate::Blocking::pinned). Calls run on that thread, one after
/// the other in the order of their submission.
///
/// ```
/// use offramp::Blocking;
/// use std::{cell::RefCell, rc::Rc};
///
/// # futures::executor::block_on(async {
/// let words = Blocking::pinned(|| Rc::new(RefCell::new(Vec::new()))).await?;
/// words.call(|words| words.borrow_mut().push("mine")).await?;
/// assert_eq!(words.call(|words| words.borrow().len()).await?, 1);
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
///
/// # Cancellation, panics
///
/// As with every [`Offloaded`]; a panic in a call leaves the value as it is for the next one.
///
/// # Drop
///
/// The calls that were detached still run, then the value is dropped on its thread, and the
/// thread ends. Dropping never blocks, nor does it wait: [`close`](Self::close) does. It is a
/// pool of its own, so a shutdown of another [`Offload`] does not wait for it.
///
/// # Errors
///
/// Beside those of every call: [`WouldDeadlock`](OffloadError::WouldDeadlock) for one that is
/// waited for inside of another one of the same value, and
/// [`Config`](OffloadError::Config) if a call is put into a [`lane`](Offloaded::lane) or
/// [`on`](Offloaded::on) another `Offload`.
///
/// # Cost
///
/// A thread for as long as it lives; a call costs what one on a busy pool does.
pub struct Pinned<T> {
    offload: Offload,
    /// Its calls take the value; nobody else ever sees it.
    value: PhantomData<fn(T)>,
}

/// Starts the thread and makes the value there.
pub(super) async fn start<T: 'static>(
    init: impl FnOnce() -> T + Send + 'static,
) -> Result<Pinned<T>, OffloadError> {
    let pinned = Pinned {
        offload: one_thread().map_err(OffloadError::Config)?,
        value: PhantomData,
    };
    let make = Offloaded::new(Kind::Io, move || {
        let value: Box<dyn Any> = Box::new(init());
        VALUE.with(|slot| *slot.borrow_mut() = Some(value));
    });
    make.on(&pinned.offload).await?;
    Ok(pinned)
}

fn one_thread() -> Result<Offload, ConfigError> {
    Offload::builder()
        .io_min_threads(1)
        .io_max_threads(1)
        .io_extra_threads(0)
        .warn_never()
        .thread_name("offramp-pinned")
        .on_thread_stop(|| {
            let value = VALUE.with(|slot| slot.borrow_mut().take());
            drop(value);
        })
        .build()
}

impl<T: 'static> Pinned<T> {
    /// Runs `f` with the value on its thread, when those submitted before have ended.
    #[track_caller]
    pub fn call<F, R>(
        &self,
        f: F,
    ) -> Offloaded<impl FnOnce(&Job) -> Result<R, Stopped> + Send + use<T, F, R>, R, WithJob>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.call_with(move |value, _| Ok(f(value)))
    }

    /// [`call`](Self::call) for a closure that sees its [`Job`], and can stop when it is
    /// cancelled.
    #[track_caller]
    pub fn call_with<F, R>(
        &self,
        f: F,
    ) -> Offloaded<impl FnOnce(&Job) -> Result<R, Stopped> + Send + use<T, F, R>, R, WithJob>
    where
        F: FnOnce(&mut T, &Job) -> Result<R, Stopped> + Send + 'static,
        R: Send + 'static,
    {
        let call = Offloaded::new(Kind::Io, move |job: &Job| {
            VALUE.with(|slot| {
                // Borrowed: a call inside of a call.
                let mut slot = slot.try_borrow_mut().map_err(|_| Stopped::WOULD_DEADLOCK)?;
                let value = slot.as_mut().and_then(|value| value.downcast_mut());
                f(value.ok_or(Stopped::TAKEN)?, job)
            })
        });
        call.on(&self.offload).in_its_place()
    }
}

impl<T> Pinned<T> {
    /// Waits until the calls that were made before are over, the value has been dropped on
    /// its thread, and the thread is gone: at the end of `main`, say, which does not wait for
    /// what is dropped.
    pub async fn close(self) {
        let _report = self.offload.shutdown(None, Backlog::Drain).await;
    }
}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
