//! What a strict test asks for.

use crate::defaults;
use crate::run::{self, Run};
use crate::watched::Watched;
use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What polls the test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavor {
    /// The calling thread, without a runtime.
    #[default]
    Plain,
    /// tokio's scheduler on the calling thread, with its I/O and timers as far as tokio's
    /// features are on.
    #[cfg(feature = "tokio")]
    CurrentThread,
    /// tokio's scheduler with worker threads. The test is polled by the calling thread.
    #[cfg(feature = "tokio")]
    MultiThread {
        /// How many; tokio decides without.
        workers: Option<usize>,
    },
    /// smol: the calling thread also polls for I/O and timers.
    #[cfg(feature = "smol")]
    Smol,
}

/// What the judgement of a poll takes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) budget: Option<Duration>,
    pub(crate) wait_limit: Duration,
    pub(crate) lock_limit: Duration,
    /// How the paths begin of functions whose calls are allowed.
    #[cfg_attr(not(interposed), allow(dead_code))]
    pub(crate) allowed: Vec<Cow<'static, str>>,
}

impl Default for Settings {
    fn default() -> Self {
        let allowed = defaults::ALLOWED.map(|(prefix, _)| Cow::Borrowed(prefix));
        Self {
            budget: Some(defaults::BUDGET),
            wait_limit: defaults::WAIT_LIMIT,
            lock_limit: defaults::LOCK_LIMIT,
            allowed: allowed.into(),
        }
    }
}

/// How strict a test is, and what polls it.
///
/// ```
/// use offramp_strict::Options;
/// use std::time::Duration;
///
/// let answer = Options::new()
///     .budget(Duration::from_secs(5))
///     .allow_in("my_app::metrics::", "in memory, whatever the file's name is")
///     .run(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing by themselves"]
pub struct Options {
    settings: Settings,
    flavor: Flavor,
}

impl Options {
    /// The defaults: [`Flavor::Plain`], and the limits in [`defaults`](crate::defaults).
    pub fn new() -> Self {
        Self::default()
    }

    /// What polls the test.
    pub fn flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = flavor;
        self
    }

    /// The longest that a poll may take, by the clock; [`BUDGET`](defaults::BUDGET) without
    /// it.
    ///
    /// Of all limits it is the one that holds on every platform, and the only one that sees
    /// a poll that computes. A thread that waits for a CPU spends it, too: it should be
    /// generous.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// A poll may take as long as it does.
    pub fn no_budget(mut self) -> Self {
        self.settings.budget = None;
        self
    }

    /// From where on waiting for another thread (a channel, a condition variable, a join)
    /// counts as blocking; [`WAIT_LIMIT`](defaults::WAIT_LIMIT) without it.
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.settings.wait_limit = limit;
        self
    }

    /// From where on waiting for a lock counts as blocking;
    /// [`LOCK_LIMIT`](defaults::LOCK_LIMIT) without it.
    pub fn lock_limit(mut self, limit: Duration) -> Self {
        self.settings.lock_limit = limit;
        self
    }

    /// Allows blocking calls that are made within functions whose path begins with
    /// `prefix`, because of `reason`.
    ///
    /// The path is the one that a backtrace shows, so it begins with the crate's name;
    /// `my_app::metrics::` is a module, `my_app::Metrics` a type with its methods. A stripped
    /// binary has no names: there it allows nothing.
    ///
    /// # Panics
    ///
    /// Without a prefix, which would allow all, and without a reason.
    #[track_caller]
    pub fn allow_in(mut self, prefix: impl Into<Cow<'static, str>>, reason: &str) -> Self {
        let prefix = prefix.into();
        assert!(!prefix.trim().is_empty(), "`allow_in` takes a prefix");
        assert!(!reason.trim().is_empty(), "`allow_in` takes a reason");
        self.settings.allowed.push(prefix);
        self
    }

    /// Polls `future` to its end.
    ///
    /// # Panics
    ///
    /// At the end of the first poll that blocks, with the call, who made it, and the stack;
    /// also if it was one of a future that [`watch`](crate::watch) or `spawn` was called for
    /// in this run, whoever polls it. What a panic of the future is remains so.
    #[track_caller]
    pub fn run<F: Future>(self, future: F) -> F::Output {
        let flavor = self.flavor;
        self.run_by(future, |watched| run::block_on(flavor, watched))
    }

    /// As [`run`](Self::run), for a runtime of your own: `block_on` has to poll the future to
    /// its end.
    ///
    /// ```
    /// use offramp_strict::Options;
    ///
    /// let answer = Options::new().run_by(async { 6 * 7 }, futures::executor::block_on);
    /// assert_eq!(answer, 42);
    /// ```
    #[track_caller]
    pub fn run_by<F, T>(self, future: F, block_on: impl FnOnce(Watched<F>) -> T) -> T
    where
        F: Future,
    {
        let run = Arc::new(Run::default());
        let watched = Watched::new(future, Arc::new(self.settings), run.clone()).leading();
        let result = block_on(watched);
        run.raise();
        result
    }

    /// As [`watch`](crate::watch), but with these limits.
    #[track_caller]
    pub fn watch<F: Future>(self, future: F) -> Watched<F> {
        let run = crate::poll::inherited().map(|(_, run)| run);
        Watched::new(future, Arc::new(self.settings), run.unwrap_or_default())
    }
}
