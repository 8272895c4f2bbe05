//! Typed outcomes: what a call resolves to when it has no value.

use crate::builder::ConfigError;
use crate::cancel::{Reason, Stopped};
use crate::core::extension::Expired;
use crate::core::unwind::{Payload, drop_payload};
use parking_lot::Mutex;
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why an offloaded call has no value.
///
/// `Send + Sync + 'static`, so it goes into [`std::io::Error::other`], `anyhow` and
/// `Box<dyn Error + Send + Sync>`.
#[derive(Debug)]
#[non_exhaustive]
pub enum OffloadError {
    /// The closure, or the destructor of something it captured, panicked.
    Panicked(Panicked),
    /// The call was cancelled: before it started, or at a checkpoint.
    Cancelled,
    /// The call's time was over before it had a value: see
    /// [`timeout`](crate::Offloaded::timeout).
    #[non_exhaustive]
    DeadlineExceeded {
        /// From the first poll, or from `try_spawn`, until it started, or gave up waiting.
        waited: Duration,
        /// From its start until its time was over. Zero: it never ran and never will. Else
        /// it goes on running, as an orphan, until its next checkpoint or its end.
        ran: Duration,
    },
    /// Too many jobs wait: for the pool, for the call's lane, or for the call's deadline. The
    /// closure has not run, so the call can be made again, elsewhere or later.
    #[non_exhaustive]
    Overloaded {
        /// How many jobs were waiting: [`capacity`](crate::Builder::capacity),
        /// [`max_pending`](crate::Builder::max_pending) or the lane's
        /// [`max_queued`](crate::Lane::max_queued); with an `expected` wait, those of its lane.
        limit: usize,
        /// For a call that was refused because its time would be over first: how long it
        /// would have had to wait, see [`timeout`](crate::Offloaded::timeout).
        expected: Option<Duration>,
    },
    /// The pool has been shut down.
    ShutDown,
    /// No thread could be started and none exists: the operating system's limit
    /// on threads or memory has been reached.
    NoThreads,
    /// The process has been forked, and the pool's threads are in the parent.
    Forked,
    /// A job waits for this call on one of the pool's own threads, all others of which
    /// wait for calls, too, and there can be no more: it would never run. See
    /// [`io_extra_threads`](crate::Builder::io_extra_threads). Or it waits inside of a call of
    /// the [`Blocking`](crate::Blocking) whose value this one needs.
    WouldDeadlock,
    /// An earlier call of the same [`Blocking`](crate::Blocking) panicked, and it
    /// [poisons](crate::Blocking::poison).
    Poisoned,
    /// The value of the [`Blocking`](crate::Blocking) was taken out by
    /// [`into_inner`](crate::Blocking::into_inner).
    Taken,
    /// The process-wide [`Offload`](crate::Offload) could not be set up, or the call's
    /// options contradict each other.
    Config(ConfigError),
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::Cancelled => f.write_str("the offloaded job was cancelled"),
            Self::DeadlineExceeded { waited, ran } if ran.is_zero() => write!(
                f,
                "the deadline passed after {waited:?} of waiting; the job did not start"
            ),
            Self::DeadlineExceeded { waited, ran } => write!(
                f,
                "the deadline passed after {waited:?} of waiting and {ran:?} of running"
            ),
            Self::Overloaded {
                limit,
                expected: Some(wait),
            } => write!(
                f,
                "the pool is overloaded: {limit} jobs of the same lane are waiting, so this one \
                 would start in some {wait:?}, too late for its deadline; retry later, give it \
                 more time, or raise the number of threads"
            ),
            Self::Overloaded { limit, .. } => write!(
                f,
                "the pool is overloaded: {limit} jobs are waiting, which is its limit; \
                 retry later, or raise the limit or the number of threads"
            ),
            Self::ShutDown => f.write_str("the pool has been shut down"),
            Self::NoThreads => f.write_str(
                "no pool thread could be started and none exists; \
                 look at the process's thread and memory limits",
            ),
            Self::Forked => f.write_str(
                "the pool was made before this process was forked, and its threads are in the \
                 parent; make a new one with `Offload::builder` here",
            ),
            Self::WouldDeadlock => f.write_str(
                "the call would never run: what it needs (a thread of its pool, or its value) is \
                 held by those that wait for it; await it outside of the pool, or outside of \
                 the other call",
            ),
            Self::Poisoned => f.write_str(
                "an earlier call of this value panicked; put the value in order and call \
                 `clear_poison`, or let `recover` do it",
            ),
            Self::Taken => f.write_str("the value has been taken out by `into_inner`"),
            Self::Config(error) => write!(f, "misconfigured: {error}"),
        }
    }
}

impl Error for OffloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Stopped> for OffloadError {
    fn from(stopped: Stopped) -> Self {
        match stopped.reason {
            Reason::Cancelled => Self::Cancelled,
            Reason::Expired(expired) => expired.into(),
            Reason::Poisoned => Self::Poisoned,
            Reason::Taken => Self::Taken,
            Reason::WouldDeadlock => Self::WouldDeadlock,
        }
    }
}

impl From<Expired> for OffloadError {
    fn from(expired: Expired) -> Self {
        Self::DeadlineExceeded {
            waited: Duration::from_nanos(expired.waited),
            ran: Duration::from_nanos(expired.ran),
        }
    }
}

/// Of the kind [`Other`](io::ErrorKind::Other), so that `flatten` works for closures that
/// return [`io::Result`].
impl From<OffloadError> for io::Error {
    fn from(error: OffloadError) -> Self {
        Self::other(error)
    }
}

/// As the failed call becomes one: callers look for the same, whether the job or the timer
/// was faster.
impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        OffloadError::from(stopped).into()
    }
}

/// A panic caught in an offloaded closure.
///
/// Dropping it drops the payload; should that panic too, the panic ends there.
pub struct Panicked {
    // Boxed: an error that hardly ever occurs should not widen every result.
    inner: Box<Inner>,
}

struct Inner {
    message: Option<Cow<'static, str>>,
    label: Option<Cow<'static, str>>,
    /// Never locked: it makes the payload, which need not be `Sync`, so.
    payload: Mutex<Option<Payload>>,
}

impl Panicked {
    pub(crate) fn new(payload: Payload, label: Option<Cow<'static, str>>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
            Some(Cow::Borrowed(*text))
        } else {
            payload
                .downcast_ref::<String>()
                .map(|text| Cow::Owned(text.clone()))
        };
        Self {
            inner: Box::new(Inner {
                message,
                label,
                payload: Mutex::new(Some(payload)),
            }),
        }
    }

    /// The panic's message; `None` if its payload is not a string.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.inner.message.as_deref()
    }

    /// The label of the job that panicked.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.inner.label.as_deref()
    }

    /// What the closure panicked with.
    #[must_use]
    pub fn into_payload(mut self) -> Box<dyn Any + Send + 'static> {
        let payload = self.inner.payload.get_mut().take();
        payload.expect("only `into_payload` takes it, by value")
    }

    /// Goes on panicking here, with the original payload and without calling the
    /// panic hook a second time.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.into_payload())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.get_mut().take() {
            drop_payload(payload);
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked")
            .field("message", &self.message())
            .field("label", &self.label())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the offloaded job ")?;
        if let Some(label) = self.label() {
            write!(f, "`{label}` ")?;
        }
        match self.message() {
            Some(message) => write!(f, "panicked: {message}"),
            None => f.write_str("panicked with a payload that is not a string"),
        }
    }
}

/// A call that the pool did not take, with its closure.
///
/// Nothing has run; call [`into_inner`](Self::into_inner) and do with the closure
/// what fits: run it here, keep it, or drop it.
pub struct Refused<F> {
    closure: F,
    reason: OffloadError,
}

impl<F> Refused<F> {
    pub(crate) fn new(closure: F, reason: OffloadError) -> Self {
        Self { closure, reason }
    }

    /// The closure, unrun.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.closure
    }

    /// Why: [`Overloaded`](OffloadError::Overloaded), [`ShutDown`](OffloadError::ShutDown),
    /// [`DeadlineExceeded`](OffloadError::DeadlineExceeded) or
    /// [`Config`](OffloadError::Config).
    #[must_use]
    pub fn reason(&self) -> &OffloadError {
        &self.reason
    }

    /// The closure and the reason.
    #[must_use]
    pub fn into_parts(self) -> (F, OffloadError) {
        (self.closure, self.reason)
    }
}

impl<F> fmt::Debug for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job was refused: {}", self.reason)
    }
}

impl<F> Error for Refused<F> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}
