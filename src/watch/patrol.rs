//! The watchdog's thread: looks at all marks every half threshold, and finds out why a poll
//! does not come back.
//!
//! It sleeps while nothing is polled. After some quiet looks it announces that (`fall_asleep`),
//! so that the next poll wakes it, and looks once more a tick later, because a poll that began
//! at the same moment may not have seen the announcement, nor shown its mark yet. Both take
//! nanoseconds as a rule, a tick is milliseconds; and should the thread have lost its CPU just
//! then, the watchdog looks every second anyway.

use super::classify::{Spent, Verdict, judge, judge_at_last};
use super::counters::Counters;
use super::slot::{self, Slot};
use super::stack::{Captured, Doing, How, SystemCall, Times};
use super::state::State;
use super::task::Task;
use crate::clock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

/// Looks without any poll before it goes to sleep. Waking it costs the poll that does a few
/// microseconds, so not after every short pause.
const QUIET_LOOKS: u32 = 8;

/// How often it looks though nobody wakes it.
const NET: Duration = Duration::from_secs(1);

/// How often it looks again, a tick later each time, at a thread that seems to sleep most of
/// the time, and never when it is looked at.
const MORE_LOOKS: u32 = 4;

/// How often a stack is tried to be had before a report goes without.
const MOST_TRIES: u32 = 3;

/// What the reporter gets to know.
pub(super) enum Event {
    Blocks(Box<Sighting>),
    Over { incident: u64, total: Duration },
}

/// A poll that blocks.
pub(super) struct Sighting {
    pub(super) incident: u64,
    /// So many thresholds have passed.
    pub(super) times: u32,
    pub(super) duration: Duration,
    pub(super) task: &'static Task,
    pub(super) thread: Option<String>,
    pub(super) state: State,
    pub(super) spent: Option<Spent>,
    pub(super) captured: Captured,
}

pub(super) struct Patrol {
    pub(super) threshold: Duration,
    /// Whether a thread that runs may be signalled.
    pub(super) signals: bool,
    pub(super) is_stopped: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
    pub(super) reporter: SyncSender<Event>,
}

/// What a thread is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// Nothing of ours.
    Out,
    /// A watched poll.
    Poll { turn: u64 },
    /// A task that is not watched, on an event loop whose hooks we have: one system call.
    Span {
        span: u64,
        turn: u64,
        call: Option<SystemCall>,
        on_cpu: Duration,
    },
}

/// What is remembered of a thread from look to look.
struct Beat {
    stay: Stay,
    /// The turn and the span at the last look.
    seen: (u64, u64),
    /// The first look at this stay, and the thread's times then.
    since: u64,
    times: Option<Times>,
    incident: Option<Incident>,
    /// The round in which it was looked at.
    round: u64,
}

#[derive(Default)]
struct Incident {
    /// The next report is due after so many thresholds; 0 is as good as 1.
    next: u32,
    /// Numbered when it is first to be reported.
    id: Option<u64>,
    is_pressure: bool,
    /// Looks that told nothing, in a row.
    looks: u32,
    /// Without a stack as yet: what it calls is so short that it went on meanwhile. A look later
    /// may have better luck.
    waiting: Option<Box<Sighting>>,
    tries: u32,
}

impl Patrol {
    pub(super) fn run(self) {
        let tick = self.threshold / 2;
        let mut beats: HashMap<u64, Beat> = HashMap::new();
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        let mut quiet = 0;
        for round in 0.. {
            if self.is_stopped.load(Ordering::Relaxed) {
                break;
            }
            slot::all(&mut slots);
            // A poll that wakes it shows its mark a moment later.
            let mut moved = quiet >= QUIET_LOOKS && slot::was_woken();
            for slot in &slots {
                let beat = beats.entry(slot.id).or_insert_with(Beat::new);
                beat.round = round;
                moved |= self.visit(slot, beat);
            }
            if beats.len() > slots.len() {
                beats.retain(|_, beat| {
                    let is_here = beat.round == round;
                    if !is_here {
                        self.end_incident(beat, clock::now());
                    }
                    is_here
                });
            }
            slots.clear();
            if moved {
                if quiet >= QUIET_LOOKS {
                    slot::stay_awake();
                }
                quiet = 0;
            } else {
                quiet = (quiet + 1).min(QUIET_LOOKS + 1);
            }
            if quiet == QUIET_LOOKS {
                slot::fall_asleep();
            }
            thread::park_timeout(if quiet > QUIET_LOOKS { NET } else { tick });
        }
        slot::stay_awake();
        for beat in beats.values_mut() {
            self.end_incident(beat, clock::now());
        }
    }

    /// Whether the thread did anything since the last look, or is at it.
    fn visit(&self, slot: &Slot, beat: &mut Beat) -> bool {
        let now = clock::now();
        let seen = (slot.mark.turn(), slot.mark.span());
        let moved = seen != beat.seen || seen.0 % 2 == 1 || seen.1 % 2 == 1;
        beat.seen = seen;
        let stay = stay(slot, seen);
        if stay != beat.stay {
            self.end_incident(beat, now);
            beat.stay = stay;
            beat.since = now;
            beat.times = match stay {
                Stay::Poll { .. } => slot.mark.hold(|| slot.target.times()).flatten(),
                Stay::Out | Stay::Span { .. } => None,
            };
            return moved;
        }
        match stay {
            Stay::Out | Stay::Span { call: None, .. } => return moved,
            Stay::Poll { .. } | Stay::Span { .. } => {}
        }
        let duration = Duration::from_nanos(now.saturating_sub(beat.since));
        let next = beat
            .incident
            .as_ref()
            .map_or(1, |incident| incident.next.max(1));
        if duration >= self.threshold * next {
            self.investigate(slot, beat, duration);
        }
        moved
    }

    fn investigate(&self, slot: &Slot, beat: &mut Beat, duration: Duration) {
        let passed = duration.as_nanos() / self.threshold.as_nanos();
        // 1, 2, 4 ..: the highest that has passed.
        let times = 1u32 << u32::try_from(passed).unwrap_or(u32::MAX).ilog2();
        let incident = beat.incident.get_or_insert_default();
        let is_last_look = incident.looks >= MORE_LOOKS;
        let found = slot
            .mark
            .hold(|| self.look(slot, beat.stay, &beat.times, duration, is_last_look));
        let found = match found.flatten() {
            Some(Look::Found(found)) => found,
            Some(Look::Again) => return incident.looks += 1,
            Some(Look::HostPressure) => {
                if !incident.is_pressure {
                    incident.is_pressure = true;
                    self.counters.host_pressure.add();
                }
                return;
            }
            None => return self.counters.lost_captures.add(),
        };
        incident.looks = 0;
        incident.tries += 1;
        if !found.captured.addresses.is_empty() || incident.tries >= MOST_TRIES {
            incident.next = times.saturating_mul(2);
            incident.tries = 0;
        }
        let id = *incident.id.get_or_insert_with(|| {
            self.counters.incidents.add();
            next_incident()
        });
        let sighting = Box::new(Sighting {
            incident: id,
            times,
            duration,
            task: found.task,
            thread: slot.thread.name().map(str::to_owned),
            state: found.state,
            spent: found.spent,
            captured: found.captured,
        });
        if incident.tries == 0 {
            incident.waiting = None;
            self.send(Event::Blocks(sighting));
        } else {
            incident.waiting = Some(sighting);
        }
    }

    fn end_incident(&self, beat: &mut Beat, now: u64) {
        let Some(mut incident) = beat.incident.take() else {
            return;
        };
        if let Some(waiting) = incident.waiting.take() {
            self.send(Event::Blocks(waiting));
        }
        if let Some(incident) = incident.id {
            let total = Duration::from_nanos(now.saturating_sub(beat.since));
            self.send(Event::Over { incident, total });
        }
    }

    fn send(&self, event: Event) {
        // Disconnected: the reporter could not be kept alive, and there is nobody to tell.
        if let Err(TrySendError::Full(_)) = self.reporter.try_send(event) {
            self.counters.lost_reports.add();
        }
    }
}

impl Beat {
    fn new() -> Self {
        Self {
            stay: Stay::Out,
            seen: (0, 0),
            since: 0,
            times: None,
            incident: None,
            round: 0,
        }
    }
}

fn next_incident() -> u64 {
    use std::sync::atomic::AtomicU64;
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn stay(slot: &Slot, (turn, span): (u64, u64)) -> Stay {
    if turn % 2 == 1 {
        return Stay::Poll { turn };
    }
    if span % 2 == 0 {
        return Stay::Out;
    }
    let doing = slot.mark.hold(|| (slot.target.look(), slot.target.times()));
    let (call, on_cpu) = match doing {
        // Asleep since then, if no CPU time has passed.
        Some((Doing::SystemCall(call), Some(times))) => (Some(call), times.on_cpu),
        _ => (None, Duration::ZERO),
    };
    Stay::Span {
        span,
        turn,
        call,
        on_cpu,
    }
}

/// What a look at a blocked thread gave.
enum Look {
    Found(Box<Found>),
    HostPressure,
    Again,
}

struct Found {
    task: &'static Task,
    state: State,
    spent: Option<Spent>,
    captured: Captured,
}

fn no_stack(why: &'static str) -> Captured {
    Captured {
        addresses: Vec::new(),
        is_partial: true,
        how: How::None(why),
    }
}

impl Patrol {
    /// `None`: the poll is over. The thread is held.
    fn look(
        &self,
        slot: &Slot,
        stay: Stay,
        from: &Option<Times>,
        in_all: Duration,
        is_last_look: bool,
    ) -> Option<Look> {
        let still = || match stay {
            Stay::Poll { turn } => slot.mark.is_in(turn),
            Stay::Span { span, turn, .. } => slot.mark.span() == span && slot.mark.is_in(turn),
            Stay::Out => false,
        };
        let task = match stay {
            Stay::Poll { turn } => slot.mark.look().filter(|sight| sight.turn == turn)?.task,
            Stay::Span { .. } | Stay::Out => Task::of(None, None, None),
        };
        let doing = slot.target.look();
        // Of a task that is not watched there are none; its call has been the same all the time.
        let spent = match (from, slot.target.times()) {
            (Some(from), Some(to)) => Some(Spent::between(in_all, from, &to)),
            _ => None,
        };
        if !still() {
            return None;
        }
        let verdict = match judge(&doing, spent, self.threshold) {
            Verdict::LookAgain if is_last_look => judge_at_last(spent, self.threshold),
            verdict => verdict,
        };
        let state = match (verdict, &doing) {
            (Verdict::HostPressure, _) => return Some(Look::HostPressure),
            (Verdict::LookAgain, _) => return Some(Look::Again),
            (Verdict::Waits, Doing::SystemCall(call)) => {
                State::SystemCall(slot.target.system_call(call).into())
            }
            (Verdict::Computes, _) => State::BurningCpu,
            (Verdict::Waits | Verdict::Unknown, _) => State::Unknown,
        };
        let captured = match doing {
            Doing::OnCpu if !self.signals => no_stack("it runs, and signals are off"),
            _ => slot.target.capture(&doing, &still),
        };
        // What was read before this look is of the poll that still goes on.
        still().then_some(Look::Found(Box::new(Found {
            task,
            state,
            spent,
            captured,
        })))
    }
}
