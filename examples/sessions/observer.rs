//! A thread of its own beside a run: it shows the progress, also while the loop is
//! blocked, and counts threads.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::usage;

pub(crate) struct Observer {
    watch: Arc<Watch>,
    thread: JoinHandle<Option<usize>>,
}

#[derive(Default)]
struct Watch {
    done: AtomicUsize,
    over: AtomicBool,
}

/// With this the sessions say that they are through.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Watch>);

impl Progress {
    pub(crate) fn one_more(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Observer {
    pub(crate) fn start(title: String, sessions: usize) -> Result<Observer> {
        let watch = Arc::new(Watch::default());
        let theirs = watch.clone();
        let thread = std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || observe(&theirs, &title, sessions))
            .context("cannot start the observer's thread")?;
        Ok(Observer { watch, thread })
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress(self.watch.clone())
    }

    /// The most threads that were seen, without the observer and the idle loop.
    pub(crate) fn stop(self) -> Option<usize> {
        self.watch.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().ok().flatten()
    }
}

fn observe(watch: &Watch, title: &str, sessions: usize) -> Option<usize> {
    let start = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut threads = None;
    loop {
        let over = watch.over.load(Ordering::Relaxed);
        let done = watch.done.load(Ordering::Relaxed);
        threads = threads.max(usage::threads());
        if terminal || over {
            // In a terminal one line is written again and again; a log only gets the
            // last.
            let (back, end) = if terminal {
                ("\r", if over { "\n" } else { "" })
            } else {
                ("", "\n")
            };
            let seconds = start.elapsed().as_secs_f64();
            let mut stderr = std::io::stderr();
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(
                stderr,
                "{back}{title}: {done} of {sessions} sessions, {seconds:.1} s{end}"
            );
            let _ = stderr.flush();
        }
        if over {
            return threads.map(|count| count.saturating_sub(2));
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
