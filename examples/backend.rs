//! A backend of one's own: at most so many plain threads, which leave when they are idle.
//!
//! ```text
//! cargo run --example backend --features testing
//! ```
//!
//! All that the crate knows about queues, fairness, cancellation and shutdown stays the
//! crate's; a backend sees to it that some thread calls `Turns::next`. With the feature
//! `testing` it goes through the suite that every backend has to pass.

use offramp::backend::{Backend, Threads, Turns};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread sleeps before it leaves.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct PlainThreads {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    crew: Mutex<Crew>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Crew {
    present: usize,
    idle: usize,
    /// Of the idle ones so many have been called.
    called: usize,
    is_closed: bool,
}

impl PlainThreads {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                most,
                crew: Mutex::default(),
                bell: Condvar::new(),
            }),
        }
    }
}

impl Backend for PlainThreads {
    fn demand(&self, turns: &Turns) {
        self.shared.demand(turns);
    }

    fn close(&self, turns: &Turns) {
        self.shared.crew().is_closed = true;
        self.shared.bell.notify_all();
        if !turns.is_empty() {
            self.demand(turns);
        }
    }

    fn threads(&self) -> Threads {
        let crew = self.shared.crew();
        Threads {
            present: crew.present,
            idle: crew.idle,
        }
    }
}

impl Shared {
    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a thread that sleeps, or starts one. Where all are busy each looks again after
    /// its job.
    fn demand(self: &Arc<Self>, turns: &Turns) {
        let mut crew = self.crew();
        if crew.called < crew.idle {
            crew.called += 1;
            self.bell.notify_one();
            return;
        }
        if crew.present == self.most {
            return;
        }
        crew.present += 1;
        // Never start a thread under a lock.
        drop(crew);
        let (shared, of) = (Arc::clone(self), turns.clone());
        let thread = thread::Builder::new().name("plain".to_owned());
        if thread.spawn(move || shared.work(&of)).is_err() {
            let mut crew = self.crew();
            crew.present -= 1;
            let is_last = crew.present == 0;
            drop(crew);
            // With another thread alive the jobs wait for it. With none they are told.
            if is_last && !turns.is_empty() {
                turns.fail_all();
            }
            turns.left();
        }
    }

    fn work(self: &Arc<Self>, turns: &Turns) {
        while self.run_some(turns) {}
        turns.left();
    }

    /// Runs what there is and sleeps. `false`: the thread has left.
    fn run_some(self: &Arc<Self>, turns: &Turns) -> bool {
        while let Some(turn) = turns.next() {
            if turn.more() {
                self.demand(turns);
            }
            turn.run();
        }
        let mut crew = self.crew();
        // Whoever submits from here on finds the lock taken, and then this thread idle, or
        // gone; what came before is seen here.
        if !turns.is_empty() {
            return true;
        }
        crew.idle += 1;
        let nothing = |crew: &mut Crew| crew.called == 0 && !crew.is_closed;
        let waited = self.bell.wait_timeout_while(crew, KEEP_ALIVE, nothing);
        crew = waited.unwrap_or_else(PoisonError::into_inner).0;
        crew.idle -= 1;
        if crew.called > 0 {
            crew.called -= 1;
            return true;
        }
        crew.present -= 1;
        false
    }
}

#[cfg(not(test))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use offramp::{Offload, offload_io};

    let make = || Offload::builder().io_backend(PlainThreads::new(4));
    let offload = make().build()?;
    let names = (0..8).map(|_| {
        offload_io(|| thread::current().name().map(str::to_owned))
            .on(&offload)
            .try_spawn()
    });
    for handle in names.collect::<Result<Vec<_>, _>>()? {
        println!("a job ran on {:?}", handle.wait()?);
    }
    #[cfg(feature = "testing")]
    {
        use offramp::testing::conformance::{PROMISES, Subject};
        let subject = Subject::io(4, make);
        for promise in PROMISES {
            promise.check(&subject);
            println!("kept: {}", promise.name());
        }
    }
    Ok(())
}
