//! What is known of a task before it is polled: its type, its name, where it was watched.
//!
//! One such record for each place in the program, kept for ever, so that a poll publishes
//! all of it with one pointer, and whoever reads that pointer can never find it dangling.

use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::Location;
use std::ptr;

/// What is being polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    /// `None`: the runtime does not tell.
    pub(crate) type_name: Option<&'static str>,
    pub(crate) name: Option<&'static str>,
    pub(crate) lane: Option<&'static str>,
    pub(crate) location: Option<&'static Location<'static>>,
}

/// By address, which is as good as by content: the same place in the program has the same
/// addresses, and one that is there twice costs a second record.
type Key = [usize; 6];

static TASKS: Mutex<Option<HashMap<Key, &'static Task>>> = Mutex::new(None);

/// So many of the latest places are found without a lock by each thread.
const CACHED: usize = 64;

thread_local! {
    static CACHE: [Cell<Option<(Key, &'static Task)>>; CACHED] =
        const { [const { Cell::new(None) }; CACHED] };
}

impl Task {
    /// The record of this place. Made once for each; looked up in a few nanoseconds.
    pub(crate) fn of(
        type_name: Option<&'static str>,
        name: Option<&'static str>,
        location: Option<&'static Location<'static>>,
    ) -> &'static Task {
        Self {
            type_name,
            name,
            lane: None,
            location,
        }
        .kept()
    }

    /// The record of the same place, for the tasks of this lane.
    pub(crate) fn in_lane(&self, lane: &'static str) -> &'static Task {
        Self {
            lane: Some(lane),
            ..*self
        }
        .kept()
    }

    fn kept(self) -> &'static Task {
        let address = |text: Option<&str>| text.map_or(0, |text| text.as_ptr().addr());
        // A part of another string begins where that one does.
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let key = [
            address(self.type_name),
            address(self.name),
            length(self.name),
            address(self.lane),
            length(self.lane),
            self.location
                .map_or(0, |location| ptr::from_ref(location).addr()),
        ];
        let make = || self.of_key(key);
        // Addresses differ in their middle bits; the multiplication brings them up.
        let mixed = key.iter().fold(0usize, |mixed, part| {
            (mixed.rotate_left(5) ^ part).wrapping_mul(MIX)
        });
        let place = mixed >> (usize::BITS - CACHED.trailing_zeros());
        let cached = CACHE.try_with(|cache| match cache[place].get() {
            Some((there, task)) if there == key => task,
            _ => {
                let task = make();
                cache[place].set(Some((key, task)));
                task
            }
        });
        // No cache any more in a thread-local's destructor.
        cached.unwrap_or_else(|_| make())
    }

    #[cold]
    fn of_key(self, key: Key) -> &'static Task {
        let mut tasks = TASKS.lock();
        let tasks = tasks.get_or_insert_with(HashMap::new);
        tasks
            .entry(key)
            .or_insert_with(|| Box::leak(Box::new(self)))
    }
}

#[cfg(target_pointer_width = "64")]
const MIX: usize = 0x9e37_79b9_7f4a_7c15;
#[cfg(not(target_pointer_width = "64"))]
const MIX: usize = 0x9e37_79b9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_record() {
        let here = Some(Location::caller());
        let task = Task::of(Some("type"), None, here);
        assert!(ptr::eq(task, Task::of(Some("type"), None, here)));
        let named = Task::of(Some("type"), Some("name"), here);
        assert_eq!(named.name, Some("name"));
        let lane = named.in_lane("lane");
        assert_eq!((lane.name, lane.lane), (Some("name"), Some("lane")));
        assert!(ptr::eq(lane, named.in_lane("lane")) && !ptr::eq(lane, named));
        assert!(!ptr::eq(task, named));
        // On another thread, from the table.
        let again =
            std::thread::spawn(move || ptr::from_ref(Task::of(Some("type"), None, here)).addr());
        assert_eq!(again.join().unwrap(), ptr::from_ref(task).addr());
    }

    #[test]
    fn a_part_of_a_name_is_another_name() {
        let name: &'static str = "checkout";
        let (part, whole) = (
            Task::of(None, Some(&name[..5]), None),
            Task::of(None, Some(name), None),
        );
        assert_eq!((part.name, whole.name), (Some("check"), Some("checkout")));
    }

    #[test]
    fn more_places_than_the_cache_has() {
        let text: &'static str = "x".repeat(500).leak();
        for length in 1..=500 {
            let task = Task::of(None, Some(&text[..length]), None);
            assert_eq!(task.name.map(str::len), Some(length));
        }
    }
}
