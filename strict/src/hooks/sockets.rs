//! Sockets, names of hosts, and readiness.

use super::{descriptor, take_over};
use crate::note::Argument;
use libc::{addrinfo, epoll_event, fd_set, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t};
use libc::{ssize_t, timeval};
use std::ffi::{c_char, c_int, c_void};
use std::mem;

/// A connection is made with the other side, except where there is none.
fn connects(fd: c_int) -> Option<Argument> {
    let mut kind: c_int = 0;
    let mut len = mem::size_of::<c_int>() as socklen_t;
    // SAFETY: a place for the answer, and its size.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &mut len,
        )
    };
    descriptor::waits(fd).filter(|_| kind != libc::SOCK_DGRAM)
}

fn transfers(fd: c_int, flags: c_int) -> Option<Argument> {
    descriptor::waits(fd).filter(|_| flags & libc::MSG_DONTWAIT == 0)
}

/// A look at what is ready does not wait; milliseconds below zero are for ever.
fn waits(milliseconds: c_int) -> Option<Argument> {
    (milliseconds != 0).then_some(Argument::None)
}

/// # Safety
///
/// Null, for ever, or a time that can be read.
unsafe fn waits_until(time: *const timeval) -> Option<Argument> {
    // SAFETY: the caller's promise.
    let is_a_look =
        unsafe { time.as_ref() }.is_some_and(|time| time.tv_sec == 0 && time.tv_usec == 0);
    (!is_a_look).then_some(Argument::None)
}

take_over! {
    at_once {
        fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int = connects(fd);
        fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int =
            descriptor::waits(fd);
        fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int =
            descriptor::waits(fd);
        fn recv(fd: c_int, to: *mut c_void, len: size_t, flags: c_int) -> ssize_t =
            transfers(fd, flags);
        fn recvfrom(
            fd: c_int,
            to: *mut c_void,
            len: size_t,
            flags: c_int,
            address: *mut sockaddr,
            address_len: *mut socklen_t,
        ) -> ssize_t = transfers(fd, flags);
        fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t =
            transfers(fd, flags);
        fn send(fd: c_int, from: *const c_void, len: size_t, flags: c_int) -> ssize_t =
            transfers(fd, flags);
        fn sendto(
            fd: c_int,
            from: *const c_void,
            len: size_t,
            flags: c_int,
            address: *const sockaddr,
            address_len: socklen_t,
        ) -> ssize_t = transfers(fd, flags);
        fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t =
            transfers(fd, flags);
        fn getaddrinfo(
            host: *const c_char,
            service: *const c_char,
            hints: *const addrinfo,
            addresses: *mut *mut addrinfo,
        ) -> c_int = Some(Argument::Text(host));
        fn poll(descriptors: *mut pollfd, count: nfds_t, milliseconds: c_int) -> c_int =
            waits(milliseconds);
        fn select(
            count: c_int,
            readable: *mut fd_set,
            writable: *mut fd_set,
            failed: *mut fd_set,
            time: *mut timeval,
        ) -> c_int =
            // SAFETY: the caller's promise to libc.
            unsafe { waits_until(time) };
        fn epoll_wait(
            epoll: c_int,
            events: *mut epoll_event,
            most: c_int,
            milliseconds: c_int,
        ) -> c_int = waits(milliseconds);
    }
}
