//! Compiles and runs the snippets of `docs/detector.md`.

#[doc = include_str!("../docs/detector.md")]
struct Detector;
