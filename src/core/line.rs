//! The lanes of one class in line for their turn, by what they have had.
//!
//! Each lane has a *meter*: the time that its jobs have run, divided by its weight. The lane
//! whose meter shows least goes first. The line has a meter, too, which moves by what is run
//! divided by the weights of all lanes in line, so it shows what a lane has had that was
//! there all the time. A lane that joins starts at the line's meter, or at its own if that
//! shows more: idling earns nothing, and what was had beyond one's share is not forgotten as
//! long as anybody waits. When nobody does, nobody has had too much: the line's meter
//! catches up with the highest.
//!
//! This is fair queueing after Demers, Keshav and Shenker (1989), by start tags like
//! Goyal's (1996), with the virtual time of Bennett and Zhang's WF²Q+ (1997). How long a job
//! runs is not known when it starts, so an estimate is charged then, and corrected after.

use super::pace::Pace;
use super::seat::Seat;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Run time by weight, in fractions of a nanosecond.
pub(super) type Meter = u128;

/// Meters count 2^-16 ns.
const FRACTION_BITS: u32 = 16;
/// Meters that differ by less than 65 µs show the same, so that lanes with short jobs take
/// turns, a job each. Those go from one end of the line to the other in a constant time.
pub(super) const SAME_BITS: u32 = FRACTION_BITS + 16;
/// The longest time that is charged at once, 4.9 hours: with its fractions it fits 64 bits.
const LONGEST: u64 = 1 << 44;

pub(super) struct Line {
    /// In order: who comes to one of its ends, as most do.
    sorted: VecDeque<Entry>,
    /// Who came in between, or had to get out of others' way.
    others: BinaryHeap<Reverse<Entry>>,
    /// How many lanes are in line. There may be more entries, see [`Seat::has_turn`].
    lanes: usize,
    meter: Meter,
    /// What the highest of all lanes' meters has shown.
    highest: Meter,
    /// Of all lanes in line.
    weight: u64,
    /// Numbers those with the same meter.
    turn: u64,
    /// Since when a higher class has been served instead. `None`: the last one was ours.
    pub(super) passed_over: Option<u64>,
    pub(super) pace: Pace,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// What the lane's meter shows.
    shows: Meter,
    turn: u64,
    place: usize,
}

/// What `time` adds to the meter of who has this `weight`.
fn by_weight(time: u64, weight: u64) -> Meter {
    let time = time.min(LONGEST) << FRACTION_BITS;
    // Most have weight 1, and a division takes longer than all the rest.
    let by = if weight > 1 { time / weight } else { time };
    by.into()
}

/// `meter` moved by a time that may be negative.
fn moved(meter: Meter, time: i64, weight: u64) -> Meter {
    let by = by_weight(time.unsigned_abs(), weight);
    if time < 0 {
        meter.saturating_sub(by)
    } else {
        meter + by
    }
}

impl Entry {
    fn new(seat: &Seat, place: usize) -> Self {
        Self {
            shows: seat.meter >> SAME_BITS,
            turn: seat.turn,
            place,
        }
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            sorted: VecDeque::new(),
            others: BinaryHeap::new(),
            lanes: 0,
            meter: 0,
            highest: 0,
            weight: 0,
            turn: 0,
            passed_over: None,
            pace: Pace::default(),
        }
    }

    /// No lane is in line; then no entry is left over, either.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes == 0
    }

    /// One lane is in line.
    pub(super) fn is_alone(&self) -> bool {
        self.lanes == 1
    }

    /// The lane's place in line is where its meter says now.
    fn insert(&mut self, seat: &Seat, place: usize) {
        let entry = Entry::new(seat, place);
        if self.sorted.front().is_some_and(|first| entry < *first) {
            self.sorted.push_front(entry);
            return;
        }
        if !self.is_last(&entry) {
            // The one at the end has had more than most. In the way there it would send all
            // that come next among the others, until its turn.
            let last = self.sorted.pop_back();
            self.others.extend(last.map(Reverse));
        }
        if self.is_last(&entry) {
            self.sorted.push_back(entry);
        } else {
            self.others.push(Reverse(entry));
        }
    }

    fn is_last(&self, entry: &Entry) -> bool {
        self.sorted.back().is_none_or(|last| last < entry)
    }

    /// The first entry, if there is no other.
    fn only_entry(&mut self) -> Option<&mut Entry> {
        let is_only = self.sorted.len() == 1 && self.others.is_empty();
        self.sorted.front_mut().filter(|_| is_only)
    }

    fn peek(&self) -> Option<&Entry> {
        let other = self.others.peek().map(|Reverse(entry)| entry);
        match (self.sorted.front(), other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let other = self.others.peek().map(|Reverse(entry)| entry);
        if other.is_some_and(|other| self.sorted.front().is_none_or(|one| other < one)) {
            return self.others.pop().map(|Reverse(entry)| entry);
        }
        self.sorted.pop_front()
    }

    /// Of all lanes in line, how often this one's comes.
    pub(super) fn share_of(&self, seat: &Seat) -> u64 {
        (self.weight / seat.weight()).max(1)
    }

    /// The lane at `place`, which is in no line, joins.
    pub(super) fn join(&mut self, seat: &mut Seat, place: usize) {
        seat.meter = seat.meter.max(self.meter);
        let weight = seat.weight();
        seat.stands_for = Some(weight);
        self.weight += weight;
        self.lanes += 1;
        self.go_behind(seat, place);
    }

    /// The lane comes behind those whose meters show the same. If it had another place in line,
    /// the entry there is left over.
    pub(super) fn go_behind(&mut self, seat: &mut Seat, place: usize) {
        self.turn += 1;
        seat.turn = self.turn;
        self.insert(seat, place);
    }

    /// Whose turn it is, and the number of that turn.
    pub(super) fn first(&self) -> Option<(usize, u64)> {
        if self.is_empty() {
            return None;
        }
        self.peek().map(|entry| (entry.place, entry.turn))
    }

    /// The first entry is left over: its lane has found another place in line, or left.
    pub(super) fn forget_first(&mut self) {
        self.pop();
    }

    /// The first one leaves.
    pub(super) fn drop_first(&mut self, seat: &mut Seat) {
        self.pop();
        self.weight -= seat.stands_for.take().unwrap_or(0);
        self.lanes -= 1;
        self.rest();
    }

    /// The one at `place`, which was first, has its turn, and is charged `time` for it.
    #[inline]
    pub(super) fn charge_first(&mut self, seat: &mut Seat, place: usize, time: u64) {
        // It may have changed since the lane joined.
        let weight = seat.weight();
        self.weight += weight;
        self.weight -= seat.stands_for.replace(weight).unwrap_or(0);
        self.meter = self.meter.max(seat.meter) + by_weight(time, self.weight);
        seat.meter += by_weight(time, weight);
        self.highest = self.highest.max(seat.meter);
        // One that came from another class may have got in front; then this entry is left over.
        let is_first = self.peek().is_some_and(|first| first.turn == seat.turn);
        self.turn += 1;
        seat.turn = self.turn;
        if let Some(only) = self.only_entry() {
            *only = Entry::new(seat, place);
            return;
        }
        if is_first {
            self.pop();
        }
        self.insert(seat, place);
    }

    /// What the lane was charged so far was too little by `time`, or too much.
    pub(super) fn correct(&mut self, seat: &mut Seat, time: i64) {
        let others = self.weight - seat.stands_for.unwrap_or(0);
        self.meter = moved(self.meter, time, others + seat.weight());
        seat.meter = moved(seat.meter, time, seat.weight());
        self.highest = self.highest.max(seat.meter);
    }

    /// The first one's meter was corrected. `false`: it is the first no more.
    pub(super) fn sort_first(&mut self, seat: &Seat) -> bool {
        let shows = seat.meter >> SAME_BITS;
        if self.peek().is_some_and(|first| first.shows == shows) {
            return true;
        }
        let Some(first) = self.pop() else {
            return false;
        };
        self.insert(seat, first.place);
        self.first() == Some((first.place, first.turn))
    }

    /// Nobody waits, so nobody has had too much.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            self.meter = self.meter.max(self.highest);
            self.sorted.clear();
            self.others.clear();
        }
    }

    /// Whether a lane that is not in line has had more than one that always was.
    pub(super) fn is_owed_by(&self, seat: &Seat) -> bool {
        seat.meter > self.meter
    }
}

#[cfg(all(test, not(offramp_loom)))]
mod tests {
    use super::{Line, Seat};
    use crate::core::lane_state::LaneState;
    use std::sync::Arc;

    #[test]
    fn short_jobs_take_turns_in_constant_time_though_some_were_long() {
        const LANES: usize = 1_000;
        let mut line = Line::new();
        let seat = || Seat::new(Arc::new(LaneState::new(usize::MAX)));
        let mut seats: Vec<_> = std::iter::repeat_with(seat).take(LANES).collect();
        for (place, seat) in seats.iter_mut().enumerate() {
            line.join(seat, place);
        }
        let mut among_others = 0;
        for job in 0..100 * LANES {
            let (place, _) = line.first().unwrap();
            // What its last one ran beyond the estimate.
            line.correct(&mut seats[place], 20);
            if !line.sort_first(&seats[place]) {
                continue;
            }
            // Some are kept from running.
            let time = if job % 10_007 == 0 { 4_000_000 } else { 300 };
            line.charge_first(&mut seats[place], place, time);
            among_others += line.others.len();
        }
        assert!(among_others / (100 * LANES) <= 10, "{among_others} in all");
        // Nobody was passed over: but for the few, all have had the same.
        let mut meters: Vec<_> = seats.iter().map(|seat| seat.meter).collect();
        meters.sort_unstable();
        assert!(meters[LANES * 9 / 10] - meters[0] < 1 << super::SAME_BITS);
    }
}
