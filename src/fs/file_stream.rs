//! What [`lines`](super::lines) and [`chunks`](super::chunks) share: a file that is opened
//! late, and a stream over what an iterator reads from it.

use super::at_path::{at_path, not_called};
use crate::adapt::OffloadedIter;
use crate::{Lane, Offload};
use futures_core::{FusedStream, Stream};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// So much is read at a time, where less is asked for.
const BLOCK: usize = 32 * 1024;

/// Reads a file part by part.
pub(super) trait Parts: Send + 'static {
    type Part: Send + 'static;

    /// `None` at the end. An error of the kind
    /// [`InvalidData`](io::ErrorKind::InvalidData) is about one part; after any other one
    /// there are no more.
    fn next(&mut self, file: &mut BufReader<File>) -> Option<io::Result<Self::Part>>;
}

/// The parts of the file at `path`.
pub(super) struct PartsOf<P> {
    path: Arc<Path>,
    file: Source,
    parts: P,
}

enum Source {
    /// The first `next` opens it.
    Unopened,
    Open(BufReader<File>),
    Over,
}

impl<P: Parts> PartsOf<P> {
    fn try_next(&mut self) -> Option<io::Result<P::Part>> {
        if let Source::Unopened = self.file {
            match File::open(&self.path) {
                Ok(file) => self.file = Source::Open(BufReader::with_capacity(BLOCK, file)),
                Err(error) => return Some(Err(at_path("open", &self.path)(error))),
            }
        }
        let Source::Open(file) = &mut self.file else {
            return None;
        };
        let part = self.parts.next(file)?;
        Some(part.map_err(at_path("read", &self.path)))
    }
}

impl<P: Parts> Iterator for PartsOf<P> {
    type Item = io::Result<P::Part>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.try_next();
        let goes_on = match &part {
            None => false,
            Some(Err(error)) => error.kind() == io::ErrorKind::InvalidData,
            Some(Ok(_)) => true,
        };
        if !goes_on {
            self.file = Source::Over;
        }
        part
    }
}

/// A stream of the parts of a file.
pub(super) struct FileStream<P: Parts> {
    path: Arc<Path>,
    parts: OffloadedIter<PartsOf<P>>,
}

impl<P: Parts> FileStream<P> {
    pub(super) fn new(path: PathBuf, parts: P) -> Self {
        let path = Arc::<Path>::from(path);
        let parts = crate::offload_iter(PartsOf {
            path: Arc::clone(&path),
            file: Source::Unopened,
            parts,
        });
        Self { path, parts }
    }

    pub(super) fn on(mut self, offload: &Offload) -> Self {
        self.parts = self.parts.on(offload);
        self
    }

    pub(super) fn lane(mut self, lane: &Lane) -> Self {
        self.parts = self.parts.lane(lane);
        self
    }

    pub(super) fn tenant(mut self, key: impl Hash) -> Self {
        self.parts = self.parts.tenant(key);
        self
    }

    pub(super) fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.parts = self.parts.label(label);
        self
    }

    pub(super) fn buffer(mut self, parts: usize) -> Self {
        self.parts = self.parts.buffer(parts);
        self
    }

    pub(super) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("path", &self.path)
            .field("parts", &self.parts)
            .finish()
    }
}

impl<P: Parts> Stream for FileStream<P> {
    type Item = io::Result<P::Part>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let part = std::task::ready!(Pin::new(&mut this.parts).poll_next(cx));
        Poll::Ready(part.map(|part| match part {
            Ok(part) => part,
            Err(error) => Err(not_called("read", &this.path, &Arc::new(error))),
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.parts.size_hint()
    }
}

impl<P: Parts> FusedStream for FileStream<P> {
    fn is_terminated(&self) -> bool {
        self.parts.is_terminated()
    }
}

/// The options and the traits of a public stream, which is a struct around a [`FileStream`].
macro_rules! file_stream {
    ($name:ident, $part:ty) => {
        impl $name {
            /// Reads on `offload` instead of the process-wide default.
            ///
            /// Set before the first poll, like all options; later they change nothing.
            pub fn on(mut self, offload: &$crate::Offload) -> Self {
                self.stream = self.stream.on(offload);
                self
            }

            /// Its jobs wait in `lane`.
            pub fn lane(mut self, lane: &$crate::Lane) -> Self {
                self.stream = self.stream.lane(lane);
                self
            }

            /// Its jobs wait in the line of this tenant.
            pub fn tenant(mut self, key: impl std::hash::Hash) -> Self {
                self.stream = self.stream.tenant(key);
                self
            }

            /// Names its jobs: in a shutdown's [`Report`]($crate::Report).
            pub fn label(mut self, label: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.stream = self.stream.label(label);
                self
            }

            /// How many items may wait for the consumer, at least 1.
            pub fn buffer(mut self, items: usize) -> Self {
                self.stream = self.stream.buffer(items);
                self
            }
        }

        impl futures_core::Stream for $name {
            type Item = std::io::Result<$part>;

            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                std::pin::Pin::new(&mut self.stream).poll_next(cx)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.stream.size_hint()
            }
        }

        impl futures_core::FusedStream for $name {
            fn is_terminated(&self) -> bool {
                self.stream.is_terminated()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.stream.fmt(stringify!($name), f)
            }
        }
    };
}
pub(super) use file_stream;
