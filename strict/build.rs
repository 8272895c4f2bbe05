//! Whether libc's functions can be taken over, or why not.
//!
//! Cargo knows of the sanitizer by an unstable `cfg`, which the sources cannot ask for.

use std::env;

fn cfg(name: &str) -> String {
    env::var(format!("CARGO_CFG_{name}")).unwrap_or_default()
}

fn reason_against() -> Option<&'static str> {
    let has = |name| env::var_os(format!("CARGO_CFG_{name}")).is_some();
    if has("MIRI") {
        return Some("Miri has its own libc");
    }
    if has("SANITIZE") {
        return Some("a sanitizer has taken over libc's functions for itself");
    }
    if cfg("TARGET_OS") != "linux" {
        return Some("it takes Linux");
    }
    if cfg("TARGET_ENV") != "gnu" {
        return Some("it takes glibc");
    }
    if cfg("TARGET_FEATURE").split(',').any(|f| f == "crt-static") {
        return Some("libc is linked statically, so there is none behind its functions");
    }
    if cfg("TARGET_POINTER_WIDTH") != "64" {
        return Some("it takes a 64-bit target");
    }
    None
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(interposed)");
    match reason_against() {
        None => println!("cargo:rustc-cfg=interposed"),
        Some(reason) => println!("cargo:rustc-env=NOT_INTERPOSED={reason}"),
    }
}
