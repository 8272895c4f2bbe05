//! Blocking calls inside of libraries: the application's frame is blamed, not theirs. Only here
//! and not in `detector-tests`: its builds would compile SQLite seven times.

use super::common::{PATIENCE, alone_with};
use super::planted::{Names, Planted, all_are_reported, planted};
use super::scene::{Fifo, Scene};
use rusqlite::Connection;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, ToSocketAddrs};

pub(crate) const PLANTED: &[Planted] = planted! {
    "database": wait_for_database, Functions, ["clock_nanosleep", "nanosleep"], "";
    "request": get, Functions, ["recvfrom", "read"], "127.0.0.1";
};

/// Another connection holds it.
#[inline(never)]
fn wait_for_database(scene: &Scene, name: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("planted.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let other = Connection::open(&path).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    let waiter = scene.release_after(name, move || holder.execute_batch("COMMIT").unwrap());
    other.execute_batch("CREATE TABLE t (n)").unwrap();
    waiter.join().unwrap();
}

/// From a server that takes its time.
#[inline(never)]
fn get(scene: &Scene, name: &'static str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let waiter = scene.release_after(name, move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        client.write_all(answer).unwrap();
    });
    assert_eq!(ureq::get(&url).call().unwrap().status(), 204);
    waiter.join().unwrap();
}

/// glibc reads a file of aliases before it asks a server; a pipe in its place holds it for as
/// long as we like. Nothing is sent: the alias is no name.
#[cfg(target_env = "gnu")]
mod names {
    use super::{
        Fifo, Names, OpenOptions, Planted, Scene, ToSocketAddrs, Write, all_are_reported,
        alone_with, planted,
    };

    const ALIASES: &str = "HOSTALIASES";
    const NAME: (&str, u16) = ("offramp-planted", 80);
    const LINE: &[u8] = b"offramp-planted not..a..name\n";

    const PLANTED: &[Planted] = planted! {
        "look-up": look_up, Functions, ["read"], "planted.fifo";
    };

    #[inline(never)]
    fn look_up(scene: &Scene, name: &'static str) {
        let mut writer = writer();
        let waiter = scene.release_after(name, move || writer.write_all(LINE).unwrap());
        assert!(NAME.to_socket_addrs().is_err());
        waiter.join().unwrap();
    }

    fn writer() -> std::fs::File {
        let path = std::env::var_os(ALIASES).unwrap();
        let mut both = OpenOptions::new();
        both.read(true).write(true).open(path).unwrap()
    }

    /// Other sources of names (`nsswitch.conf`) may answer before the resolver is asked.
    fn is_read() -> bool {
        use std::os::fd::AsRawFd;
        let mut writer = writer();
        writer.write_all(LINE).unwrap();
        let _error = NAME.to_socket_addrs();
        let mut left: libc::c_int = 0;
        // SAFETY: the descriptor is open, and `left` ours.
        let got = unsafe { libc::ioctl(writer.as_raw_fd(), libc::FIONREAD, &mut left) };
        assert_eq!(got, 0);
        left == 0
    }

    #[test]
    fn a_look_up_of_a_name() {
        let fifo = Fifo::new();
        let path = fifo.path.to_str().unwrap();
        alone_with(
            "libraries::names::a_look_up_of_a_name",
            &[(ALIASES, path)],
            || {
                if !is_read() {
                    println!("skipped: the resolver is not asked for names here");
                    return;
                }
                let scene = Scene::new();
                all_are_reported(&scene, Names::Lines, PLANTED, pollster::block_on);
            },
        );
    }
}
