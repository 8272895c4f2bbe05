//! Adapters: what blocks in its own way, as what async code expects.

mod blocking;
mod blocking_iter;
mod drop_on_pool;
mod hand_over;
pub(crate) mod interruption;
mod iter;
mod pinned;
pub(crate) mod place;
mod unblock;

pub use blocking::Blocking;
pub use blocking_iter::BlockingIter;
pub use iter::{OffloadedIter, offload_iter};
pub use pinned::Pinned;
pub use unblock::Unblock;
