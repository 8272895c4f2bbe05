//! What names this executable has for its addresses.

use std::fs::File;
use std::os::unix::fs::FileExt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Functions, also inlined ones, with file and line.
    Lines,
    /// Functions, but for inlined ones.
    Functions,
    /// Stripped.
    None,
}

pub(super) fn of_executable() -> Names {
    let names = File::open("/proc/self/exe")
        .ok()
        .and_then(|file| sections(&file));
    let names = names.unwrap_or_default();
    let has = |name: &[u8]| names.split(|byte| *byte == 0).any(|n| n == name);
    if has(b".debug_line") {
        Names::Lines
    } else if has(b".symtab") {
        Names::Functions
    } else {
        Names::None
    }
}

/// The names of its sections, each ended by a zero.
fn sections(file: &File) -> Option<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut header = [0; size_of::<libc::Elf64_Ehdr>()];
    file.read_exact_at(&mut header, 0).ok()?;
    let number = |bytes: &[u8], at: usize, length: usize| {
        let mut number = [0; 8];
        number[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_le_bytes(number)
    };
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(&header, std::mem::offset_of!(libc::Elf64_Ehdr, e_shoff), 8);
    let size = number(
        &header,
        std::mem::offset_of!(libc::Elf64_Ehdr, e_shentsize),
        2,
    );
    let index = number(
        &header,
        std::mem::offset_of!(libc::Elf64_Ehdr, e_shstrndx),
        2,
    );

    let mut names = [0; size_of::<libc::Elf64_Shdr>()];
    let at = table.checked_add(index.checked_mul(size)?)?;
    file.read_exact_at(&mut names, at).ok()?;
    let offset = number(&names, std::mem::offset_of!(libc::Elf64_Shdr, sh_offset), 8);
    let length = number(&names, std::mem::offset_of!(libc::Elf64_Shdr, sh_size), 8);
    let mut bytes = vec![0; length.min(MOST) as usize];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_this_executable_are_found() {
        let names = sections(&File::open("/proc/self/exe").unwrap()).unwrap();
        let names = String::from_utf8(names).unwrap();
        assert!(
            names.split('\0').any(|name| name == ".eh_frame"),
            "{names:?}"
        );
        assert_eq!(sections(&File::open("/proc/self/stat").unwrap()), None);
        assert_eq!(sections(&File::open("/dev/null").unwrap()), None);
    }
}
