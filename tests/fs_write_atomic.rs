//! `fs::write_atomic`: what is saved where, with which permissions, and what is refused.

#![cfg(all(unix, feature = "fs"))]

mod common;
#[path = "fs_write_atomic/crash.rs"]
mod crash;
#[path = "fs_write_atomic/given_up.rs"]
mod given_up;
#[path = "fs_write_atomic/order.rs"]
mod order;

use common::{alone, watchdog};
use offramp::fs::write_atomic;
use offramp::{Offload, OffloadError};
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const OLD: &str = "old";
const NEW: &str = "new";

fn save(path: impl Into<PathBuf>, contents: impl AsRef<[u8]> + Send + 'static) -> io::Result<()> {
    pollster::block_on(write_atomic(path, contents).flatten())
}

/// Everything in there that a save may have left behind.
fn temporary_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.as_os_str().as_bytes().ends_with(b".tmp"))
        .collect()
}

/// A directory with a file of the [`OLD`] content.
fn with_old() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, OLD).unwrap();
    (directory, path)
}

#[track_caller]
fn assert_holds(path: &Path, contents: impl AsRef<[u8]>) {
    let contents = contents.as_ref();
    assert!(fs::read(path).unwrap() == contents, "{}", path.display());
    let left = temporary_files(path.parent().unwrap());
    assert!(left.is_empty(), "{left:?}");
}

/// What the save of `path` failed with, which names it.
#[track_caller]
fn failure(path: &Path) -> io::Error {
    let error = save(path, NEW).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.starts_with("cannot "), "{message}");
    error
}

/// The number that the operating system has given to `error`.
fn system_error(error: &io::Error) -> Option<i32> {
    error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
}

#[test]
fn a_file_is_made_and_replaced() {
    let _watchdog = watchdog("saves");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let large = vec![7; 3 << 20 | 1];
    for contents in [b"first".to_vec(), large, Vec::new(), b"last".to_vec()] {
        save(&path, contents.clone()).unwrap();
        assert_holds(&path, contents);
    }
}

#[test]
fn whatever_is_bytes_can_be_saved_and_the_path_need_not_live() {
    let (_directory, path) = with_old();
    let call = {
        let path = path.clone();
        write_atomic(path.as_path(), NEW)
    };
    fn spawnable<T: Send + 'static>(call: T) -> T {
        call
    }
    pollster::block_on(spawnable(call)).unwrap().unwrap();
    assert_holds(&path, NEW);
    save(&path, String::from("a string")).unwrap();
    save(&path, [1, 2, 3]).unwrap();
    assert_holds(&path, [1, 2, 3]);
}

#[test]
fn a_report_names_the_caller() {
    let _watchdog = watchdog("a save that is reported");
    let (directory, path) = with_old();
    let pipe = directory.path().join("pipe");
    let c_path = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    struct FromPipe(PathBuf);
    impl AsRef<[u8]> for FromPipe {
        fn as_ref(&self) -> &[u8] {
            fs::read(&self.0).unwrap().leak()
        }
    }
    let offload = Offload::builder().io_max_threads(1).build().unwrap();
    let call = write_atomic(&path, FromPipe(pipe.clone())).on(&offload);
    let handle = call.try_spawn().unwrap();
    // Opens when somebody reads.
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    let shutdown = offload.shutdown(std::time::Duration::ZERO, offramp::Backlog::Drain);
    let report = pollster::block_on(shutdown);
    assert_eq!(report.still_running[0].call_site.file(), file!());
    writer.write_all(NEW.as_bytes()).unwrap();
    drop(writer);
    handle.wait().unwrap().unwrap();
    assert_holds(&path, NEW);
}

#[test]
fn unusual_names() {
    let directory = tempfile::tempdir().unwrap();
    let long = [b'x'; 255];
    let wide = "\u{1f980}".repeat(63);
    let names: [&[u8]; 5] = [
        b"\xff\xfe",
        &long,
        wide.as_bytes(),
        b"with space",
        b".hidden",
    ];
    for name in names {
        let path = directory.path().join(OsStr::from_bytes(name));
        for contents in [OLD, NEW] {
            save(&path, contents).unwrap();
            assert_holds(&path, contents);
        }
    }
}

#[test]
fn relative_paths() {
    alone("relative_paths", || {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        std::env::set_current_dir(directory.path()).unwrap();
        for path in ["file", "./file", "sub/file", "sub/../other"] {
            save(path, path).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), path);
        }
        assert!(temporary_files(directory.path()).is_empty());
    });
}

#[test]
fn permissions_are_those_of_the_old_file_or_of_a_new_one() {
    let test = "permissions_are_those_of_the_old_file_or_of_a_new_one";
    alone(test, || {
        // SAFETY: changes a number of this process.
        unsafe { libc::umask(0o027) };
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
        save(&ours, NEW).unwrap();
        fs::write(&theirs, NEW).unwrap();
        assert_eq!(mode(&ours), 0o640);
        assert_eq!(mode(&ours), mode(&theirs));
        for permissions in [0o600, 0o666, 0o751, 0o444] {
            fs::set_permissions(&ours, fs::Permissions::from_mode(permissions)).unwrap();
            save(&ours, NEW).unwrap();
            assert_eq!(mode(&ours), permissions, "{permissions:o}");
        }
    });
}

/// A secret must not be readable for a moment either.
#[test]
fn the_temporary_file_is_never_more_open_than_its_target() {
    let test = "the_temporary_file_is_never_more_open_than_its_target";
    alone(test, || {
        // SAFETY: changes a number of this process.
        unsafe { libc::umask(0) };
        let (directory, path) = with_old();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut looks = 0;
        // Often: a bad moment would be a short one.
        for _ in 0..200 {
            let handle = write_atomic(&path, NEW).try_spawn().unwrap();
            while !handle.is_finished() {
                for temporary in temporary_files(directory.path()) {
                    if let Ok(found) = fs::metadata(temporary) {
                        assert_eq!(found.permissions().mode() & 0o777, 0o600);
                        looks += 1;
                    }
                }
            }
            handle.wait().unwrap().unwrap();
        }
        assert!(looks > 0);
    });
}

/// Only root can give files away.
#[test]
fn owner_and_group_are_kept() {
    let (_directory, path) = with_old();
    let is_given = std::os::unix::fs::chown(&path, Some(12_345), Some(23_456)).is_ok();
    save(&path, NEW).unwrap();
    assert_holds(&path, NEW);
    if is_given {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 23_456));
    }
}

#[test]
fn a_link_stays_and_its_file_is_replaced() {
    let (directory, path) = with_old();
    let links = directory.path().join("links");
    fs::create_dir(&links).unwrap();
    let (link, onward) = (links.join("link"), links.join("onward"));
    symlink("../file", &link).unwrap();
    symlink("link", &onward).unwrap();
    for (via, contents) in [(&link, "by a link"), (&onward, "by two")] {
        save(via, contents).unwrap();
        assert!(fs::symlink_metadata(via).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_holds(&path, contents);
    }
    assert!(temporary_files(&links).is_empty());
}

#[test]
fn a_link_to_nothing_gets_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let (link, onward) = (directory.path().join("link"), elsewhere.join("onward"));
    symlink("elsewhere/onward", &link).unwrap();
    symlink("file", &onward).unwrap();
    save(&link, NEW).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::symlink_metadata(&onward).unwrap().is_symlink());
    assert_holds(&elsewhere.join("file"), NEW);
}

#[test]
fn links_that_lead_nowhere_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
    symlink(&one, &other).unwrap();
    symlink(&other, &one).unwrap();
    assert_eq!(system_error(&failure(&one)), Some(libc::ELOOP));
    let astray = directory.path().join("astray");
    symlink("no/such/directory", &astray).unwrap();
    assert_eq!(failure(&astray).kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_not_a_file_is_left_alone() {
    let (directory, _) = with_old();
    let path = directory.path();
    assert_eq!(failure(path).kind(), ErrorKind::IsADirectory);
    assert_eq!(failure(Path::new("/")).kind(), ErrorKind::IsADirectory);
    assert_eq!(
        failure(Path::new("/dev/null")).kind(),
        ErrorKind::InvalidInput
    );
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let missing = path.join("missing/file");
    let error = failure(&missing);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(system_error(&error), Some(libc::ENOENT));
    assert_eq!(
        failure(&path.join("file/file")).kind(),
        ErrorKind::NotADirectory
    );
    assert_eq!(failure(Path::new("")).kind(), ErrorKind::InvalidInput);
    assert_eq!(
        failure(Path::new("missing/..")).kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(failure(Path::new("a\0b")).kind(), ErrorKind::InvalidInput);
    assert_holds(&path.join("file"), OLD);
}

#[test]
fn a_directory_that_may_not_be_written_to_or_read() {
    alone("a_directory_that_may_not_be_written_to_or_read", || {
        let (directory, path) = with_old();
        let set_mode = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(directory.path(), mode).unwrap();
        };
        // Neither for its owner nor for others: read only, then write only.
        set_mode(0o555);
        be_nobody();
        assert_eq!(failure(&path).kind(), ErrorKind::PermissionDenied);
        be_root();
        set_mode(0o333);
        be_nobody();
        let error = failure(&path);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let step = "cannot open the directory of ";
        assert!(error.to_string().starts_with(step), "{error}");
        be_root();
        set_mode(0o755);
        assert_holds(&path, OLD);
    });
}

/// Root may everything. For all but root this fails, and changes nothing.
fn be_nobody() {
    // SAFETY: changes numbers of this process.
    unsafe { (libc::setegid(65_534), libc::seteuid(65_534)) };
}

fn be_root() {
    // SAFETY: as above.
    unsafe { (libc::seteuid(0), libc::setegid(0)) };
}

/// The write fails in the midst, as on a full disk.
#[test]
fn a_write_that_fails_leaves_the_old_content() {
    alone("a_write_that_fails_leaves_the_old_content", || {
        let (_directory, path) = with_old();
        let bytes = 5 << 19;
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: bytes,
        };
        // SAFETY: ignores a signal, and hands over a limit of our own.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
        let error = save(&path, vec![1; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(system_error(&error), Some(libc::EFBIG));
        let expected = format!(
            "cannot write a temporary file to save `{}`: ",
            path.display()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_holds(&path, OLD);
        save(&path, vec![1; 2 << 20]).unwrap();
        assert_holds(&path, vec![1; 2 << 20]);
    });
}

#[test]
fn a_call_that_is_refused_is_handed_back_and_can_be_run_here() {
    let (_directory, path) = with_old();
    let offload = Offload::builder().io_max_threads(1).capacity(1).build();
    let offload = offload.unwrap();
    let occupied = common::Occupied::io(&offload, 1);
    let waiting = offramp::offload_io(|| ()).on(&offload).try_spawn().unwrap();
    let refused = write_atomic(&path, NEW).on(&offload).try_spawn();
    let refused = refused.unwrap_err();
    assert!(matches!(refused.reason(), OffloadError::Overloaded { .. }));
    assert_holds(&path, OLD);
    refused.into_inner()().unwrap();
    assert_holds(&path, NEW);
    drop(waiting);
    occupied.release();
}
