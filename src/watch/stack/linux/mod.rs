//! Linux, on x86-64 and aarch64. There procfs lacks the registers that a waiting thread's
//! stack is unwound by; what else there is works.

mod address;
mod call_detail;
#[cfg(target_arch = "x86_64")]
mod caller;
#[cfg(target_arch = "x86_64")]
mod calls;
mod elf;
mod handler;
mod landing;
mod memory;
mod mode;
mod modules;
mod procfs;
mod registers;
mod signal;
mod snapshot;
mod symbols;
mod system_calls;
mod target;
mod unwind;

pub(crate) use self::{
    mode::{Mode, mode, mode_with},
    symbols::symbolize,
    target::Target,
};
