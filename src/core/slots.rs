//! A set of small numbers in atomic words: which places are taken, which workers
//! sleep.
//!
//! The lowest member is always taken first. For sleeping workers this has what
//! a LIFO has, without its ABA: the same few low ones stay busy, the others
//! sleep undisturbed until they retire.

use crate::sync::{AtomicU64, Hint, Ordering, plain};

pub(crate) struct Slots {
    words: Box<[AtomicU64]>,
    /// Only so many words were ever used: the rest need not be looked at.
    used: plain::AtomicUsize,
}

const BITS: usize = u64::BITS as usize;

impl Slots {
    /// The empty set, for numbers below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            words: (0..len.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect(),
            used: plain::AtomicUsize::new(0),
        }
    }

    /// The words with members. Whoever fences before sees those that others put in before
    /// their fence, because they raise `used` first.
    fn used(&self) -> impl Iterator<Item = (usize, &AtomicU64)> {
        let used = self.used.load(Ordering::Relaxed);
        self.words.iter().enumerate().take(used)
    }

    fn use_word(&self, index: usize) {
        if self.used.load(Ordering::Relaxed) <= index {
            self.used.fetch_max(index + 1, Ordering::Relaxed);
        }
    }

    /// Takes the lowest member out.
    pub(crate) fn take_lowest(&self) -> Option<usize> {
        for (index, word) in self.used() {
            // ORDERING: Relaxed: callers fence before.
            let mut seen = word.load(Ordering::Relaxed);
            while seen != 0 {
                let bit = seen.trailing_zeros();
                // ORDERING: AcqRel, partner: `put`: what the sleeping worker wrote
                // before (its parker) is visible to the one that wakes it.
                match word.compare_exchange_weak(
                    seen,
                    seen & !(1 << bit),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(index * BITS + bit as usize),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Takes `member` out; `false` if somebody else did.
    #[must_use]
    pub(crate) fn take(&self, member: usize) -> bool {
        let bit = 1 << (member % BITS);
        // ORDERING: AcqRel, partner: `take_lowest`: exactly one of us gets it.
        self.words[member / BITS].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// The lowest member, left in.
    #[cfg(offramp_loom)]
    pub(crate) fn lowest(&self) -> Option<usize> {
        self.words.iter().enumerate().find_map(|(index, word)| {
            let seen = word.load(Ordering::Acquire);
            (seen != 0).then(|| index * BITS + seen.trailing_zeros() as usize)
        })
    }

    /// Puts `member` in, which is not in.
    pub(crate) fn put(&self, member: usize) {
        let bit = 1 << (member % BITS);
        self.use_word(member / BITS);
        // ORDERING: AcqRel, partner: `take_lowest` and `add_lowest`.
        let before = self.words[member / BITS].fetch_or(bit, Ordering::AcqRel);
        debug_assert!(before & bit == 0, "slot {member} was put in twice");
    }

    /// Takes `member` out, which is in.
    pub(crate) fn remove(&self, member: usize) {
        let was_in = self.take(member);
        debug_assert!(was_in, "slot {member} was not in");
    }

    /// Puts the lowest number below `len` in that is not in yet.
    pub(crate) fn add_lowest(&self, len: usize) -> Option<usize> {
        for (index, word) in self.words.iter().enumerate() {
            let mut seen = word.hint();
            loop {
                let bit = seen.trailing_ones();
                let member = index * BITS + bit as usize;
                if bit == u64::BITS || member >= len {
                    break;
                }
                self.use_word(index);
                // ORDERING: AcqRel, partner: `remove` by the former owner: what it
                // did with the slot is over.
                match word.compare_exchange_weak(
                    seen,
                    seen | 1 << bit,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(member),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// As [`take_lowest`](Self::take_lowest) would find it.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed: callers fence before.
        self.used()
            .all(|(_, word)| word.load(Ordering::Relaxed) == 0)
    }

    /// How many are in; members that come and go meanwhile may be missed.
    pub(crate) fn count(&self) -> usize {
        let ones = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
        self.used().map(|(_, word)| ones(word)).sum()
    }
}
