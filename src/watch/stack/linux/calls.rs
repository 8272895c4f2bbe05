//! Calls and jumps, as far as they can be told from the instructions' bytes.

use super::memory;
use std::ops::Range;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Of(u64),
    /// Through a register or a pointer: nobody can tell any more.
    OfAny,
}

/// Where a function can go on without coming back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Jumps {
    pub(super) to: Vec<u64>,
    /// Or anywhere, through a register or a pointer.
    pub(super) to_any: bool,
}

/// The longest form of a call has seven bytes, and a prefix.
const LONGEST: usize = 8;

/// The call that `return_address` follows, if there is one.
pub(super) fn before(return_address: u64) -> Option<Call> {
    let mut code = [0; LONGEST];
    let from = return_address.checked_sub(LONGEST as u64)?;
    if memory::read(from, &mut code) != LONGEST {
        return None;
    }
    match code {
        [.., 0xe8, a, b, c, d] => {
            let target = relative(return_address, [a, b, c, d]);
            Some(Call::Of(linked(target).unwrap_or(target)))
        }
        [.., 0xff, 0x15, a, b, c, d] => {
            let target = memory::read_u64(relative(return_address, [a, b, c, d]));
            Some(target.map_or(Call::OfAny, Call::Of))
        }
        _ => is_indirect(&code).then_some(Call::OfAny),
    }
}

fn relative(address: u64, offset: [u8; 4]) -> u64 {
    address.wrapping_add_signed(i32::from_le_bytes(offset).into())
}

/// Where a linkage table's entry at `target` jumps to.
pub(super) fn linked(target: u64) -> Option<u64> {
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

/// The jumps out of this code. Where instructions begin is not known, so there may be too
/// many, and none is missing.
pub(super) fn jumps_out_of(code: &Range<u64>) -> Jumps {
    /// A function that hands on is hardly longer.
    const MOST: u64 = 16 << 10;
    let length = (code.end - code.start).min(MOST) as usize;
    let bytes = memory::read_vec(code.start, length);
    let mut jumps = Jumps::default();
    for (at, end) in (code.start..).zip(0..bytes.len()) {
        let target = match bytes[end..] {
            [0xe9, a, b, c, d, ..] => relative(at + 5, [a, b, c, d]),
            [0x0f, 0x80..=0x8f, a, b, c, d, ..] => relative(at + 6, [a, b, c, d]),
            [0xeb, offset, ..] => (at + 2).wrapping_add_signed((offset as i8).into()),
            [0xff, 0x25, a, b, c, d, ..] => {
                match memory::read_u64(relative(at + 6, [a, b, c, d])) {
                    Some(target) => target,
                    None => continue,
                }
            }
            [0xff, operand, ..] if operand >> 3 & 7 == 4 => {
                jumps.to_any = true;
                continue;
            }
            _ => continue,
        };
        if !code.contains(&target) {
            jumps.to.push(linked(target).unwrap_or(target));
        }
    }
    jumps
}

#[cfg(test)]
mod tests {
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
    fn what_is_in_front_of_no_call_is_no_return_address() {
        assert_eq!(before(3), None);
        assert_eq!(before(u64::MAX), None);
        let bytes = [0x90u8; 64];
        assert_eq!(before(bytes.as_ptr() as u64 + 32), None);
    }

    #[test]
    fn jumps_out_of_code_are_found_and_those_within_are_not() {
        let mut code = [0x90u8; 32];
        code[..5].copy_from_slice(&[0xe9, 0x40, 0, 0, 0]);
        code[8..10].copy_from_slice(&[0xeb, 0x02]);
        code[16..22].copy_from_slice(&[0x0f, 0x84, 0x30, 0, 0, 0]);
        let at = code.as_ptr() as u64;
        let range = at..at + 32;
        let jumps = jumps_out_of(&range);
        assert_eq!(jumps.to, [at + 5 + 0x40, at + 22 + 0x30]);
        assert!(!jumps.to_any);
        code[24..26].copy_from_slice(&[0xff, 0xe0]);
        assert!(jumps_out_of(&range).to_any);
    }
}
