//! Calls on descriptors.

use super::Case;
use crate::common::report;
use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;

pub(super) const CASES: &[Case] = &[
    ("read", read),
    ("readv", readv),
    ("pread64", pread64),
    ("write", write),
    ("writev", writev),
    ("pwrite64", pwrite64),
    ("readdir64", readdir64),
    ("fsync", fsync),
    ("fdatasync", fdatasync),
    ("flock", flock),
    ("fcntl", fcntl),
    ("fcntl64", fcntl64),
    ("copy_file_range", copy_file_range),
    ("sendfile64", sendfile64),
];

/// The report on a call on a file with some text.
fn on_file<T>(call: impl FnOnce(&mut File) -> T) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "some text").unwrap();
    let options = OpenOptions::new().read(true).write(true).open(&path);
    let mut file = options.unwrap();
    let report = report(|| call(&mut file));
    assert!(
        report.contains(&*path.to_string_lossy()),
        "the file's path: {report}"
    );
    report
}

fn read() -> String {
    on_file(|file| assert_eq!(file.read(&mut [0; 4]).unwrap(), 4))
}

fn readv() -> String {
    on_file(|file| {
        let (mut a, mut b) = ([0; 2], [0; 2]);
        let mut buffers = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(file.read_vectored(&mut buffers).unwrap(), 4);
    })
}

fn pread64() -> String {
    on_file(|file| assert_eq!(file.read_at(&mut [0; 4], 5).unwrap(), 4))
}

fn write() -> String {
    on_file(|file| assert_eq!(file.write(b"text").unwrap(), 4))
}

fn writev() -> String {
    on_file(|file| {
        let buffers = [IoSlice::new(b"te"), IoSlice::new(b"xt")];
        assert_eq!(file.write_vectored(&buffers).unwrap(), 4);
    })
}

fn pwrite64() -> String {
    on_file(|file| assert_eq!(file.write_at(b"text", 20).unwrap(), 4))
}

fn readdir64() -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut entries = fs::read_dir(folder.path()).unwrap();
    report(|| assert!(entries.next().is_none()))
}

fn fsync() -> String {
    on_file(|file| file.sync_all().unwrap())
}

fn fdatasync() -> String {
    on_file(|file| file.sync_data().unwrap())
}

fn flock() -> String {
    on_file(|file| {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }, 0);
    })
}

/// The whole file, for writing.
fn record_lock() -> libc::flock {
    // SAFETY: all zeros is a lock from the start to the end.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock
}

fn fcntl() -> String {
    on_file(|file| {
        let lock = record_lock();
        // SAFETY: the command takes such a lock.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &lock) };
        assert_eq!(done, 0);
    })
}

fn fcntl64() -> String {
    unsafe extern "C" {
        fn fcntl64(fd: c_int, command: c_int, ...) -> c_int;
    }
    on_file(|file| {
        let lock = record_lock();
        // SAFETY: as above.
        let done = unsafe { fcntl64(file.as_raw_fd(), libc::F_SETLKW, &lock) };
        assert_eq!(done, 0);
    })
}

fn copy_file_range() -> String {
    on_file(|file| {
        let mut copy =
            offramp_strict::allow("not what is tested", || tempfile::tempfile().unwrap());
        assert_eq!(io::copy(file, &mut copy).unwrap(), 9);
    })
}

fn sendfile64() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    on_file(|file| {
        let (to, from) = (stream.as_raw_fd(), file.as_raw_fd());
        // SAFETY: it may go without a position.
        assert_eq!(unsafe { libc::sendfile64(to, from, ptr::null_mut(), 9) }, 9);
    })
}
