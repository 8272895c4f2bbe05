//! The attribute of the crate `offramp-strict`: use it from there.

#![deny(missing_docs)]

mod expand;
mod options;

use proc_macro::TokenStream;

/// Makes an `async fn` a test that fails when one of its polls makes a blocking call.
///
/// ```
/// #[offramp_strict::test(flavor = "plain")]
/// async fn loads() {
///     let text = load().await;
///     assert!(text.is_ok());
/// }
/// # async fn load() -> std::io::Result<String> { Ok(String::new()) }
/// # fn main() {}
/// ```
///
/// It takes the place of `#[test]` and of the runtime's own attribute. The function's name,
/// result and other attributes (`#[ignore]`, `#[should_panic]`) stay.
///
/// | option | is |
/// |---|---|
/// | `flavor = "current_thread"` | what polls the test: tokio's scheduler on the test's thread; that is the default, and takes the feature `tokio` |
/// | `flavor = "multi_thread"` | tokio's scheduler with workers; takes the feature `tokio` |
/// | `flavor = "smol"` | smol; takes the feature `smol` |
/// | `flavor = "plain"` | no runtime at all |
/// | `worker_threads = 2` | the workers of `multi_thread`; without it tokio decides |
/// | `budget = Duration::from_secs(5)` | an expression: how long a poll may take |
/// | `options = my_options()` | an expression of the type `offramp_strict::Options`, with its flavor if the attribute says none; the other options are added to it |
/// | `crate = my_crate::offramp_strict` | the path of `offramp_strict`, where another crate re-exports it, or it has another name |
///
/// As with `#[tokio::test]` the test itself is not a task: with `multi_thread` it is polled
/// by the test's thread.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(options.into(), item.into()).into()
}
