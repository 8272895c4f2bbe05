//! Calls that block on stacks which are not a thread's plain own.

use crate::calls::{Call, Props, calls, sleeps, spins};
use std::cell::Cell;
use std::hint::black_box;
use std::mem::MaybeUninit;

pub(crate) const ODD: &[Call] = calls! {
    sleeps_on_a_long_stack in ["clock_nanosleep"];
    spins_on_a_long_stack in [];
    sleeps_on_a_foreign_stack in ["clock_nanosleep"];
    spins_on_a_foreign_stack in [];
};

pub(crate) const IN_A_HANDLER: &[Call] = calls! {
    sleeps_in_a_handler in ["clock_nanosleep"];
    spins_in_a_handler in [];
};

#[inline(never)]
fn descend(depth: usize, then: &dyn Fn()) -> usize {
    let frame = black_box([depth; 128]);
    match depth {
        0 => then(),
        _ => drop(descend(depth - 1, then)),
    }
    black_box(frame[1])
}

/// Longer than what is copied.
const LONG: usize = 400;

#[inline(never)]
fn sleeps_on_a_long_stack(props: &Props) {
    descend(LONG, &|| sleeps(props));
}

#[inline(never)]
fn spins_on_a_long_stack(props: &Props) {
    descend(LONG, &|| spins(props));
}

thread_local! {
    static PROPS: Cell<*const Props> = const { Cell::new(std::ptr::null()) };
}

fn here() -> &'static Props {
    // SAFETY: set by the callers of this below, who hold it until this returns.
    unsafe { &*PROPS.get() }
}

/// As coroutines do it.
fn on_another_stack(props: &Props, function: extern "C" fn()) {
    PROPS.set(props);
    let mut stack = vec![0u8; 64 << 10];
    let mut back = MaybeUninit::<libc::ucontext_t>::zeroed();
    let mut there = MaybeUninit::<libc::ucontext_t>::zeroed();
    // SAFETY: the stack is there until the function has returned to `back`.
    unsafe {
        assert_eq!(libc::getcontext(there.as_mut_ptr()), 0);
        let context = there.assume_init_mut();
        context.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        context.uc_stack.ss_size = stack.len();
        context.uc_link = back.as_mut_ptr();
        libc::makecontext(context, function, 0);
        assert_eq!(libc::swapcontext(back.as_mut_ptr(), context), 0);
    }
    black_box(stack);
}

extern "C" fn sleeps_there() {
    sleeps(here());
}

extern "C" fn spins_there() {
    spins(here());
}

#[inline(never)]
fn sleeps_on_a_foreign_stack(props: &Props) {
    on_another_stack(props, sleeps_there);
}

#[inline(never)]
fn spins_on_a_foreign_stack(props: &Props) {
    on_another_stack(props, spins_there);
}

extern "C" fn handler_that_sleeps(_: i32) {
    sleeps(here());
}

extern "C" fn handler_that_spins(_: i32) {
    spins(here());
}

fn in_a_handler(props: &Props, signal: i32, handler: extern "C" fn(i32)) {
    PROPS.set(props);
    // SAFETY: the handler comes by `raise` alone, and may do whatever it likes there.
    unsafe {
        libc::signal(signal, handler as usize);
        libc::raise(signal);
    }
}

#[inline(never)]
fn sleeps_in_a_handler(props: &Props) {
    in_a_handler(props, libc::SIGUSR1, handler_that_sleeps);
}

#[inline(never)]
fn spins_in_a_handler(props: &Props) {
    in_a_handler(props, libc::SIGUSR2, handler_that_spins);
}
