//! The auto traits of every public type, checked by the compiler: losing one breaks
//! users' code, and so does promising one by accident.

mod common;

use common::has;
use offramp::backend::{Backend, Inline, Rayon, ThreadTask, Threads, Turn, Turns};
use offramp::compat::blocking::Task;
use offramp::{AllOutcomes, BlockingIter, OffloadedAll, OffloadedIter, Unblock};
use offramp::{
    AlreadyInstalled, Blocking, Builder, ConfigError, Lane, Offload, Policy, Report, RunningJob,
    Shutdown,
};
use offramp::{Flatten, Handle, Job, Offloaded, Plain, Stopped, WithJob};
use offramp::{Histogram, OffloadError, Panicked, PoolStats, Refused, Stats};
use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

macro_rules! table {
    ($($type:ty: $send:literal $sync:literal $unpin:literal $unwind:literal $by_ref:literal,)*) => {
        $(const _: () = {
            assert!(has!($type, Send) == $send, concat!(stringify!($type), ": Send"));
            assert!(has!($type, Sync) == $sync, concat!(stringify!($type), ": Sync"));
            assert!(has!($type, Unpin) == $unpin, concat!(stringify!($type), ": Unpin"));
            assert!(has!($type, UnwindSafe) == $unwind, concat!(stringify!($type), ": UnwindSafe"));
            assert!(
                has!($type, RefUnwindSafe) == $by_ref,
                concat!(stringify!($type), ": RefUnwindSafe")
            );
        };)*
    };
}

/// A closure or a value that is not `Send`, nor `Sync`.
type Local = Rc<()>;
/// One that is `Send`, but not `Sync`.
type Movable = Cell<()>;
type Iter<T> = std::iter::Once<T>;
type Pinned = std::marker::PhantomPinned;
type Future = Offloaded<fn(), ()>;

#[test]
fn every_public_type_has_the_auto_traits_of_this_table() {
    // What holds a pool, a job or a panic's payload is not unwind safe, as the compiler
    // finds it: the crate says neither yes nor no.
    table! {
        // Type                         Send  Sync  Unpin UnwindSafe RefUnwindSafe
        Offload:                        true  true  true  false false,
        Builder:                        true  true  true  false false,
        Shutdown:                       true  true  true  false false,
        Policy:                         true  true  true  true  true,
        ConfigError:                    true  true  true  true  true,
        AlreadyInstalled:               true  true  true  false false,
        Stats:                          true  true  true  true  true,
        PoolStats:                      true  true  true  true  true,
        Histogram:                      true  true  true  true  true,
        OffloadError:                   true  true  true  false false,
        Panicked:                       true  true  true  false false,
        Stopped:                        true  true  true  true  true,
        Plain:                          true  true  true  true  true,
        WithJob:                        true  true  true  true  true,
        Job:                            false true  true  false false,
        &'static Job:                   true  true  true  false false,

        Refused<fn()>:                  true  true  true  false false,
        Refused<Movable>:               true  false true  false false,
        Refused<Local>:                 false false true  false false,

        Handle<()>:                     true  true  true  false false,
        Handle<Movable>:                true  true  true  false false,
        Handle<Local>:                  false false true  false false,

        Future:                         true  true  true  false false,
        Offloaded<fn(), (), WithJob>:   true  true  true  false false,
        Offloaded<Movable, ()>:         true  false true  false false,
        Offloaded<Local, ()>:           false false true  false false,
        Offloaded<fn(), Movable>:       true  true  true  false false,
        Offloaded<fn(), Local>:         false false true  false false,
        Flatten<Future>:                true  true  true  false false,
        Flatten<Local>:                 false false true  true  true,

        OffloadedAll<Iter<fn()>, ()>:   true  true  true  false false,
        OffloadedAll<Iter<Movable>, ()>: true false true  false false,
        OffloadedAll<Iter<fn()>, Movable>: true false true false false,
        OffloadedAll<Iter<Local>, ()>:  false false true  false false,
        AllOutcomes<Iter<fn()>, ()>:    true  true  true  false false,
        AllOutcomes<Iter<fn()>, Local>: false false true  false false,

        // Before the first poll they hold the iterator, the stream, itself.
        OffloadedIter<Iter<u8>>:        true  true  true  false false,
        OffloadedIter<Iter<Movable>>:   true  false true  false false,
        BlockingIter<Movable>:          true  false true  true  false,
        BlockingIter<Local>:            false false true  true  true,
        BlockingIter<Pinned>:           true  true  true  true  true,
        Unblock<()>:                    true  true  true  false false,
        Unblock<Movable>:               true  false true  false false,
        // As that of `async-task`.
        Task<Movable>:                  true  true  true  true  true,
        Task<Local>:                    false false true  true  true,

        Lane:                           true  true  true  false false,
        Report:                         true  true  true  true  true,
        RunningJob:                     true  true  true  true  true,
        Blocking<()>:                   true  true  true  false false,
        Blocking<Movable>:              true  true  true  false false,
        offramp::Pinned<Local>:         true  true  true  false false,

        dyn Backend:                    true  true  false false false,
        Inline:                         true  true  true  true  true,
        Rayon:                          true  true  true  false false,
        Threads:                        true  true  true  true  true,
        ThreadTask:                     true  false true  false false,
        Turns:                          true  true  true  false false,
        Turn<'static>:                  true  false true  false false,
    }
    #[cfg(feature = "tokio")]
    table! {
        offramp::backend::Tokio:        true  true  true  true  true,
    }
    #[cfg(feature = "watch")]
    {
        use offramp::watch::{
            Advice, Call, Frame, Heartbeat, Lag, LagMonitor, LagMonitorBuilder, Owner, Phase,
            Remedy, Report, StartError, State, TaskInfo, TimeOut, WatchStats, Watchdog,
            WatchdogBuilder, Watched,
        };
        table! {
            Watched<()>:                true  true  true  true  true,
            Watched<Movable>:           true  false true  true  false,
            Watched<Local>:             false false true  true  true,
            Watched<Pinned>:            true  true  false true  true,
            Watchdog:                   true  true  true  true  false,
            WatchdogBuilder:            true  false true  false false,
            WatchStats:                 true  true  true  true  true,
            StartError:                 true  true  true  false false,
            Report:                     true  true  true  true  true,
            Frame:                      true  true  true  true  true,
            State:                      true  true  true  true  true,
            Call:                       true  true  true  true  true,
            TimeOut:                    true  true  true  true  true,
            TaskInfo:                   true  true  true  true  true,
            Advice:                     true  true  true  true  true,
            Owner:                      true  true  true  true  true,
            Phase:                      true  true  true  true  true,
            Remedy:                     true  true  true  true  true,
            LagMonitor:                 true  true  true  false false,
            LagMonitorBuilder:          true  true  true  true  true,
            Heartbeat:                  true  true  true  false false,
            Lag:                        true  true  true  true  true,
        }
    }
    #[cfg(all(feature = "watch", feature = "tower"))]
    table! {
        offramp::watch::WatchLayer:     true  true  true  true  true,
        offramp::watch::WatchService<Local>: false false true true true,
    }
    #[cfg(all(feature = "watch", feature = "smol"))]
    table! {
        offramp::watch::smol::Executor<'static>: true true true true true,
        offramp::watch::smol::LocalExecutor<'static>: false false true true true,
    }
    #[cfg(feature = "fs")]
    table! {
        offramp::fs::Lines:             true  true  true  false false,
        offramp::fs::Chunks:            true  true  true  false false,
        offramp::fs::ReadMany<Movable>: true  false true  false false,
        offramp::fs::ReadMany<Local>:   false false true  false false,
    }
}
