//! What the service does to each call: a function of seed, session and attempt, and of
//! nothing else, so that both ways of running meet the same failures and a check can say
//! beforehand what a session has to wait for.

use std::time::Duration;

/// The service gives in after so many failures in a row: every session ends, whatever the
/// seed.
const MOST_FAILURES: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The time that a document or an answer takes: "one service time".
    pub(crate) delay: Duration,
    /// Calls to the model that fail, in per cent.
    pub(crate) failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer,
    /// Turned away with status 503, in half the time of an answer.
    Overloaded,
    /// The stream breaks off in the middle, after the whole time.
    CutOff,
}

impl Plan {
    pub(crate) fn without_failures(self) -> Plan {
        Plan {
            failures: 0,
            ..self
        }
    }

    /// `attempt` counts from 0.
    pub(crate) fn outcome(&self, session: usize, attempt: u32) -> Outcome {
        let dice = mix(self.seed, session as u64, u64::from(attempt));
        if attempt >= MOST_FAILURES || dice % 100 >= u64::from(self.failures) {
            Outcome::Answer
        } else if dice & (1 << 40) == 0 {
            Outcome::Overloaded
        } else {
            Outcome::CutOff
        }
    }

    pub(crate) fn ask_time(&self, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Answer | Outcome::CutOff => self.delay,
            Outcome::Overloaded => self.delay / 2,
        }
    }

    /// The failures that a session meets before its answer.
    pub(crate) fn failures_of(&self, session: usize) -> impl Iterator<Item = Outcome> {
        (0..)
            .map(move |attempt| self.outcome(session, attempt))
            .take_while(|&outcome| outcome != Outcome::Answer)
    }

    /// What a session waits for the service, one call after the other: fetch, failures,
    /// answer. Back-off not counted.
    pub(crate) fn service_path(&self, session: usize) -> Duration {
        let failures: Duration = self
            .failures_of(session)
            .map(|failure| self.ask_time(failure))
            .sum();
        self.delay + failures + self.ask_time(Outcome::Answer)
    }
}

/// Three numbers to a well-mixed one (the finaliser of SplitMix64, applied per word).
pub(crate) fn mix(a: u64, b: u64, c: u64) -> u64 {
    [a, b, c]
        .into_iter()
        .fold(0x9E37_79B9_7F4A_7C15, |state, word| {
            let mut z = (state ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        })
}
