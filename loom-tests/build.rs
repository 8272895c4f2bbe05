//! Sets `offramp_loom` for this package alone: no `RUSTFLAGS`, no feature that
//! could leak into a user's build.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cfg=offramp_loom");
    // The crate's features, of which the models have none.
    println!("cargo:rustc-check-cfg=cfg(feature, values(any()))");
}
