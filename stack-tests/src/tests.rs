//! What the capture promises, one by one.

use crate::calls;
use crate::heap;
use crate::odd;
use crate::scene::{self, Wanted};
use crate::stack::{self, Doing, How, Target};
use crate::storms::{captures, storm};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn each_call_is_captured_with_the_function_that_makes_it() {
    scene::play_all(Wanted::default());
}

/// As many as they are fine with.
fn calls_that_a_signal_cuts_short(number: usize) -> i32 {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 3_000_000,
    };
    // SAFETY: each is given nothing, or memory of its own.
    unsafe {
        match number % 4 {
            0 => libc::poll(std::ptr::null_mut(), 0, 3),
            1 => libc::nanosleep(&time, std::ptr::null_mut()),
            2 => libc::usleep(3000),
            _ => libc::select(
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &mut libc::timeval {
                    tv_sec: 0,
                    tv_usec: 3000,
                },
            ),
        }
    }
}

#[test]
fn no_call_that_waits_is_interrupted() {
    let interrupted = AtomicUsize::new(0);
    let tally = storm("waiting", 8, captures() * 10, |number| {
        if calls_that_a_signal_cuts_short(number) != 0 {
            assert_eq!(
                io::Error::last_os_error().kind(),
                io::ErrorKind::Interrupted
            );
            interrupted.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(tally.without > 0, "{tally:?}");
    assert_eq!(interrupted.into_inner(), 0);
}

#[test]
fn a_socket_with_a_time_out_waits_to_its_end() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let time_out = Duration::from_millis(20);
    socket.set_read_timeout(Some(time_out)).unwrap();
    storm("socket", 2, captures(), |_| {
        let error = socket.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

/// A thread that does `round` until the test ends, captured by signal so often.
fn captured_while(times: usize, round: impl FnMut() + Send) -> Arc<Target> {
    let mut round = round;
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    assert!(stack::mode(true).to_string().contains("by signal"));
    thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            sender.send(Arc::new(Target::of_this_thread())).unwrap();
            while !stop.load(Ordering::Relaxed) {
                round();
            }
        });
        let target = receiver.recv_timeout(scene::PATIENCE).unwrap();
        let mut taken = 0;
        while taken < times {
            let captured = target.capture(&Doing::OnCpu, &|| true);
            taken += usize::from(captured.how == How::Signal);
        }
        stop.store(true, Ordering::Relaxed);
        target
    })
}

#[test]
fn the_handler_allocates_nothing_and_keeps_the_error_number() {
    let mut first = None;
    captured_while(captures(), || {
        // SAFETY: this thread's own number.
        let error = unsafe { &mut *libc::__errno_location() };
        assert!(first.is_none() || *error == 12345);
        *error = 12345;
        let allocations = heap::allocations();
        assert_eq!(*first.get_or_insert(allocations), allocations);
    });
}

#[test]
fn registers_survive_the_handler() {
    captured_while(captures(), || {
        let numbers = std::hint::black_box([1.5f64, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]);
        let sum = (0..1000).fold(0.0, |sum, n| sum + numbers[n % 8]);
        assert_eq!(sum, 5000.0);
    });
}

#[test]
fn a_thread_that_blocks_the_signal_is_not_signalled() {
    assert!(stack::mode(true).to_string().contains("by signal"));
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let stop = &stop;
        let thread = scope.spawn(move || {
            // SAFETY: sets without pointers, which the calls fill; for this thread alone.
            unsafe {
                let mut all: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
                sender.send(Arc::new(Target::of_this_thread())).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                let mut pending: libc::sigset_t = std::mem::zeroed();
                libc::sigpending(&mut pending);
                (libc::SIGRTMIN()..=libc::SIGRTMAX()).any(|s| libc::sigismember(&pending, s) == 1)
            }
        });
        let target = receiver.recv_timeout(scene::PATIENCE).unwrap();
        let captured = target.capture(&Doing::OnCpu, &|| true);
        assert_eq!(captured.how, How::None("it blocks the signal"));
        stop.store(true, Ordering::Relaxed);
        assert!(!thread.join().unwrap(), "it is pending");
    });
}

#[test]
fn a_signal_with_a_handler_is_not_taken() {
    extern "C" fn theirs(_: i32) {}
    let signal = libc::SIGRTMAX() - 1;
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(signal, theirs as extern "C" fn(i32) as usize) };
    let mode = stack::mode_with(Some(signal)).to_string();
    assert!(
        mode.contains("none of running ones (it has a handler already)"),
        "{mode}"
    );
}

#[test]
fn a_signal_from_elsewhere_is_ignored() {
    let mode = stack::mode(true).to_string();
    let signal = mode.split("by signal ").nth(1).unwrap();
    let signal = signal.split(';').next().unwrap().parse().unwrap();
    captured_while(10, || {
        // SAFETY: our own handler has the signal.
        unsafe {
            let value = libc::sigval {
                sival_ptr: std::ptr::without_provenance_mut(5),
            };
            assert_eq!(libc::sigqueue(libc::getpid(), signal, value), 0);
            assert_eq!(libc::raise(signal), 0);
        }
    });
}

#[test]
fn a_thread_that_has_ended_is_gone() {
    let target = thread::spawn(Target::of_this_thread).join().unwrap();
    while target.look() != Doing::Gone {
        thread::yield_now();
    }
    let captured = target.capture(&Doing::OnCpu, &|| true);
    assert!(matches!(captured.how, How::None(_)), "{captured:?}");
    assert_eq!(captured.addresses, []);
}

#[test]
fn a_stack_of_something_else_is_thrown_away() {
    let call = calls::CALLS[0];
    scene::Scene::play(call, |scene| {
        let doing = scene.doing();
        for lasts in 0..2 {
            let asked = std::cell::Cell::new(0);
            let still = || asked.replace(asked.get() + 1) < lasts;
            let captured = scene.target.capture(&doing, &still);
            assert_eq!(captured.how, How::None("it went on"));
        }
    });
}

#[test]
fn odd_stacks_are_said_to_be_partial_and_have_what_blocks() {
    assert!(stack::mode(true).to_string().contains("by signal"));
    for call in odd::ODD {
        let blocks = match call.waits_in {
            [] => calls::spins,
            _ => calls::sleeps,
        };
        let captured = scene::Scene::play(*call, |scene| {
            let since = Instant::now();
            loop {
                // It takes a moment to get there.
                let captured = scene.capture();
                if scene::has(&captured, blocks) {
                    return captured;
                }
                assert!(since.elapsed() < scene::PATIENCE, "{}", call.name);
            }
        });
        let printed = scene::print(&stack::symbolize(&captured.addresses));
        assert!(captured.is_partial, "{}:\n{printed}", call.name);
        println!("{}: {} frames", call.name, captured.addresses.len());
    }
}

#[test]
fn a_handler_has_the_code_that_it_interrupted_as_its_caller() {
    assert!(stack::mode(true).to_string().contains("by signal"));
    for call in odd::IN_A_HANDLER {
        scene::Scene::play(*call, scene::Scene::check);
    }
}
