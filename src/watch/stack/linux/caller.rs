//! The frame pointer, where procfs does not tell it.
//!
//! Procfs gives two registers of a waiting thread, not the one that a function with a frame
//! pointer finds its caller by. But such a function has stored its caller's right below its
//! return address, and that lies on the stack, in front of our eyes. So each word that could
//! be the return address is tried: it must follow a call, of that very function if the
//! instruction says of which; and the walk from there must end at the thread's root.

use super::memory;
use super::registers::Registers;
use super::snapshot::Snapshot;
use super::unwind::{End, Frame, Unwinding, Walk};
use std::ops::Range;

/// A walk costs some ten microseconds, and the right one is among the first.
const MOST_TRIALS: usize = 64;

/// So many words are taken for a return address behind code without tables.
const MOST_SCANNED: usize = 32;

/// Which function the instruction before a return address calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// Ours.
    Function,
    /// Through a register or a pointer: one that nobody can tell any more.
    Any,
    /// Another one, which may have jumped to ours as the last that it did.
    Another,
}

impl Unwinding {
    /// The walk outwards, and whether it is partial: it does not end at the root, or only
    /// with calls in between that may be missing.
    pub(super) fn walk_to(&mut self, snapshot: &Snapshot, root: Option<Frame>) -> (Walk, bool) {
        let (walk, is_doubtful) = self.search(snapshot, snapshot.registers, root);
        if walk.reaches(root) {
            let (walk, is_sure) = walk.up_to(root);
            return (walk, is_doubtful || !is_sure);
        }
        let mut frames = walk.frames.iter();
        if let Some(index) = frames.position(|frame| !self.covers(frame.address)) {
            let frames = &walk.frames[..=index];
            if let Some(walk) = self.scan(snapshot, frames, root) {
                return (walk.up_to(root).0, true);
            }
        }
        (self.cut_nonsense(walk), true)
    }

    /// Whether it is certain who the caller of the function at `address` is: by the tables,
    /// or because it is an entry for linkage, which jumps on with the stack as it was. Not
    /// all linkers make tables for those.
    pub(super) fn covers(&mut self, address: u64) -> bool {
        self.function(address).is_some() || linked(address).is_some()
    }

    fn function(&mut self, address: u64) -> Option<Range<u64>> {
        self.tables(address)?.function(address)
    }

    /// Past code without tables, as some C libraries are: from the first word that can be a
    /// return address and leads to the root.
    fn scan(&mut self, snapshot: &Snapshot, frames: &[Frame], root: Option<Frame>) -> Option<Walk> {
        let from = frames.last()?.stack_pointer;
        let returns = self.return_addresses(snapshot, from, None);
        for (at, _) in returns.into_iter().take(MOST_SCANNED) {
            let registers = Registers {
                // Within the call, as it is looked for in the tables.
                address: snapshot.word(at)? - 1,
                stack_pointer: at + 8,
                frame_pointer: None,
                link: None,
            };
            if !self.covers(registers.address) {
                continue;
            }
            let (mut rest, _) = self.search(snapshot, registers, root);
            if rest.reaches(root) {
                rest.frames.splice(..0, frames.iter().copied());
                return Some(rest);
            }
        }
        None
    }

    /// The walk from `registers`, with the frame pointer that it takes, and whether that may
    /// be another function's.
    fn search(
        &mut self,
        snapshot: &Snapshot,
        registers: Registers,
        root: Option<Frame>,
    ) -> (Walk, bool) {
        let first = self.walk(snapshot, registers);
        if first.reaches(root) {
            return (first, false);
        }
        let (End::NeedsFramePointer, Some(&stuck)) = (first.end, first.frames.last()) else {
            return (first, true);
        };
        let function = self.function(stuck.address).map(|function| function.start);
        let returns = self.return_addresses(snapshot, stuck.stack_pointer, function);

        let mut best = first;
        for wanted in [Calls::Function, Calls::Any, Calls::Another] {
            let trials = returns.iter().filter(|(_, call)| *call == wanted);
            for (at, _) in trials.take(MOST_TRIALS) {
                let frame_pointer = Some(at - 8);
                let registers = Registers {
                    frame_pointer,
                    ..registers
                };
                let walk = self.walk(snapshot, registers);
                if walk.reaches(root) {
                    return (walk, wanted == Calls::Another);
                }
                // A stack too long for its copy: the certain callers are better than none.
                if wanted == Calls::Function && walk.frames.len() > best.frames.len() {
                    best = walk;
                }
            }
        }
        (best, true)
    }

    /// Where on the stack there may be a return address, from the innermost on.
    fn return_addresses(
        &self,
        snapshot: &Snapshot,
        from: u64,
        function: Option<u64>,
    ) -> Vec<(u64, Calls)> {
        let words = snapshot.words(from);
        let in_code = words.filter(|(_, word)| self.is_code(word.wrapping_sub(1)));
        in_code
            .filter_map(|(at, word)| Some((at, call_before(word, function)?)))
            .collect()
    }
}

/// The longest form of a call has seven bytes, and a prefix.
const LONGEST: usize = 8;

fn call_before(return_address: u64, function: Option<u64>) -> Option<Calls> {
    let mut code = [0; LONGEST];
    let from = return_address.checked_sub(LONGEST as u64)?;
    if memory::read(from, &mut code) != LONGEST {
        return None;
    }
    let target = match code {
        [.., 0xe8, a, b, c, d] => {
            let target = relative(return_address, [a, b, c, d]);
            Some(linked(target).unwrap_or(target))
        }
        [.., 0xff, 0x15, a, b, c, d] => memory::read_u64(relative(return_address, [a, b, c, d])),
        _ if is_indirect(&code) => return Some(Calls::Any),
        _ => return None,
    };
    match (target, function) {
        (Some(target), Some(function)) if target != function => Some(Calls::Another),
        (Some(_), Some(_)) => Some(Calls::Function),
        _ => Some(Calls::Any),
    }
}

fn relative(address: u64, offset: [u8; 4]) -> u64 {
    address.wrapping_add_signed(i32::from_le_bytes(offset).into())
}

/// Where a linkage table's entry at `target` jumps to.
fn linked(target: u64) -> Option<u64> {
    let mut code = [0; 11];
    if memory::read(target, &mut code) != code.len() {
        return None;
    }
    let (before, offset) = match code {
        [0xff, 0x25, a, b, c, d, ..] => (6, [a, b, c, d]),
        [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, a, b, c, d, _] => (10, [a, b, c, d]),
        [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, a, b, c, d] => (11, [a, b, c, d]),
        _ => return None,
    };
    memory::read_u64(relative(target + before, offset))
}

/// Whether `code` ends with `call` on a register or on memory: ff /2.
fn is_indirect(code: &[u8]) -> bool {
    (2..=7).any(|length| {
        let call = &code[code.len() - length..];
        call[0] == 0xff && call[1] >> 3 & 7 == 2 && length == indirect_length(call)
    })
}

/// By the processor's rules for an operand: its mode in bits 7 and 6, its base in 2 to 0.
fn indirect_length(call: &[u8]) -> usize {
    const HAS_INDEX: u8 = 4;
    const NO_BASE: u8 = 5;
    let (mode, base) = (call[1] >> 6, call[1] & 7);
    if mode == 3 {
        return 2;
    }
    let (index, base) = match (base, call.get(2)) {
        (HAS_INDEX, Some(index)) => (1, index & 7),
        (HAS_INDEX, None) => return 0,
        _ => (0, base),
    };
    let offset = match mode {
        0 if base == NO_BASE => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    2 + index + offset
}

#[cfg(test)]
mod tests {
    use super::super::unwind;
    use super::*;

    #[test]
    fn indirect_calls_are_told_from_other_bytes() {
        let calls: [&[u8]; 8] = [
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd4],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x90, 0, 1, 0, 0],
            &[0xff, 0x14, 0xc8],
            &[0xff, 0x54, 0x24, 0x08],
            &[0xff, 0x94, 0x24, 0, 1, 0, 0],
            &[0xff, 0x14, 0x25, 0, 1, 0, 0],
        ];
        let ending_with = |call: &[u8]| {
            let mut code = [0x90; LONGEST];
            code[LONGEST - call.len()..].copy_from_slice(call);
            code
        };
        for call in calls {
            assert!(is_indirect(&ending_with(call)), "{call:x?}");
        }
        let others: [&[u8]; 4] = [&[0xff, 0xe0], &[0xff, 0x50], &[0xff, 0x14], &[0x0f, 0x05]];
        for other in others {
            assert!(!is_indirect(&ending_with(other)), "{other:x?}");
        }
    }

    #[test]
    fn return_addresses_follow_calls_of_the_function_that_returns() {
        let registers = Registers::here();
        let stack = registers.stack_pointer..registers.stack_pointer + (1 << 20);
        let snapshot = Snapshot::read(registers, &stack);
        let mut unwinding = unwind::lock();
        let walk = unwinding.walk(&snapshot, registers);
        assert!(walk.frames.len() > 4, "{walk:?}");
        let mut calls = Vec::new();
        for pair in walk.frames.windows(2) {
            let function = unwinding.function(pair[0].address).unwrap();
            calls.push(call_before(pair[1].address + 1, Some(function.start)));
        }
        assert!(calls.iter().all(Option::is_some), "{calls:?}");
        assert!(calls.contains(&Some(Calls::Function)), "{calls:?}");
        assert!(calls.contains(&Some(Calls::Any)), "{calls:?}");
    }

    #[test]
    fn what_is_in_front_of_no_call_is_no_return_address() {
        assert_eq!(call_before(3, None), None);
        assert_eq!(call_before(u64::MAX, None), None);
        let bytes = [0x90u8; 64];
        assert_eq!(call_before(bytes.as_ptr() as u64 + 32, None), None);
    }
}
