//! What only some jobs carry.

use crate::sync::plain;
use std::borrow::Cow;

/// How far a job had got when its deadline passed, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) waited: u64,
    pub(crate) ran: u64,
}

/// What only some jobs carry, in an allocation of its own.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) label: Option<Cow<'static, str>>,
    /// In the clock's nanoseconds.
    pub(crate) deadline: Option<u64>,
    /// Once it is in the queue it is run, whatever else fails or is discarded.
    pub(crate) must_run: bool,
    /// When a job with a deadline started; 0 before.
    pub(super) started_at: plain::AtomicU64,
}

impl Extension {
    pub(crate) fn new(
        label: Option<Cow<'static, str>>,
        deadline: Option<u64>,
        must_run: bool,
    ) -> Self {
        Self {
            label,
            deadline,
            must_run,
            started_at: plain::AtomicU64::new(0),
        }
    }
}
