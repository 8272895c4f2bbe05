//! A watchdog whose reports are kept, and calls that block until they have been reported.

use super::common::{PATIENCE, wait_until};
use offramp::watch::{Phase, Report, WatchStats, Watchdog, WatchdogBuilder};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A watchdog and what it has reported.
#[derive(Clone)]
pub(crate) struct Scene {
    watchdog: Arc<Watchdog>,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl Scene {
    /// Nothing is held back: a slow machine makes many reports of a long incident, and some
    /// tests come to the same place again.
    pub(crate) fn new() -> Self {
        let builder = Watchdog::builder().repeat_after(Duration::ZERO);
        Self::with(builder.reports_per_minute(1_000_000))
    }

    pub(crate) fn with(builder: WatchdogBuilder) -> Self {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&reports);
        let keep = move |report: &Report| kept.lock().unwrap().push(report.clone());
        let watchdog = builder.report_to(keep).start().unwrap();
        Self {
            watchdog: Arc::new(watchdog),
            reports,
        }
    }

    pub(crate) fn stats(&self) -> WatchStats {
        self.watchdog.stats()
    }

    /// All reports so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().clone()
    }

    /// Those of the tasks of this name.
    pub(crate) fn reports_of(&self, name: &str) -> Vec<Report> {
        let mut reports = self.reports();
        reports.retain(|report| report.task.name == Some(name));
        reports
    }

    /// With a stack. A machine with much else to do may give a thread no CPU in the time that
    /// the detector waits for it, and the next report has one: the fourth at the latest.
    pub(crate) fn is_reported(&self, name: &str) -> bool {
        let reports = self.reports_of(name);
        reports.len() > 3 || reports.iter().any(|report| !report.frames.is_empty())
    }

    /// Those of the one incident of the task of this name, when it is over.
    #[track_caller]
    pub(crate) fn whole_incident(&self, name: &str) -> Vec<Report> {
        wait_until("the closing line", || {
            let last = self.reports_of(name).pop();
            last.is_some_and(|report| report.phase == Phase::Over)
        });
        self.reports_of(name)
    }

    /// What was reported so far counts no more.
    pub(crate) fn forget(&self) {
        self.reports.lock().unwrap().clear();
    }

    /// Ends the watchdog, and gives all that it has reported.
    pub(crate) fn end(self) -> Vec<Report> {
        let watchdog = Arc::into_inner(self.watchdog).expect("no other part of the scene");
        assert!(watchdog.stop(PATIENCE), "the reporter ends");
        Arc::into_inner(self.reports).unwrap().into_inner().unwrap()
    }

    /// A thread that calls `release` when the task of this name has been reported.
    pub(crate) fn release_after(
        &self,
        name: &'static str,
        release: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || {
            let start = Instant::now();
            // A test that fails must not hang as well.
            while !scene.is_reported(name) && start.elapsed() < PATIENCE / 2 {
                thread::sleep(Duration::from_millis(1));
            }
            drop(scene);
            release();
        })
    }

    /// For those that compute until then: the end of a channel, and the thread that sends.
    pub(crate) fn told_after(&self, name: &'static str) -> (mpsc::Receiver<()>, JoinHandle<()>) {
        let (done, is_done) = mpsc::channel();
        (
            is_done,
            self.release_after(name, move || done.send(()).unwrap()),
        )
    }
}

// Each blocks its thread until the task of the given name has been reported.

#[inline(never)]
pub(crate) fn sleep(scene: &Scene, name: &'static str) {
    while !scene.is_reported(name) {
        thread::sleep(Duration::from_millis(300));
    }
}

#[inline(never)]
pub(crate) fn read_fifo(scene: &Scene, name: &'static str) {
    let fifo = Fifo::new();
    let mut writer = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo.path)
        .unwrap();
    let mut reader = File::open(&fifo.path).unwrap();
    let waiter = scene.release_after(name, move || writer.write_all(b"x").unwrap());
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn lock_mutex(scene: &Scene, name: &'static str) {
    let mutex = Arc::new(Mutex::new(()));
    let (held, is_held) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let holder = thread::spawn({
        let mutex = Arc::clone(&mutex);
        move || {
            let _guard = mutex.lock().unwrap();
            held.send(()).unwrap();
            is_released.recv().unwrap();
        }
    });
    is_held.recv().unwrap();
    let waiter = scene.release_after(name, move || release.send(()).unwrap());
    drop(mutex.lock().unwrap());
    waiter.join().unwrap();
    holder.join().unwrap();
}

#[inline(never)]
pub(crate) fn read_socket(scene: &Scene, name: &'static str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let waiter = scene.release_after(name, move || server.write_all(b"x").unwrap());
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn run_command(scene: &Scene, name: &'static str) {
    let fifo = Fifo::new();
    let mut writer = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo.path)
        .unwrap();
    let waiter = scene.release_after(name, move || writer.write_all(b"done\n").unwrap());
    let input = File::open(&fifo.path).unwrap();
    let mut head = Command::new("head");
    let output = head
        .args(["-n", "1"])
        .stdin(Stdio::from(input))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn receive(scene: &Scene, name: &'static str) {
    let (sender, receiver) = mpsc::channel();
    let waiter = scene.release_after(name, move || sender.send(()).unwrap());
    receiver.recv().unwrap();
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn join_thread(scene: &Scene, name: &'static str) {
    scene.release_after(name, || ()).join().unwrap();
}

#[inline(never)]
pub(crate) fn lock_file(scene: &Scene, name: &'static str) {
    use std::os::fd::AsRawFd;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("planted.lock");
    let (holder, other) = (File::create(&path).unwrap(), File::open(&path).unwrap());
    // SAFETY: the file is open.
    assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), libc::LOCK_EX) }, 0);
    let waiter = scene.release_after(name, move || drop(holder));
    // SAFETY: the file is open.
    assert_eq!(unsafe { libc::flock(other.as_raw_fd(), libc::LOCK_EX) }, 0);
    waiter.join().unwrap();
}

/// A named pipe.
pub(crate) struct Fifo {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fifo {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("planted.fifo");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: `name` is a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        Self {
            path,
            _folder: folder,
        }
    }
}
