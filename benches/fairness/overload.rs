//! More calls than the pool can do, by a schedule that waits for nobody: what callers that give up after a while get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Row;
use crate::stats::Shuffler;
use crate::subjects::{Answer, Subject};
use crate::{Bench, THREADS, memory};

const JOB: Duration = Duration::from_millis(10);
/// From the scheduled arrival.
const PATIENCE: Duration = Duration::from_millis(100);
/// Of the capacity; those that are rows are measured for longer, the others only to be drawn.
const LOADS: [f64; 5] = [0.5, 1.0, 1.5, 2.0, 3.0];
const ROWS: [f64; 2] = [1.5, 3.0];
/// Goodput, of the capacity.
const LEAST: f64 = 0.85;
/// What the live memory may grow by, in bytes a second.
const MOST_GROWTH: f64 = 32.0 * 1024.0;
/// Before the window opens.
const WARM_UP: Duration = Duration::from_millis(500);

/// What callers were told while the window was open.
struct Tally {
    open: Instant,
    close: Instant,
    in_time: AtomicU64,
    refused: AtomicU64,
    too_late: AtomicU64,
    is_over: AtomicBool,
}

impl Tally {
    fn count(&self, answer: Answer, deadline: Instant) {
        let now = Instant::now();
        if !(self.open..self.close).contains(&now) {
            return;
        }
        let counter = match answer {
            Answer::Value if now <= deadline => &self.in_time,
            Answer::Value | Answer::TooLate => &self.too_late,
            Answer::Refused => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// Jobs in time, of the capacity.
    goodput: f64,
    /// Of the answers.
    refused: f64,
    /// Bytes a second.
    growth: f64,
}

/// Jobs a second, if nothing else took time.
fn capacity() -> f64 {
    THREADS as f64 / JOB.as_secs_f64()
}

fn call(subject: &'static dyn Subject, tally: &Arc<Tally>, due: Instant) {
    let tally = Arc::clone(tally);
    subject.runtime().spawn(async move {
        let deadline = due + PATIENCE;
        let work = {
            let tally = Arc::clone(&tally);
            move || {
                if !tally.is_over.load(Ordering::Relaxed) {
                    thread::sleep(JOB);
                }
            }
        };
        let answer = subject.before(deadline, Box::new(work)).await;
        tally.count(answer, deadline);
    });
}

/// Arrivals at random, as many calls have that know nothing of each other.
fn overloaded(subject: &'static dyn Subject, load: f64, window: Duration, seed: u64) -> Seen {
    let mut draw = Shuffler::new(seed);
    let rate = load * capacity();
    let open = Instant::now() + WARM_UP;
    let tally = Arc::new(Tally {
        open,
        close: open + window,
        in_time: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        too_late: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut due = Instant::now();
    let mut memory = Memory::new(open, window);
    while due < tally.close {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        call(subject, &tally, due);
        memory.look();
        due += Duration::from_secs_f64(-(1.0 - draw.unit()).ln() / rate);
    }
    tally.is_over.store(true, Ordering::Relaxed);
    subject.settle();
    let [in_time, refused, too_late] = [&tally.in_time, &tally.refused, &tally.too_late]
        .map(|counter| counter.load(Ordering::Relaxed) as f64);
    Seen {
        goodput: in_time / window.as_secs_f64() / capacity(),
        refused: refused / (in_time + refused + too_late).max(1.0),
        growth: memory.growth(),
    }
}

/// Live bytes in the window's first quarter and in its last.
struct Memory {
    open: Instant,
    window: Duration,
    quarters: [(f64, u32); 2],
}

impl Memory {
    fn new(open: Instant, window: Duration) -> Self {
        Self {
            open,
            window,
            quarters: [(0.0, 0); 2],
        }
    }

    fn look(&mut self) {
        let Some(inside) = Instant::now().checked_duration_since(self.open) else {
            return;
        };
        let quarter = (inside.as_secs_f64() / self.window.as_secs_f64() * 4.0) as usize;
        let index = match quarter {
            0 => 0,
            3 => 1,
            _ => return,
        };
        let (sum, looks) = &mut self.quarters[index];
        *sum += memory::live_bytes() as f64;
        *looks += 1;
    }

    fn growth(&self) -> f64 {
        let [first, last] = self
            .quarters
            .map(|(sum, looks)| sum / f64::from(looks.max(1)));
        (last - first) / (self.window.as_secs_f64() * 0.75)
    }
}

pub(crate) fn rows(bench: &mut Bench) -> Vec<Row> {
    let (shorter, longer) = if bench.options.quick {
        (Duration::from_millis(700), Duration::from_secs(2))
    } else {
        (Duration::from_millis(1_500), Duration::from_secs(4))
    };
    bench.drawn.goodput.clear();
    let mut rows = Vec::new();
    for load in LOADS {
        let is_row = ROWS.contains(&load);
        if !bench.options.draws() && !is_row {
            continue;
        }
        let window = if is_row { longer } else { shorter };
        let mut order: Vec<usize> = (0..bench.subjects.len()).collect();
        bench.shuffler.shuffle(&mut order);
        let mut all = vec![Seen::default(); order.len()];
        for index in order {
            let subject = bench.subjects[index];
            all[index] = overloaded(subject, load, window, bench.options.seed);
            let goodput = all[index].goodput;
            bench.drawn.goodput(subject.name(), load, goodput);
        }
        if is_row {
            rows.extend(rows_of(load, &all));
        }
    }
    rows
}

fn rows_of(load: f64, all: &[Seen]) -> [Row; 2] {
    let percent = load * 100.0;
    let goodput = |seen: &Seen| match seen.refused {
        0.0 => format!("{:.0} %", seen.goodput * 100.0),
        refused => format!(
            "{:.0} % ({:.0} % of the calls refused)",
            seen.goodput * 100.0,
            refused * 100.0
        ),
    };
    let growth = |seen: &Seen| format!("{:.0} KiB/s", (seen.growth / 1024.0).max(0.0));
    let names = if load < 2.0 {
        ["overload 150", "memory 150"]
    } else {
        ["overload 300", "memory 300"]
    };
    [
        Row {
            name: names[0],
            what: format!(
                "calls of 10 ms at {percent:.0} % of capacity, given up after 100 ms: answered in time, of \
                 capacity"
            ),
            wanted: format!("at least {:.0} %", LEAST * 100.0),
            measured: all.iter().map(goodput).collect(),
            holds: all[0].goodput >= LEAST,
        },
        Row {
            name: names[1],
            what: "what the memory in use grows by meanwhile".to_owned(),
            wanted: format!("at most {:.0} KiB/s", MOST_GROWTH / 1024.0),
            measured: all.iter().map(growth).collect(),
            holds: all[0].growth <= MOST_GROWTH,
        },
    ]
}
