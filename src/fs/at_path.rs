//! Errors that say what could not be done, and to which file.

use crate::error::OffloadError;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For `map_err`: `task` could not be done to the file at `path`.
pub(super) fn at_path(task: &'static str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| AtPath::error(task, path, Cause::System(error))
}

/// `task` was not done to the file at `path`, because its call was not.
pub(super) fn not_called(task: &'static str, path: &Path, why: &Arc<OffloadError>) -> io::Error {
    AtPath::error(task, path, Cause::Call(Arc::clone(why)))
}

#[derive(Debug)]
struct AtPath {
    task: &'static str,
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    System(io::Error),
    /// Shared by all the files that the call was for.
    Call(Arc<OffloadError>),
}

impl AtPath {
    fn error(task: &'static str, path: &Path, cause: Cause) -> io::Error {
        let kind = match &cause {
            Cause::System(error) => error.kind(),
            Cause::Call(_) => io::ErrorKind::Other,
        };
        let path = path.to_owned();
        io::Error::new(kind, Self { task, path, cause })
    }
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With the cause: an `io::Error` is mostly printed without its sources.
        write!(f, "cannot {} `{}`: ", self.task, self.path.display())?;
        match &self.cause {
            Cause::System(error) => error.fmt(f),
            Cause::Call(error) => error.fmt(f),
        }
    }
}

impl Error for AtPath {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.cause {
            Cause::System(error) => error,
            Cause::Call(error) => &**error,
        })
    }
}
