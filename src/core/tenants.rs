//! The places of tenants, by their hashed keys. Guarded by the scheduler's lock.
//!
//! A submitter knows no more of its tenant's lane than the key. Whoever links its job finds
//! the lane's place here, or makes the job's own state the lane's.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) type Tenants = HashMap<u128, usize, BuildHasherDefault<Hashed>>;

/// Keys are hashes by now.
#[derive(Default)]
pub(super) struct Hashed(u64);

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
