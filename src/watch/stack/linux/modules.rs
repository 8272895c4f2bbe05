//! The executable and the libraries that are mapped, with where their unwind tables lie.
//!
//! The list is made anew when the loader has mapped or unmapped something since. What it
//! points to is read by the kernel, later: a library that is gone by then has no tables.

use super::memory;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(super) struct Module {
    pub(super) path: PathBuf,
    /// From its first mapped byte to its last.
    pub(super) range: Range<u64>,
    /// What is added to addresses in its file.
    pub(super) bias: u64,
    /// Mapped to be run.
    code: Vec<Range<u64>>,
    segments: Vec<Range<u64>>,
    eh_frame_hdr: Option<Range<u64>>,
    notes: Vec<Range<u64>>,
    build_id: OnceLock<Option<String>>,
}

/// A copy of a module's unwind tables.
pub(super) struct Tables {
    pub(super) eh_frame_hdr: Range<u64>,
    pub(super) eh_frame_hdr_bytes: Arc<[u8]>,
    pub(super) eh_frame: Range<u64>,
    pub(super) eh_frame_bytes: Arc<[u8]>,
}

/// How often the loader has mapped, and unmapped, something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Generation {
    mapped: u64,
    unmapped: u64,
}

/// The modules, if they are others than those of `known`.
pub(super) fn newer_than(known: Option<Generation>) -> Option<(Generation, Vec<Module>)> {
    let mut walk = Walk {
        known,
        generation: Generation::default(),
        modules: Vec::new(),
        is_known: false,
    };
    let data = (&raw mut walk).cast();
    // SAFETY: the callback gets what it takes `data` for, and only during the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), data) };
    (!walk.is_known).then_some((walk.generation, walk.modules))
}

struct Walk {
    known: Option<Generation>,
    generation: Generation,
    modules: Vec<Module>,
    is_known: bool,
}

/// # Safety
/// `info` is the loader's, `data` points to a [`Walk`].
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    size: libc::size_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: by the contract; the loader's lock is held, and keeps what `info` points to.
    let (walk, info) = unsafe { (&mut *data.cast::<Walk>(), &*info) };
    let has_counters = size >= std::mem::offset_of!(libc::dl_phdr_info, dlpi_subs) + 8;
    if has_counters {
        walk.generation = Generation {
            mapped: info.dlpi_adds,
            unmapped: info.dlpi_subs,
        };
        if walk.known == Some(walk.generation) {
            walk.is_known = true;
            return 1;
        }
    }
    let is_executable = walk.modules.is_empty();
    // SAFETY: a string that ends, or null, and `dlpi_phnum` headers.
    let (name, headers) = unsafe {
        let name = (!info.dlpi_name.is_null()).then(|| CStr::from_ptr(info.dlpi_name));
        let headers: &[libc::Elf64_Phdr] = match info.dlpi_phnum {
            0 => &[],
            count => std::slice::from_raw_parts(info.dlpi_phdr.cast(), count.into()),
        };
        (name, headers)
    };
    let name = name.map(CStr::to_bytes).unwrap_or_default();
    let path = match name {
        b"" | b"/proc/self/exe" if is_executable => std::env::current_exe().unwrap_or_default(),
        name => PathBuf::from(OsStr::from_bytes(name)),
    };
    walk.modules.extend(module(path, info.dlpi_addr, headers));
    0
}

fn module(path: PathBuf, bias: u64, headers: &[libc::Elf64_Phdr]) -> Option<Module> {
    let of_type = |wanted| {
        let headers = headers.iter().filter(move |header| header.p_type == wanted);
        headers.map(move |header| {
            let start = bias.wrapping_add(header.p_vaddr);
            (header, start..start.wrapping_add(header.p_memsz))
        })
    };
    let segments = Vec::from_iter(of_type(libc::PT_LOAD).map(|(_, range)| range));
    Some(Module {
        path,
        range: segments.iter().map(|s| s.start).min()?..segments.iter().map(|s| s.end).max()?,
        bias,
        code: of_type(libc::PT_LOAD)
            .filter(|(header, _)| header.p_flags & libc::PF_X != 0)
            .map(|(_, range)| range)
            .collect(),
        segments,
        eh_frame_hdr: of_type(libc::PT_GNU_EH_FRAME)
            .next()
            .map(|(_, range)| range),
        notes: of_type(libc::PT_NOTE).map(|(_, range)| range).collect(),
        build_id: OnceLock::new(),
    })
}

impl Module {
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(super) fn has_code_at(&self, address: u64) -> bool {
        self.code.iter().any(|code| code.contains(&address))
    }

    pub(super) fn build_id(&self) -> Option<&str> {
        self.build_id
            .get_or_init(|| self.read_build_id())
            .as_deref()
    }

    fn read_build_id(&self) -> Option<String> {
        let notes = self.notes.iter();
        notes.filter_map(|notes| build_id_in(&copy(notes))).next()
    }

    pub(super) fn tables(&self) -> Option<Tables> {
        let eh_frame_hdr = self.eh_frame_hdr.clone()?;
        let eh_frame_hdr_bytes = Arc::from(copy(&eh_frame_hdr));
        let start = eh_frame_start(eh_frame_hdr.start, &eh_frame_hdr_bytes)?;
        // Its length is written nowhere that is mapped; it ends itself by a zero.
        let end = self.segments.iter().find(|s| s.contains(&start))?.end;
        let eh_frame_bytes = Arc::from(copy(&(start..end)));
        Some(Tables {
            eh_frame_hdr,
            eh_frame_hdr_bytes,
            eh_frame: start..end,
            eh_frame_bytes,
        })
    }
}

fn copy(range: &Range<u64>) -> Vec<u8> {
    const MOST: u64 = 1 << 30;
    memory::read_vec(range.start, (range.end - range.start).min(MOST) as usize)
}

/// The header's second field, in the encodings that linkers use.
fn eh_frame_start(header_at: u64, header: &[u8]) -> Option<u64> {
    const PC_RELATIVE_I32: u8 = 0x1b;
    const DATA_RELATIVE_I32: u8 = 0x3b;
    const ABSOLUTE_U32: u8 = 0x03;
    let (version, encoding) = (*header.first()?, *header.get(1)?);
    let value = header.get(4..8)?.try_into().ok()?;
    let offset = i64::from(i32::from_ne_bytes(value));
    match (version, encoding) {
        (1, PC_RELATIVE_I32) => (header_at + 4).checked_add_signed(offset),
        (1, DATA_RELATIVE_I32) => header_at.checked_add_signed(offset),
        (1, ABSOLUTE_U32) => Some(u32::from_ne_bytes(value).into()),
        _ => None,
    }
}

impl Tables {
    /// From where to where the function around `address` goes. `None`: the tables have none
    /// there.
    pub(super) fn function(&self, address: u64) -> Option<Range<u64>> {
        // Sorted pairs of function and description, each relative to the header.
        const UDATA4: u8 = 0x03;
        const DATA_RELATIVE_I32: u8 = 0x3b;
        let header = &self.eh_frame_hdr_bytes;
        if header.get(2..4)? != [UDATA4, DATA_RELATIVE_I32] {
            return None;
        }
        let count = u32::from_ne_bytes(header.get(8..12)?.try_into().ok()?) as usize;
        let pairs = header.get(12..12 + count.checked_mul(8)?)?;
        let at = |index: usize| {
            let offset = i64::from(word(pairs, index * 4) as i32);
            self.eh_frame_hdr.start.wrapping_add_signed(offset)
        };
        let (mut before, mut end) = (0, count);
        while before < end {
            let middle = before.midpoint(end);
            match at(middle * 2) <= address {
                true => before = middle + 1,
                false => end = middle,
            }
        }
        let index = before.checked_sub(1)?;
        let start = at(index * 2);
        let function = match self.length(at(index * 2 + 1), start) {
            Some(length) => start..start.wrapping_add(length),
            // In an encoding that linkers do not use: up to the next one.
            None if before < count => start..at(before * 2),
            None => start..u64::MAX,
        };
        function.contains(&address).then_some(function)
    }

    /// A description has its length, its kind, the function's begin and the function's length.
    fn length(&self, description: u64, start: u64) -> Option<u64> {
        let from = usize::try_from(description.checked_sub(self.eh_frame.start)?).ok()?;
        let bytes = self.eh_frame_bytes.get(from..from.checked_add(16)?)?;
        let offset = i64::from(word(bytes, 8) as i32);
        let begin = (description + 8).wrapping_add_signed(offset);
        (begin == start).then(|| word(bytes, 12).into())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// In notes: length of name, length of content, type, name, content; the last two padded.
fn build_id_in(mut notes: &[u8]) -> Option<String> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let (header, rest) = notes.split_at_checked(12)?;
        let (name, rest) = padded(rest, word(header, 0))?;
        let (content, rest) = padded(rest, word(header, 4))?;
        if name == b"GNU\0" && word(header, 8) == NT_GNU_BUILD_ID {
            return Some(content.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = rest;
    }
}

fn padded(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = length as usize;
    let content = bytes.get(..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> u64 {
        here as fn() -> u64 as usize as u64
    }

    #[test]
    fn the_executable_is_a_module_with_tables() {
        let (generation, modules) = newer_than(None).unwrap();
        let module = modules.iter().find(|m| m.has_code_at(here())).unwrap();
        assert_eq!(module.path, std::env::current_exe().unwrap());
        assert!(module.range.contains(&here()));
        let tables = module.tables().unwrap();
        assert!(!tables.eh_frame_bytes.is_empty());
        let function = tables.function(here() + 1).unwrap();
        assert_eq!(function.start, here());
        assert_eq!(tables.function(function.end - 1), Some(function));
        assert_eq!(tables.function(module.range.start), None);
        assert_eq!(tables.function(module.range.end), None);
        // Other tests load libraries, perhaps.
        if let Some((newer, _)) = newer_than(Some(generation)) {
            assert_ne!(newer, generation);
        }
    }

    #[test]
    fn a_library_that_is_loaded_makes_the_list_a_new_one() {
        let (before, modules) = newer_than(None).unwrap();
        let count = |modules: &[Module]| {
            let found = modules
                .iter()
                .filter(|m| m.name().starts_with("libutil.so"));
            found.count()
        };
        let known = count(&modules);
        // SAFETY: a library of the C library's, without initialisers.
        let library = unsafe { libc::dlopen(c"libutil.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            println!("skipped: there is no libutil.so.1");
            return;
        }
        let (_, modules) = newer_than(Some(before)).unwrap();
        assert_eq!(count(&modules), known + 1);
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let mut notes = Vec::new();
        for (kind, name, content) in [(1u32, "GNU\0", &[9u8; 16][..]), (3, "GNU\0", &[0xab, 0x01])]
        {
            notes.extend((name.len() as u32).to_ne_bytes());
            notes.extend((content.len() as u32).to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(name.as_bytes());
            notes.extend(content);
        }
        assert_eq!(build_id_in(&notes), Some("ab01".into()));
        assert_eq!(build_id_in(&notes[..40]), None);
        assert_eq!(build_id_in(&[0xff; 64]), None);
    }
}
