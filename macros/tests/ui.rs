//! What the attributes refuse, and in which words. The messages are the attributes' own, so
//! that they are the same with every compiler; what the compiler says itself is in the
//! documentation's tests, by error code.

#[test]
fn refusals_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
