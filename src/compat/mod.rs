//! Drop-in shims: the names and signatures of other crates, on the pools of this one.
//!
//! A changed `use` line is the whole swap. Each module says what is different.

pub mod blocking;
