//! Calls on paths.

use super::Case;
use crate::common::report;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

pub(super) const CASES: &[Case] = &[
    ("open", open),
    ("open64", open64),
    ("openat", openat),
    ("openat64", openat64),
    ("statx", statx),
    ("opendir", opendir),
    ("mkdir", mkdir),
    ("rmdir", rmdir),
    ("unlink", unlink),
    ("unlinkat", unlinkat),
    ("rename", rename),
    ("linkat", linkat),
    ("symlink", links),
    ("readlink", readlink),
    ("realpath", realpath),
];

/// A folder with the file `a`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "text").unwrap();
    folder
}

/// The path as C has it.
fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The report on a call with the path of `a`, which has to be in it.
fn on_a<T>(call: impl FnOnce(&Path) -> T) -> String {
    let folder = folder();
    let path = folder.path().join("a");
    let report = report(|| call(&path));
    assert!(report.contains(&format!("({path:?})")), "{report}");
    report
}

fn open() -> String {
    on_a(|path| {
        let path = c(path);
        // SAFETY: a string that lives as long as the call, in all of these.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
        assert!(fd >= 0);
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
    })
}

fn open64() -> String {
    on_a(|path| File::open(path).unwrap())
}

fn openat() -> String {
    on_a(|path| {
        let path = c(path);
        // SAFETY: as above.
        let fd = unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY) };
        assert!(fd >= 0);
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
    })
}

fn openat64() -> String {
    let folder = folder();
    let path = folder.path().join("b");
    fs::create_dir(&path).unwrap();
    // On a file or a link it begins with a look.
    report(|| {
        let path = c(&path);
        // SAFETY: as above.
        let fd = unsafe { libc::openat64(libc::AT_FDCWD, path.as_ptr(), libc::O_DIRECTORY) };
        assert!(fd >= 0);
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
    })
}

fn statx() -> String {
    on_a(|path| fs::metadata(path).unwrap())
}

fn opendir() -> String {
    let folder = folder();
    report(|| fs::read_dir(folder.path()).unwrap())
}

fn mkdir() -> String {
    let folder = folder();
    report(|| fs::create_dir(folder.path().join("b")).unwrap())
}

fn rmdir() -> String {
    let folder = folder();
    let path = folder.path().join("b");
    fs::create_dir(&path).unwrap();
    report(|| fs::remove_dir(&path).unwrap())
}

fn unlink() -> String {
    on_a(|path| fs::remove_file(path).unwrap())
}

fn unlinkat() -> String {
    on_a(|path| {
        let path = c(path);
        // SAFETY: as above.
        let failed = unsafe { libc::unlinkat(libc::AT_FDCWD, path.as_ptr(), 0) };
        assert_eq!(failed, 0);
    })
}

fn rename() -> String {
    on_a(|path| fs::rename(path, path.with_file_name("b")).unwrap())
}

fn linkat() -> String {
    on_a(|path| fs::hard_link(path, path.with_file_name("b")).unwrap())
}

fn links() -> String {
    let folder = folder();
    report(|| symlink("a", folder.path().join("b")).unwrap())
}

fn readlink() -> String {
    let folder = folder();
    let path = folder.path().join("b");
    symlink("a", &path).unwrap();
    report(|| fs::read_link(&path).unwrap())
}

fn realpath() -> String {
    on_a(|path| fs::canonicalize(path).unwrap())
}
