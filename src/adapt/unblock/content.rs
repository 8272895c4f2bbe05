//! What goes to the pool and comes back: the value, with the bytes that belong to it.

use crate::adapt::drop_on_pool::DropOnPool;
use crate::cancel::Stopped;
use crate::closure::Closure;
use crate::core::unwind::contain;
use crate::core::view::Job;
use std::any::Any;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub(super) struct Content<T> {
    /// `None` once it is closed, or taken.
    pub(super) io: Option<T>,
    pub(super) ahead: Ahead,
    /// To be written.
    pub(super) out: Vec<u8>,
    /// What is to be done with the value before it is dropped: to flush it. Set by a
    /// write, which knows how.
    pub(super) at_end: Option<fn(&mut T)>,
}

/// Bytes that were read, and not yet taken.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Ahead {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Moves as much as fits into `buf`.
    pub(super) fn take(&mut self, most: usize) -> &[u8] {
        let start = self.start;
        self.start += most.min(self.end - start);
        &self.bytes[start..self.start]
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

impl<T> Content<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io: Some(io),
            ahead: Ahead::default(),
            out: Vec::new(),
            at_end: None,
        }
    }

    pub(super) fn io(&mut self) -> &mut T {
        self.io.as_mut().expect("there until it is closed")
    }

    pub(super) fn take_io(&mut self) -> T {
        self.io.take().expect("there until it is closed")
    }

    /// One call of `read`, for up to `capacity` bytes. Nothing is unread.
    pub(super) fn read(&mut self, capacity: usize) -> io::Result<usize>
    where
        T: Read,
    {
        let io = self.io.as_mut().expect("there until it is closed");
        if self.ahead.bytes.is_empty() {
            // Zeroed by the kernel, page by page as they are used.
            self.ahead.bytes = vec![0; capacity].into();
        }
        let read = loop {
            match io.read(&mut self.ahead.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        assert!(read <= capacity, "`read` claims more than it was given");
        (self.ahead.start, self.ahead.end) = (0, read);
        Ok(read)
    }

    pub(super) fn write(&mut self) -> io::Result<()>
    where
        T: Write,
    {
        let io = self.io.as_mut().expect("there until it is closed");
        io.write_all(&self.out)
    }

    pub(super) fn flush(&mut self) -> io::Result<()>
    where
        T: Write,
    {
        self.io().flush()?;
        self.at_end = None;
        Ok(())
    }

    /// Seeks from where the caller is, who has not seen what was read ahead.
    pub(super) fn seek(&mut self, to: SeekFrom) -> io::Result<u64>
    where
        T: Seek,
    {
        let ahead = i64::try_from(self.ahead.unread().len()).expect("an allocation's size");
        let to = match to {
            SeekFrom::Current(by) => match by.checked_sub(ahead) {
                Some(by) => SeekFrom::Current(by),
                None => {
                    self.io().seek(SeekFrom::Current(-ahead))?;
                    self.ahead.clear();
                    to
                }
            },
            absolute => absolute,
        };
        let position = self.io().seek(to)?;
        self.ahead.clear();
        Ok(position)
    }
}

impl<T> Drop for Content<T> {
    fn drop(&mut self) {
        if let (Some(io), Some(at_end)) = (&mut self.io, self.at_end) {
            contain(|| at_end(io));
        }
    }
}

/// How a call has ended.
pub(super) enum Done {
    /// How many bytes there are: 0 at the end.
    Read(io::Result<usize>),
    Written(io::Result<()>),
    Flushed(io::Result<()>),
    Sought(SeekFrom, io::Result<u64>),
    /// With what it has returned.
    Called(Box<dyn Any + Send>),
    Pulled {
        has_ended: bool,
    },
    /// The value is dropped.
    Closed,
}

/// A call, as a closure that gives the value back: when it has run, and when it is refused.
pub(super) struct Operation<T: Send + 'static, F> {
    pub(super) content: DropOnPool<Box<Content<T>>>,
    pub(super) op: F,
}

/// The form of an [`Operation`].
pub(super) enum OnContent {}

impl<T, F> Closure<(DropOnPool<Box<Content<T>>>, Done), OnContent> for Operation<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Content<T>, &Job) -> Done + Send + 'static,
{
    fn call(self, job: &Job) -> Result<(DropOnPool<Box<Content<T>>>, Done), Stopped> {
        let Self { mut content, op } = self;
        match catch_unwind(AssertUnwindSafe(|| op(&mut content, job))) {
            Ok(done) => Ok((content, done)),
            Err(payload) => {
                // Not used any more, not even to flush it. And not while unwinding: a second
                // panic would abort the process.
                content.at_end = None;
                contain(|| drop(content));
                resume_unwind(payload)
            }
        }
    }
}
