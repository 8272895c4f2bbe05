//! This process's memory, read by the kernel: a bad address is an error and no crash, and
//! what another thread changes meanwhile is some bytes and no data race.

use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;

/// Fills `into` with what is at `address`; how many bytes there were.
pub(super) fn read(address: u64, into: &mut [u8]) -> usize {
    let whole = read_at_once(address, into);
    if whole == into.len() {
        return whole;
    }
    // Up to the first page that is not there.
    let mut done = 0;
    while done < into.len() {
        let Some(at) = address.checked_add(done as u64) else {
            break;
        };
        let to_page_end = (PAGE - at % PAGE) as usize;
        let end = into.len().min(done + to_page_end);
        let part = &mut into[done..end];
        if read_at_once(at, part) != part.len() {
            break;
        }
        done = end;
    }
    done
}

pub(super) fn read_u64(address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (read(address, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
}

pub(super) fn read_vec(address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let length = read(address, &mut bytes);
    bytes.truncate(length);
    bytes
}

fn read_at_once(address: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: into.len(),
    };
    // SAFETY: the kernel writes into `into` alone, and refuses what it cannot read.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    match usize::try_from(got) {
        Ok(got) => got,
        Err(_) => read_by_file(address, into),
    }
}

/// Where seccomp refuses the call. Opened each time: a descriptor that is kept would be the
/// parent's memory in a forked child.
fn read_by_file(address: u64, into: &mut [u8]) -> usize {
    // SAFETY: a look at a thread-local number.
    let error = unsafe { *libc::__errno_location() };
    if error == libc::EFAULT {
        return 0;
    }
    File::open("/proc/self/mem")
        .and_then(|memory| memory.read_at(into, address))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages, the second of which cannot be read.
    fn half_readable() -> u64 {
        // SAFETY: a mapping of its own, which nobody else knows.
        unsafe {
            let pages = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(pages, libc::MAP_FAILED);
            std::ptr::write_bytes(pages.cast::<u8>(), 7, 2 * PAGE as usize);
            let second = pages.byte_add(PAGE as usize);
            assert_eq!(libc::mprotect(second, PAGE as usize, libc::PROT_NONE), 0);
            pages as u64
        }
    }

    #[test]
    fn reads_up_to_the_first_page_that_is_not_there() {
        let pages = half_readable();
        let bytes = read_vec(pages + PAGE - 100, 500);
        assert_eq!(bytes, [7; 100]);
        assert!(read_vec(pages + PAGE, 8).is_empty());
        assert_eq!(read_u64(pages + PAGE - 4), None);
    }

    #[test]
    fn a_wrong_address_is_no_crash() {
        for address in [0, 8, u64::MAX, u64::MAX - 4, 1 << 63, 0x6f66_6672_616d_7000] {
            assert_eq!(read_u64(address), None, "{address:#x}");
        }
        let value = 42u64;
        assert_eq!(read_u64(&raw const value as u64), Some(42));
    }

    #[test]
    fn the_file_says_the_same_as_the_call() {
        let value = [1u8, 2, 3, 4];
        let mut copy = [0; 4];
        // SAFETY: this thread's own number, as after a call that was refused.
        unsafe { *libc::__errno_location() = libc::EPERM };
        assert_eq!(read_by_file(value.as_ptr() as u64, &mut copy), 4);
        assert_eq!(copy, value);
    }
}
