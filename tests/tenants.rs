//! Tenants: a line for each key, without anything to register.

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{Gate, Occupied, Random, alone, wait_until, watchdog};
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use offramp::{
    Blocking, Handle, Offload, OffloadError, Unblock, offload_cpu, offload_io, offload_iter,
};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, mpsc};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn pool(io_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    builder.cpu_threads(1).build().unwrap()
}

type Order = Arc<Mutex<Vec<(&'static str, usize)>>>;

/// A job that notes when it ran.
fn note(offload: &Offload, order: &Order, tenant: &'static str, number: usize) -> Handle<()> {
    let order = Arc::clone(order);
    let call = offload_io(move || order.lock().unwrap().push((tenant, number)));
    let call = call.on(offload).tenant(tenant);
    call.try_spawn().unwrap()
}

/// Tenants share time, so one whose job is kept from running meanwhile is late, and rightly.
#[test]
fn a_flood_of_one_tenant_does_not_hold_up_another() {
    let _watchdog = watchdog("turns of tenants");
    let offload = pool(1);
    let a_job_each_in_turn = || {
        let order = Order::default();
        let occupied = Occupied::io(&offload, 1);
        let mut handles: Vec<_> = (0..200).map(|n| note(&offload, &order, "a", n)).collect();
        handles.extend((0..3).map(|n| note(&offload, &order, "b", n)));
        handles.extend((0..3).map(|n| note(&offload, &order, "c", n)));
        occupied.release();
        for handle in handles {
            handle.wait().unwrap();
        }
        let order = order.lock().unwrap();
        for tenant in ["a", "b", "c"] {
            let numbers = order.iter().filter(|one| one.0 == tenant).map(|one| one.1);
            assert!(numbers.is_sorted(), "{tenant} in order");
        }
        order.iter().rposition(|one| one.0 != "a").unwrap() <= 3 * 3
    };
    assert!((0..5).any(|_| a_job_each_in_turn()), "a job each in turn");
}

#[test]
fn the_cpu_pool_has_tenants_too() {
    let _watchdog = watchdog("tenants of the CPU pool");
    let offload = pool(1);
    let order = Order::default();
    let gate = Gate::new();
    let pass = gate.clone();
    let (running, started) = mpsc::channel();
    let hold = offload_cpu(move || {
        running.send(()).unwrap();
        pass.pass();
    });
    let hold = hold.on(&offload).try_spawn().unwrap();
    started.recv_timeout(common::PATIENCE).unwrap();
    let calls = (0..50).map(|n| ("a", n)).chain([("b", 0)]);
    let handles: Vec<_> = calls
        .map(|(tenant, number)| {
            let order = Arc::clone(&order);
            let call = offload_cpu(move || order.lock().unwrap().push((tenant, number)));
            call.on(&offload).tenant(tenant).try_spawn().unwrap()
        })
        .collect();
    gate.open();
    hold.wait().unwrap();
    for handle in handles {
        handle.wait().unwrap();
    }
    let order = order.lock().unwrap();
    assert!(order[..2].contains(&("b", 0)), "{:?}", &order[..4]);
}

/// A key that is hashed as another one is, but of another type.
struct Session(&'static str);

impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

fn ran() {}

#[test]
fn equal_keys_are_one_tenant_whatever_holds_them() {
    let _watchdog = watchdog("keys");
    let builder = Offload::builder().io_max_threads(2).max_orphans(1);
    let offload = builder.build().unwrap();
    let gate = Gate::new();
    let orphan = |call: offramp::Offloaded<_, ()>| {
        let handle = call.on(&offload).try_spawn().unwrap();
        wait_until("it runs", || offload.stats().io.running == 1);
        drop(handle);
    };
    let pass = gate.clone();
    orphan(offload_io(move || pass.pass()).tenant("one"));
    // Its one orphan blocks the tenant, and nobody else.
    let call = || offload_io(ran as fn()).on(&offload);
    let same = [
        call().tenant("one").try_spawn(),
        call().tenant(String::from("one")).try_spawn(),
        call().tenant(Arc::<str>::from("one")).try_spawn(),
        call().tenant(Session("one")).try_spawn(),
    ];
    for other in ["two", "three"] {
        offload_io(|| ()).tenant(other).on(&offload).wait().unwrap();
    }
    offload_io(|| ()).tenant(1_u64).on(&offload).wait().unwrap();
    offload_io(|| ()).on(&offload).wait().unwrap();
    assert_eq!(offload.stats().io.queued, 4);
    gate.open();
    for call in same {
        call.unwrap().wait().unwrap();
    }
}

/// Orphans are counted by the tenant, though each of its calls is on its own.
#[test]
fn each_tenant_has_an_orphan_limit() {
    let _watchdog = watchdog("orphans of tenants");
    let builder = Offload::builder().io_max_threads(8).max_orphans(2);
    let offload = builder.build().unwrap();
    let gate = Gate::new();
    for running in 1..=2 {
        let pass = gate.clone();
        let call = offload_io(move || pass.pass()).on(&offload).tenant("stuck");
        let handle = call.try_spawn().unwrap();
        wait_until("it runs", || offload.stats().io.running == running);
        drop(handle);
    }
    let next = offload_io(|| ())
        .on(&offload)
        .tenant("stuck")
        .try_spawn()
        .unwrap();
    for _ in 0..20 {
        offload_io(|| ())
            .on(&offload)
            .tenant("well")
            .wait()
            .unwrap();
    }
    assert!(!next.is_finished());
    assert_eq!(offload.stats().io.orphans, 2);
    gate.open();
    next.wait().unwrap();
    wait_until("no orphan is left", || offload.stats().io.orphans == 0);
    // None is remembered.
    offload_io(|| ())
        .on(&offload)
        .tenant("stuck")
        .wait()
        .unwrap();
}

#[test]
fn what_a_job_calls_inherits_its_tenant() {
    let _watchdog = watchdog("inherited tenants");
    let offload = pool(1);
    let order = Order::default();
    let gate = Gate::new();
    let (called, calls) = mpsc::channel();
    let parent = offload_io({
        let (offload, order, gate) = (offload.clone(), Arc::clone(&order), gate.clone());
        move || {
            for number in 0..50 {
                let order = Arc::clone(&order);
                let child = offload_io(move || order.lock().unwrap().push(("child", number)));
                called
                    .send(child.on(&offload).try_spawn().unwrap())
                    .unwrap();
            }
            drop(called);
            gate.pass();
        }
    });
    let parent = parent.on(&offload).tenant("parent").try_spawn().unwrap();
    let children: Vec<_> = calls.iter().collect();
    // All of them before it; those in no line of their own as well. It waits for one of each.
    let shared = Arc::clone(&order);
    let plain = offload_io(move || shared.lock().unwrap().push(("plain", 0)));
    let plain = plain.on(&offload).try_spawn().unwrap();
    let other = note(&offload, &order, "other", 0);
    gate.open();
    parent.wait().unwrap();
    plain.wait().unwrap();
    other.wait().unwrap();
    for child in children {
        child.wait().unwrap();
    }
    let order = order.lock().unwrap();
    assert!(order[..3].contains(&("plain", 0)), "{:?}", &order[..4]);
    assert!(order[..3].contains(&("other", 0)), "{:?}", &order[..4]);
}

#[test]
fn of_lane_and_tenant_the_last_one_counts() {
    let _watchdog = watchdog("lane or tenant");
    let builder = Offload::builder().io_max_threads(4).max_orphans(1);
    let offload = builder.build().unwrap();
    let lane = offload.lane("lane").max_running(1);
    let gate = Gate::new();
    let pass = gate.clone();
    let held = offload_io(move || pass.pass())
        .on(&offload)
        .tenant("a")
        .lane(&lane);
    let held = held.try_spawn().unwrap();
    wait_until("it runs", || offload.stats().io.running == 1);
    let call = || offload_io(|| ()).on(&offload);
    let waits = call().tenant("a").lane(&lane).try_spawn().unwrap();
    call().lane(&lane).tenant("a").wait().unwrap();
    assert!(!waits.is_finished());
    gate.open();
    held.wait().unwrap();
    waits.wait().unwrap();
}

#[test]
fn a_call_of_a_value_has_no_tenant() {
    let offload = pool(1);
    let value = Blocking::new(()).on(&offload);
    let ran = value.call(|()| ()).tenant("a").wait();
    let Err(OffloadError::Config(error)) = ran else {
        panic!("{ran:?}");
    };
    assert!(error.to_string().contains("tenant"), "{error}");
}

/// A stream, a value and files of a tenant that has an orphan wait like its calls.
#[test]
fn adapters_have_tenants_too() {
    let _watchdog = watchdog("adapters of a tenant");
    let builder = Offload::builder().io_max_threads(2).max_orphans(1);
    let offload = builder.build().unwrap();
    let (gate, (running, started)) = (Gate::new(), mpsc::channel());
    let hangs = offload_io({
        let gate = gate.clone();
        move || {
            running.send(()).unwrap();
            gate.pass();
        }
    });
    let hangs = hangs.on(&offload).tenant("a").try_spawn().unwrap();
    started.recv().unwrap();
    drop(hangs);
    let is_first_of = |tenant: &'static str| {
        let mut items = offload_iter(0..1).on(&offload).tenant(tenant);
        let mut value = Unblock::new(1).on(&offload).tenant(tenant);
        #[cfg_attr(not(feature = "fs"), allow(unused_mut))]
        let mut waits = vec![
            Box::pin(async move { items.next().await.is_some() }) as BoxFuture<'static, bool>,
            Box::pin(async move { value.with_mut(|value| *value == 1).await }),
        ];
        #[cfg(feature = "fs")]
        {
            let paths = ["Cargo.toml"];
            let mut files = offramp::fs::read_many(paths, 1).on(&offload).tenant(tenant);
            waits.push(Box::pin(async move { files.next().await.is_some() }));
            let mut lines = offramp::fs::lines("Cargo.toml").on(&offload).tenant(tenant);
            waits.push(Box::pin(async move { lines.next().await.is_some() }));
        }
        waits
    };
    let blocked = is_first_of("a");
    let count = blocked.len() as u64;
    let blocked = std::thread::spawn(|| pollster::block_on(join_all(blocked)));
    wait_until("they wait", || offload.stats().io.queued == count);
    assert!(
        pollster::block_on(join_all(is_first_of("b")))
            .iter()
            .all(|is| *is)
    );
    // What the streams of "b" left behind is gone; the others wait behind their own orphan.
    wait_until("only they wait", || offload.stats().io.queued == count);
    assert!(!blocked.is_finished());
    gate.open();
    assert!(blocked.join().unwrap().iter().all(|is| *is));
}

/// 100,000 tenants come, some at the same time, are dropped or run, and go.
#[test]
fn tenants_that_have_gone_cost_nothing() {
    alone("tenants_that_have_gone_cost_nothing", || {
        let offload = Offload::builder().io_max_threads(2).build().unwrap();
        let come_and_go = |seed: u64| {
            let mut random = Random(seed);
            for batch in 0..1_000 {
                let handles: Vec<_> = (0..100)
                    .map(|number| {
                        let call = offload_io(|| ()).on(&offload);
                        call.tenant((seed, batch, number)).try_spawn().unwrap()
                    })
                    .collect();
                for handle in handles {
                    if random.below(4) > 0 {
                        handle.wait().unwrap();
                    }
                }
            }
            wait_until("all has ended", || {
                let io = offload.stats().io;
                io.queued + io.running == 0
            });
        };
        let base = heap::live();
        for seed in 0..3 {
            come_and_go(seed);
            // The places of up to 1,024 are kept, some 300 KiB. What 100,000 would leave is
            // 30 MiB.
            wait_until("hardly anything is left of them", || {
                heap::live() < base + 512 * 1024
            });
        }
    });
}
