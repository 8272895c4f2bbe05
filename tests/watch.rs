//! The detector: what blocks is reported while it blocks, and nothing else is.

#![cfg(all(
    feature = "watch",
    feature = "serde",
    feature = "smol",
    feature = "tokio",
    feature = "tower",
    feature = "tracing",
    target_os = "linux"
))]

#[path = "watch/adapters.rs"]
mod adapters;
#[path = "watch/burning.rs"]
mod burning;
#[path = "watch/calls.rs"]
mod calls;
mod common;
#[path = "watch/lag.rs"]
mod lag;
#[path = "watch/libraries.rs"]
mod libraries;
#[path = "watch/lifecycle.rs"]
mod lifecycle;
#[path = "watch/limits.rs"]
mod limits;
#[path = "watch/marks.rs"]
mod marks;
#[path = "watch/outputs.rs"]
mod outputs;
#[path = "watch/planted.rs"]
mod planted;
#[path = "watch/pressure.rs"]
mod pressure;
#[path = "watch/quiet.rs"]
mod quiet;
#[path = "watch/scene.rs"]
mod scene;
