//! The frame pointer, where procfs does not tell it.
//!
//! Procfs gives two registers of a waiting thread, not the one that a function with a frame
//! pointer finds its caller by. But such a function has stored its caller's right below its
//! return address, and that lies on the stack, in front of our eyes. So each word that could
//! be the return address is tried: it must follow a call, of that very function if the
//! instruction says of which; and the walk from there must end at the thread's root.

use super::calls::{self, Call};
use super::registers::Registers;
use super::snapshot::Snapshot;
use super::unwind::{End, Frame, Unwinding, Walk};
use std::collections::HashMap;

/// A walk costs some ten microseconds, and the right one is among the first.
const MOST_TRIALS: usize = 64;

/// So many words are taken for a return address behind code without tables.
const MOST_SCANNED: usize = 32;

/// So many called functions are looked into for jumps.
const MOST_LOOKED_INTO: usize = 64;

/// A function that is called may jump to one that jumps to ours, but rarely further.
const MOST_JUMPS: usize = 2;

/// How the call before a return address leads to the function that needs its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    /// It calls it, or what jumps to it as the last that it does.
    There,
    /// It calls whatever a register or a pointer says.
    Anywhere,
    /// It calls what jumps to whatever a register or a pointer says.
    PerhapsThere,
    /// It calls another one.
    Elsewhere,
}

impl Unwinding {
    /// The walk outwards, and whether it is partial: it does not end at the root, or only
    /// with calls in between that may be missing.
    pub(super) fn walk_to(&mut self, snapshot: &Snapshot, root: Option<Frame>) -> (Walk, bool) {
        let (walk, is_doubtful) = self.search(snapshot, snapshot.registers, root);
        if walk.reaches(root) {
            let (mut walk, is_sure) = walk.up_to(root);
            if !is_sure {
                // What is no code there was found by a wrong guess.
                walk.frames.retain(|frame| self.is_code(frame.address));
            }
            return (walk, is_doubtful || !is_sure);
        }
        let mut frames = walk.frames.iter();
        if let Some(index) = frames.position(|frame| !self.covers(frame.address)) {
            let frames = walk.frames[..=index].iter().copied();
            let frames = Vec::from_iter(frames.filter(|frame| self.is_code(frame.address)));
            if let Some(walk) = self.scan(snapshot, &frames, root) {
                return (walk.up_to(root).0, true);
            }
        }
        (self.cut_nonsense(walk), true)
    }

    /// Whether it is certain who the caller of the function at `address` is: by the tables,
    /// or because it is an entry for linkage, which jumps on with the stack as it was. Not
    /// all linkers make tables for those.
    pub(super) fn covers(&mut self, address: u64) -> bool {
        self.function(address).is_some() || calls::linked(address).is_some()
    }

    /// Past code without tables, as some C libraries are: from the first word that can be a
    /// return address and leads to the root.
    fn scan(&mut self, snapshot: &Snapshot, frames: &[Frame], root: Option<Frame>) -> Option<Walk> {
        let returns = self.return_addresses(snapshot, *frames.last()?);
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
        let returns = self.return_addresses(snapshot, stuck);
        let mut best = first;
        let passes: [&[Leads]; 3] = [
            &[Leads::There],
            &[Leads::Anywhere, Leads::PerhapsThere],
            &[Leads::Elsewhere],
        ];
        for wanted in passes {
            let trials = returns.iter().filter(|(_, leads)| wanted.contains(leads));
            for &(at, leads) in trials.take(MOST_TRIALS) {
                let registers = Registers {
                    frame_pointer: Some(at - 8),
                    ..registers
                };
                let walk = self.walk(snapshot, registers);
                if walk.reaches(root) {
                    let is_sure = matches!(leads, Leads::There | Leads::Anywhere);
                    return (walk, !is_sure);
                }
                // A stack too long for its copy: the certain callers are better than none.
                if leads == Leads::There && walk.frames.len() > best.frames.len() {
                    best = walk;
                }
            }
        }
        (best, true)
    }

    /// Where on the stack there may be a return address of this frame's function, from the
    /// innermost on.
    fn return_addresses(&mut self, snapshot: &Snapshot, frame: Frame) -> Vec<(u64, Leads)> {
        let function = self.function(frame.address).map(|function| function.start);
        let mut looked_into = HashMap::new();
        let mut returns = Vec::new();
        for (at, word) in snapshot.words(frame.stack_pointer) {
            if !self.is_code(word.wrapping_sub(1)) {
                continue;
            }
            let leads = match (calls::before(word), function) {
                (None, _) => continue,
                (Some(Call::OfAny), _) | (Some(Call::Of(_)), None) => Leads::Anywhere,
                (Some(Call::Of(target)), Some(function)) if target == function => Leads::There,
                (Some(Call::Of(target)), Some(function)) => match looked_into.get(&target) {
                    Some(leads) => *leads,
                    None if looked_into.len() == MOST_LOOKED_INTO => Leads::Elsewhere,
                    None => {
                        let leads = self.jumps_to(function, target, MOST_JUMPS);
                        looked_into.insert(target, leads);
                        leads
                    }
                },
            };
            returns.push((at, leads));
        }
        returns
    }

    /// Whether the function that begins at `from` jumps to the one that begins at `function`.
    fn jumps_to(&mut self, function: u64, from: u64, most: usize) -> Leads {
        let Some(code) = self.function(from).filter(|code| code.start == from) else {
            return Leads::Elsewhere;
        };
        let jumps = calls::jumps_out_of(&code);
        if jumps.to.contains(&function) {
            return Leads::There;
        }
        let mut leads = match jumps.to_any {
            true => Leads::PerhapsThere,
            false => Leads::Elsewhere,
        };
        if most > 1 {
            for next in jumps.to {
                match self.jumps_to(function, next, most - 1) {
                    Leads::Elsewhere | Leads::Anywhere => {}
                    found => leads = found,
                }
                if leads == Leads::There {
                    break;
                }
            }
        }
        leads
    }
}

#[cfg(test)]
mod tests {
    use super::super::unwind;
    use super::*;

    #[test]
    fn return_addresses_follow_calls_of_the_function_that_returns() {
        let registers = Registers::here();
        let stack = registers.stack_pointer..registers.stack_pointer + (1 << 20);
        let snapshot = Snapshot::read(registers, &stack);
        let mut unwinding = unwind::lock();
        let walk = unwinding.walk(&snapshot, registers);
        assert!(walk.frames.len() > 4, "{walk:?}");
        let mut leads = Vec::new();
        for pair in walk.frames.windows(2) {
            let returns = unwinding.return_addresses(&snapshot, pair[0]);
            // The return address lies right below where its caller's part of the stack begins.
            let at = pair[1].stack_pointer - 8;
            let mut found = returns.iter().filter(|(other, _)| *other == at);
            leads.push(found.next().unwrap().1);
        }
        assert!(leads.contains(&Leads::There), "{leads:?}");
        assert!(leads.contains(&Leads::Anywhere), "{leads:?}");
        assert!(!leads.contains(&Leads::Elsewhere), "{leads:?}");
    }
}
