//! Where lanes have their places behind the lock, and when they lose them.

use super::job_ref::JobRef;
use super::lane_state::LaneState;
use super::lanes::Lanes;
use super::seat::Seat;
use crate::sync::{Ordering, fence, planted};
use std::sync::Arc;

/// The place of the lane that calls without one share.
pub(super) const SHARED: usize = 0;

/// Fewer places are not worth a sweep: some 300 KiB of them, with their lanes' states. Whoever
/// comes back often keeps its place, and with it what is known of its jobs.
pub(super) const FEW: usize = if cfg!(offramp_loom) { 1 } else { 1024 };

impl Lanes {
    /// Where the lane of a call is; `None` if nowhere.
    pub(super) fn find(&self, lane: Option<&Arc<LaneState>>) -> Option<usize> {
        match lane {
            None => Some(SHARED),
            Some(state) => match state.tenant() {
                Some(key) => self.tenants.get(&key).copied(),
                None => state.place(),
            },
        }
    }

    /// Where the lane of `job` is, from now on if need be.
    #[inline]
    pub(super) fn place_of(&mut self, job: JobRef<'_>) -> usize {
        let Some(state) = job.lane() else {
            return SHARED;
        };
        let found = self
            .find(Some(state))
            .filter(|_| state.tenant().is_none() || !planted("tenants: a lane for each call"));
        if let Some(place) = found {
            if let Some(lane) = &self.seats[place].state {
                if state.tenant().is_some() && !Arc::ptr_eq(lane, state) {
                    state.stand_for(Arc::clone(lane));
                }
            }
            return place;
        }
        let place = self.take_place(Seat::new(Arc::clone(state)));
        if let Some(key) = state.tenant() {
            self.tenants.insert(key, place);
        }
        state.set_place(Some(place));
        place
    }

    fn take_place(&mut self, seat: Seat) -> usize {
        if self.taken() >= self.sweep_at {
            self.sweep();
        }
        self.newcomers += 1;
        match self.free.pop() {
            Some(place) => {
                self.seats[place] = seat;
                place
            }
            None => {
                self.seats.push(seat);
                self.seats.len() - 1
            }
        }
    }

    fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// There is nothing to run: a good time to clear up after a crowd, unless that was done.
    pub(super) fn rest(&mut self) {
        // What was had while nobody waited was taken from nobody. Those whose jobs still run
        // are looked at again.
        let mut charged = std::mem::take(&mut self.charged);
        charged.retain(|place| {
            self.settle(*place);
            let Some(seat) = self.seats.get_mut(*place) else {
                return false;
            };
            let runs = |state: &Arc<LaneState>| *place == SHARED || !state.is_at_rest();
            seat.is_charged = seat.state.as_ref().is_some_and(runs);
            seat.is_charged
        });
        self.charged = charged;
        for line in &mut self.lines {
            line.rest();
        }
        if self.newcomers >= FEW.max(self.taken() / 2) {
            self.sweep();
        }
    }

    /// Frees the places of lanes of which nothing is left.
    fn sweep(&mut self) {
        self.newcomers = 0;
        for place in SHARED + 1..self.seats.len() {
            self.let_go_if_at_rest(place);
        }
        // What a crowd needed is given back.
        while self.seats.last().is_some_and(|seat| seat.state.is_none()) {
            self.seats.pop();
        }
        // Else it would have an entry for each lane that ever was, in a pool that never rests.
        self.charged.clear();
        let charged = self.seats.iter().enumerate();
        let charged = charged.filter(|(_, seat)| seat.is_charged && seat.state.is_some());
        self.charged.extend(charged.map(|(place, _)| place));
        let len = self.seats.len();
        self.free.retain(|place| *place < len);
        self.sweep_at = FEW.max(2 * self.taken());
        self.seats.shrink_to(self.sweep_at);
        self.free.shrink_to(self.sweep_at);
        self.tenants.shrink_to(self.sweep_at);
    }

    fn let_go_if_at_rest(&mut self, place: usize) {
        let seat = &self.seats[place];
        let Some(state) = &seat.state else { return };
        let is_used = !seat.jobs.is_empty() || seat.stands_for.is_some();
        // A job that has lent its turn counts as none that runs, but has the state.
        let is_a_jobs = || state.tenant().is_some() && Arc::strong_count(state) > 1;
        let is_at_rest = state.is_at_rest() && !is_a_jobs();
        // ORDERING: Acquire fence, partner: the Release by which the last job that had the
        // state let go of it, after its `settle`.
        fence(Ordering::Acquire);
        if is_used || !is_at_rest && !planted("lanes: let go with a charge on its way") {
            return;
        }
        self.settle(place);
        let seat = &mut self.seats[place];
        if self.lines[seat.class].is_owed_by(seat) {
            return;
        }
        if let Some(state) = seat.state.take() {
            if let Some(key) = state.tenant() {
                self.tenants.remove(&key);
            }
            if !planted("lanes: a place kept too long") {
                state.set_place(None);
            }
        }
        self.free.push(place);
    }
}
