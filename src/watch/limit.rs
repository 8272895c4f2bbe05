//! Which incidents are worth a report: not the same place again and again, and not more than
//! so many per minute.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Places remembered. Beyond it the one that was seen longest ago is forgotten.
const MOST_PLACES: usize = 1024;

pub(super) struct Limit {
    per_minute: usize,
    /// A place is reported again after this time.
    again_after: Duration,
    places: HashMap<u64, Place>,
    /// When the reports of the last minute were.
    recent: VecDeque<Duration>,
    held_back: u64,
}

struct Place {
    reported: Duration,
    repeated: u64,
}

/// What to do with an incident.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Report it. So many at the same place, and so many reports at all, were not.
    Report { repeated: u64, held_back: u64 },
    /// The place was reported a short while ago.
    Repeated,
    /// There have been too many reports.
    HeldBack,
}

impl Limit {
    pub(super) fn new(per_minute: usize, again_after: Duration) -> Self {
        Self {
            per_minute,
            again_after,
            places: HashMap::new(),
            recent: VecDeque::new(),
            held_back: 0,
        }
    }

    /// A new incident at `place`. `now` is any clock that does not go back.
    pub(super) fn decide(&mut self, place: u64, now: Duration) -> Decision {
        if let Some(known) = self.places.get_mut(&place) {
            if now.saturating_sub(known.reported) < self.again_after {
                known.repeated += 1;
                return Decision::Repeated;
            }
        }
        if !self.has_room(now) {
            return Decision::HeldBack;
        }
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.reported);
            if let Some(oldest) = oldest.map(|(&hash, _)| hash) {
                self.places.remove(&oldest);
            }
        }
        let known = Place {
            reported: now,
            repeated: 0,
        };
        let before = self.places.insert(place, known);
        Decision::Report {
            repeated: before.map_or(0, |before| before.repeated),
            held_back: std::mem::take(&mut self.held_back),
        }
    }

    /// An incident that was reported goes on.
    pub(super) fn decide_again(&mut self, now: Duration) -> Decision {
        if !self.has_room(now) {
            return Decision::HeldBack;
        }
        Decision::Report {
            repeated: 0,
            held_back: std::mem::take(&mut self.held_back),
        }
    }

    /// Takes room for one report.
    fn has_room(&mut self, now: Duration) -> bool {
        let is_old = |then: &Duration| now.saturating_sub(*then) >= MINUTE;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.per_minute {
            self.held_back += 1;
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: Decision = Decision::Report {
        repeated: 0,
        held_back: 0,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_place_is_reported_again_after_its_time_with_a_count() {
        let mut limit = Limit::new(100, at(60));
        assert_eq!(limit.decide(1, at(0)), REPORT);
        assert_eq!(limit.decide(1, at(1)), Decision::Repeated);
        assert_eq!(limit.decide(2, at(2)), REPORT);
        assert_eq!(limit.decide(1, at(59)), Decision::Repeated);
        let again = Decision::Report {
            repeated: 2,
            held_back: 0,
        };
        assert_eq!(limit.decide(1, at(60)), again);
        assert_eq!(limit.decide(1, at(61)), Decision::Repeated);
    }

    #[test]
    fn so_many_in_any_minute() {
        let mut limit = Limit::new(2, at(0));
        assert_eq!(limit.decide(1, at(0)), REPORT);
        assert_eq!(limit.decide(2, at(30)), REPORT);
        assert_eq!(limit.decide(3, at(40)), Decision::HeldBack);
        assert_eq!(limit.decide_again(at(50)), Decision::HeldBack);
        let third = Decision::Report {
            repeated: 0,
            held_back: 2,
        };
        assert_eq!(limit.decide(3, at(60)), third);
        assert_eq!(limit.decide_again(at(61)), Decision::HeldBack);
    }

    #[test]
    fn places_are_bounded() {
        let mut limit = Limit::new(usize::MAX, at(1_000_000));
        for place in 0..3 * MOST_PLACES as u64 {
            assert_eq!(limit.decide(place, at(place)), REPORT);
        }
        assert_eq!(limit.places.len(), MOST_PLACES);
        let last = 3 * MOST_PLACES as u64 - 1;
        assert_eq!(limit.decide(last, at(last)), Decision::Repeated);
    }
}
