//! Promises about jobs of an open pool.

use super::{Gate, Outcome, Trial, ran_as_told};
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Handle;
use crate::offload::Offload;
use crate::pool::Kind;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn every_job_runs_once(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let ran: Arc<Vec<AtomicUsize>> = Arc::new((0..500).map(|_| AtomicUsize::new(0)).collect());
    let mut handles = Vec::new();
    for number in 0..ran.len() {
        let ran = Arc::clone(&ran);
        let job = move || {
            ran[number].fetch_add(1, Ordering::SeqCst);
            number
        };
        handles.push(trial.spawn(&offload, job)?);
    }
    for (number, handle) in handles.into_iter().enumerate() {
        let value = trial.value(handle)?;
        if value != number {
            return Err(format!(
                "job {number} resolved with the value of job {value}"
            ));
        }
    }
    for (number, ran) in ran.iter().enumerate() {
        let ran = ran.load(Ordering::SeqCst);
        if ran != 1 {
            return Err(format!("job {number} ran {ran} times"));
        }
    }
    Ok(())
}

pub(super) fn a_submission_does_not_wait_for_its_job(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    if trial.is_inline(&offload) {
        return Ok(());
    }
    let gate = Gate::default();
    let closed = gate.clone();
    let call = trial.call(&offload, move || closed.pass());
    let (sender, submitted) = mpsc::channel();
    let submitter = thread::spawn(move || {
        let _ = sender.send(call.try_spawn().map_err(|refused| refused.to_string()));
    });
    let left = trial.until.saturating_duration_since(Instant::now());
    let handle = submitted.recv_timeout(left);
    gate.open();
    // Over now, also if the submission ran the job.
    let _ = submitter.join();
    let handle = handle.map_err(|_| "the submission waits for its job".to_owned())?;
    trial.value(handle?)
}

/// A place for jobs to meet.
#[derive(Default)]
struct Meeting {
    arrived: Mutex<usize>,
    all: Condvar,
}

impl Meeting {
    /// Whether `expected` have arrived in time.
    fn attend(&self, expected: usize, until: Instant) -> bool {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived += 1;
        self.all.notify_all();
        while *arrived < expected {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.all.wait_timeout(arrived, left);
            arrived = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Submits as many jobs as run at once, which wait for each other; their handles.
fn meet(trial: &Trial, offload: &Offload) -> Result<Vec<Handle<bool>>, String> {
    let meeting = Arc::new(Meeting::default());
    let (expected, until) = (trial.at_once(), trial.until);
    (0..expected)
        .map(|_| {
            let meeting = Arc::clone(&meeting);
            trial.spawn(offload, move || meeting.attend(expected, until))
        })
        .collect()
}

fn have_met(trial: &Trial, handles: Vec<Handle<bool>>) -> Outcome {
    for handle in handles {
        if !trial.value(handle)? {
            return Err(trial.hang("as many jobs as stated ran at the same time"));
        }
    }
    Ok(())
}

pub(super) fn jobs_run_at_the_same_time(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    for _ in 0..200 {
        have_met(trial, meet(trial, &offload)?)?;
    }
    Ok(())
}

pub(super) fn jobs_start_in_order(trial: &Trial) -> Outcome {
    if trial.at_once() > 1 {
        // From outside the order of starts on several threads cannot be seen.
        return Ok(());
    }
    let offload = trial.pool()?;
    let occupied = match trial.is_inline(&offload) {
        true => None,
        false => Some(trial.occupy(&offload)?),
    };
    let started = Arc::new(Mutex::new(Vec::new()));
    let mut handles = Vec::new();
    for number in 0..100 {
        let started = Arc::clone(&started);
        let job = move || {
            let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
            started.push(number);
        };
        handles.push(trial.spawn(&offload, job)?);
    }
    for held in occupied.into_iter().flat_map(super::Occupied::release) {
        trial.value(held)?;
    }
    for handle in handles {
        trial.value(handle)?;
    }
    let started = started.lock().unwrap_or_else(PoisonError::into_inner);
    if !started.iter().is_sorted() {
        return Err(format!("the order of the starts was {started:?}"));
    }
    Ok(())
}

pub(super) fn a_job_after_a_pause_runs(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    for round in 0..300 {
        let value = trial.value(trial.spawn(&offload, move || round)?)?;
        if value != round {
            return Err(format!(
                "job {round} resolved with the value of job {value}"
            ));
        }
        match round % 3 {
            // Nothing: the thread is looking for more.
            0 => {}
            // It is about to sleep.
            1 => (0..round).for_each(|_| std::hint::spin_loop()),
            _ => thread::sleep(Duration::from_micros(100 + round * 5)),
        }
    }
    Ok(())
}

pub(super) fn many_submitters_are_served(trial: &Trial) -> Outcome {
    const SUBMITTERS: usize = 4;
    const BATCHES: usize = 50;
    const BATCH: usize = 10;
    let offload = trial.pool()?;
    let ran = AtomicUsize::new(0);
    thread::scope(|scope| {
        let submit = || -> Outcome {
            for _ in 0..BATCHES {
                let handles: Result<Vec<_>, _> = (0..BATCH)
                    .map(|_| trial.spawn(&offload, thread::yield_now))
                    .collect();
                for handle in handles? {
                    trial.value(handle)?;
                    ran.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        let submitters: Vec<_> = (0..SUBMITTERS).map(|_| scope.spawn(submit)).collect();
        let join = |submitter: thread::ScopedJoinHandle<'_, Outcome>| {
            let panicked = |_| Err("a submission panicked".to_owned());
            submitter.join().unwrap_or_else(panicked)
        };
        submitters.into_iter().try_for_each(join)
    })?;
    let (ran, completed) = (ran.into_inner(), trial.stats(&offload).completed);
    if ran != SUBMITTERS * BATCHES * BATCH || completed != ran as u64 {
        return Err(format!("{completed} jobs completed, {ran} resolved"));
    }
    Ok(())
}

/// Jobs wait together while their lane has as many orphans as it may. The end of the orphan
/// is one call of `demand` for all of them.
pub(super) fn what_is_left_behind_is_run(trial: &Trial) -> Outcome {
    let offload = trial.build((trial.subject.make)().max_orphans(1))?;
    if trial.is_inline(&offload) {
        // What runs cannot become an orphan.
        return Ok(());
    }
    for _ in 0..20 {
        let gate = Gate::default();
        let (closed, (started, starts)) = (gate.clone(), mpsc::channel());
        let orphan = trial.spawn(&offload, move || {
            let _ = started.send(());
            closed.pass();
        })?;
        let left = trial.until.saturating_duration_since(Instant::now());
        if starts.recv_timeout(left).is_err() {
            gate.open();
            return Err(trial.hang("a job starts"));
        }
        drop(orphan);
        let handles = meet(trial, &offload);
        // Who looks for them finds nothing, and sleeps; were it later, less would be tested.
        thread::sleep(Duration::from_millis(2));
        gate.open();
        have_met(trial, handles?)?;
    }
    Ok(())
}

/// A chain of jobs that each submit the next one, and a nest of those that wait for it.
pub(super) fn a_job_may_submit_jobs(trial: &Trial) -> Outcome {
    const DEPTH: usize = 30;
    fn chain(kind: Kind, offload: &Offload, left: usize, sender: mpsc::Sender<Outcome>) -> Outcome {
        let inner = offload.clone();
        let job = move || {
            let last = if left == 0 {
                Ok(())
            } else {
                chain(kind, &inner, left - 1, sender.clone())
            };
            if left == 0 || last.is_err() {
                let _ = sender.send(last);
            }
        };
        let call = Offloaded::new(kind, job).on(offload);
        let handle = call.try_spawn().map_err(|refused| refused.to_string())?;
        handle.detach();
        Ok(())
    }
    fn nest(kind: Kind, offload: &Offload, left: usize) -> Result<usize, OffloadError> {
        let inner = offload.clone();
        let job = move || match left {
            0 => Ok(0),
            left => nest(kind, &inner, left - 1).map(|depth| depth + 1),
        };
        let call = Offloaded::new(kind, job).on(offload);
        call.wait().and_then(|depth| depth)
    }
    let offload = trial.pool()?;
    let (kind, (sender, ended)) = (trial.subject.pool, mpsc::channel());
    chain(kind, &offload, DEPTH, sender)?;
    let left = trial.until.saturating_duration_since(Instant::now());
    let hang = |_| trial.hang("the last job that a job submitted runs");
    ended.recv_timeout(left).map_err(hang)??;

    let (sender, ended) = mpsc::channel();
    let pool = offload.clone();
    thread::spawn(move || {
        let _ = sender.send(nest(kind, &pool, DEPTH));
    });
    let left = trial.until.saturating_duration_since(Instant::now());
    let hang = |_| trial.hang("jobs that wait for jobs end");
    match ended.recv_timeout(left).map_err(hang)? {
        Ok(DEPTH) => Ok(()),
        other => Err(format!("{DEPTH} jobs that wait for one another: {other:?}")),
    }
}

pub(super) fn a_panic_ends_its_job_only(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let mut handles = Vec::new();
    // More than there are threads, should each cost one.
    for number in 0..20 + 2 * trial.at_once() {
        let job = move || {
            if number % 2 == 0 {
                // Not a panic that the hook would report.
                resume_unwind(Box::new("expected"));
            }
            number
        };
        handles.push(trial.spawn(&offload, job)?);
    }
    for (number, handle) in handles.into_iter().enumerate() {
        match trial.ready("a job resolves", handle)? {
            Err(OffloadError::Panicked(_)) if number % 2 == 0 => {}
            Ok(value) if value == number => {}
            other => return Err(format!("job {number} resolved as {other:?}")),
        }
    }
    have_met(trial, meet(trial, &offload)?)
}

pub(super) fn a_cancelled_job_never_runs(trial: &Trial) -> Outcome {
    let offload = trial.pool()?;
    let occupied = match trial.is_inline(&offload) {
        true => None,
        false => Some(trial.occupy(&offload)?),
    };
    let held = occupied.as_ref().map_or(0, |_| trial.at_once());
    let all_ran = Arc::new(AtomicUsize::new(0));
    let (mut waiting, mut dropped) = (Vec::new(), 0);
    for number in 0..60 {
        let ran = Arc::new(AtomicUsize::new(0));
        let (one, all) = (Arc::clone(&ran), Arc::clone(&all_ran));
        let handle = trial.spawn(&offload, move || {
            one.fetch_add(1, Ordering::SeqCst);
            all.fetch_add(1, Ordering::SeqCst);
        })?;
        match number % 3 {
            0 => {
                drop(handle);
                dropped += 1;
            }
            1 => {
                handle.abort();
                waiting.push((ran, handle));
            }
            _ => waiting.push((ran, handle)),
        }
    }
    for held in occupied.into_iter().flat_map(super::Occupied::release) {
        trial.value(held)?;
    }
    let mut cancelled = 0;
    for (ran, handle) in waiting {
        let outcome = trial.ready("a job resolves", handle)?;
        ran_as_told(ran.load(Ordering::SeqCst), &outcome)?;
        cancelled += u64::from(outcome.is_err());
    }
    trial.until("all jobs are over", || {
        let stats = trial.stats(&offload);
        stats.queued + stats.running == 0
    })?;
    let (stats, ran) = (trial.stats(&offload), all_ran.load(Ordering::SeqCst));
    let is_counted = stats.completed == (ran + held) as u64
        && (cancelled..=cancelled + dropped).contains(&stats.cancelled);
    if !is_counted {
        return Err(format!("{ran} jobs ran, but: {stats:?}"));
    }
    Ok(())
}
