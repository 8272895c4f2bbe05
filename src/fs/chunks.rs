//! [`chunks`]: a file in pieces of one size.

use super::file_stream::{FileStream, Parts, file_stream};
use crate::defaults::ITER_BUFFER;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

/// By default so many bytes wait for the consumer, in two chunks at least: one to be taken,
/// one to be filled.
const WAITING: usize = 256 * 1024;

/// Of a chunk so much is allocated before it is known that the file has so many.
const AT_ONCE: usize = 1 << 20;

/// Reads a file in chunks of `size` bytes; the last one is shorter if they do not come out
/// even, and none is empty.
///
/// ```
/// use futures::TryStreamExt;
/// use offramp::fs;
/// # futures::executor::block_on(async {
/// let mut chunks = fs::chunks("Cargo.toml", 1024);
/// let mut sum = 0_u64;
/// while let Some(chunk) = chunks.try_next().await? {
///     assert!(chunk.len() <= 1024);
///     sum += chunk.iter().map(|&byte| u64::from(byte)).sum::<u64>();
/// }
/// assert!(sum > 0);
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// If `size` is 0.
#[track_caller]
pub fn chunks(path: impl Into<PathBuf>, size: usize) -> Chunks {
    assert!(size > 0, "chunks of 0 bytes would never end");
    let stream = FileStream::new(path.into(), ByChunk { size });
    let stream = stream.buffer((WAITING / size).clamp(2, ITER_BUFFER));
    Chunks { stream }
}

/// The stream made by [`chunks`]: an [`io::Result<Vec<u8>>`](io::Result) for each chunk.
///
/// The first poll opens the file, on the I/O pool. Buffer, backpressure and what a drop does are
/// as in [`OffloadedIter`](crate::OffloadedIter): a consumer that stops holds no thread, and by
/// default 256 KiB of chunks, or two chunks if those are more. The file is closed on the pool.
///
/// A pipe or a device is read, too; each chunk waits until it is full.
///
/// # Errors
///
/// An item that names the path, the last one of the stream: that the file cannot be opened
/// or read, with the system's kind, or that its job was refused or not run, of the kind
/// [`Other`](io::ErrorKind::Other) with the [`OffloadError`](crate::OffloadError) as its
/// source.
#[must_use = "streams do nothing unless they are polled"]
pub struct Chunks {
    stream: FileStream<ByChunk>,
}

struct ByChunk {
    size: usize,
}

impl Parts for ByChunk {
    type Part = Vec<u8>;

    fn next(&mut self, file: &mut BufReader<File>) -> Option<io::Result<Vec<u8>>> {
        let mut chunk = Vec::with_capacity(self.size.min(AT_ONCE));
        match file.take(self.size as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk)),
            Err(error) => Some(Err(error)),
        }
    }
}

file_stream!(Chunks, Vec<u8>);
