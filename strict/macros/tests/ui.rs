//! What the attribute refuses, and in which words.

#[test]
fn refusals_say_what_to_do() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    // A workspace's features are one set: where a runtime is on there is nothing to refuse.
    if cfg!(not(any(feature = "tokio", feature = "smol"))) {
        cases.compile_fail("tests/ui/without_features/*.rs");
    }
}
