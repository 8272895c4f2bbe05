//! [`read_many`]: whole files, several to a job, in order.

use super::at_path::{at_path, not_called};
use crate::adapt::place::Place;
use crate::cancel::Stopped;
use crate::clock;
use crate::core::view::Job;
use crate::error::OffloadError;
use crate::handle::Submitted;
use crate::{Lane, Offload};
use futures_core::{FusedStream, Stream};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, Read};
use std::iter::Fuse;
use std::mem;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::{thread, vec};

/// Most files that one job reads: by then the job itself costs little beside them.
const MOST_FILES: usize = 64;

/// Batches have so many files only after half as many were read in half of the time below:
/// in less than 32 µs each, which no disk does.
const FROM_MEMORY: usize = 32;

/// When a job has read for so long (ns), or so many bytes, it reads no further file. Files
/// that are slower, or larger, have a job each.
const ENOUGH_TIME: u64 = 1_000_000;
const ENOUGH_BYTES: usize = 256 * 1024;

/// Reads whole files, at most `concurrency` (at least 1) at a time, and gives their contents
/// in the order of `paths`.
///
/// Small files are read several to a job, as many as are fast, up to 64: so thousands of
/// them cost little more than their system calls. Files that are slow or large have jobs of
/// their own.
///
/// ```
/// use futures::TryStreamExt;
/// use offramp::fs;
/// # futures::executor::block_on(async {
/// let texts = fs::read_many(["Cargo.toml", "README.md"], 8);
/// let texts: Vec<Vec<u8>> = texts.try_collect().await?;
/// assert_eq!(texts.len(), 2);
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
///
/// `paths` is advanced by the stream's polls, on the event loop: an iterator that blocks, as
/// [`std::fs::ReadDir`] does, is collected beforehand.
#[track_caller]
pub fn read_many<I>(paths: I, concurrency: usize) -> ReadMany<I::IntoIter>
where
    I: IntoIterator,
    I::Item: Into<PathBuf>,
{
    ReadMany {
        paths: paths.into_iter().fuse(),
        batches: VecDeque::new(),
        concurrency: concurrency.max(1),
        files: 1,
        place: Place::default(),
        is_over: false,
        call_site: Location::caller(),
    }
}

/// The stream made by [`read_many`]: an [`io::Result`] for each path, in their order.
///
/// # Errors
///
/// A file that cannot be read is one item, which names its path, and the stream goes on. It
/// has the kind of the system's error, and that error as its source. Where a job was
/// refused, or was not run for another reason, each of its files is such an item, of the kind
/// [`Other`](io::ErrorKind::Other) with the [`OffloadError`] as its source.
///
/// # Backpressure
///
/// At most `concurrency` jobs run, or have run and wait for their files to be taken; so a
/// consumer that stops stops the reading. A job that has read 64 files, or 256 KiB, or for
/// 1 ms, reads no further one. So the stream holds at most `concurrency` times 256 KiB and a
/// largest file; and of those before a slow file only the ones that have come to the same
/// job, at most 63, wait for it.
///
/// # Cancellation
///
/// Dropping the stream drops the jobs that wait, and each one that runs stops after the file
/// that it is reading.
///
/// # Cost
///
/// A job's cost, a few microseconds, for some 64 small files; an allocation or two for each
/// job and each file.
#[must_use = "a stream reads nothing until it is polled"]
pub struct ReadMany<I> {
    paths: Fuse<I>,
    /// In the order of the paths.
    batches: VecDeque<Batch>,
    /// Most batches that are being read or wait to be taken.
    concurrency: usize,
    /// How many files the next batch has.
    files: usize,
    place: Place,
    is_over: bool,
    call_site: &'static Location<'static>,
}

type Item = io::Result<Vec<u8>>;

enum Batch {
    /// What a job has left over. Not empty.
    Unread(Vec<PathBuf>),
    Reading {
        paths: Arc<Vec<PathBuf>>,
        call: Submitted<Files>,
    },
    /// To be taken.
    Read(vec::IntoIter<Item>),
}

/// What a job has read: the first file at least, and how long it took, in ns.
struct Files {
    read: Vec<Item>,
    took: u64,
}

// The iterator is never pinned.
impl<I> Unpin for ReadMany<I> {}

impl<I> ReadMany<I> {
    /// Reads on `offload` instead of the process-wide default.
    ///
    /// Like all options it counts for jobs that have not been submitted yet.
    pub fn on(mut self, offload: &Offload) -> Self {
        self.place.on(offload);
        self
    }

    /// Its jobs wait in `lane`, on its pools if no others are named.
    pub fn lane(mut self, lane: &Lane) -> Self {
        self.place.lane(lane);
        self
    }

    /// Its jobs wait in the line of this tenant, see [`tenant`](crate::Offloaded::tenant).
    pub fn tenant(mut self, key: impl Hash) -> Self {
        self.place.tenant(key);
        self
    }

    /// Names its jobs.
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.place.label = Some(label.into());
        self
    }

    /// Submits a job for them.
    fn read(&self, paths: Vec<PathBuf>) -> Batch {
        let paths = Arc::new(paths);
        let call = self.place.call({
            let paths = Arc::clone(&paths);
            move |job: &Job| read_files(job, &paths)
        });
        match call.called_at(self.call_site).start() {
            Ok(call) => Batch::Reading { paths, call },
            Err((_, reason)) => Batch::Read(not_read(&paths, reason)),
        }
    }

    /// There is an item: nobody waits for the jobs, for the time being.
    fn free_clock(&mut self) {
        for batch in &mut self.batches {
            if let Batch::Reading { call, .. } = batch {
                call.free_clock();
            }
        }
    }

    /// Looks at the batch at this place. What its job has left over comes behind it.
    fn look_at(&mut self, place: usize, waker: &Waker) {
        let Batch::Reading { paths, call } = &mut self.batches[place] else {
            return;
        };
        let Some(outcome) = call.poll_here(waker) else {
            return;
        };
        let read = match outcome {
            Ok(Files { read, took }) => {
                // The job's share of them is gone with its closure: nothing is cloned.
                let mut paths = Arc::unwrap_or_clone(mem::take(paths));
                let left = paths.split_off(read.len());
                if !left.is_empty() {
                    self.files = read.len().min(self.files / 2).max(1);
                    self.share_out(left, place + 1);
                } else if read.len() == self.files && took <= ENOUGH_TIME / 2 {
                    self.files = MOST_FILES.min(2 * self.files);
                }
                read.into_iter()
            }
            Err(error) => not_read(paths, error),
        };
        self.batches[place] = Batch::Read(read);
    }

    /// Files that come from memory keep a CPU busy: more jobs than CPUs would only get into
    /// each other's way. One more, for a file that does not.
    fn most_running(&self) -> usize {
        static CPUS: OnceLock<usize> = OnceLock::new();
        if self.files < FROM_MEMORY {
            return self.concurrency;
        }
        *CPUS.get_or_init(|| 1 + thread::available_parallelism().map_or(1, usize::from))
    }

    /// The rest of a batch that was slow, to all the jobs there may be.
    fn share_out(&mut self, mut left: Vec<PathBuf>, place: usize) {
        let share = left.len().div_ceil(self.concurrency);
        while !left.is_empty() {
            let last = left.len().saturating_sub(share);
            let batch = Batch::Unread(left.split_off(last));
            self.batches.insert(place, batch);
        }
    }
}

impl<I> ReadMany<I>
where
    I: Iterator,
    I::Item: Into<PathBuf>,
{
    /// Looks at what is being read, and starts what may be.
    fn go_on(&mut self, waker: &Waker) {
        let mut place = 0;
        let (mut running, mut started) = (0, 0);
        while place < self.batches.len() {
            self.look_at(place, waker);
            match self.batches[place] {
                Batch::Unread(_) => {}
                Batch::Reading { .. } => (running, started) = (running + 1, started + 1),
                Batch::Read(_) => started += 1,
            }
            place += 1;
        }
        let mut place = 0;
        while started < self.concurrency && running < self.most_running() {
            match self.batches.get_mut(place) {
                Some(Batch::Unread(paths)) => {
                    let paths = mem::take(paths);
                    self.batches[place] = self.read(paths);
                }
                Some(_) => {
                    place += 1;
                    continue;
                }
                None => {
                    let paths = self.paths.by_ref().take(self.files);
                    let paths: Vec<_> = paths.map(Into::into).collect();
                    if paths.is_empty() {
                        return;
                    }
                    let batch = self.read(paths);
                    self.batches.push_back(batch);
                }
            }
            (running, started) = (running + 1, started + 1);
            self.look_at(place, waker);
            place += 1;
        }
    }
}

/// An item for each of the files, whose job has failed for this `reason`.
fn not_read(paths: &[PathBuf], reason: OffloadError) -> vec::IntoIter<Item> {
    let reason = Arc::new(reason);
    let failed = |path: &PathBuf| Err(not_called("read", path, &reason));
    paths.iter().map(failed).collect::<Vec<_>>().into_iter()
}

fn read_files(job: &Job, paths: &[PathBuf]) -> Result<Files, Stopped> {
    let start = clock::now();
    let mut read = Vec::with_capacity(paths.len());
    let mut bytes = 0;
    let mut took = 0;
    for path in paths {
        job.checkpoint()?;
        let item = read_file(path).map_err(at_path("read", path));
        bytes += item.as_ref().map_or(0, Vec::len);
        read.push(item);
        took = clock::now() - start;
        if took >= ENOUGH_TIME || bytes >= ENOUGH_BYTES {
            break;
        }
    }
    Ok(Files { read, took })
}

/// [`std::fs::read`] asks once more, to be told that this was all: a fifth of the system
/// calls for a small file. One that is as long as it was said to be needs no telling.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let length = metadata.len();
    let mut contents = Vec::new();
    if metadata.is_file() && length > 0 && length < ENOUGH_BYTES as u64 {
        // A byte more than there should be: were it there, the file would have grown.
        contents.resize(length as usize + 1, 0);
        let read = match file.read(&mut contents) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            read => read?,
        };
        contents.truncate(read);
        if read as u64 == length {
            return Ok(contents);
        }
    }
    file.read_to_end(&mut contents)?;
    Ok(contents)
}

impl<I> Stream for ReadMany<I>
where
    I: Iterator,
    I::Item: Into<PathBuf>,
{
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = self.get_mut();
        loop {
            if let Some(Batch::Read(read)) = this.batches.front_mut() {
                if let Some(item) = read.next() {
                    return Poll::Ready(Some(item));
                }
                this.batches.pop_front();
            }
            this.go_on(cx.waker());
            match this.batches.front() {
                None => {
                    this.is_over = true;
                    return Poll::Ready(None);
                }
                Some(Batch::Read(_)) => this.free_clock(),
                Some(_) => return Poll::Pending,
            }
        }
    }
}

impl<I> FusedStream for ReadMany<I>
where
    I: Iterator,
    I::Item: Into<PathBuf>,
{
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl<I> fmt::Debug for ReadMany<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadMany")
            .field("concurrency", &self.concurrency)
            .field("batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}
