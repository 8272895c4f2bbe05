//! A socket's addresses, as the kernel tells them.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn own(socket: i32) -> Option<String> {
    // SAFETY: `asked` hands it room and the room's length.
    asked(|address, length| unsafe { libc::getsockname(socket, address, length) })
}

pub(super) fn peer(socket: i32) -> Option<String> {
    // SAFETY: as above.
    asked(|address, length| unsafe { libc::getpeername(socket, address, length) })
}

fn asked(ask: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32) -> Option<String> {
    let mut bytes = [0; size_of::<libc::sockaddr_storage>()];
    let mut length = bytes.len() as libc::socklen_t;
    if ask(bytes.as_mut_ptr().cast(), &mut length) != 0 {
        return None;
    }
    of_bytes(bytes.get(..length as usize)?)
}

/// Family, and then port and address of the internet's, or a path.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<String> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let (port, rest) = rest.split_first_chunk()?;
            let address: [u8; 4] = *rest.first_chunk()?;
            let address = IpAddr::from(Ipv4Addr::from(address));
            Some(SocketAddr::new(address, u16::from_be_bytes(*port)).to_string())
        }
        libc::AF_INET6 => {
            let (port, rest) = rest.split_first_chunk()?;
            // The flow's number lies between.
            let address: [u8; 16] = *rest.get(4..)?.first_chunk()?;
            let address = IpAddr::from(Ipv6Addr::from(address));
            Some(SocketAddr::new(address, u16::from_be_bytes(*port)).to_string())
        }
        libc::AF_UNIX => match rest.first()? {
            // A name that is no path begins with a zero.
            0 => Some(format!("@{}", String::from_utf8_lossy(&rest[1..]))),
            _ => {
                let path = rest.split(|byte| *byte == 0).next()?;
                Some(Path::new(OsStr::from_bytes(path)).display().to_string())
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn addresses_of_each_family_are_read() {
        let four = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = four.local_addr().unwrap().to_string();
        assert_eq!(own(four.as_raw_fd()), Some(address));
        assert_eq!(peer(four.as_raw_fd()), None);

        if let Ok(six) = UdpSocket::bind("[::1]:0") {
            let address = six.local_addr().unwrap().to_string();
            assert_eq!(own(six.as_raw_fd()), Some(address));
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(own(unix.as_raw_fd()), Some(path.display().to_string()));
        assert_eq!(own(-1), None);
    }

    #[test]
    fn bytes_that_are_no_address_are_none() {
        for bytes in [
            &[][..],
            &[2],
            &[2, 0],
            &[2, 0, 0, 80, 127, 0],
            &[10, 0, 1],
            &[255; 30],
        ] {
            assert_eq!(of_bytes(bytes), None, "{bytes:?}");
        }
    }
}
