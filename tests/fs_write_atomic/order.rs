//! Several saves of one file: whole, and the last call wins.

use super::{NEW, OLD, assert_holds, save, with_old};
use crate::common::{Random, alone, watchdog};
use futures::future::join_all;
use offramp::Offload;
use offramp::fs::write_atomic;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn the_last_call_wins_whichever_runs_first() {
    let (directory, path) = with_old();
    let linked = directory.path().join("linked");
    symlink(directory.path(), &linked).unwrap();
    let by_link = directory.path().join("link");
    symlink("file", &by_link).unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    let spellings = [
        path.clone(),
        linked.join("file"),
        directory.path().join("sub/.././file"),
        by_link,
    ];
    for spelling in spellings {
        let earlier = write_atomic(&path, OLD);
        let elsewhere = write_atomic(directory.path().join("other"), OLD);
        let later = write_atomic(spelling, NEW);
        pollster::block_on(later.flatten()).unwrap();
        pollster::block_on(earlier.flatten()).unwrap();
        assert_holds(&path, NEW);
        pollster::block_on(elsewhere.flatten()).unwrap();
        assert_holds(&directory.path().join("other"), OLD);
        save(&path, OLD).unwrap();
        assert_holds(&path, OLD);
    }
}

#[test]
fn a_later_call_that_came_to_nothing_stands_in_nobodys_way() {
    let (directory, path) = with_old();
    let earlier = write_atomic(&path, NEW);
    let later = write_atomic(&path, OLD);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    pollster::block_on(later.flatten()).unwrap_err();
    fs::remove_dir(&path).unwrap();
    drop(write_atomic(&path, OLD));
    pollster::block_on(earlier.flatten()).unwrap();
    assert_holds(&path, NEW);
    drop(directory);
}

/// There the locks may be held by threads that are not there, so nobody asks who was called
/// first.
#[test]
fn in_a_forked_child_the_last_that_runs_wins() {
    alone("order::in_a_forked_child_the_last_that_runs_wins", || {
        let (_directory, path) = with_old();
        save(&path, OLD).unwrap();
        // SAFETY: the child makes threads of its own, and ends without the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the kernel ends a child that hangs.
            unsafe { libc::alarm(20) };
            let offload = Offload::builder().build().unwrap();
            let earlier = write_atomic(&path, NEW).on(&offload);
            let later = write_atomic(&path, "later").on(&offload);
            let is_saved = [later, earlier].map(|save| save.wait().is_ok_and(|save| save.is_ok()));
            // SAFETY: nothing of the parent's is run at this exit.
            unsafe { libc::_exit(i32::from(is_saved != [true, true])) };
        }
        let mut status = -1;
        // SAFETY: `status` is a place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_holds(&path, NEW);
    });
}

#[test]
fn of_saves_at_one_time_the_last_call_wins() {
    const SEED: u64 = 0x1a57_ca11;
    let _watchdog = watchdog("saves at one time");
    let (_directory, path) = with_old();
    // Two instances, whose lines know nothing of each other.
    let pools = [4, 4].map(|threads| {
        let builder = Offload::builder().io_max_threads(threads);
        builder.build().unwrap()
    });
    let mut random = Random(SEED);
    for round in 0..40 {
        let mut calls: Vec<_> = (0..8_u8)
            .map(|number| {
                let contents = vec![number; 1 + random.below(100_000) as usize];
                let call = write_atomic(&path, contents);
                call.on(&pools[usize::from(number) % 2])
            })
            .collect();
        for last in (1..calls.len()).rev() {
            calls.swap(last, random.below(last as u64 + 1) as usize);
        }
        for outcome in pollster::block_on(join_all(calls)) {
            outcome.unwrap().unwrap();
        }
        let saved = fs::read(&path).unwrap();
        assert_eq!(saved[0], 7, "round {round}, seed {SEED:#x}");
    }
}

#[test]
fn saves_at_one_time_do_not_mix() {
    const WRITERS: u8 = 8;
    const ROUNDS: usize = 12;
    let _watchdog = watchdog("writers of one file");
    let (_directory, path) = with_old();
    let sizes = |writer: u8| (1 << 20) + usize::from(writer) * 4_321;
    save(&path, vec![0; sizes(0)]).unwrap();
    let is_over = AtomicBool::new(false);
    let assert_whole = || {
        let found = fs::read(&path).unwrap();
        let writer = found[0];
        assert_eq!(found.len(), sizes(writer), "of writer {writer}");
        assert!(found.iter().all(|&byte| byte == writer));
    };
    thread::scope(|scope| {
        let readers = [0; 2].map(|_| {
            scope.spawn(|| {
                let mut reads = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_whole();
                    reads += 1;
                }
                reads
            })
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        save(path, vec![writer; sizes(writer)]).unwrap();
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    assert_whole();
    let found = fs::read(&path).unwrap();
    assert_holds(&path, found);
}
