//! The registers that unwinding begins with.

/// What a thread had in them at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Registers {
    pub(super) address: u64,
    pub(super) stack_pointer: u64,
    /// `None`: not known.
    pub(super) frame_pointer: Option<u64>,
    /// Where the processor has such a register.
    pub(super) link: Option<u64>,
}

impl Registers {
    /// This thread's, in the function that this is inlined into.
    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    pub(super) fn here() -> Self {
        let (address, stack_pointer, frame_pointer): (u64, u64, u64);
        // SAFETY: copies three registers.
        unsafe {
            std::arch::asm!(
                "lea {}, [rip]",
                "mov {}, rsp",
                "mov {}, rbp",
                out(reg) address,
                out(reg) stack_pointer,
                out(reg) frame_pointer,
                options(nomem, nostack, preserves_flags),
            );
        }
        Self {
            address,
            stack_pointer,
            frame_pointer: Some(frame_pointer),
            link: None,
        }
    }

    /// This thread's, in the function that this is inlined into.
    #[inline(always)]
    #[cfg(target_arch = "aarch64")]
    pub(super) fn here() -> Self {
        let (address, stack_pointer, frame_pointer, link): (u64, u64, u64, u64);
        // SAFETY: copies four registers.
        unsafe {
            std::arch::asm!(
                "adr {}, .",
                "mov {}, sp",
                "mov {}, x29",
                "mov {}, x30",
                out(reg) address,
                out(reg) stack_pointer,
                out(reg) frame_pointer,
                out(reg) link,
                options(nomem, nostack, preserves_flags),
            );
        }
        Self {
            address,
            stack_pointer,
            frame_pointer: Some(frame_pointer),
            link: Some(link),
        }
    }

    /// Those that a signal interrupted.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn interrupted(context: &libc::ucontext_t) -> Self {
        let register = |index: libc::c_int| context.uc_mcontext.gregs[index as usize] as u64;
        Self {
            address: register(libc::REG_RIP),
            stack_pointer: register(libc::REG_RSP),
            frame_pointer: Some(register(libc::REG_RBP)),
            link: None,
        }
    }

    /// Those that a signal interrupted.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn interrupted(context: &libc::ucontext_t) -> Self {
        let context = &context.uc_mcontext;
        Self {
            address: context.pc,
            stack_pointer: context.sp,
            frame_pointer: Some(context.regs[29]),
            link: Some(context.regs[30]),
        }
    }
}
