//! Medians, intervals by order statistics, and a small deterministic shuffle.

/// A median and what surrounds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Median with minimum and maximum.
pub(crate) fn range(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    Some(Spread {
        median: middle(&sorted),
        low,
        high,
    })
}

/// Median with an interval that holds the true median with at least 95 % confidence. It assumes nothing of
/// the distribution: each paired round is above the true median or not, a coin toss. Needs six rounds.
pub(crate) fn confidence(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    let rank = lower_rank(sorted.len())?;
    Some(Spread {
        median: middle(&sorted),
        low: sorted[rank],
        high: sorted[sorted.len() - 1 - rank],
    })
}

/// The highest index `k` for which fewer than `k + 1` heads in `n` tosses is a chance of at most 2.5 %.
fn lower_rank(n: usize) -> Option<usize> {
    // A logarithm, because one half to the n is zero from a thousand rounds on.
    let mut probability = n as f64 * 0.5_f64.ln();
    let mut tail = 0.0;
    let mut rank = None;
    for k in 0..n / 2 {
        tail += probability.exp();
        if tail > 0.025 {
            break;
        }
        rank = Some(k);
        probability += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    rank
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        (sorted[half - 1] + sorted[half]) / 2.0
    }
}

/// SplitMix64: the same order of runs, and the same draws, for the same seed, everywhere.
pub(crate) struct Shuffler(u64);

impl Shuffler {
    pub(crate) fn new(seed: u64) -> Self {
        Shuffler(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 up to, and without, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.next() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }
}
