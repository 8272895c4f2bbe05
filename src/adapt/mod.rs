//! Adapters: what blocks in its own way, as what async code expects.

mod blocking_iter;
mod drop_on_pool;
mod hand_over;
mod iter;
mod unblock;

pub use blocking_iter::BlockingIter;
pub use iter::{OffloadedIter, offload_iter};
pub use unblock::Unblock;
