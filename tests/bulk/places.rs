//! Where calls made together wait and run, and what they inherit.

use super::*;
use offramp::{Priority, checkpoint, offload_cpu_with, offload_io_with};

type Order = Arc<Mutex<Vec<&'static str>>>;

fn notes(order: &Order, name: &'static str, count: usize) -> Vec<impl FnOnce() + Send + use<>> {
    let note = |_| {
        let order = Arc::clone(order);
        move || order.lock().unwrap().push(name)
    };
    (0..count).map(note).collect()
}

/// Fills the queue of one worker in this order, and answers in which they ran.
fn order_of(
    fill: impl FnOnce(&Offload, &Order) -> Vec<OffloadedAll<std::vec::IntoIter<Note>, ()>>,
) -> Vec<&'static str> {
    let offload = pool(1);
    let order = Order::default();
    let occupied = Occupied::io(&offload, 1);
    let mut all: Vec<_> = fill(&offload, &order)
        .into_iter()
        .map(|calls| Driven::new(calls.on(&offload).collect_all()))
        .collect();
    for calls in &mut all {
        assert!(calls.poll().is_pending());
    }
    occupied.release();
    for calls in &mut all {
        values(calls.output());
    }
    let order = order.lock().unwrap();
    order.clone()
}

type Note = Box<dyn FnOnce() + Send>;

fn boxed(order: &Order, name: &'static str, count: usize) -> Vec<Note> {
    let boxed = |note| -> Note { Box::new(note) };
    notes(order, name, count).into_iter().map(boxed).collect()
}

#[test]
fn tenants_share_and_classes_go_first() {
    let _watchdog = watchdog("tenants and classes");
    let order = order_of(|_, order| {
        vec![
            offload_io_all(boxed(order, "flood", 60)).tenant("flood"),
            offload_io_all(boxed(order, "small", 3)).tenant("small"),
            offload_io_all(boxed(order, "low", 3)).priority(Priority::Background),
            offload_io_all(boxed(order, "high", 3)).priority(Priority::High),
        ]
    });
    assert_eq!(order[..3], ["high"; 3]);
    assert_eq!(order[66..], ["low"; 3]);
    // Its later ones wait for what it took itself, which a busy machine makes much.
    let first = order.iter().position(|name| *name == "small").unwrap();
    assert!(first < 3 + 10, "{order:?}");
}

#[test]
fn a_lanes_limits_hold() {
    let _watchdog = watchdog("a lane");
    let offload = pool(4);
    let lane = offload.lane("two at a time").max_running(2).max_queued(3);
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let closures = (0..60).map(|n| {
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        move || {
            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            thread::yield_now();
            inside.fetch_sub(1, SeqCst);
            n
        }
    });
    // On the lane's pools.
    let outcomes = pollster::block_on(offload_io_all(closures).lane(&lane).collect_all());
    assert_eq!(values(outcomes), Vec::from_iter(0..60));
    assert!(most.load(SeqCst) <= 2);
    let io = offload.stats().io;
    assert_eq!((io.submitted, io.refused), (60, 0));

    // As many as the lane lets wait, and no more.
    let occupied = Occupied::io(&offload, 4);
    let mut all = Driven::new(offload_io_all([|| (); 10]).lane(&lane).collect_all());
    assert!(all.poll().is_pending());
    assert_eq!(offload.stats().io.queued, 3);
    let alone = pollster::block_on(offload_io(|| ()).lane(&lane));
    assert!(matches!(
        alone,
        Err(OffloadError::Overloaded { limit: 3, .. })
    ));
    occupied.release();
    assert_eq!(values(all.output()).len(), 10);
}

#[test]
fn what_contradicts_itself_is_each_ones_outcome() {
    let offload = pool(1);
    let foreign = pool(1).lane("foreign");
    let calls = offload_io_all([|| (); 3]).on(&offload).lane(&foreign);
    for outcome in pollster::block_on(calls.collect_all()) {
        assert!(
            matches!(outcome, Err(OffloadError::Config(_))),
            "{outcome:?}"
        );
    }
    let lane = offload.lane("lane");
    let calls = offload_io_all([|| (); 3])
        .lane(&lane)
        .priority(Priority::High);
    let mut stream = Driven::new(calls);
    for _ in 0..3 {
        let outcome = stream.next().unwrap();
        assert!(
            matches!(outcome, Err(OffloadError::Config(_))),
            "{outcome:?}"
        );
    }
    assert!(stream.next().is_none());
    // A lane whose pools are gone.
    drop((stream, offload));
    let calls = offload_io_all([|| (); 3]).lane(&lane);
    for outcome in pollster::block_on(calls.collect_all()) {
        assert!(
            matches!(outcome, Err(OffloadError::ShutDown)),
            "{outcome:?}"
        );
    }
}

#[test]
fn options_set_after_the_first_poll_change_nothing() {
    let _watchdog = watchdog("late options");
    let (first, second) = (pool(1), pool(1));
    let occupied = Occupied::io(&first, 1);
    let calls = offload_io_all((0..10).map(|n| move || n))
        .on(&first)
        .ahead(2);
    let mut stream = Driven::new(calls);
    assert!(stream.poll_next().is_pending());
    let calls = stream.polled.on(&second).lane(&second.lane("late"));
    let calls = calls.tenant("late").label("late").priority(Priority::High);
    let calls = calls
        .timeout(Duration::ZERO)
        .deadline(std::time::Instant::now());
    let mut all = Driven::new(calls.ahead(100).collect_all());
    assert!(all.poll().is_pending());
    assert_eq!(first.stats().io.queued, 2);
    occupied.release();
    assert_eq!(values(all.output()), Vec::from_iter(0..10));
    assert_eq!(second.stats().io.submitted, 0);
}

#[test]
fn calls_of_a_job_inherit_its_lane_and_deadline() {
    let _watchdog = watchdog("inherited");
    let offload = pool(3);
    let tenant = offload_io_with({
        let offload = offload.clone();
        move |job| {
            let remaining = (0..20).map(|_| offramp::remaining);
            let calls = offload_io_all(remaining).on(&offload);
            Ok(job.block_on(calls.collect_all()))
        }
    });
    let call = tenant.on(&offload).tenant("parent").timeout(PATIENCE);
    for remaining in values(pollster::block_on(call).unwrap()) {
        assert!(remaining.is_some_and(|left| left <= PATIENCE));
    }
}

/// Jobs that wait for as many as there are threads, and more, inside of each other.
#[test]
fn calls_inside_of_jobs_of_the_same_pool_run() {
    let _watchdog = watchdog("nested");
    let builder = Offload::builder().io_max_threads(1).io_extra_threads(1);
    let offload = builder.cpu_threads(1).build().unwrap();
    let of = |offload: &Offload, n: u64| {
        let offload = offload.clone();
        move |job: &offramp::Job| {
            let inner = (0..30).map(|m| move || n * 100 + m);
            let calls = offload_io_all(inner).on(&offload);
            let io = values(job.block_on(calls.collect_all()));
            let inner = (0..30).map(|m| move || n * 100 + m);
            let stream = offload_cpu_all(inner).on(&offload);
            let cpu: Vec<_> = job.block_on(stream.try_collect()).unwrap();
            assert_eq!(io, cpu);
            Ok(io.into_iter().sum::<u64>())
        }
    };
    let sum = |n: u64| (0..30).map(|m| n * 100 + m).sum::<u64>();
    for n in 0..20 {
        let io = offload_io_with(of(&offload, n)).on(&offload);
        let cpu = offload_cpu_with(of(&offload, n)).on(&offload);
        let both = pollster::block_on(async { join!(io, cpu) });
        assert_eq!(both.0.unwrap(), sum(n));
        assert_eq!(both.1.unwrap(), sum(n));
    }
}

/// A foreign `block_on` in a pool whose every thread is in one: nobody would run them.
#[test]
fn who_would_wait_for_ever_is_told() {
    let _watchdog = watchdog("a foreign block_on");
    let builder = Offload::builder().io_max_threads(1).io_extra_threads(0);
    let offload = builder.build().unwrap();
    let inner = offload.clone();
    let outer =
        offload_io(move || pollster::block_on(offload_io_all([|| (); 5]).on(&inner).collect_all()));
    let outcomes = pollster::block_on(outer.on(&offload)).unwrap();
    assert_eq!(outcomes.len(), 5);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(OffloadError::WouldDeadlock)),
            "{outcome:?}"
        );
    }
    at_rest(&offload);
    assert_eq!(offload.stats().io.cancelled, 5);
}

#[test]
fn an_inline_backend_runs_them_in_the_first_poll() {
    let offload = Offload::builder()
        .io_backend(offramp::backend::Inline::new())
        .cpu_backend(offramp::backend::Inline::new())
        .build()
        .unwrap();
    let here = thread::current().id();
    let ids = || [|| thread::current().id(); 10];
    let all = pollster::block_on(offload_io_all(ids()).on(&offload).collect_all());
    let mut stream = Driven::new(offload_cpu_all(ids()).on(&offload));
    for outcome in all {
        assert_eq!(outcome.unwrap(), here);
        let Poll::Ready(Some(outcome)) = stream.poll_next() else {
            panic!("they have run");
        };
        assert_eq!(outcome.unwrap(), here);
    }
    assert_eq!(stream.wakes.count(), 0);
}

#[cfg(feature = "tokio")]
#[test]
fn other_backends_need_no_more_than_one_demand() {
    let _watchdog = watchdog("other backends");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    let offload = Offload::builder()
        .io_backend(offramp::backend::Tokio::new(runtime.handle().clone(), 2))
        .cpu_backend(offramp::backend::Rayon::shared(Arc::new(rayon.unwrap())))
        .build()
        .unwrap();
    let closures = || (0..200).map(|n| move || n);
    for _ in 0..20 {
        let io = offload_io_all(closures()).on(&offload);
        let cpu = offload_cpu_all(closures()).on(&offload);
        let both = async { join!(io.collect_all(), cpu.collect_all()) };
        let (io, cpu) = pollster::block_on(both);
        assert_eq!(values(io), values(cpu));
    }
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_those_that_are_waited_for() {
    use tokio::time::{sleep, timeout};

    let _watchdog = watchdog("a paused clock");
    let offload = pool(1);
    let slow = || (0..3).map(|n| move || thread::sleep(Duration::from_millis(20 + n)));
    let all = offload_io_all(slow()).on(&offload).collect_all();
    assert_eq!(timeout(Duration::from_secs(1), all).await.unwrap().len(), 3);
    let mut stream = offload_io_all(slow()).on(&offload);
    for _ in 0..3 {
        let next = timeout(Duration::from_secs(1), stream.next());
        next.await.unwrap().unwrap().unwrap();
        // Who goes elsewhere meanwhile is not held up.
        sleep(Duration::from_secs(3_600)).await;
    }
}

/// Running calls of a bulk see that it has been dropped.
#[test]
fn what_runs_sees_the_drop_at_its_checkpoints() {
    let _watchdog = watchdog("checkpoints");
    let offload = pool(2);
    let (stopped, stops) = mpsc::channel();
    let closures = (0..2).map(|_| {
        let stopped = stopped.clone();
        move || {
            while checkpoint().is_ok() {
                thread::yield_now();
            }
            stopped.send(()).unwrap();
        }
    });
    let mut all = Driven::new(offload_io_all(closures).on(&offload).collect_all());
    assert!(all.poll().is_pending());
    wait_until("both run", || offload.stats().io.running == 2);
    drop(all);
    for _ in 0..2 {
        stops.recv_timeout(PATIENCE).unwrap();
    }
    at_rest(&offload);
    wait_until("no orphan is left", || offload.stats().io.orphans == 0);
}
