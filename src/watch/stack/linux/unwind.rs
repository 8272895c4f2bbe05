//! From a snapshot to the addresses of its calls, by the tables that compilers leave for
//! panics. Nothing but the snapshot and copies of the tables is read.

#[cfg(target_arch = "x86_64")]
use super::memory;
use super::modules::{self, Generation, Module, Tables};
use super::registers::Registers;
use super::snapshot::Snapshot;
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Unwinder};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{
    CacheAarch64 as Cache, UnwindRegsAarch64 as EngineRegisters, UnwinderAarch64 as Engine,
};
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{
    CacheX86_64 as Cache, UnwindRegsX86_64 as EngineRegisters, UnwinderX86_64 as Engine,
};

/// Stands in for a register that is not known. No address is near it, so that a frame which
/// needs the register fails at it.
const NOT_KNOWN: u64 = 0x6f66_6672_616d_7000;

/// Broken tables can go round in circles.
const MOST_FRAMES: usize = 1024;

/// One call on a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Within the instruction that runs or calls.
    pub(super) address: u64,
    pub(super) stack_pointer: u64,
}

/// A walk outwards.
#[derive(Debug)]
pub(super) struct Walk {
    /// Innermost first.
    pub(super) frames: Vec<Frame>,
    pub(super) end: End,
    /// The first frame without tables. Its caller was found as if it had a frame pointer, and
    /// that may be its caller's caller.
    first_guess: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By the tables' word nobody called the last frame.
    Outermost,
    /// The last frame's caller is found by the frame pointer, which is not known.
    NeedsFramePointer,
    /// The bytes end, or the tables do.
    Lost,
}

impl Walk {
    /// The outermost frame that is certain. For a thread which has just begun to be watched
    /// it stays the same for as long as it lives.
    pub(super) fn root(&self) -> Option<Frame> {
        match (self.first_guess, self.end) {
            (Some(guess), _) => self.frames.get(guess).copied(),
            (None, End::Outermost) => self.frames.last().copied(),
            (None, _) => None,
        }
    }

    /// Whether it comes by where the thread began.
    pub(super) fn reaches(&self, root: Option<Frame>) -> bool {
        root.is_some_and(|root| self.frames.contains(&root))
    }

    /// Without what lies beyond the root, and whether no frame can be missing before it.
    pub(super) fn up_to(mut self, root: Option<Frame>) -> (Self, bool) {
        let mut frames = self.frames.iter();
        let Some(last) = frames.position(|frame| Some(*frame) == root) else {
            return (self, false);
        };
        self.frames.truncate(last + 1);
        let is_sure = self.first_guess.is_none_or(|guess| guess >= last);
        (self, is_sure)
    }
}

/// Modules, and the tables of those that were met.
#[derive(Default)]
pub(super) struct Unwinding {
    generation: Option<Generation>,
    modules: Arc<[Module]>,
    /// Of the module at the same place: `None` until it is met.
    tables: Vec<Option<Option<Tables>>>,
    engine: Engine<Arc<[u8]>>,
}

/// This process's, up to date. Held for microseconds, and for longer when a module is met
/// for the first time. For watchdog and reporter: a watched thread never waits for it.
pub(super) fn lock() -> MutexGuard<'static, Unwinding> {
    static UNWINDING: LazyLock<Mutex<Unwinding>> = LazyLock::new(Mutex::default);
    let mut unwinding = UNWINDING.lock().unwrap_or_else(PoisonError::into_inner);
    unwinding.refresh();
    unwinding
}

impl Unwinding {
    fn refresh(&mut self) {
        if let Some((generation, modules)) = modules::newer_than(self.generation) {
            *self = Self {
                generation: Some(generation),
                tables: modules.iter().map(|_| None).collect(),
                modules: modules.into(),
                engine: Engine::new(),
            };
        }
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.generation
    }

    pub(super) fn modules(&self) -> Arc<[Module]> {
        Arc::clone(&self.modules)
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        self.modules
            .iter()
            .any(|module| module.has_code_at(address))
    }

    /// The tables for code at `address`. The first time they are copied.
    pub(super) fn tables(&mut self, address: u64) -> Option<&Tables> {
        let mut modules = self.modules.iter();
        let index = modules.position(|module| module.has_code_at(address))?;
        let module = &self.modules[index];
        let engine = &mut self.engine;
        let tables = self.tables[index].get_or_insert_with(|| {
            let tables = module.tables()?;
            engine.add_module(for_engine(module, &tables));
            Some(tables)
        });
        tables.as_ref()
    }

    /// From where to where the function around `address` goes.
    pub(super) fn function(&mut self, address: u64) -> Option<Range<u64>> {
        self.tables(address)?.function(address)
    }

    /// Whether it is certain who the caller of the function at `address` is. That there are
    /// tables has to do where they are not looked into here.
    #[cfg(target_arch = "aarch64")]
    fn covers(&mut self, address: u64) -> bool {
        self.tables(address).is_some()
    }

    /// From `registers` outwards.
    pub(super) fn walk(&mut self, snapshot: &Snapshot, registers: Registers) -> Walk {
        let mut read = |address| snapshot.word(address).ok_or(());
        // A rule that failed for want of a register would be remembered as broken.
        let mut cache = Cache::new();
        let mut engine_registers = to_engine(registers);
        let mut address = FrameAddress::from_instruction_pointer(registers.address);
        let mut frames = Vec::new();
        let mut first_guess = None;
        let end = loop {
            frames.push(Frame {
                address: address.address_for_lookup(),
                stack_pointer: engine_registers.sp(),
            });
            if frames.len() == MOST_FRAMES {
                break End::Lost;
            }
            if let Some(interrupted) = interrupted_by(address, engine_registers.sp(), snapshot) {
                engine_registers = to_engine(interrupted);
                address = FrameAddress::from_instruction_pointer(interrupted.address);
                continue;
            }
            if first_guess.is_none() && !self.covers(address.address_for_lookup()) {
                first_guess = Some(frames.len() - 1);
            }
            let caller = self
                .engine
                .unwind_frame(address, &mut engine_registers, &mut cache, &mut read)
                .map(|caller| caller.map(FrameAddress::from_return_address));
            match caller {
                Ok(Some(Some(caller))) => address = caller,
                Ok(None) => break End::Outermost,
                Err(_) if frame_pointer(&engine_registers) == NOT_KNOWN => {
                    break End::NeedsFramePointer;
                }
                Ok(Some(None)) | Err(_) => break End::Lost,
            }
        };
        Walk {
            frames,
            end,
            first_guess,
        }
    }

    /// A walk that went astray ends where it met what is no code.
    pub(super) fn cut_nonsense(&self, mut walk: Walk) -> Walk {
        let mut frames = walk.frames.iter();
        if let Some(sane) = frames.position(|frame| !self.is_code(frame.address)) {
            walk.frames.truncate(sane.max(1));
            walk.end = End::Lost;
        }
        walk
    }
}

fn for_engine(module: &Module, tables: &Tables) -> framehop::Module<Arc<[u8]>> {
    let in_file = |address: u64| address.wrapping_sub(module.bias);
    let range = |range: &Range<u64>| in_file(range.start)..in_file(range.end);
    let sections = ExplicitModuleSectionInfo {
        base_svma: in_file(module.range.start),
        eh_frame_hdr_svma: Some(range(&tables.eh_frame_hdr)),
        eh_frame_hdr: Some(Arc::clone(&tables.eh_frame_hdr_bytes)),
        eh_frame_svma: Some(range(&tables.eh_frame)),
        eh_frame: Some(Arc::clone(&tables.eh_frame_bytes)),
        ..ExplicitModuleSectionInfo::default()
    };
    let start = module.range.start;
    framehop::Module::new(module.name(), module.range.clone(), start, sections)
}

/// A signal handler returns into code that ends the signal; its caller is the code that was
/// interrupted, with all its registers on the stack. The engine does not know such frames.
#[cfg(target_arch = "x86_64")]
fn interrupted_by(
    address: FrameAddress,
    stack_pointer: u64,
    snapshot: &Snapshot,
) -> Option<Registers> {
    const END_SIGNAL: [u8; 9] = *b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05";
    let mut code = [0; END_SIGNAL.len()];
    let is_one = address.is_return_address()
        && memory::read(address.address(), &mut code) == code.len()
        && code == END_SIGNAL;
    if !is_one {
        return None;
    }
    // By then the stack begins with what the kernel saved.
    let saved = stack_pointer + std::mem::offset_of!(libc::ucontext_t, uc_mcontext.gregs) as u64;
    let register = |index: i32| snapshot.word(saved + index as u64 * 8);
    Some(Registers {
        address: register(libc::REG_RIP)?,
        stack_pointer: register(libc::REG_RSP)?,
        frame_pointer: Some(register(libc::REG_RBP)?),
        link: None,
    })
}

#[cfg(target_arch = "aarch64")]
fn interrupted_by(_: FrameAddress, _: u64, _: &Snapshot) -> Option<Registers> {
    None
}

#[cfg(target_arch = "x86_64")]
fn to_engine(registers: Registers) -> EngineRegisters {
    let frame_pointer = registers.frame_pointer.unwrap_or(NOT_KNOWN);
    EngineRegisters::new(registers.address, registers.stack_pointer, frame_pointer)
}

#[cfg(target_arch = "x86_64")]
fn frame_pointer(registers: &EngineRegisters) -> u64 {
    registers.bp()
}

#[cfg(target_arch = "aarch64")]
fn to_engine(registers: Registers) -> EngineRegisters {
    let link = registers.link.unwrap_or(NOT_KNOWN);
    let frame_pointer = registers.frame_pointer.unwrap_or(NOT_KNOWN);
    EngineRegisters::new(link, registers.stack_pointer, frame_pointer)
}

#[cfg(target_arch = "aarch64")]
fn frame_pointer(registers: &EngineRegisters) -> u64 {
    registers.fp()
}

/// Without knowing the frame pointer: as far as it is not needed.
#[cfg(not(target_arch = "x86_64"))]
impl Unwinding {
    pub(super) fn walk_to(&mut self, snapshot: &Snapshot, root: Option<Frame>) -> (Walk, bool) {
        let walk = self.walk(snapshot, snapshot.registers);
        match walk.reaches(root) {
            true => {
                let (walk, is_sure) = walk.up_to(root);
                (walk, !is_sure)
            }
            false => (self.cut_nonsense(walk), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Range<u64> {
        let here = Registers::here().stack_pointer;
        here - 4096..here + 8 * 1024 * 1024
    }

    #[inline(never)]
    fn inner() -> (Snapshot, u64) {
        let here = Registers::here();
        (Snapshot::read(here, &stack()), here.address)
    }

    #[inline(never)]
    fn outer() -> (Snapshot, u64) {
        let taken = inner();
        std::hint::black_box(&taken);
        taken
    }

    #[test]
    fn a_snapshot_of_oneself_is_unwound_to_the_threads_begin() {
        let (snapshot, here) = std::thread::spawn(outer).join().unwrap();
        let walk = lock().walk(&snapshot, snapshot.registers);
        assert_eq!(walk.frames[0].address, here);
        assert_eq!(walk.end, End::Outermost, "{walk:?}");
        let called_from = |function: usize| {
            let start = function as u64;
            let mut frames = walk.frames.iter();
            frames.any(|frame| (start..start + 4096).contains(&frame.address))
        };
        assert!(called_from(inner as fn() -> _ as usize));
        assert!(called_from(outer as fn() -> _ as usize));
        let pointers = walk.frames.windows(2);
        for pair in pointers {
            assert!(pair[0].stack_pointer < pair[1].stack_pointer, "{walk:?}");
        }
        assert!(!walk.reaches(None));
        assert!(walk.reaches(walk.frames.last().copied()));
        assert_eq!(walk.root(), walk.frames.last().copied());
    }

    #[test]
    fn bytes_that_end_early_give_the_frames_up_to_there() {
        let (mut snapshot, _) = std::thread::spawn(outer).join().unwrap();
        let whole = lock().walk(&snapshot, snapshot.registers);
        let third = whole.frames[2].stack_pointer;
        snapshot
            .bytes
            .truncate((third - snapshot.registers.stack_pointer) as usize);
        let walk = lock().walk(&snapshot, snapshot.registers);
        assert_eq!(walk.end, End::Lost);
        assert_eq!(walk.frames, whole.frames[..3]);
        assert!(!walk.reaches(whole.root()));
    }

    #[test]
    fn registers_full_of_nonsense_end_the_walk() {
        let (snapshot, _) = std::thread::spawn(outer).join().unwrap();
        let whole = lock().walk(&snapshot, snapshot.registers);
        for address in [0, 1, u64::MAX, NOT_KNOWN, snapshot.registers.stack_pointer] {
            let registers = Registers {
                address,
                frame_pointer: Some(address),
                ..snapshot.registers
            };
            let walk = lock().walk(&snapshot, registers);
            assert!(!walk.reaches(whole.root()), "{address:#x}");
            let walk = lock().cut_nonsense(walk);
            assert_eq!(
                (walk.end, walk.frames.len()),
                (End::Lost, 1),
                "{address:#x}"
            );
        }
    }
}
