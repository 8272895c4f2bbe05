//! Reading, writing and seeking, for whichever traits.

use super::content::{Content, Done};
use super::failure::Failure;
use super::{State, Unblock};
use crate::core::view::Job;
use crate::defaults::UNBLOCK_CAPACITY;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::task::{Context, Poll, ready};

impl<T: Send + 'static> Unblock<T> {
    fn byte_capacity(&self) -> usize {
        self.capacity.unwrap_or(UNBLOCK_CAPACITY)
    }

    /// Up to `most` bytes, which are taken; none at the end.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<&[u8]>>
    where
        T: Read,
    {
        if most == 0 {
            return Poll::Ready(Ok(&[]));
        }
        loop {
            ready!(self.settle(cx))?;
            if let Some(error) = self.outcomes.read.take() {
                return Poll::Ready(Err(error));
            }
            let is_at_end = std::mem::take(&mut self.outcomes.is_at_end);
            if is_at_end || !self.read_ahead().is_empty() {
                break;
            }
            let capacity = self.byte_capacity();
            let read = move |content: &mut Content<T>, _: &Job| Done::Read(content.read(capacity));
            self.submit(read, false)?;
        }
        // The position moves.
        self.outcomes.seek = None;
        Poll::Ready(Ok(match &mut self.state {
            State::Idle(content) => content.ahead.take(most),
            _ => &[],
        }))
    }

    /// Accepts some of `bytes`: they will be written.
    pub(super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>>
    where
        T: Write,
    {
        ready!(self.poll_written(cx))?;
        let accepted = bytes.len().min(self.byte_capacity());
        if accepted == 0 {
            return Poll::Ready(Ok(0));
        }
        let content: &mut Content<T> = match &mut self.state {
            State::Fresh(content) => content,
            State::Idle(content) => content,
            _ => unreachable!("settled"),
        };
        content.out.clear();
        content.out.extend_from_slice(&bytes[..accepted]);
        let write = |content: &mut Content<T>, _: &Job| {
            content.at_end = Some(|io| drop(io.flush()));
            Done::Written(content.write())
        };
        self.submit(write, true)?;
        self.outcomes.is_dirty = true;
        Poll::Ready(Ok(accepted))
    }

    /// Waits for a write under way, and tells how the last one has ended.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settled = ready!(self.settle(cx));
        if let Some(error) = self.outcomes.write.take() {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(settled?))
    }

    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: Write,
    {
        loop {
            ready!(self.poll_written(cx))?;
            if !self.outcomes.is_dirty {
                return Poll::Ready(Ok(()));
            }
            let flush = |content: &mut Content<T>, _: &Job| Done::Flushed(content.flush());
            self.submit(flush, false)?;
        }
    }

    /// Flushes, and drops the value.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: Write,
    {
        loop {
            match ready!(self.settle(cx)) {
                Err(Failure::Closed) => return Poll::Ready(Ok(())),
                settled => {
                    if let Some(error) = self.outcomes.write.take() {
                        return Poll::Ready(Err(error));
                    }
                    settled?;
                }
            }
            let is_dirty = self.outcomes.is_dirty;
            let close = move |content: &mut Content<T>, _: &Job| {
                if is_dirty {
                    if let Err(error) = content.flush() {
                        return Done::Flushed(Err(error));
                    }
                }
                drop(content.io.take());
                Done::Closed
            };
            self.submit(close, false)?;
        }
    }

    pub(super) fn poll_sought(
        &mut self,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>>
    where
        T: Seek,
    {
        loop {
            ready!(self.settle(cx))?;
            match self.outcomes.seek.take() {
                Some((asked, result)) if asked == to => return Poll::Ready(result),
                // Of one that was given up.
                _ => {}
            }
            let seek = move |content: &mut Content<T>, _: &Job| Done::Sought(to, content.seek(to));
            self.submit(seek, false)?;
        }
    }
}
