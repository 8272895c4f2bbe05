//! The core: jobs, the queue they wait in, and the crew that runs them.
//!
//! It knows no clock, no OS thread, no rayon and no runtime, so that loom can
//! check all of it; README.md beside this file is the protocol with its proof
//! sketch.

pub(crate) mod admission;
pub(crate) mod alarms;
pub(crate) mod caller;
pub(crate) mod chain;
pub(crate) mod crew;
mod doorman;
pub(crate) mod extension;
mod giving_way;
mod graveyard;
pub(crate) mod host;
mod inbox;
pub(crate) mod interrupt;
pub(crate) mod job;
pub(crate) mod job_ref;
mod lane;
pub(crate) mod lane_state;
mod lanes;
mod lending;
mod line;
mod linger;
#[cfg_attr(not(offramp_loom), cfg(feature = "watch"))]
pub(crate) mod mark;
pub(crate) mod outbox;
mod pace;
mod places;
mod prefetch;
pub(crate) mod queue;
pub(crate) mod residents;
pub(crate) mod running;
mod seat;
mod slot;
mod slots;
mod state;
mod tenants;
pub(crate) mod unwind;
pub(crate) mod view;

#[cfg(all(test, offramp_loom))]
mod models;
