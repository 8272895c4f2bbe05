//! Compiles and runs the snippets of `docs/fairness.md`.

#[doc = include_str!("../docs/fairness.md")]
struct Fairness;
