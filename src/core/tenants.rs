//! The lanes of tenants, by their hashed keys. Guarded by the scheduler's lock.
//!
//! A submitter knows no more of its tenant's lane than the key. Whoever links its job finds
//! the lane here, or makes the job's own state the lane's. A lane is remembered as long as a
//! job of it is there, queued or running.

use super::lane_state::LaneState;
use crate::sync::planted;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

/// Fewer are not worth a sweep.
const FEW: usize = 64;

pub(super) struct Tenants {
    lanes: HashMap<u128, Weak<LaneState>, BuildHasherDefault<Hashed>>,
    /// When there are so many, the gone ones are looked for: twice as many as were there
    /// the last time, so that looking costs each newcomer a constant part.
    sweep_at: usize,
}

impl Tenants {
    pub(super) fn new() -> Self {
        Self {
            lanes: HashMap::default(),
            sweep_at: FEW,
        }
    }

    /// A job of the tenant `key`, with this state of its own, is being linked.
    pub(super) fn meet(&mut self, key: u128, state: &Arc<LaneState>) {
        match self.lanes.get(&key).and_then(Weak::upgrade) {
            Some(lane) if Arc::ptr_eq(&lane, state) => {}
            Some(lane) if !planted("tenants: a lane for each call") => state.stand_for(lane),
            _ => self.remember(key, state),
        }
    }

    fn remember(&mut self, key: u128, state: &Arc<LaneState>) {
        if self.lanes.len() >= self.sweep_at {
            self.lanes.retain(|_, lane| lane.strong_count() > 0);
            self.sweep_at = FEW.max(2 * self.lanes.len());
            self.lanes.shrink_to(self.sweep_at);
        }
        self.lanes.insert(key, Arc::downgrade(state));
    }
}

/// Keys are hashes by now.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("keys are numbers: {bytes:?}");
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
