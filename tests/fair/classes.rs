//! Classes: who goes before whom, and that nobody starves.

use super::common::{Gate, Occupied, wait_until, watchdog};
use super::{Call, Entry, Log, Place, cpu, io, pool};
use offramp::{Blocking, Handle, Offload, OffloadError, Priority};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const HIGH: Place = Place::Class(Priority::High);
const NORMAL: Place = Place::Class(Priority::Normal);
const BACKGROUND: Place = Place::Class(Priority::Background);

/// Jobs that note themselves.
fn note(offload: &Offload, log: &Log, place: &Place, who: char, jobs: usize) -> Vec<Handle<()>> {
    note_in(offload, log, place, who, jobs, io)
}

fn note_in(
    offload: &Offload,
    log: &Log,
    place: &Place,
    who: char,
    jobs: usize,
    pool: impl Fn(Box<dyn FnOnce() + Send>) -> Call,
) -> Vec<Handle<()>> {
    let job = |number| {
        let log = log.clone();
        let work = Box::new(move || log.note(who, number, || ()));
        place.of(pool(work), offload).try_spawn().unwrap()
    };
    (0..jobs).map(job).collect()
}

fn wait_all(handles: impl IntoIterator<Item = Handle<()>>) {
    for handle in handles {
        handle.wait().unwrap();
    }
}

#[test]
fn a_higher_class_goes_first() {
    let _watchdog = watchdog("classes");
    let offload = pool(1);
    let log = Log::default();
    let occupied = Occupied::io(&offload, 1);
    let lane = offload.lane("low").priority(Priority::Background);
    let mut handles = note(&offload, &log, &BACKGROUND, 'b', 3);
    handles.extend(note(&offload, &log, &Place::Lane(lane), 'l', 3));
    handles.extend(note(&offload, &log, &Place::Plain, 'p', 20));
    handles.extend(note(&offload, &log, &Place::Tenant(1), 't', 2));
    handles.extend(note(&offload, &log, &HIGH, 'h', 3));
    occupied.release();
    wait_all(handles);
    let order = log.order();
    assert!(order.starts_with("hhh"), "{order}");
    assert!(!order[..25].contains(['b', 'l']), "{order}");
    // In each class those of a kind take turns.
    assert!(order[..8].contains('t'), "{order}");
    assert!(
        order[25..28].contains('b') && order[25..28].contains('l'),
        "{order}"
    );
    // What says nothing is normal: one line.
    let occupied = Occupied::io(&offload, 1);
    let log = Log::default();
    let mut handles = Vec::new();
    for who in ['a', 'b', 'c', 'd', 'e', 'f'] {
        let place = if who < 'd' { Place::Plain } else { NORMAL };
        handles.extend(note(&offload, &log, &place, who, 1));
    }
    occupied.release();
    wait_all(handles);
    assert_eq!(log.order(), "abcdef");
    assert_eq!(Priority::default(), Priority::Normal);
}

#[test]
fn the_cpu_pool_has_classes_too() {
    let _watchdog = watchdog("classes of the CPU pool");
    let offload = pool(1);
    let (gate, log) = (Gate::new(), Log::default());
    let held = gate.clone();
    let hold = cpu(move || held.pass()).on(&offload).try_spawn().unwrap();
    wait_until("it is held", || offload.stats().cpu.running == 1);
    let mut handles = vec![hold];
    let places = [(BACKGROUND, 'b'), (Place::Plain, 'p'), (HIGH, 'h')];
    for (place, who) in places {
        handles.extend(note_in(&offload, &log, &place, who, 5, cpu));
    }
    gate.open();
    wait_all(handles);
    assert_eq!(log.order(), "hhhhhpppppbbbbb");
}

/// One after the other on one thread, each for `length`, until `over`.
fn endless(
    offload: &Offload,
    log: &Log,
    over: &Arc<AtomicBool>,
    (place, who): (Place, char),
    length: Duration,
    jobs: usize,
) -> Vec<Handle<()>> {
    let job = |number| {
        let (log, over) = (log.clone(), Arc::clone(over));
        let work = move || {
            if !over.load(SeqCst) {
                log.note(who, number, || thread::sleep(length));
            }
        };
        place.of(io(work), offload).try_spawn().unwrap()
    };
    (0..jobs).map(job).collect()
}

/// How many jobs of higher classes have started between `due` and the start of `this`. The
/// one that was taken just before may be noted after.
fn too_late(all: &[Entry], due: Instant, this: &Entry) -> usize {
    let between = |other: &&Entry| other.start > due && other.start < this.start;
    all.iter()
        .filter(between)
        .filter(|other| other.who == 'h')
        .count()
}

#[test]
fn a_lower_class_starts_a_job_in_each_ageing() {
    const AGEING: Duration = Duration::from_millis(50);
    const JOB: Duration = Duration::from_millis(5);

    let _watchdog = watchdog("ageing");
    let builder = Offload::builder().io_max_threads(1).ageing(AGEING);
    let offload = builder.capacity(10_000).build().unwrap();
    let (log, over) = (Log::default(), Arc::new(AtomicBool::new(false)));
    let occupied = Occupied::io(&offload, 1);
    let before = Instant::now();
    let mut handles = endless(&offload, &log, &over, (HIGH, 'h'), JOB, 2_000);
    handles.extend(endless(
        &offload,
        &log,
        &over,
        (Place::Plain, 'n'),
        JOB,
        500,
    ));
    let after = Instant::now();
    handles.extend(endless(&offload, &log, &over, (BACKGROUND, 'b'), JOB, 500));
    occupied.release();
    let all_of = |who| log.numbers(who).len();
    wait_until("both have had several turns", || {
        all_of('n') >= 12 && all_of('b') >= 12
    });
    over.store(true, SeqCst);
    wait_all(handles);
    let all = log.all();
    for who in ['n', 'b'] {
        let own: Vec<_> = all.iter().filter(|one| one.who == who).collect();
        // Not before it was passed over for so long, from when it was there.
        assert!(own[0].start - before >= AGEING, "{who}");
        let mut since = after + Duration::from_millis(1);
        for this in &own {
            // And then next: at most the job that was taken by then comes before.
            let late = too_late(&all, since + AGEING, this);
            assert!(late <= 2, "{who}: {late} went before one that was due");
            since = this.start;
        }
        // One in each such time, and no more.
        let lasted = own[own.len() - 1].start - own[0].start;
        let most = lasted.as_nanos() / AGEING.as_nanos() + 2;
        assert!(own.len() as u128 <= most, "{who}: {} of {most}", own.len());
    }
    let high = all_of('h');
    assert!(high > all_of('n') + all_of('b'), "most are of the flood");
}

#[test]
fn an_idle_class_has_not_aged() {
    let _watchdog = watchdog("ageing of nobody");
    let ageing = Duration::from_millis(400);
    let builder = Offload::builder().io_max_threads(1).ageing(ageing);
    let offload = builder.build().unwrap();
    // Both have run before, long ago.
    let log = Log::default();
    wait_all(note(&offload, &log, &HIGH, 'h', 1));
    wait_all(note(&offload, &log, &Place::Plain, 'n', 1));
    thread::sleep(ageing);
    for _ in 0..5 {
        let before = Instant::now();
        let occupied = Occupied::io(&offload, 1);
        let log = Log::default();
        let mut handles = note(&offload, &log, &Place::Plain, 'n', 2);
        handles.extend(note(&offload, &log, &HIGH, 'h', 2));
        occupied.release();
        wait_all(handles);
        if before.elapsed() < ageing {
            assert_eq!(log.order(), "hhnn");
            return;
        }
    }
    panic!("it never took less than {ageing:?}");
}

#[test]
fn a_call_in_a_lane_has_no_class_of_its_own() {
    let offload = pool(1);
    let lane = offload.lane("reports");
    let call = io(|| ()).on(&offload).lane(&lane);
    let refused = call.priority(Priority::High).try_spawn().unwrap_err();
    let OffloadError::Config(error) = refused.reason() else {
        panic!("{refused:?}");
    };
    assert_eq!(error.setting(), "priority");
    assert!(error.value().contains("reports"), "{error}");
    refused.into_inner()();
    let awaited = io(|| ()).priority(Priority::Normal).lane(&lane);
    let awaited = pollster::block_on(awaited.on(&offload));
    assert!(matches!(awaited, Err(OffloadError::Config(_))));
}

#[test]
fn a_call_of_a_value_has_no_class() {
    let offload = pool(1);
    let value = Blocking::new(()).on(&offload);
    let ran = value.call(|()| ()).priority(Priority::High).wait();
    let Err(OffloadError::Config(error)) = ran else {
        panic!("{ran:?}");
    };
    assert_eq!(error.setting(), "priority");
}

/// In a job of `parent` calls `options` are made; and whether they go `before` normal ones.
fn nested(parent: &Place, before: bool, options: impl FnOnce(Call) -> Call + Send + 'static) {
    let offload = pool(1);
    let (log, gate) = (Log::default(), Gate::new());
    let (own, child, held) = (offload.clone(), log.clone(), gate.clone());
    let work = move || {
        held.pass();
        let call = io(move || child.note('c', 0, || ())).on(&own);
        options(call).try_spawn().unwrap().detach();
    };
    let parent = parent.of(io(work), &offload).try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let others = note(&offload, &log, &Place::Tenant(99), 'n', 10);
    gate.open();
    parent.wait().unwrap();
    wait_all(others);
    wait_until("all have run", || log.len() == 11);
    let order = log.order();
    assert_eq!(order.starts_with('c'), before, "{order}");
    // Between lines of one class they take turns; a lower one is last.
    assert!(before || order.ends_with('c') || order[..3].contains('c'));
}

#[test]
fn what_a_job_calls_inherits_its_class() {
    let _watchdog = watchdog("inherited classes");
    let both = Place::Both(1, Priority::High);
    for parent in [&HIGH, &both] {
        nested(parent, true, |call| call);
        // A class of its own goes before.
        nested(parent, false, |call| call.priority(Priority::Background));
        // As does a line, which leaves it the class.
        nested(parent, true, |call| call.tenant(5));
    }
    nested(&BACKGROUND, false, |call| call);
    nested(&BACKGROUND, true, |call| call.priority(Priority::High));
    nested(&Place::Tenant(1), true, |call| {
        call.priority(Priority::High)
    });
}

/// A call that names a class only is its tenant's all the same.
#[test]
fn what_a_tenants_job_calls_in_another_class_is_the_tenants() {
    let _watchdog = watchdog("a tenant's classes");
    let offload = pool(1);
    let (log, gate) = (Log::default(), Gate::new());
    let (own, child, held) = (offload.clone(), log.clone(), gate.clone());
    let parent = io(move || {
        held.pass();
        let place = Place::Class(Priority::High);
        for handle in note(&own, &child, &place, 'c', 20) {
            handle.detach();
        }
    });
    let parent = parent.on(&offload).tenant(1).try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let same = Place::Both(1, Priority::High);
    let mut handles = note(&offload, &log, &same, 's', 1);
    handles.extend(note(&offload, &log, &HIGH, 'h', 20));
    gate.open();
    parent.wait().unwrap();
    wait_all(handles);
    wait_until("all have run", || log.len() == 41);
    // One line with what was called before, and another one than that of plain calls.
    let order = log.order();
    let of = |who| order.find(who).unwrap();
    assert!(of('s') < of('c'), "{order}");
    assert!(of('c') < 5 && of('h') < 5, "{order}");
}

#[test]
fn each_class_of_a_tenant_is_a_line() {
    let _watchdog = watchdog("lines of a tenant");
    let offload = pool(1);
    let (normal, high) = (Place::Tenant(1), Place::Both(1, Priority::High));
    let other = Place::Both(2, Priority::High);
    let log = Log::default();
    let occupied = Occupied::io(&offload, 1);
    let mut handles = note(&offload, &log, &normal, 'n', 5);
    handles.extend(note(&offload, &log, &high, 'h', 50));
    handles.extend(note(&offload, &log, &other, 'o', 2));
    occupied.release();
    wait_all(handles);
    let order = log.order();
    // The other's two are not behind all of a flood in their class.
    assert!(order[..8].matches('o').count() == 2, "{order}");
    assert!(order.ends_with("nnnnn"), "{order}");
    for who in ['n', 'h', 'o'] {
        assert!(log.numbers(who).is_sorted());
    }
}

#[test]
fn a_lanes_class_is_for_all_its_calls() {
    let _watchdog = watchdog("a lane's class");
    let offload = pool(1);
    let lane = offload.lane("lane").priority(Priority::High);
    let log = Log::default();
    let occupied = Occupied::io(&offload, 1);
    let mut handles = note(&offload, &log, &Place::Plain, 'n', 5);
    let same = Place::Lane(offload.lane("lane"));
    handles.extend(note(&offload, &log, &same, 'l', 3));
    handles.extend(note(&offload, &log, &BACKGROUND, 'b', 3));
    occupied.release();
    wait_all(handles);
    assert_eq!(log.order(), "lllnnnnnbbb");
    // Also of those that wait by then.
    let log = Log::default();
    let occupied = Occupied::io(&offload, 1);
    let mut handles = note(&offload, &log, &Place::Plain, 'n', 5);
    handles.extend(note(&offload, &log, &same, 'l', 3));
    // By a look at what it would have to expect, and by leaving, this brings them to their line.
    let call = io(|| ()).on(&offload).lane(&lane);
    let call = call.timeout(Duration::from_secs(3_600));
    drop(call.try_spawn().unwrap());
    let _lane = lane.priority(Priority::Background);
    occupied.release();
    wait_all(handles);
    assert_eq!(log.order(), "nnnnnlll");
}
