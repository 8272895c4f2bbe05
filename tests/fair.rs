//! Fair shares: who gets how much, who goes first, who pays when it is too much.

mod common;

#[path = "fair/admission.rs"]
mod admission;
#[path = "fair/classes.rs"]
mod classes;
#[path = "fair/limits.rs"]
mod limits;
#[path = "fair/overflow.rs"]
mod overflow;
#[path = "fair/shares.rs"]
mod shares;
#[path = "fair/storm.rs"]
mod storm;
#[path = "fair/turns.rs"]
mod turns;

use offramp::{Lane, Offload, Offloaded, Priority, offload_cpu, offload_io};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Closures of one type, for calls to either pool and in any line.
type Work = Box<dyn FnOnce() + Send>;
type Call = Offloaded<Work, ()>;

fn io(work: impl FnOnce() + Send + 'static) -> Call {
    offload_io(Box::new(work))
}

fn cpu(work: impl FnOnce() + Send + 'static) -> Call {
    offload_cpu(Box::new(work))
}

/// The line a call waits in.
#[derive(Clone)]
enum Place {
    Plain,
    Lane(Lane),
    Tenant(u64),
    Class(Priority),
    Both(u64, Priority),
}

impl Place {
    fn of(&self, call: Call, offload: &Offload) -> Call {
        let call = call.on(offload);
        match self {
            Self::Plain => call,
            Self::Lane(lane) => call.lane(lane),
            Self::Tenant(key) => call.tenant(key),
            Self::Class(class) => call.priority(*class),
            Self::Both(key, class) => call.tenant(key).priority(*class),
        }
    }
}

/// No limit gets in the way, nor does ageing.
fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads).cpu_threads(1);
    let builder = builder.capacity(100_000).max_pending(200_000);
    builder.ageing(Duration::from_secs(3_600)).build().unwrap()
}

/// What ran, in this order, from when to when by the closures' own clocks.
#[derive(Clone, Default)]
struct Log {
    entries: Arc<Mutex<Vec<Entry>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    who: char,
    number: usize,
    start: Instant,
    end: Instant,
}

impl Entry {
    fn ran(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }
}

impl Log {
    /// Does `work` and notes it, in the order of the starts.
    fn note(&self, who: char, number: usize, work: impl FnOnce()) {
        let start = Instant::now();
        let entry = Entry {
            who,
            number,
            start,
            end: start,
        };
        let index = {
            let mut entries = self.entries.lock().unwrap();
            entries.push(entry);
            entries.len() - 1
        };
        work();
        self.entries.lock().unwrap()[index].end = Instant::now();
    }

    fn all(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    /// Who ran, one after the other.
    fn order(&self) -> String {
        self.all().iter().map(|entry| entry.who).collect()
    }

    /// The numbers of `who`, in the order in which they ran.
    fn numbers(&self, who: char) -> Vec<usize> {
        let all = self.all();
        let own = all.iter().filter(|entry| entry.who == who);
        own.map(|entry| entry.number).collect()
    }
}

/// How long `who` ran, in seconds.
fn time(entries: &[Entry], who: char) -> f64 {
    let own = entries.iter().filter(|entry| entry.who == who);
    own.map(Entry::ran).sum()
}

fn longest(entries: &[Entry]) -> f64 {
    entries.iter().map(Entry::ran).fold(0.0, f64::max)
}
