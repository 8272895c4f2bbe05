//! What the attributes expand to; no part of the crate's interface.
//!
//! Whether a failure can be returned is decided by the types, so that aliases of `Result`
//! and generic errors work. An inherent method goes before one that is reached by a
//! dereference, but is there only where its bounds hold.

use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::future::options::hashed;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Deref;

/// A function that returns `R`.
#[derive(Debug)]
pub struct Returns<R> {
    otherwise: Otherwise<R>,
}

#[derive(Debug)]
pub struct Otherwise<R>(PhantomData<fn() -> R>);

impl<R> Returns<R> {
    pub fn of<F>(_: &Offloaded<F, R>) -> Self {
        let otherwise = Otherwise(PhantomData);
        Self { otherwise }
    }
}

impl<T, E: From<OffloadError>> Returns<Result<T, E>> {
    pub fn __offramp_how(&self) -> ByError {
        ByError
    }
}

impl<R> Deref for Returns<R> {
    type Target = Otherwise<R>;

    fn deref(&self) -> &Self::Target {
        &self.otherwise
    }
}

impl<R> Otherwise<R> {
    pub fn __offramp_how(&self) -> ByPanic {
        ByPanic
    }
}

/// It returns failures as its own error.
#[derive(Debug)]
pub struct ByError;

impl ByError {
    pub fn settle<T, E: From<OffloadError>>(
        self,
        output: Result<Result<T, E>, OffloadError>,
        _: &str,
    ) -> Result<T, E> {
        output.unwrap_or_else(|error| Err(E::from(error)))
    }
}

/// It has no other way to fail than to panic.
#[derive(Debug)]
pub struct ByPanic;

impl ByPanic {
    #[track_caller]
    pub fn settle<R>(self, output: Result<R, OffloadError>, function: &str) -> R {
        match output {
            Ok(value) => value,
            Err(OffloadError::Panicked(panicked)) => panicked.resume(),
            Err(error) => panic!("`{function}` has no result: {error}"),
        }
    }
}

/// The `timeout` of a function has to be returned.
#[diagnostic::on_unimplemented(
    message = "a function with a `timeout` has to return a `Result` whose error is \
               `From<OffloadError>`",
    label = "cannot say that the time is over",
    note = "`std::io::Error` and `anyhow::Error` are; for an error type of your own \
            implement `From<offramp::OffloadError>`"
)]
pub trait SaysTimeout {}

impl SaysTimeout for ByError {}

pub fn timed<H: SaysTimeout>(how: H) -> H {
    how
}

/// For the option `tenant`.
pub fn tenant_key(key: &impl Hash) -> u128 {
    hashed(key)
}
