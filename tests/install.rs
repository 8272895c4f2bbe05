//! The process-wide default: made once, by `install` or by the first call that needs it.

mod common;

use common::{alone, alone_with};
use offramp::{Offload, install, offload_cpu, offload_io};
use std::thread;

/// An `Offload` that can be told from others.
fn marked() -> Offload {
    Offload::builder().thread_name("marked").build().unwrap()
}

fn runs_on_marked() -> bool {
    let name = || thread::current().name().map(str::to_owned);
    let io = offload_io(name).wait().unwrap().unwrap();
    let cpu = offload_cpu(name).wait().unwrap().unwrap();
    assert_eq!(io.starts_with("marked-io"), cpu.starts_with("marked-cpu"));
    io.starts_with("marked-")
}

#[test]
fn install_makes_the_default_once() {
    alone("install_makes_the_default_once", || {
        install(marked()).unwrap();
        assert!(runs_on_marked());
        let error = install(Offload::builder().capacity(7).build().unwrap()).unwrap_err();
        let text = "a process-wide `Offload` exists already: ";
        assert!(error.to_string().starts_with(text), "{error}");
        let back = error.into_inner();
        assert!(format!("{back:?}").contains("capacity: 7"));
        assert_eq!(
            offload_io(|| 1).on(&back).wait().unwrap(),
            1,
            "it is usable"
        );
        assert!(runs_on_marked());
    });
}

#[test]
fn install_fails_after_the_first_call_has_made_a_default() {
    alone(
        "install_fails_after_the_first_call_has_made_a_default",
        || {
            // A builder and a call on an own one make no default.
            offload_io(|| ())
                .on(&Offload::builder().build().unwrap())
                .wait()
                .unwrap();
            offload_io(|| ()).wait().unwrap();
            install(marked()).unwrap_err();
            assert!(!runs_on_marked());
        },
    );
}

#[test]
fn install_fails_after_global_has_made_a_default() {
    alone("install_fails_after_global_has_made_a_default", || {
        let global = Offload::global().unwrap();
        install(marked()).unwrap_err();
        drop(global);
        assert!(!runs_on_marked());
    });
}

#[test]
fn install_is_still_possible_after_a_default_could_not_be_made() {
    let name = "install_is_still_possible_after_a_default_could_not_be_made";
    alone_with(name, &[("OFFRAMP_CAPACITY", "bad")], || {
        offload_io(|| ()).wait().unwrap_err();
        let marked = Offload::builder().capacity(1).thread_name("marked");
        install(marked.build().unwrap()).unwrap();
        assert!(runs_on_marked());
    });
}
