//! Files: saved whole or not at all, read line by line, in chunks, or many at once.
//!
//! ```
//! use offramp::fs;
//! use std::time::Duration;
//! # futures::executor::block_on(async {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("settings.toml");
//! let save = fs::write_atomic(&path, "volume = 11\n");
//! save.timeout(Duration::from_secs(5)).await??;
//! # assert_eq!(std::fs::read(&path)?, b"volume = 11\n");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! All of it runs on the I/O pool. Errors are [`io::Error`](std::io::Error)s of the
//! operating system's kind that name the path and the step. For a plain read or write there
//! is [`offload_io`](fn@crate::offload_io) around the function of [`std::fs`].

mod at_path;
mod chunks;
mod file_stream;
mod lines;
mod order;
mod read_many;
mod write_atomic;

pub use chunks::{Chunks, chunks};
pub use lines::{Lines, lines};
pub use read_many::{ReadMany, read_many};
pub use write_atomic::write_atomic;
