//! What 1,000 tenants cost beside one.

use std::time::Instant;

use offramp::{Offload, offload_io};
use tokio::runtime::Runtime;

use crate::report::Row;
use crate::{Bench, THREADS, stats, subjects};

const TENANTS: [u64; 2] = [1, 1_000];
/// Of a burst, which is a round.
const JOBS: u64 = 10_000;
/// Time for a job of the many, over that of the one.
const MOST: f64 = 1.2;

/// Nanoseconds for each job of a burst, from its submission to the last result.
fn burst(runtime: &Runtime, offload: &Offload, tenants: u64) -> f64 {
    let offload = offload.clone();
    let driver = runtime.spawn(async move {
        let mut started = Vec::with_capacity(JOBS as usize);
        let start = Instant::now();
        for job in 0..JOBS {
            let call = offload_io(move || job + 1).tenant(job % tenants);
            started.push(call.on(&offload).try_spawn().expect("room for every job"));
        }
        for (job, handle) in (0..JOBS).zip(started) {
            assert_eq!(handle.await.expect("no job of this bench fails"), job + 1);
        }
        start.elapsed().as_nanos() as f64 / JOBS as f64
    });
    runtime.block_on(driver).expect("the driver does not panic")
}

pub(crate) fn rows(bench: &mut Bench) -> Vec<Row> {
    let rounds = if bench.options.quick { 21 } else { 101 };
    let (runtime, offload) = (subjects::runtime(), subjects::offload(THREADS));
    let mut times = Vec::new();
    for round in 0..=rounds {
        let mut order = [0, 1];
        bench.shuffler.shuffle(&mut order);
        let mut both = [0.0; 2];
        for side in order {
            both[side] = burst(&runtime, &offload, TENANTS[side]);
        }
        // The first is for the threads and the allocator.
        if round > 0 {
            times.push(both);
        }
    }
    let median = |of: fn(&[f64; 2]) -> f64| {
        let values: Vec<_> = times.iter().map(of).collect();
        stats::range(&values).expect("at least one round").median
    };
    let ratio = median(|[one, many]| many / one);
    let (one, many) = (median(|[one, _]| *one), median(|[_, many]| *many));
    vec![Row {
        name: "tenants",
        what:
            "bursts of 10,000 empty jobs of 1,000 tenants: time for each, over that with one tenant"
                .to_owned(),
        wanted: format!("at most {MOST}"),
        measured: vec![format!("{ratio:.2} ({many:.0} ns / {one:.0} ns)")],
        holds: ratio <= MOST,
    }]
}
