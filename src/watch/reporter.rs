//! The reporter's thread: symbols, limits, and the outputs. All that may take its time.

use super::blame;
use super::counters::Counters;
use super::limit::{Decision, Limit};
use super::patrol::{Event, Sighting};
use super::report::{Advice, Frame, Phase, Remedy, Report, TaskInfo};
use super::stack::{How, symbolize};
use super::state::State;
use super::task::Task;
use crate::clock;
use crate::core::unwind::contain;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// Incidents remembered until they are over. There are as many as threads; but of one whose
/// end was lost, because the outputs were too slow, nothing is ever heard again.
const MOST_OPEN: usize = 4096;

/// Where reports go.
pub(super) type Output = Box<dyn FnMut(&Report) + Send>;

pub(super) struct Reporter {
    pub(super) threshold: Duration,
    pub(super) counters: Arc<Counters>,
    pub(super) limit: Limit,
    pub(super) outputs: Vec<Output>,
    /// Those that go on, and were reported.
    pub(super) reported: BTreeMap<u64, Reported>,
    /// Those that go on, and are meant to block.
    pub(super) allowed: BTreeSet<u64>,
}

/// What the closing line repeats.
pub(super) struct Reported {
    task: &'static Task,
    thread: Option<String>,
    state: State,
}

impl Reporter {
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        while let Ok(event) = events.recv() {
            match event {
                Event::Blocks(sighting) => self.blocks(*sighting),
                Event::Over { incident, total } => self.over(incident, total),
            }
        }
    }

    fn blocks(&mut self, sighting: Sighting) {
        if self.allowed.contains(&sighting.incident) {
            return;
        }
        let resolved = symbolize(&sighting.captured.addresses);
        let frames = blame::frames(resolved, Some(sighting.task));
        if frames.iter().any(is_allowed_to_block) {
            self.counters.allowed.add();
            self.allowed.insert(sighting.incident);
            if self.allowed.len() > MOST_OPEN {
                self.allowed.pop_first();
            }
            return;
        }
        let now = Duration::from_nanos(clock::now());
        let decision = if self.reported.contains_key(&sighting.incident) {
            self.limit.decide_again(now)
        } else {
            let place = blame::place(sighting.task, &sighting.state, &frames);
            self.limit.decide(place, now)
        };
        let (repeated, held_back) = match decision {
            Decision::Report {
                repeated,
                held_back,
            } => (repeated, held_back),
            Decision::Repeated => return self.counters.repeated.add(),
            Decision::HeldBack => return self.counters.held_back.add(),
        };
        let reported = Reported {
            task: sighting.task,
            thread: sighting.thread.clone(),
            state: sighting.state.clone(),
        };
        self.reported.insert(sighting.incident, reported);
        if self.reported.len() > MOST_OPEN {
            self.reported.pop_first();
        }
        let advice = advice(&sighting.state, &frames);
        let no_frames = match sighting.captured.how {
            How::None(why) => Some(why),
            How::NoSignal | How::Signal if frames.is_empty() => Some("it could not be unwound"),
            How::NoSignal | How::Signal => None,
        };
        self.write(&Report {
            incident: sighting.incident,
            phase: Phase::Blocking {
                times: sighting.times,
            },
            duration: sighting.duration,
            threshold: self.threshold,
            task: sighting.task.info(),
            thread: sighting.thread,
            state: sighting.state,
            on_cpu: sighting.spent.map(|spent| spent.on_cpu),
            waited_for_cpu: sighting.spent.map(|spent| spent.run_queue),
            is_partial: sighting.captured.is_partial,
            no_frames,
            frames,
            advice,
            repeated,
            held_back,
        });
    }

    fn over(&mut self, incident: u64, total: Duration) {
        self.allowed.remove(&incident);
        let Some(reported) = self.reported.remove(&incident) else {
            return;
        };
        self.write(&Report {
            incident,
            phase: Phase::Over,
            duration: total,
            threshold: self.threshold,
            task: reported.task.info(),
            thread: reported.thread,
            state: reported.state,
            on_cpu: None,
            waited_for_cpu: None,
            frames: Vec::new(),
            is_partial: false,
            no_frames: None,
            advice: None,
            repeated: 0,
            held_back: 0,
        });
    }

    fn write(&mut self, report: &Report) {
        self.counters.reports.add();
        for output in &mut self.outputs {
            contain(|| output(report));
        }
    }
}

impl Task {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            type_name: self.type_name,
            name: self.name,
            lane: self.lane,
            watched_at: self.location,
        }
    }
}

/// tokio's way to say that what follows blocks, and that others shall run the tasks.
fn is_allowed_to_block(frame: &Frame) -> bool {
    frame
        .function
        .as_deref()
        .is_some_and(|function| function.contains("block_in_place"))
}

fn advice(state: &State, frames: &[Frame]) -> Option<Advice> {
    let wrap_in = match state {
        State::SystemCall(_) => Remedy::OffloadIo,
        State::BurningCpu => Remedy::OffloadCpu,
        State::Unknown => return None,
    };
    let blamed = frames.iter().find(|frame| frame.is_blamed);
    let at = blamed.and_then(|frame| frame.place().or_else(|| frame.function.clone()));
    Some(Advice { wrap_in, at })
}
