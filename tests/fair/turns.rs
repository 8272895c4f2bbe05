//! Whose turn it is on one thread, where it can be told exactly: after idling, with a debt,
//! after a wait.

use super::common::{Gate, Occupied, Random, wait_until, watchdog};
use super::{Log, Place, cpu, io, longest, pool, time};
use offramp::{Handle, Offload, Priority, offload_io_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(1);

/// Short jobs of `who`, until `over`.
fn flood(
    offload: &Offload,
    log: &Log,
    over: &Arc<AtomicBool>,
    place: &Place,
    who: char,
    jobs: usize,
) -> Vec<Handle<()>> {
    let job = |number| {
        let (log, over) = (log.clone(), Arc::clone(over));
        let work = move || {
            if !over.load(SeqCst) {
                log.note(who, number, || thread::sleep(SHORT));
            }
        };
        place.of(io(work), offload).try_spawn().unwrap()
    };
    (0..jobs).map(job).collect()
}

fn sleeper(
    offload: &Offload,
    log: &Log,
    place: &Place,
    who: char,
    number: usize,
    length: Duration,
) -> Handle<()> {
    let log = log.clone();
    let work = move || log.note(who, number, || thread::sleep(length));
    place.of(io(work), offload).try_spawn().unwrap()
}

fn wait_all(handles: impl IntoIterator<Item = Handle<()>>) {
    for handle in handles {
        handle.wait().unwrap();
    }
}

fn lanes(offload: &Offload) -> [(Place, Place); 3] {
    let [a, b] = ["a", "b"].map(|name| Place::Lane(offload.lane(name)));
    [
        (a, b),
        (Place::Tenant(1), Place::Tenant(2)),
        (Place::Plain, Place::Tenant(3)),
    ]
}

#[test]
fn a_line_that_comes_back_starts_level() {
    let _watchdog = watchdog("coming back");
    let offload = pool(1);
    for (a, b) in lanes(&offload) {
        let (log, over) = (Log::default(), Arc::default());
        // It is known, and has had something, too.
        wait_all([sleeper(&offload, &log, &b, 'b', 0, SHORT)]);
        let mut handles = flood(&offload, &log, &over, &a, 'a', 2_000);
        wait_until("a has had much", || time(&log.all(), 'a') > 0.2);
        let before = log.len();
        handles.extend(flood(&offload, &log, &over, &b, 'b', 200));
        wait_until("b has had some", || time(&log.all()[before..], 'b') > 0.1);
        over.store(true, SeqCst);
        wait_all(handles);
        let all = log.all();
        let first = (before..all.len()).find(|at| all[*at].who == 'b').unwrap();
        // From its first turn on neither gets ahead: by what is not known of a job before it
        // ends, but not by what a had while b was idle.
        let both = &all[first..];
        let bound = 3.0 * longest(both);
        for end in 0..both.len() {
            let ahead = time(&both[..end], 'b') - time(&both[..end], 'a');
            assert!(ahead.abs() <= bound, "{ahead} s in {end} turns");
        }
    }
}

/// One that has had a long turn waits until the other has had as much, though its line was
/// empty in between.
#[test]
fn a_debt_is_not_forgiven_while_others_wait() {
    let _watchdog = watchdog("debts");
    let offload = pool(1);
    for (a, b) in lanes(&offload) {
        let (log, over) = (Log::default(), Arc::default());
        let occupied = Occupied::io(&offload, 1);
        let handles = flood(&offload, &log, &over, &b, 'b', 2_000);
        let long = sleeper(&offload, &log, &a, 'a', 0, Duration::from_millis(250));
        occupied.release();
        long.wait().unwrap();
        // For a moment it has nothing that waits, and the others go on.
        let so_far = log.len();
        wait_until("others go on", || log.len() > so_far + 5);
        sleeper(&offload, &log, &a, 'a', 1, SHORT).wait().unwrap();
        over.store(true, SeqCst);
        wait_all(handles);
        let all = log.all();
        let turns: Vec<_> = (0..all.len()).filter(|at| all[*at].who == 'a').collect();
        let between = &all[turns[0]..turns[1]];
        let (debt, paid) = (time(between, 'a'), time(between, 'b'));
        assert!(paid >= 0.9 * debt, "{paid} s instead of {debt} s");
    }
}

#[test]
fn nothing_is_owed_when_nobody_waits() {
    const LONG: Duration = Duration::from_millis(200);
    const JOBS: usize = 300;

    let _watchdog = watchdog("no debts");
    for round in 0..3 {
        for a_is_first in [true, false] {
            let offload = pool(1);
            let (a, b) = &lanes(&offload)[round];
            let (log, over) = (Log::default(), Arc::default());
            // What a job takes as a rule is known of both.
            for (place, who) in [(a, 'a'), (b, 'b')] {
                wait_all(flood(&offload, &log, &over, place, who, 30));
            }
            // With nobody there, it takes nothing from anybody.
            wait_all([sleeper(&offload, &log, a, 'a', 0, LONG)]);
            wait_until("its thread has found nothing", || {
                offload.stats().io.idle == 1
            });
            let occupied = Occupied::io(&offload, 1);
            let before = log.len();
            let mut lines = [(a, 'a'), (b, 'b')];
            if !a_is_first {
                lines.reverse();
            }
            let floods = lines.map(|(place, who)| flood(&offload, &log, &over, place, who, JOBS));
            occupied.release();
            wait_all(floods.into_iter().flatten());
            // Neither gets ahead by more than what is estimated now and then, a small part of
            // the long one.
            let mut both = log.all().split_off(before);
            let last = |who| both.iter().rposition(|one| one.who == who).unwrap();
            both.truncate(last('a').min(last('b')));
            let bound = LONG.as_secs_f64() / 2.0 + 3.0 * longest(&both);
            for end in 0..both.len() {
                let ahead = time(&both[..end], 'b') - time(&both[..end], 'a');
                assert!(
                    ahead.abs() <= bound,
                    "round {round}, {a_is_first}: {ahead} s in {end} turns"
                );
            }
        }
    }
}

/// How a parent waits for something that takes a while and is not of its line.
type Wait = fn(&offramp::Job, &Offload, &Log);

/// The longest of the waits.
const AWHILE: Duration = Duration::from_millis(400);

fn wait_in_block_on(job: &offramp::Job, offload: &Offload, log: &Log) {
    let log = log.clone();
    let child = io(move || log.note('c', 0, || thread::sleep(AWHILE)));
    job.block_on(child.on(offload).lane(&offload.lane("c")))
        .unwrap();
}

fn wait_for_the_cpu(_: &offramp::Job, offload: &Offload, log: &Log) {
    let log = log.clone();
    let child = cpu(move || log.note('c', 0, || thread::sleep(AWHILE)));
    child.on(offload).wait().unwrap();
}

/// A lane with a limit counts its jobs, so they do not run on others' stacks.
fn wait_for_a_limit(_: &offramp::Job, offload: &Offload, log: &Log) {
    let log = log.clone();
    let child = io(move || log.note('c', 0, || thread::sleep(AWHILE)));
    let limited = offload.lane("limited").max_running(1);
    child.on(offload).lane(&limited).wait().unwrap();
}

/// It runs on the stack of the parent, and waits there.
fn wait_in_a_child(_: &offramp::Job, offload: &Offload, log: &Log) {
    let (own, log) = (offload.clone(), log.clone());
    let child = offload_io_with(move |job| {
        wait_in_block_on(job, &own, &log);
        Ok(())
    });
    child.on(offload).wait().unwrap();
}

/// An executor's own waiting.
fn wait_outside(_: &offramp::Job, offload: &Offload, log: &Log) {
    let log = log.clone();
    let child = io(move || log.note('c', 0, || thread::sleep(AWHILE)));
    let child = child.on(offload).lane(&offload.lane("c"));
    pollster::block_on(child).unwrap();
}

#[test]
fn time_lent_is_not_charged() {
    let _watchdog = watchdog("lent time");
    let ways: [(&str, Wait); 5] = [
        ("block_on", wait_in_block_on),
        ("the CPU pool", wait_for_the_cpu),
        ("a lane with a limit", wait_for_a_limit),
        ("a child in place", wait_in_a_child),
        ("another executor", wait_outside),
    ];
    for (name, wait) in ways {
        let builder = Offload::builder().io_max_threads(1).io_extra_threads(4);
        let offload = builder.cpu_threads(1).capacity(10_000).build().unwrap();
        let [a, b] = ["a", "b"].map(|name| offload.lane(name));
        let (log, over) = (Log::default(), Arc::default());
        let occupied = Occupied::io(&offload, 1);
        let handles = flood(&offload, &log, &over, &Place::Lane(b), 'b', 3_000);
        let (own, noted) = (offload.clone(), log.clone());
        let parent = offload_io_with(move |job| {
            noted.note('a', 0, || wait(job, &own, &noted));
            // In its line when it ends.
            let noted = noted.clone();
            let next = io(move || noted.note('a', 1, || ()));
            next.on(&own).try_spawn().unwrap().detach();
            Ok(())
        });
        let parent = parent.on(&offload).lane(&a).try_spawn().unwrap();
        occupied.release();
        parent.wait().unwrap();
        let turns = || log.all().iter().filter(|one| one.who == 'a').count();
        wait_until("its next one has run", || turns() == 2);
        over.store(true, SeqCst);
        wait_all(handles);
        let all = log.all();
        let ends = |number| {
            all.iter()
                .find(|one| (one.who, one.number) == ('a', number))
        };
        let (first, next) = (ends(0).unwrap(), ends(1).unwrap());
        let child = all.iter().find(|one| one.who == 'c').unwrap();
        let between = all
            .iter()
            .filter(|one| one.who == 'b' && one.start > first.end && one.start < next.start);
        let between: f64 = between.map(super::Entry::ran).sum();
        assert!(
            between < child.ran() / 2.0,
            "{name}: it waited for {} s and paid {between} s for that",
            child.ran()
        );
    }
}

#[test]
fn within_a_line_it_is_first_come_first_served() {
    let _watchdog = watchdog("order in lines");
    for seed in 0..6 {
        let mut random = Random(seed);
        let offload = if seed < 3 { pool(1) } else { pool(4) };
        let weighted = |name: &str, weight| offload.lane(name).weight(weight);
        let mut places = vec![
            Place::Lane(weighted("one", 1).max_running(1)),
            Place::Lane(weighted("nine", 9).max_running(1)),
            Place::Lane(weighted("high", 3).priority(Priority::High).max_running(1)),
        ];
        if seed < 3 {
            // With several threads who starts first is not who notes it first.
            places.extend([
                Place::Plain,
                Place::Tenant(1),
                Place::Tenant(2),
                Place::Class(Priority::Background),
                Place::Class(Priority::High),
                Place::Both(1, Priority::High),
                Place::Both(2, Priority::Background),
            ]);
        }
        let log = Log::default();
        let occupied = Occupied::io(&offload, 1);
        let mut handles = Vec::new();
        for number in 0..1_500 {
            if number == 700 {
                occupied.gate().open();
            }
            let line = random.below(places.len() as u64) as usize;
            let who = char::from(b'a' + line as u8);
            let (log, spins) = (log.clone(), random.below(2_000));
            let work = move || {
                log.note(who, number, || {
                    (0..spins).for_each(|_| std::hint::spin_loop())
                })
            };
            let handle = places[line].of(io(work), &offload).try_spawn().unwrap();
            if random.below(5) > 0 {
                handles.push(handle);
            }
        }
        wait_all(handles);
        for line in 0..places.len() as u8 {
            let numbers = log.numbers(char::from(b'a' + line));
            assert!(numbers.is_sorted(), "seed {seed}, line {line}: {numbers:?}");
            assert!(numbers.len() > 50, "{}", numbers.len());
        }
    }
}

/// A change of a lane's place in the order is no way to lose a job.
#[test]
fn lanes_change_while_jobs_wait() {
    let _watchdog = watchdog("changing lanes");
    let offload = pool(3);
    let lanes: Vec<_> = (0..5).map(|n| offload.lane(&n.to_string())).collect();
    let (log, gate) = (Log::default(), Gate::new());
    let classes = [Priority::High, Priority::Normal, Priority::Background];
    thread::scope(|scope| {
        let (changes, lanes, gate) = (gate.clone(), &lanes, &gate);
        scope.spawn(move || {
            changes.pass();
            let mut random = Random(5);
            for _ in 0..2_000 {
                let lane = lanes[random.below(5) as usize].clone();
                let _ = match random.below(4) {
                    0 => lane.weight(random.below(10) as u32),
                    1 => lane.max_running(1 + random.below(4) as usize),
                    2 => lane.max_queued(1_000 + random.below(10) as usize),
                    _ => lane.priority(classes[random.below(3) as usize]),
                };
            }
        });
        let mut random = Random(6);
        let mut handles = Vec::new();
        for number in 0..4_000 {
            if number == 500 {
                gate.open();
            }
            let lane = random.below(5) as usize;
            let log = log.clone();
            let work = move || log.note('x', number, || ());
            let call = io(work).on(&offload).lane(&lanes[lane]);
            if let Ok(handle) = call.try_spawn() {
                handles.push(handle);
            }
        }
        let taken = handles.len();
        wait_all(handles);
        assert_eq!(log.len(), taken);
    });
}
