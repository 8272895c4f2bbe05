//! The attributes of the crate `offramp`: use them from there, with its feature `macros`.

#![deny(missing_docs)]
#![doc(test(attr(deny(warnings))))]

mod borrows;
mod duration;
mod expand;
mod options;

use proc_macro::TokenStream;

/// Makes a sync `fn` that blocks an `async fn` that runs on the I/O pool.
///
/// ```
/// use offramp::offload_io;
/// use std::io;
///
/// #[offload_io(timeout = "2s")]
/// fn line_count(path: String) -> io::Result<usize> {
///     let text = std::fs::read_to_string(path)?;
///     Ok(text.lines().count())
/// }
///
/// # futures::executor::block_on(async {
/// assert!(line_count("Cargo.toml".to_owned()).await? > 10);
/// # Ok::<_, io::Error>(())
/// # }).unwrap();
/// ```
///
/// Without the attribute that would be
///
/// ```
/// # use offramp::offload_io;
/// # use std::io;
/// async fn line_count(path: String) -> io::Result<usize> {
///     let job = move || {
///         let text = std::fs::read_to_string(path)?;
///         Ok(text.lines().count())
///     };
///     offload_io(job).timeout(std::time::Duration::from_secs(2)).flatten().await
/// }
/// # futures::executor::block_on(line_count("Cargo.toml".to_owned())).unwrap();
/// ```
///
/// `use offramp::offload_io` brings both the function and the attribute.
///
/// # What stays
///
/// The arguments and the result, generics, visibility, documentation and other attributes.
/// A method takes its receiver as a value: `self`, `self: Arc<Self>`, `self: Box<Self>`.
/// The future is lazy, dropping it cancels the call, and `offramp::checkpoint` inside of the
/// body sees that, all as for the function of this name. Arguments are dropped on the pool,
/// when the body is through, whether it uses them or not; if it never runs, where the call is
/// cancelled.
///
/// In a generic function what goes to the other thread has to be able to, which the compiler
/// demands by itself:
///
/// ```compile_fail,E0277
/// #[offramp::offload_io]
/// fn forget<T: 'static>(value: T) {
///     drop(value);
/// }
/// ```
///
/// ```compile_fail,E0310
/// #[offramp::offload_io]
/// fn forget<T: Send>(value: T) {
///     drop(value);
/// }
/// ```
///
/// ```
/// #[offramp::offload_io]
/// fn forget<T: Send + 'static>(value: T) {
///     drop(value);
/// }
/// # futures::executor::block_on(forget(1));
/// ```
///
/// # Failures
///
/// If the function returns a `Result` whose error is `From<OffloadError>`, failures of the call
/// are returned, a panic of the body among them. `io::Error`, `anyhow::Error`, `OffloadError`
/// itself and `Box<dyn Error + Send + Sync>` are; for an error type of your own implement it.
/// The types decide, so a type alias of `Result` is one.
///
/// ```
/// use offramp::{OffloadError, offload_io};
///
/// #[derive(Debug)]
/// enum LoadError {
///     NoName,
///     Offload(OffloadError),
/// }
///
/// impl From<OffloadError> for LoadError {
///     fn from(error: OffloadError) -> Self {
///         Self::Offload(error)
///     }
/// }
///
/// #[offload_io]
/// fn load(name: String) -> Result<usize, LoadError> {
///     if name.is_empty() {
///         return Err(LoadError::NoName);
///     }
///     assert_ne!(name, "x", "that one is broken");
///     Ok(name.len())
/// }
///
/// # futures::executor::block_on(async {
/// assert!(matches!(load(String::new()).await, Err(LoadError::NoName)));
/// let error = load("x".to_owned()).await.unwrap_err();
/// assert!(matches!(error, LoadError::Offload(OffloadError::Panicked(_))));
/// # });
/// ```
///
/// Any other function has no way to return them. There a panic of the body goes on in the
/// caller, with its payload, and every other failure (the pool is overloaded, or shut down)
/// is a panic that names function and failure. A generic error is `From<OffloadError>` only if
/// the function's bounds say so, whatever it is where the function is called.
///
/// # Options
///
/// `#[offload_io(timeout = "2s", label = "load")]`, in any order:
///
/// | option | is |
/// |---|---|
/// | `timeout = "2s"` | `.timeout(..)`, from the first poll. A number, also with a decimal point, and one of the units `ns`, `us`, `ms`, `s`, `m`, `h`. The result has to be able to say that the time is over |
/// | `label = "load"` | `.label("load")`; without it the call has none |
/// | `on = &self.offload` | `.on(..)`: an expression of the type `&Offload`; without it the process-wide default |
/// | `lane = &self.lane` | `.lane(..)`: an expression of the type `&Lane` |
/// | `tenant = session` | `.tenant(..)`: an expression that can be hashed |
/// | `crate = my_crate::offramp` | the path of `offramp`, where another crate re-exports it, or it has another name |
///
/// The expressions are evaluated by the first poll, before the arguments go to the pool, and
/// may use them and `self`, but not the parts of one that is taken apart by a pattern.
///
/// ```
/// use offramp::{Lane, Offload, offload_io};
/// use std::{io, sync::Arc};
///
/// struct Store {
///     offload: Offload,
///     writes: Lane,
///     file: String,
/// }
///
/// impl Store {
///     #[offload_io(on = &self.offload, lane = &self.writes, label = "save")]
///     fn save(self: Arc<Self>, text: String) -> io::Result<()> {
///         std::fs::write(&self.file, text)
///     }
/// }
///
/// # let path = std::env::temp_dir().join(format!("offramp-{}", std::process::id()));
/// # let file = path.to_str().unwrap().to_owned();
/// # futures::executor::block_on(async {
/// let offload = Offload::builder().build()?;
/// let writes = offload.lane("writes");
/// let store = Arc::new(Store { offload, writes, file });
/// store.save("text".to_owned()).await?;
/// # std::fs::remove_file(path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A function with a `timeout` that could not return it:
///
/// ```compile_fail,E0277
/// #[offramp::offload_io(timeout = "2s")]
/// fn line_count(path: String) -> Option<usize> {
///     let text = std::fs::read_to_string(path).ok()?;
///     Some(text.lines().count())
/// }
/// ```
///
/// # Cost
///
/// That of `offramp::offload_io`, one allocation; a label is one more, a timeout two. In reports
/// and logs the call's place is the function's name, not its caller.
///
/// # Errors
///
/// By the compiler, all of a function's at once: borrowed arguments and receivers, because a
/// job may outlive its caller, with what to take instead; borrowed results; functions that
/// are `async`, `const`, `extern`, variadic or never return; unknown options.
///
/// An `unsafe fn` is refused because it would still run when the caller, who vouches for it,
/// has dropped the future. `unsafe` blocks are as everywhere.
///
/// # Lints
///
/// The body is linted as that of a closure, with one exception: `clippy::disallowed_methods`
/// is allowed in it, because projects forbid blocking calls by it, and here they belong.
#[proc_macro_attribute]
pub fn offload_io(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand("offload_io", options.into(), item.into()).into()
}

/// Makes a sync `fn` that computes an `async fn` that runs on the CPU pool.
///
/// As `#[offload_io]` in everything else: options, failures, limits. Parallel iterators inside
/// of the body run on the pool. A CPU job sees its cancellation only through its `Job`, for
/// which there is the function `offload_cpu_with`.
///
/// ```
/// use offramp::offload_cpu;
///
/// #[offload_cpu]
/// fn primes(below: u32) -> usize {
///     let is_prime = |n: &u32| (2..*n).all(|d| n % d != 0);
///     (2..below).filter(is_prime).count()
/// }
///
/// # futures::executor::block_on(async {
/// assert_eq!(primes(100).await, 25);
/// # });
/// ```
#[proc_macro_attribute]
pub fn offload_cpu(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand("offload_cpu", options.into(), item.into()).into()
}
