//! Systems that allow less: what is left still works, and the mode says what is not.
#![cfg(target_os = "linux")]

use std::process::Command;

/// What the program says with this argument; it checks the stacks itself.
fn play(argument: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stack-tests"))
        .arg(argument)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argument}: {said}{complaint}");
    said
}

#[test]
fn without_procfs_running_threads_have_stacks() {
    let said = play("procfs-denied");
    assert!(
        said.starts_with(
            "no stacks of waiting threads (procfs denies `syscall`), of running ones by signal"
        ),
        "{said}"
    );
    assert!(
        said.contains("sleeps: none, procfs does not say where it waits"),
        "{said}"
    );
    assert!(said.contains("spins: "), "{said}");
}

#[test]
fn without_signals_waiting_threads_have_stacks() {
    let said = play("signals-off");
    assert!(
        said.starts_with(
            "stacks of waiting threads through procfs, none of running ones (signals are off)"
        ),
        "{said}"
    );
    assert!(
        said.contains("spins: none, it runs, and signals are off"),
        "{said}"
    );
}

#[test]
fn a_signal_that_is_refused_is_a_reason() {
    let said = play("signal-denied");
    assert!(
        said.contains("spins: none, the system refused the signal"),
        "{said}"
    );
}

#[test]
fn memory_is_read_through_procfs_where_the_call_is_refused() {
    let said = play("reading-denied");
    assert!(
        said.starts_with("stacks of waiting threads through procfs, of running ones by signal"),
        "{said}"
    );
}
