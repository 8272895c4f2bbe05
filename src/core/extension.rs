//! What only some jobs carry.

use super::lane_state::LaneState;
use crate::sync::plain;
use std::borrow::Cow;
use std::sync::Arc;

/// How far a job had got when its deadline passed, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) waited: u64,
    pub(crate) ran: u64,
}

/// What only some jobs carry, in front of their headers.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) label: Option<Cow<'static, str>>,
    /// In the clock's nanoseconds.
    pub(crate) deadline: Option<u64>,
    /// Where it waits; `None` is the lane that all other calls share.
    pub(crate) lane: Option<Arc<LaneState>>,
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
        lane: Option<Arc<LaneState>>,
    ) -> Self {
        Self {
            label,
            deadline,
            must_run,
            lane,
            started_at: plain::AtomicU64::new(0),
        }
    }
}
