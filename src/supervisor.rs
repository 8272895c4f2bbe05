//! The supervisor: the one thread of an [`Offload`](crate::Offload) that waits for times.
//!
//! It is started when something is first due, sleeps until then, and leaves when nothing
//! is any more. It runs nothing of the user's but wakers.

use crate::backend::Turns;
use crate::clock;
use crate::core::alarms::{Alarm, Alarms, Armed, Time};
use crate::core::unwind::contain;
use crate::pool::Pool;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::thread;
use std::time::Duration;

/// How late an alarm may ring by design: those of one tick ring together, so that a
/// thousand time-outs are not a thousand wake-ups.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// How long the supervisor stays with nothing to wait for.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The same for all pools: a name of theirs might be cut off before the last part.
const THREAD_NAME: &str = "offramp-timer";

pub(crate) struct Supervisor {
    alarms: Alarms,
    /// The pool whose idle workers stand in.
    io: OnceLock<Weak<Pool>>,
}

struct Clock;

impl Time for Clock {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn tick(&self) -> u64 {
        TICK.as_nanos() as u64
    }

    fn keep_alive(&self) -> u64 {
        KEEP_ALIVE.as_nanos() as u64
    }
}

impl Supervisor {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            alarms: Alarms::new(),
            io: OnceLock::new(),
        })
    }

    /// Once: whose idle workers look after alarms if there is no thread for that.
    pub(crate) fn set_stand_in(&self, io: &Turns) {
        // A second one changes nothing.
        let _ = self.io.set(io.downgrade());
    }

    /// Wakes `waker` at `due`, or up to a [`TICK`] later.
    pub(crate) fn wake_at(self: &Arc<Self>, due: u64, waker: Waker) -> Arc<Alarm> {
        let alarm = Alarm::new(due, waker);
        if self.alarms.arm(&alarm) == Armed::StartSupervisor {
            self.start();
        }
        alarm
    }

    /// Nobody may come for alarms in time: no thread could be started for that.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.alarms.is_forsaken()
    }

    pub(crate) fn disarm(&self, alarm: &Alarm) {
        self.alarms.disarm(alarm);
    }

    /// The same, for one that should not keep the thread waiting until it would be due.
    pub(crate) fn disarm_now(&self, alarm: &Alarm) {
        self.alarms.disarm(alarm);
        self.alarms.poke();
    }

    fn start(self: &Arc<Self>) {
        let supervisor = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || supervisor.alarms.supervise(&Clock));
        if let Err(error) = spawned {
            self.alarms.forsake();
            contain(|| {
                log::warn!(
                    target: "offramp",
                    "no thread `{THREAD_NAME}` could be started: {error}; \
                     idle I/O threads look after deadlines instead",
                );
            });
            // One that sleeps does not know yet when to be back.
            if let Some(io) = self.io.get().and_then(Turns::upgrade) {
                io.pool().backend.demand(&io);
            }
        }
    }

    /// For an idle worker: where no supervisor could be started it has to be back, and
    /// call again, after this time.
    pub(crate) fn stand_in(&self) -> Option<Duration> {
        let due = self.alarms.stand_in(clock::now)?;
        // Rounded up: an early look would find nothing due.
        let left = due.saturating_sub(clock::now()) + 1;
        Some(Duration::from_nanos(left))
    }

    /// Nothing new will be armed: the thread leaves when the last alarm is over.
    pub(crate) fn close(&self) {
        self.alarms.close();
    }
}
