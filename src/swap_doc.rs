//! Compiles and runs the snippets of `docs/swap.md`.

#[doc = include_str!("../docs/swap.md")]
struct Swap;
