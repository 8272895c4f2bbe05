//! Calls that burn CPU until they have been reported. Each has its loop in itself: a helper
//! around it would now and then be the one that is seen.

use super::scene::Scene;
use std::hint::black_box;

#[inline(never)]
pub(crate) fn compute(scene: &Scene, name: &'static str) {
    let (is_done, waiter) = scene.told_after(name);
    let mut number = 1u64;
    while is_done.try_recv().is_err() {
        for _ in 0..10_000 {
            number = black_box(number.wrapping_mul(6_364_136_223_846_793_005));
        }
    }
    waiter.join().unwrap();
}

/// Into the task that calls it.
#[inline(always)]
pub(crate) fn compute_inlined(scene: &Scene, name: &'static str) {
    let (is_done, waiter) = scene.told_after(name);
    let mut number = 1u64;
    while is_done.try_recv().is_err() {
        for _ in 0..10_000 {
            number = black_box(number.wrapping_mul(6_364_136_223_846_793_005));
        }
    }
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn sort(scene: &Scene, name: &'static str) {
    let (is_done, waiter) = scene.told_after(name);
    let mut number = 1u64;
    while is_done.try_recv().is_err() {
        let mut numbers = Vec::with_capacity(300_000);
        for _ in 0..numbers.capacity() {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .rotate_left(7);
            numbers.push(number);
        }
        numbers.sort();
        black_box(&numbers);
    }
    waiter.join().unwrap();
}

#[inline(never)]
pub(crate) fn allocate(scene: &Scene, name: &'static str) {
    let (is_done, waiter) = scene.told_after(name);
    while is_done.try_recv().is_err() {
        let mut blocks = Vec::new();
        for size in 1..2_000 {
            blocks.push(black_box(vec![1u8; size]));
        }
    }
    waiter.join().unwrap();
}

/// Without the panic hook, which would print each.
#[cfg(panic = "unwind")]
#[inline(never)]
pub(crate) fn unwind(scene: &Scene, name: &'static str) {
    let (is_done, waiter) = scene.told_after(name);
    while is_done.try_recv().is_err() {
        assert!(std::panic::catch_unwind(unwind_once).is_err());
    }
    waiter.join().unwrap();
}

// No closure: inlined ones have no more of a name than that.
#[cfg(panic = "unwind")]
#[inline(never)]
fn unwind_once() {
    std::panic::resume_unwind(Box::new("planted"));
}
