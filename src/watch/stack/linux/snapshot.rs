//! A stack's bytes and the registers that belong to them: all that unwinding reads.

use super::memory;
use super::registers::Registers;
use std::ops::Range;

/// The most that is copied of a stack. What lies further out is the callers' callers; a
/// stack that is longer is partial.
pub(super) const MOST_BYTES: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) registers: Registers,
    /// From the stack pointer on.
    pub(super) bytes: Vec<u8>,
}

impl Snapshot {
    /// What is there right now, read by the kernel. Whether the thread stood still is for
    /// the caller to know.
    pub(super) fn read(registers: Registers, stack: &Range<u64>) -> Self {
        let length = length_to_copy(registers.stack_pointer, stack);
        Self {
            registers,
            bytes: memory::read_vec(registers.stack_pointer, length),
        }
    }

    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let from = address.checked_sub(self.registers.stack_pointer)?;
        let from = usize::try_from(from).ok()?;
        let word = self.bytes.get(from..from.checked_add(8)?)?;
        word.try_into().ok().map(u64::from_ne_bytes)
    }

    /// Each aligned word from `address` on, with its address.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn words(&self, address: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = address.next_multiple_of(8);
        let addresses = (first..).step_by(8);
        addresses.map_while(|address| Some((address, self.word(address)?)))
    }
}

/// How much of a stack to copy: up to its end, if the pointer is in it.
pub(super) fn length_to_copy(stack_pointer: u64, stack: &Range<u64>) -> usize {
    if !stack.contains(&stack_pointer) {
        // A coroutine's, or a handler's. The kernel reads as far as there is something.
        return MOST_BYTES;
    }
    usize::try_from(stack.end - stack_pointer).map_or(MOST_BYTES, |rest| rest.min(MOST_BYTES))
}
