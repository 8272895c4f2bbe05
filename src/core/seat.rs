//! A lane's place behind the scheduler's lock.

use super::lane::Lane;
use super::lane_state::LaneState;
use super::line::Meter;
use super::pace::Pace;
use std::sync::Arc;

pub(super) struct Seat {
    pub(super) jobs: Lane,
    /// How many, shells of cancelled ones included.
    pub(super) len: usize,
    /// `None` in a free place.
    pub(super) state: Option<Arc<LaneState>>,
    pub(super) meter: Meter,
    /// The weight that it adds to its line; `None` if it is in none.
    pub(super) stands_for: Option<u64>,
    /// The number of its turn: other entries of it in the line are left over.
    pub(super) turn: u64,
    /// The line it is in, or was in last.
    pub(super) class: usize,
    pub(super) pace: Pace,
    /// It is among those charged of late.
    pub(super) is_charged: bool,
}

impl Seat {
    pub(super) fn new(state: Arc<LaneState>) -> Self {
        Self {
            jobs: Lane::new(),
            len: 0,
            class: state.class(),
            state: Some(state),
            meter: 0,
            stands_for: None,
            turn: 0,
            pace: Pace::default(),
            is_charged: false,
        }
    }

    pub(super) fn weight(&self) -> u64 {
        self.state.as_ref().map_or(1, |state| state.weight())
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_blocked())
    }

    /// Whether an entry in the line of `class` with this number is its own.
    pub(super) fn has_turn(&self, class: usize, turn: u64) -> bool {
        self.stands_for.is_some() && self.class == class && self.turn == turn
    }

    /// It has to get into a line: it holds jobs, which may start.
    pub(super) fn is_to_join(&self) -> bool {
        self.stands_for.is_none() && !self.jobs.is_empty() && !self.is_blocked()
    }

    /// How long a job of it runs as a rule; `typical` if none has.
    pub(super) fn average(&self, typical: u64) -> u64 {
        let own = self.state.as_ref().map_or(0, |state| state.average());
        if own == 0 { typical } else { own }
    }
}
