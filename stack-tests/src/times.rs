//! How long each step takes.

use crate::calls::CALLS;
use crate::scene::Scene;
use crate::stack::{self, Doing, How, Target};
use std::hint::black_box;
use std::time::{Duration, Instant};

const TIMES: usize = 200;

fn timed<R>(act: impl FnOnce() -> R) -> (R, Duration) {
    let began = Instant::now();
    let result = act();
    (result, began.elapsed())
}

/// The first one, which finds everything cold, and the middle one of the others.
fn print_line(name: &str, mut act: impl FnMut()) {
    let first = timed(&mut act).1;
    let mut others: Vec<Duration> = (1..TIMES).map(|_| timed(&mut act).1).collect();
    others.sort();
    println!(
        "{name}: first {first:?}, then {:?}",
        others[others.len() / 2]
    );
}

pub(crate) fn print() {
    println!("{}", stack::mode(true));
    print_line("a target of this thread", || {
        black_box(Target::of_this_thread());
    });
    let call = |name: &str| *CALLS.iter().find(|call| call.name == name).unwrap();
    Scene::play(call("locks_a_mutex"), |scene| {
        let doing = scene.doing();
        print_line("a look", || {
            black_box(scene.target.look());
        });
        print_line("its times", || {
            black_box(scene.target.times());
        });
        print_line("a stack without a signal", || {
            let captured = scene.target.capture(&doing, &|| true);
            assert_eq!(captured.how, How::NoSignal);
        });
        let addresses = scene.capture().addresses;
        print_line("its functions", || {
            black_box(stack::symbolize(&addresses));
        });
    });
    Scene::play(call("spins"), |scene| {
        scene.doing();
        print_line("a stack by signal", || {
            while scene.target.capture(&Doing::OnCpu, &|| true).how != How::Signal {}
        });
    });
}
