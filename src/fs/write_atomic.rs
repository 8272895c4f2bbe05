//! [`write_atomic`]: the old content or the new one, never a part.

use super::at_path::at_path;
use super::order::Call;
use crate::current::checkpoint;
use crate::{Offloaded, offload_io};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// So much is written between two looks at whether the save is still wanted.
const PIECE: usize = 1 << 20;

/// Links that are followed to a file that does not exist yet, as many as Linux follows.
const MOST_LINKS: usize = 40;

/// Of a file's name so much goes into that of its temporary file: with four bytes for each
/// character it stays below the 255 that file systems allow.
const NAME_CHARS: usize = 60;

/// Saves `contents` as the file at `path`: whole, durable, or not at all.
///
/// They are written into a temporary file in the same directory, which is synced and then
/// renamed to `path`, and the directory is synced. Whoever reads `path` meanwhile finds the
/// old content or the new one, never a part, and so does the next start after a crash. When
/// the call resolves as `Ok(Ok(()))` the new content survives a loss of power, as far as the
/// disk keeps its word.
///
/// ```
/// use offramp::fs;
/// # futures::executor::block_on(async {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("session.json");
/// fs::write_atomic(&path, r#"{"turn": 1}"#).await??;
/// // With the failures of the call among those of the save:
/// fs::write_atomic(&path, r#"{"turn": 2}"#).flatten().await?;
/// assert_eq!(std::fs::read_to_string(&path)?, r#"{"turn": 2}"#);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Several saves of one file
///
/// Each has a temporary file of its own, so they do not mix. Within a process the last
/// *call of this function* wins, whichever is faster and whenever it is first polled: a save
/// that finds the file of a later call in place leaves it there, and resolves as `Ok`, as if
/// it had been a moment earlier. It does not matter how the calls spell the path. The last to
/// be renamed wins between processes, in a forked child, and against a save that has waited
/// to start while a thousand other files were saved.
///
/// # Cancellation
///
/// Dropping the future, aborting its handle, and a time-out stop the save where it stands,
/// up to the renaming: the old content stays, and the temporary file is removed by the pool's
/// thread. Later than that they change nothing, the save goes on to its end. So after a call
/// that was given up either content may be there, and when its job has ended that is final.
/// [`must_run`](Offloaded::must_run) saves in any case.
///
/// # What is replaced
///
/// - A new file gets the permissions that [`std::fs::write`] would give it. A file that is
///   there passes on its own, and its owner and group as far as the process may set them
///   (Unix). Other names of the file (hard links) keep the old content, and extended
///   attributes are lost.
/// - A symbolic link stays; the file it leads to is replaced, or made.
/// - A read-only file is replaced, too: what counts is the right to write to its directory.
///
/// # Errors
///
/// The inner [`io::Error`] has the kind of the system's error, names path and step, and has
/// the system's error as its source. Unless it says that the directory could not be synced,
/// the old content is there, untouched, and the temporary file is gone. If it says so, the
/// new content is there, but may be lost with the power.
///
/// A directory ([`IsADirectory`](ErrorKind::IsADirectory)), and a pipe, a device or a socket
/// ([`InvalidInput`](ErrorKind::InvalidInput)) are not replaced. The directory of the file
/// has to be readable, too, for its sync (Unix). A save that was given up while it ran, and
/// is looked at all the same through its [`Handle`](crate::Handle), is an error with
/// [`Stopped`](crate::Stopped) inside.
///
/// A process that is killed leaves its temporary file behind: `.NAME.XXXXXX.tmp`
/// beside the target, with the first 60 characters of its name. Nobody else removes it.
///
/// # Cost
///
/// Two syncs: milliseconds, on slow disks tens of them. The data is not copied. Elsewhere
/// than on Unix directories cannot be synced: there, after a loss of power, the file may be
/// the old one, whole.
#[track_caller]
pub fn write_atomic<C>(
    path: impl Into<PathBuf>,
    contents: C,
) -> Offloaded<impl FnOnce() -> io::Result<()> + Send + 'static, io::Result<()>>
where
    C: AsRef<[u8]> + Send + 'static,
{
    let (path, call) = (path.into(), Call::new());
    offload_io(move || save(&path, contents.as_ref(), call))
}

fn save(path: &Path, contents: &[u8], call: Call) -> io::Result<()> {
    let target = resolve(path).map_err(at_path("find the file to save", path))?;
    let old = look_at(&target).map_err(at_path("save", path))?;
    let running = call.start(&target);
    let Some((directory, name)) = target.parent().zip(target.file_name()) else {
        let error = ErrorKind::IsADirectory.into();
        return Err(at_path("save", path)(error));
    };
    let directory_failed = at_path("open the directory of", path);
    let synced_later = Directory::open(directory).map_err(directory_failed)?;

    let mut temporary = create(directory, &name.to_string_lossy(), old.as_ref())
        .map_err(at_path("create a temporary file to save", path))?;
    for piece in contents.chunks(PIECE) {
        checkpoint()?;
        let file = temporary.as_file_mut();
        let failed = at_path("write a temporary file to save", path);
        file.write_all(piece).map_err(failed)?;
    }
    let failed = at_path("sync a temporary file to save", path);
    temporary.as_file().sync_all().map_err(failed)?;

    running.in_order(|| {
        checkpoint()?;
        match temporary.persist(&target) {
            Ok(_) => Ok(()),
            Err(error) => Err(at_path("replace", path)(error.error)),
        }
    })?;
    // Also where a later call's file is there instead: it might not be durable yet.
    let failed = at_path("sync the directory of the newly saved", path);
    synced_later.sync().map_err(failed)
}

/// The file itself, through all links, also where a link leads to none yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found,
    }
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(name) = path.file_name() else {
            let error = "the path does not name a file";
            return Err(io::Error::new(ErrorKind::InvalidInput, error));
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = fs::canonicalize(directory)?;
        let file = directory.join(name);
        match fs::read_link(&file) {
            Ok(link) => path = directory.join(link),
            // Nothing is there, or by now something that is no link.
            Err(_) => return Ok(file),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The file that is to be replaced, if there is one.
fn look_at(target: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(target) {
        Ok(old) if old.is_file() => Ok(Some(old)),
        Ok(old) if old.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => {
            // A pipe or a device would be gone.
            let error = "it is not a regular file";
            Err(io::Error::new(ErrorKind::InvalidInput, error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An empty file beside the target, that may be read and written by the same ones.
fn create(directory: &Path, name: &str, old: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let name: String = name.chars().take(NAME_CHARS).collect();
    let prefix = format!(".{name}.");
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Of this the system takes what the umask says.
        let mode = old.map_or(0o666, |old| old.permissions().mode() & 0o7777);
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    let temporary = builder.tempfile_in(directory)?;
    if let Some(old) = old {
        #[cfg(unix)]
        keep_owner(temporary.as_file(), old)?;
        // After the owner, whose change may take bits away.
        temporary.as_file().set_permissions(old.permissions())?;
    }
    Ok(temporary)
}

/// As far as this process may.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// A directory whose entries can be made durable.
struct Directory {
    #[cfg(unix)]
    file: File,
}

#[cfg(unix)]
impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file })
    }

    fn sync(&self) -> io::Result<()> {
        match self.file.sync_all() {
            // A file system that has no such thing.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Elsewhere than on Unix there is no way to do it.
#[cfg(not(unix))]
impl Directory {
    fn open(_: &Path) -> io::Result<Self> {
        Ok(Self {})
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
