//! An argument of a call, written down without allocating.

use std::ffi::c_char;
use std::fmt::{self, Write};
use std::time::Duration;

/// The bytes that are kept.
const MOST: usize = 200;

/// What an argument is, where it still is one.
#[derive(Clone, Copy)]
pub(crate) enum Argument {
    None,
    Descriptor(i32),
    /// A path, or another string of C's.
    Text(*const c_char),
    Time(Duration),
}

/// Its text.
pub(crate) struct Note {
    bytes: [u8; MOST],
    len: usize,
}

impl Note {
    /// # Safety
    ///
    /// A text is null or a string of C's.
    pub(crate) unsafe fn of(argument: Argument) -> Self {
        let mut note = Self {
            bytes: [0; MOST],
            len: 0,
        };
        // It takes as much as there is room for, and does not fail.
        let _ = match argument {
            Argument::None => Ok(()),
            Argument::Time(time) => write!(note, "{time:?}"),
            Argument::Descriptor(fd) => note.descriptor(fd),
            Argument::Text(text) => {
                note.push(b"\"");
                // SAFETY: the caller's promise.
                unsafe { note.text(text) };
                note.push(b"\"");
                Ok(())
            }
        };
        note
    }

    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.len]).into_owned()
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.len..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// # Safety
    ///
    /// As for `of`.
    unsafe fn text(&mut self, text: *const c_char) {
        if text.is_null() {
            return;
        }
        // Room for the quote that ends it.
        let room = MOST - self.len - 1;
        // SAFETY: read up to the end of the string and not beyond it.
        let bytes = unsafe {
            let len = libc::strnlen(text, room);
            std::slice::from_raw_parts(text.cast::<u8>(), len)
        };
        self.push(bytes);
    }

    /// With what it is open for: at the end of the poll it may be another one.
    fn descriptor(&mut self, fd: i32) -> fmt::Result {
        write!(self, "{fd}")?;
        let mut link = Self {
            bytes: [0; MOST],
            len: 0,
        };
        write!(link, "/proc/self/fd/{fd}\0")?;
        let mut target = [0_u8; MOST - 16];
        // SAFETY: a string that ends in zero, and a buffer of the length that is told.
        let len = unsafe {
            libc::readlink(
                link.bytes.as_ptr().cast(),
                target.as_mut_ptr().cast(),
                target.len(),
            )
        };
        if let Ok(len) = usize::try_from(len) {
            self.push(b": ");
            self.push(&target[..len]);
        }
        Ok(())
    }
}

impl Write for Note {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
