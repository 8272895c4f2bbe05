//! [`lines`]: a text file, line by line.

use super::file_stream::{FileStream, Parts, file_stream};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

/// Reads the lines of a text file, each without its `\n` or `\r\n`.
///
/// ```
/// use futures::TryStreamExt;
/// use offramp::fs;
/// # futures::executor::block_on(async {
/// let mut lines = fs::lines("Cargo.toml");
/// let mut longest = 0;
/// while let Some(line) = lines.try_next().await? {
///     longest = longest.max(line.len());
/// }
/// assert!(longest > 10);
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
pub fn lines(path: impl Into<PathBuf>) -> Lines {
    let stream = FileStream::new(path.into(), ByLine);
    Lines { stream }
}

/// The stream made by [`lines`]: an [`io::Result<String>`](io::Result) for each line.
///
/// The first poll opens the file, on the I/O pool. Buffer, backpressure and what a drop does are
/// as in [`OffloadedIter`](crate::OffloadedIter): a consumer that stops holds no thread, and by
/// default at most [`ITER_BUFFER`](crate::defaults::ITER_BUFFER) lines. The file is closed on the
/// pool.
///
/// A line is held as a whole, however long it is: of a file that is not trusted take
/// [`chunks`](super::chunks).
///
/// # Errors
///
/// An item that names the path. A line that is not UTF-8 is one of the kind
/// [`InvalidData`](io::ErrorKind::InvalidData), and the next line follows. Any other one is
/// the last item: that the file cannot be opened or read, with the system's kind, or that
/// its job was refused or not run, of the kind [`Other`](io::ErrorKind::Other) with the
/// [`OffloadError`](crate::OffloadError) as its source.
#[must_use = "streams do nothing unless they are polled"]
pub struct Lines {
    stream: FileStream<ByLine>,
}

struct ByLine;

impl Parts for ByLine {
    type Part = String;

    fn next(&mut self, file: &mut BufReader<File>) -> Option<io::Result<String>> {
        file.lines().next()
    }
}

file_stream!(Lines, String);
