//! Promises about a pool's balance and its end.

use super::{Occupied, Outcome, Trial, ran_as_told};
use crate::error::OffloadError;
use crate::handle::Handle;
use crate::offload::Offload;
use crate::shutdown::Backlog;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// Jobs that count.
fn count_up(
    trial: &Trial,
    offload: &Offload,
    jobs: usize,
) -> Result<(Arc<AtomicUsize>, Vec<Handle<()>>), String> {
    let ran = Arc::new(AtomicUsize::new(0));
    let job = || {
        let ran = Arc::clone(&ran);
        move || {
            ran.fetch_add(1, Ordering::SeqCst);
        }
    };
    let handles: Result<_, _> = (0..jobs).map(|_| trial.spawn(offload, job())).collect();
    Ok((Arc::clone(&ran), handles?))
}

fn occupy(trial: &Trial, offload: &Offload) -> Result<Option<Occupied>, String> {
    match trial.is_inline(offload) {
        true => Ok(None),
        false => trial.occupy(offload).map(Some),
    }
}

pub(super) fn the_statistics_add_up(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let occupied = occupy(trial, &offload)?;
    let held = occupied.as_ref().map_or(0, |_| trial.at_once());
    let mut handles = Vec::new();
    for number in 0..90 {
        let job = move || {
            if number % 3 == 1 {
                resume_unwind(Box::new("expected"));
            }
        };
        let handle = trial.spawn(&offload, job)?;
        if number % 3 == 2 {
            handle.abort();
        }
        handles.push(handle);
    }
    handles.extend(occupied.into_iter().flat_map(Occupied::release));
    for handle in handles {
        // Whatever it is, it is counted.
        let _outcome = trial.ready("a job resolves", handle)?;
    }
    let stats = trial.stats(&offload);
    let ended = stats.completed + stats.panicked + stats.cancelled;
    let others = stats.expired + stats.refused + stats.discarded + stats.failed;
    let is_right = stats.submitted == (90 + held) as u64
        && (stats.submitted, others) == (ended, 0)
        && (stats.queued, stats.running, stats.panicked) == (0, 0, 30)
        && stats.wait.count() == stats.completed + stats.panicked;
    if !is_right {
        return Err(format!("{stats:?}"));
    }
    Ok(())
}

pub(super) fn two_pools_are_apart(trial: &Trial) -> Outcome {
    let (one, other) = (trial.pool()?, trial.pool()?);
    let (ran, in_one) = count_up(trial, &one, 100)?;
    let (ran_there, in_other) = count_up(trial, &other, 100)?;
    for handle in in_one.into_iter().chain(in_other) {
        trial.value(handle)?;
    }
    let counts = |offload| trial.stats(offload).completed;
    let ran = [&ran, &ran_there].map(|ran| ran.load(Ordering::SeqCst));
    if ran != [100, 100] || [counts(&one), counts(&other)] != [100, 100] {
        return Err(format!("of 100 jobs each {ran:?} ran"));
    }
    drop(one);
    let (_, handles) = count_up(trial, &other, 100)?;
    handles
        .into_iter()
        .try_for_each(|handle| trial.value(handle))
}

/// Begins a shutdown amidst jobs, lets these go on, and awaits it.
fn shut_down(
    trial: &Trial,
    offload: &Offload,
    occupied: Option<Occupied>,
    backlog: Backlog,
) -> Outcome {
    let mut shutdown = pin!(offload.shutdown(None, backlog));
    let mut cx = Context::from_waker(Waker::noop());
    let at_once = shutdown.as_mut().poll(&mut cx);
    if occupied.is_some() && at_once.is_ready() {
        return Err("a shutdown resolved while jobs ran".to_owned());
    }
    let held = occupied.map(Occupied::release);
    let report = match at_once {
        std::task::Poll::Ready(report) => report,
        std::task::Poll::Pending => trial.ready("a shutdown resolves", shutdown)?,
    };
    let stats = trial.stats(offload);
    if !report.is_complete() || stats.threads != 0 || stats.queued + stats.running != 0 {
        return Err(format!("a shutdown resolved ({report}) with {stats:?}"));
    }
    for held in held.into_iter().flatten() {
        if !held.is_finished() {
            return Err("a shutdown resolved while jobs ran".to_owned());
        }
        trial.value(held)?;
    }
    Ok(())
}

pub(super) fn a_shutdown_drains(trial: &Trial) -> Outcome {
    // Also a pool that never ran anything, and one that is idle.
    for before in [0, 1] {
        let offload = trial.pool()?;
        for handle in count_up(trial, &offload, before)?.1 {
            trial.value(handle)?;
        }
        shut_down(trial, &offload, None, Backlog::Drain)?;
    }
    // While jobs run and none waits.
    let offload = trial.pool()?;
    let occupied = occupy(trial, &offload)?;
    shut_down(trial, &offload, occupied, Backlog::Drain)?;

    let offload = trial.pool()?;
    let occupied = occupy(trial, &offload)?;
    let (ran, handles) = count_up(trial, &offload, 40)?;
    shut_down(trial, &offload, occupied, Backlog::Drain)?;
    let ran = ran.load(Ordering::SeqCst);
    if ran != 40 {
        return Err(format!("a shutdown resolved when {ran} of 40 jobs had run"));
    }
    for handle in handles {
        trial.value(handle)?;
    }
    Ok(())
}

pub(super) fn a_shutdown_discards(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let occupied = occupy(trial, &offload)?;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let (ran, mut handles) = count_up(trial, &offload, 1)?;
        waiting.extend(handles.pop().map(|handle| (ran, handle)));
    }
    let must_run = trial.call(&offload, || "ran").must_run().try_spawn();
    let must_run = must_run.map_err(|refused| refused.to_string())?;
    shut_down(trial, &offload, occupied, Backlog::Discard)?;
    if trial.value(must_run)? != "ran" {
        return Err("what must run did not".to_owned());
    }
    for (ran, handle) in waiting {
        let outcome = trial.ready("a job resolves", handle)?;
        if !matches!(outcome, Ok(()) | Err(OffloadError::ShutDown)) {
            return Err(format!("a discarded job resolved as {outcome:?}"));
        }
        ran_as_told(ran.load(Ordering::SeqCst), &outcome)?;
    }
    Ok(())
}

pub(super) fn nothing_runs_after_the_end(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let (_, handles) = count_up(trial, &offload, 10)?;
    for handle in handles {
        trial.value(handle)?;
    }
    trial.ready(
        "a shutdown resolves",
        offload.shutdown(None, Backlog::Drain),
    )?;
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let (one, two) = (Arc::clone(&ran), Arc::clone(&ran));
        let refused = trial.call(&offload, move || one.fetch_add(1, Ordering::SeqCst));
        let reason = refused
            .try_spawn()
            .map_err(|refused| refused.into_parts().1);
        let awaited = trial.call(&offload, move || two.fetch_add(1, Ordering::SeqCst));
        let awaited = trial.ready("a refused call resolves", awaited)?;
        match (reason, awaited) {
            (Err(OffloadError::ShutDown), Err(OffloadError::ShutDown)) => {}
            other => return Err(format!("after a shutdown calls resolved as {other:?}")),
        }
    }
    let (ran, threads) = (ran.load(Ordering::SeqCst), trial.stats(&offload).threads);
    if (ran, threads) != (0, 0) {
        return Err(format!(
            "after a shutdown {ran} jobs ran on {threads} threads"
        ));
    }
    Ok(())
}

pub(super) fn a_dropped_pool_ends(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let occupied = occupy(trial, &offload)?;
    let (ran, handles) = count_up(trial, &offload, 20)?;
    handles.into_iter().for_each(Handle::detach);
    let pool = trial.turns(&offload).downgrade();
    drop(offload);
    let held = occupied.map(Occupied::release);
    // The handles keep it open.
    let held = held.into_iter().flatten();
    held.for_each(Handle::detach);
    let all_ran = || ran.load(Ordering::SeqCst) == 20;
    trial.until("the detached jobs have run", all_ran)?;
    let is_gone = || pool.strong_count() == 0;
    trial.until("nobody holds `Turns` of a pool that has ended", is_gone)
}
