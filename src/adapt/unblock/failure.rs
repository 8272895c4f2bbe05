//! Why a call of the adapter has no outcome of the value's own.

use crate::error::OffloadError;
use std::{fmt, io};

/// Why there is no call.
pub(super) enum Failure {
    Offload(OffloadError),
    Closed,
    Lost(String),
}

impl From<OffloadError> for Failure {
    fn from(error: OffloadError) -> Self {
        Self::Offload(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offload(error) => error.fmt(f),
            Self::Closed => f.write_str("the adapter was closed"),
            Self::Lost(why) => write!(f, "the adapter's value was lost: {why}"),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Offload(error) => error.into(),
            gone => Self::new(io::ErrorKind::NotConnected, gone.to_string()),
        }
    }
}

/// Goes on with a panic of the value's, or of a call's.
pub(super) fn raise<R>(failure: Failure) -> R {
    match failure {
        Failure::Offload(OffloadError::Panicked(panicked)) => panicked.resume(),
        failure => gone(failure),
    }
}

pub(super) fn gone<R>(failure: Failure) -> R {
    panic!("`Unblock` has no value to work with: {failure}")
}
