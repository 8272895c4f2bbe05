//! The scheduler against a sequential reference: the same order, whatever happens.

use super::super::caller::{Caller, Left};
use super::super::extension::Extension;
use super::super::job::{self, Work};
use super::super::lane_state::LaneState;
use super::super::line::SAME_BITS;
use super::super::queue::{OVERCHARGE, Queue};
use super::super::running::Running;
use super::super::view::Job;
use crate::cancel::Stopped;
use crate::priority::{CLASSES, Priority};
use std::collections::{HashMap, VecDeque};
use std::ptr;
use std::sync::Arc;

pub(super) const AGEING: u64 = 5_000;

pub(super) struct Nothing;

impl Work for Nothing {
    type Output = ();

    fn run(self, _: &Job) -> Result<(), Stopped> {
        Ok(())
    }
}

/// A lane as the rule in `line.rs` describes it, in the plainest way.
#[derive(Default)]
struct Lane {
    jobs: VecDeque<usize>,
    weight: u128,
    cap: usize,
    class: usize,
    running: usize,
    meter: u128,
    owed: i64,
    /// Its number in line.
    turn: Option<u64>,
}

#[derive(Default, Clone, Copy)]
struct Class {
    meter: u128,
    highest: u128,
    turn: u64,
    passed_over: Option<u64>,
}

#[derive(Default)]
struct Reference {
    lanes: Vec<Lane>,
    classes: [Class; CLASSES],
    /// Pushed, and not yet in their lanes: job, lane, time.
    inbox: VecDeque<(usize, usize, u64)>,
}

fn moved(meter: u128, time: i64, weight: u128) -> u128 {
    let by = (u128::from(time.unsigned_abs()) << 16) / weight;
    if time < 0 {
        meter.saturating_sub(by)
    } else {
        meter + by
    }
}

impl Reference {
    fn in_line(&self, class: usize) -> impl Iterator<Item = &Lane> {
        let lanes = self.lanes.iter();
        lanes.filter(move |lane| lane.class == class && lane.turn.is_some())
    }

    /// The lane in line that has nobody beside it.
    fn only(&self, class: usize) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate();
        let mut lined = lanes.filter(|(_, lane)| lane.class == class && lane.turn.is_some());
        let (only, _) = lined.next()?;
        lined.next().is_none().then_some(only)
    }

    fn settle(&mut self, lane: usize) {
        let one = &self.lanes[lane];
        let (class, owed, weight) = (one.class, one.owed, one.weight);
        if owed == 0 {
            return;
        }
        let own = if one.turn.is_some() { weight } else { 0 };
        let all = self.in_line(class).map(|lane| lane.weight).sum::<u128>();
        self.classes[class].meter = moved(self.classes[class].meter, owed, all - own + weight);
        let one = &mut self.lanes[lane];
        one.meter = moved(one.meter, owed, weight);
        one.owed = 0;
        let highest = &mut self.classes[class].highest;
        *highest = (*highest).max(one.meter);
    }

    fn join(&mut self, lane: usize) -> bool {
        let one = &self.lanes[lane];
        if one.turn.is_some() || one.jobs.is_empty() || one.running >= one.cap {
            return false;
        }
        // One that was alone so far.
        if let Some(only) = self.only(self.lanes[lane].class) {
            self.settle(only);
        }
        self.settle(lane);
        let class = &mut self.classes[self.lanes[lane].class];
        class.turn += 1;
        let one = &mut self.lanes[lane];
        one.meter = one.meter.max(class.meter);
        one.turn = Some(class.turn);
        true
    }

    fn link_all(&mut self) {
        while let Some((job, lane, since)) = self.inbox.pop_front() {
            self.lanes[lane].jobs.push_back(job);
            let class = self.lanes[lane].class;
            if self.join(lane) && self.in_line(class).count() == 1 {
                self.classes[class].passed_over = Some(since);
                for lower in &mut self.classes[class + 1..] {
                    lower.passed_over.get_or_insert(since);
                }
            }
        }
    }

    fn first(&mut self, class: usize) -> Option<usize> {
        loop {
            let lanes = self.lanes.iter().enumerate();
            let lined = lanes.filter(|(_, lane)| lane.class == class && lane.turn.is_some());
            let (first, lane) =
                lined.min_by_key(|(_, lane)| (lane.meter >> SAME_BITS, lane.turn))?;
            let is_alone = self.only(class).is_some();
            if lane.jobs.is_empty() || lane.running >= lane.cap {
                if is_alone {
                    self.settle(first);
                }
                self.lanes[first].turn = None;
                if self.in_line(class).next().is_none() {
                    let class = &mut self.classes[class];
                    class.meter = class.meter.max(class.highest);
                }
            } else if lane.owed != 0 && !is_alone {
                self.settle(first);
            } else {
                return Some(first);
            }
        }
    }

    fn look(&mut self) -> bool {
        (0..CLASSES).any(|class| self.has_next(class))
    }

    /// If the one that is first as far as is known has none, all are gone through.
    fn has_next(&mut self, class: usize) -> bool {
        let lined = self.in_line(class);
        let Some(lane) = lined.min_by_key(|lane| (lane.meter >> SAME_BITS, lane.turn)) else {
            return false;
        };
        !lane.jobs.is_empty() && lane.running < lane.cap || self.first(class).is_some()
    }

    fn choose(&mut self, now: u64) -> Option<usize> {
        let mut highest = None;
        for class in 0..CLASSES {
            let Some(first) = self.first(class) else {
                continue;
            };
            if highest.is_none() {
                highest = Some((class, first));
                continue;
            }
            let passed_over = &mut self.classes[class].passed_over;
            if now - *passed_over.get_or_insert(now) >= AGEING {
                *passed_over = Some(now);
                return Some(first);
            }
        }
        let (class, first) = highest?;
        self.classes[class].passed_over = None;
        Some(first)
    }

    /// Nothing is left to run.
    fn rest(&mut self) {
        for lane in 0..self.lanes.len() {
            self.settle(lane);
        }
        for class in &mut self.classes {
            class.meter = class.meter.max(class.highest);
        }
    }

    /// The job whose turn it is, and its lane.
    fn pop(&mut self, now: u64) -> Option<(usize, usize)> {
        self.link_all();
        let Some(lane) = self.choose(now) else {
            self.rest();
            return None;
        };
        Some((self.lanes[lane].jobs.pop_front()?, lane))
    }

    fn charge(&mut self, lane: usize, time: u64) {
        let class = self.lanes[lane].class;
        let all = self.in_line(class).map(|lane| lane.weight).sum::<u128>();
        let (line, one) = (&mut self.classes[class], &mut self.lanes[lane]);
        line.meter = line.meter.max(one.meter) + (u128::from(time) << 16) / all;
        one.meter += (u128::from(time) << 16) / one.weight;
        line.highest = line.highest.max(one.meter);
        line.turn += 1;
        one.turn = Some(line.turn);
        self.has_next(class);
        self.lanes[lane].running += 1;
        self.look();
    }

    fn end(&mut self, lane: usize, charged: u64, ran: u64) {
        let one = &mut self.lanes[lane];
        one.owed += ran as i64 - charged as i64;
        if charged >= ran + OVERCHARGE {
            self.settle(lane);
            let one = &mut self.lanes[lane];
            if one.turn.is_some() {
                let class = &mut self.classes[one.class];
                class.turn += 1;
                one.turn = Some(class.turn);
            }
            self.look();
        }
        let one = &mut self.lanes[lane];
        one.running -= 1;
        if one.running + 1 >= one.cap {
            self.join(lane);
            self.look();
        }
    }

    fn cancel(&mut self, job: usize) {
        for lane in &mut self.lanes {
            lane.jobs.retain(|one| *one != job);
        }
        self.inbox.retain(|(one, _, _)| *one != job);
        self.link_all();
        self.look();
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }

    fn any<T>(&mut self, of: &mut Vec<T>) -> Option<T> {
        let len = of.len() as u64;
        (len > 0).then(|| of.swap_remove(self.below(len) as usize))
    }
}

/// What the real one has, beside the reference.
struct Trial {
    queue: Queue,
    lanes: Vec<Option<Arc<LaneState>>>,
    reference: Reference,
    /// By address.
    numbers: HashMap<usize, usize>,
    waiting: Vec<(usize, Caller<()>)>,
    running: Vec<(Running, usize)>,
    /// Callers whose jobs have been taken.
    left: Vec<Caller<()>>,
    now: u64,
    jobs: usize,
}

impl Trial {
    fn new(random: &mut Random) -> Self {
        let queue = Queue::new(usize::MAX, AGEING);
        let mut reference = Reference::default();
        let mut lanes = Vec::new();
        let plain = |class: usize| Lane {
            weight: 1,
            cap: usize::MAX,
            class,
            ..Lane::default()
        };
        for class in [Priority::Normal, Priority::High, Priority::Background] {
            lanes.push(queue.shared(class).cloned());
            reference.lanes.push(plain(class as usize));
        }
        for _ in 0..6 {
            let lane = LaneState::new(usize::MAX);
            let weight = 1 + random.below(4);
            let cap = [usize::MAX, usize::MAX, 1, 2][random.below(4) as usize];
            let classes = [Priority::High, Priority::Normal, Priority::Background];
            let class = classes[random.below(3) as usize];
            lane.set_weight(weight);
            lane.set_max_running(cap);
            lane.set_class(class);
            lanes.push(Some(Arc::new(lane)));
            reference.lanes.push(Lane {
                weight: weight.into(),
                cap,
                ..plain(class as usize)
            });
        }
        Self {
            queue,
            lanes,
            reference,
            numbers: HashMap::new(),
            waiting: Vec::new(),
            running: Vec::new(),
            left: Vec::new(),
            now: 0,
            jobs: 0,
        }
    }

    fn push(&mut self, lane: usize) {
        let named = self.lanes[lane].clone();
        let permit = self.queue.admit(usize::MAX, named.as_ref()).unwrap();
        let extension = named.map(|lane| Extension::new(None, None, false, Some(lane)));
        let place = std::panic::Location::caller();
        let job = job::allocate(Nothing, self.now, None, extension, place);
        // SAFETY: new: one side goes to the queue, the other to the `Caller`.
        let caller = unsafe {
            self.queue.push(permit, job).unwrap();
            Caller::new(job)
        };
        self.numbers.insert(job.as_ptr().addr(), self.jobs);
        self.reference.inbox.push_back((self.jobs, lane, self.now));
        self.waiting.push((self.jobs, caller));
        self.jobs += 1;
    }

    /// Takes the next job; `false` if there is none.
    fn pop(&mut self) -> bool {
        let expected = self.reference.pop(self.now);
        let taken = self.queue.next(self.now);
        let number = taken.as_ref().map(|taken| {
            let header = taken.job.header();
            self.numbers[&ptr::from_ref(&*header).addr()]
        });
        assert_eq!(number, expected.map(|(job, _)| job), "at {}", self.now);
        let (Some(taken), Some((job, lane))) = (taken, expected) else {
            self.reference.look();
            return false;
        };
        let charged = taken.job.charged().expect("it was its lane's turn");
        self.reference.charge(lane, charged);
        self.running.push((taken.job, lane));
        let at = self.waiting.iter().position(|(number, _)| *number == job);
        self.left.push(self.waiting.swap_remove(at.unwrap()).1);
        true
    }

    fn end(&mut self, random: &mut Random) {
        let Some((job, lane)) = random.any(&mut self.running) else {
            return;
        };
        let charged = job.charged().unwrap();
        let ran = [10, 1_000, 100_000, 2_000_000][random.below(4) as usize] + random.below(50);
        let (finished, _) = job.run(ptr::null(), |_| ());
        self.queue.settle(&finished, ran);
        if let Some(freed) = finished.complete() {
            let _ = self.queue.freed(&freed);
        }
        self.reference.end(lane, charged, ran);
    }

    fn cancel(&mut self, random: &mut Random) {
        let Some((job, caller)) = random.any(&mut self.waiting) else {
            return;
        };
        assert!(matches!(caller.abandon(&self.queue), Left::Queued(_)));
        self.reference.cancel(job);
    }
}

#[test]
fn the_same_order_as_a_sequential_reference() {
    let mut taken = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut trial = Trial::new(&mut random);
        let mut unlinked = 0;
        for _ in 0..1_500 {
            trial.now += random.below(300);
            match random.below(12) {
                // A canceller moves a dozen jobs to their lanes, but not more.
                0..=4 if unlinked < 12 => {
                    unlinked += 1;
                    let lane = random.below(trial.lanes.len() as u64);
                    trial.push(lane as usize);
                }
                5 if !trial.waiting.is_empty() => {
                    unlinked = 0;
                    trial.cancel(&mut random);
                }
                6..=8 => trial.end(&mut random),
                _ if trial.running.len() < 8 => {
                    unlinked = 0;
                    taken += usize::from(trial.pop());
                }
                _ => {}
            }
        }
        while !trial.running.is_empty() || trial.pop() {
            trial.end(&mut random);
        }
        assert_eq!(trial.queue.pending(), 0, "seed {seed}");
    }
    assert!(taken > 50_000, "{taken} taken");
}
