//! The functions behind ours.

use super::{errno, set_errno};
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A name, and where libc's own function of it is once it has been looked for.
pub(super) struct Real {
    name: &'static str,
    address: AtomicPtr<c_void>,
}

/// Longer than any of the names.
const NAME: usize = 64;

impl Real {
    pub(super) const fn new(name: &'static str) -> Self {
        assert!(name.len() < NAME);
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Null if there is none: a libc that is older than the function.
    pub(super) fn address(&self) -> *mut c_void {
        // ORDERING: Relaxed: the address of code that was there before the process began.
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // With its zero, without an allocation.
        let mut name = [0_u8; NAME];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        let errno = errno();
        // SAFETY: a string that ends in zero.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
        set_errno(errno);
        // ORDERING: as above.
        self.address.store(found, Ordering::Relaxed);
        found
    }

    /// # Safety
    ///
    /// `F` is a pointer to a function, with the arguments that it has in libc.
    pub(super) unsafe fn function<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.address();
        if address.is_null() {
            return None;
        }
        // SAFETY: not null, and the caller's promise.
        Some(unsafe { std::mem::transmute_copy(&address) })
    }
}

/// What a function gives that this libc does not have.
pub(super) fn missing<T: Missing>() -> T {
    set_errno(libc::ENOSYS);
    T::VALUE
}

pub(super) trait Missing {
    const VALUE: Self;
}

impl Missing for c_int {
    const VALUE: Self = -1;
}

impl Missing for c_uint {
    const VALUE: Self = 0;
}

impl Missing for c_long {
    const VALUE: Self = -1;
}

impl Missing for isize {
    const VALUE: Self = -1;
}

impl<T> Missing for *mut T {
    const VALUE: Self = ptr::null_mut();
}
