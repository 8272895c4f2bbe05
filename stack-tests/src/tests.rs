//! What the capture promises, one by one.

use crate::scene;

#[test]
fn each_call_is_captured_with_the_function_that_makes_it() {
    scene::play_all();
}
