//! The detector's capture of stacks, in the profile that this is built in: each call that
//! blocks is captured while it does, and must name the function that made it.
//!
//! `stack-tests/profiles` runs it in the profiles that matter; `cargo test -p stack-tests`
//! runs the same and the storms as tests.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(all(test, target_os = "linux"))]
mod storms;
#[cfg(all(test, target_os = "linux"))]
mod tests;

// The crate's own source.
#[cfg(target_os = "linux")]
#[allow(dead_code, unused_imports)]
#[path = "../../src/watch/stack/mod.rs"]
mod stack;

#[cfg(target_os = "linux")]
fn main() {
    scene::play_all();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: stacks need Linux");
}
