//! Calls on sockets. What they wait for is there when they are made.

use super::Case;
use crate::common::report;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    ("connect", connect),
    ("accept", accept),
    ("accept4", accept4),
    ("recv", recv),
    ("recvfrom", recvfrom),
    ("recvmsg", recvmsg),
    ("send", send),
    ("sendto", sendto),
    ("sendmsg", sendmsg),
    ("getaddrinfo", getaddrinfo),
    ("poll", poll),
    ("select", select),
    ("epoll_wait", epoll_wait),
];

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Two ends of a connection.
fn streams() -> (TcpStream, TcpStream) {
    let listener = listener();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (stream, listener.accept().unwrap().0)
}

fn datagrams() -> (UdpSocket, UdpSocket) {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (a, b) = (bind(), bind());
    a.connect(b.local_addr().unwrap()).unwrap();
    (a, b)
}

fn connect() -> String {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    report(|| TcpStream::connect(address).unwrap())
}

fn accept() -> String {
    let listener = listener();
    let _stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    report(|| {
        // SAFETY: it may go without an address.
        let fd = unsafe { libc::accept(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut()) };
        assert!(fd >= 0);
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
    })
}

fn accept4() -> String {
    let listener = listener();
    let _stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    report(|| listener.accept().unwrap())
}

fn recv() -> String {
    let (mut here, mut there) = streams();
    there.write_all(b"text").unwrap();
    report(|| assert_eq!(here.read(&mut [0; 4]).unwrap(), 4))
}

fn recvfrom() -> String {
    let (a, b) = datagrams();
    a.send(b"text").unwrap();
    report(|| assert_eq!(b.recv_from(&mut [0; 4]).unwrap().0, 4))
}

/// A message of four bytes.
fn message(bytes: &mut [u8; 4], call: impl FnOnce(&mut libc::msghdr) -> isize) {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zeros is a message without an address and without parts.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    assert_eq!(call(&mut message), 4);
}

fn recvmsg() -> String {
    let (a, b) = datagrams();
    a.send(b"text").unwrap();
    report(|| {
        message(&mut [0; 4], |message| {
            // SAFETY: its parts are there, and can be written.
            unsafe { libc::recvmsg(b.as_raw_fd(), message, 0) }
        });
    })
}

fn send() -> String {
    let (mut here, _there) = streams();
    report(|| assert_eq!(here.write(b"text").unwrap(), 4))
}

fn sendto() -> String {
    let (a, b) = datagrams();
    let address = a.local_addr().unwrap();
    report(|| assert_eq!(b.send_to(b"text", address).unwrap(), 4))
}

fn sendmsg() -> String {
    let (a, _b) = datagrams();
    report(|| {
        message(&mut [0; 4], |message| {
            // SAFETY: its parts are there.
            unsafe { libc::sendmsg(a.as_raw_fd(), message, 0) }
        });
    })
}

fn getaddrinfo() -> String {
    let report = report(|| assert!(("localhost", 80).to_socket_addrs().is_ok()));
    assert!(report.contains("(\"localhost\")"), "{report}");
    report
}

fn poll() -> String {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    report(|| TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap())
}

fn select() -> String {
    report(|| {
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 100,
        };
        let none = ptr::null_mut();
        // SAFETY: no sets, and a time.
        assert_eq!(unsafe { libc::select(0, none, none, none, &mut time) }, 0);
    })
}

fn epoll_wait() -> String {
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(0) };
    let report = report(|| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event.
        assert_eq!(unsafe { libc::epoll_wait(epoll, &mut event, 1, 1) }, 0);
    });
    // SAFETY: it is ours.
    unsafe { libc::close(epoll) };
    report
}
