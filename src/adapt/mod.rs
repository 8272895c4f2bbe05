//! Adapters: what blocks in its own way, as what async code expects.

mod blocking;
mod drop_on_pool;
pub(crate) mod interruption;
mod pinned;

pub use blocking::Blocking;
pub use pinned::Pinned;
