//! The example `graceful`, as a process of its own: requests under way at a SIGTERM are
//! answered, later ones are not, and the report says that nothing is left.
#![cfg(unix)]

mod common;

use common::{PATIENCE, watchdog};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

/// Built by a plain `cargo test`, beside this test's folder; else we build it.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join("graceful");
    if !path.exists() {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--example", "graceful"])
            .status();
        assert!(build.unwrap().success());
    }
    path
}

#[test]
fn requests_under_way_at_a_sigterm_are_answered() {
    let _watchdog = watchdog("a graceful end");
    let mut service = Command::new(example())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example");
    let mut output = BufReader::new(service.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();

    let (answered, answers) = mpsc::channel();
    // Connected, and accepted, before any of them asks for what takes its time. The reports
    // differ in size, so that they are done at different times.
    let all_connected = Arc::new(Barrier::new(8));
    for number in 0..8 {
        let (answered, address) = (answered.clone(), address.clone());
        let all_connected = Arc::clone(&all_connected);
        thread::spawn(move || {
            let client = ureq::Agent::new_with_defaults();
            let get = |rows: usize| {
                let answer = client.get(format!("{address}/report/{rows}")).call();
                answer.map(|mut answer| answer.body_mut().read_to_string().unwrap())
            };
            get(1).unwrap();
            all_connected.wait();
            answered.send(get(20_000 + number)).unwrap();
        });
    }
    // With the first answer the others are under way: they were sent together, and each
    // takes its time.
    let first = answers.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(first.ends_with("bytes\n"), "{first}");
    // SAFETY: our own child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(service.id() as i32, libc::SIGTERM) }, 0);
    drop(answered);
    let rest: Vec<_> = answers.iter().collect();
    assert_eq!(rest.len(), 7);
    for answer in rest {
        assert!(
            answer.as_ref().is_ok_and(|text| text.ends_with("bytes\n")),
            "{answer:?}"
        );
    }
    assert!(ureq::get(format!("{address}/report/1")).call().is_err());

    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(service.wait().unwrap().success(), "{text}");
    assert!(text.contains("0 discarded; 9 reports stored"), "{text}");
}
