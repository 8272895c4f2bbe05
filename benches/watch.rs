//! What being watched costs: a poll, a server's throughput, and a watchdog with nothing to do.
//!
//!     cargo bench --bench watch --features watch,tokio,tower -- --check
//!
//! * A poll: a future that is ready at each poll to be polled again, bare and watched, in shuffled order within each round;
//!   the difference of the two is formed inside the round. The fastest pass of each round counts: what disturbs a pass of
//!   some milliseconds only makes it slower.
//! * A server: axum on a runtime of one thread, and clients on connections that stay open, each with a runtime and a
//!   thread of its own. Watched: with a layer around the router, the runtime's hooks and a running watchdog. Both kinds of
//!   server are there all the time; they are asked in turns, by the same clients.
//! * Idle: the CPU time of this process while a watchdog has threads to watch, and none of them polls.
//!
//! A median that fails `--check` is measured twice more, and counts if it is in two of the three.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::routing::get;
use axum::{Router, ServiceExt};
use offramp::watch::{WatchLayer, Watchdog, watch};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::options::Options;

// The other bench uses the rest of them.
#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;
#[path = "common/options.rs"]
mod options;
#[allow(dead_code)]
#[path = "common/stats.rs"]
mod stats;

/// What `--check` asks for: at most so many nanoseconds more for a poll,
const MOST_NANOS: f64 = 3.0;
/// at least this part of the unwatched server's throughput,
const LEAST_THROUGHPUT: f64 = 0.99;
/// and at most this part of a CPU while nothing is polled.
const MOST_IDLE: f64 = 0.0005;

const POLLS: u32 = 2_000_000;
/// Passes of a round, of which the fastest counts.
const PASSES: usize = 5;
const CONNECTIONS: usize = 8;
const REQUESTS: usize = 4_000;
const IDLE: Duration = Duration::from_secs(10);

const HELP: &str = "\
What being watched costs.

  --check      exit with 1 if a poll costs more than 3 ns, a server loses more than 1 %, or an
               idle watchdog takes more than 0.05 % of a CPU
";

/// Never ready, and nothing else.
struct Busy(u64);

impl Future for Busy {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 = black_box(self.0 + 1);
        Poll::Pending
    }
}

/// Nanoseconds for a poll, of the fastest pass.
fn polled(future: impl Future<Output = ()>) -> f64 {
    // Through a pointer, as executors poll.
    let mut future: Pin<&mut dyn Future<Output = ()>> = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    let pass = |_| {
        let start = Instant::now();
        for _ in 0..POLLS {
            let _pending = black_box(future.as_mut()).poll(&mut cx);
        }
        start.elapsed().as_nanos() as f64 / f64::from(POLLS)
    };
    (0..PASSES).map(pass).fold(f64::INFINITY, f64::min)
}

fn poll_cost(options: &Options) -> f64 {
    let _watchdog = Watchdog::builder().start().expect("a watchdog");
    let mut shuffler = stats::Shuffler::new(options.seed);
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut order = [false, true];
        shuffler.shuffle(&mut order);
        let mut both = [0.0; 2];
        for is_watched in order {
            both[usize::from(is_watched)] = match is_watched {
                true => polled(watch(Busy(0))),
                false => polled(Busy(0)),
            };
        }
        rounds.push(both);
    }
    let of = |value: fn(&[f64; 2]) -> f64| {
        let values: Vec<_> = rounds.iter().map(value).collect();
        stats::range(&values).expect("at least one round")
    };
    let (bare, watched) = (of(|round| round[0]), of(|round| round[1]));
    let cost = of(|[bare, watched]| watched - bare);
    println!(
        "a poll: {:.2} ns bare, {:.2} ns watched: {:.2} ns more ({:.2} .. {:.2})",
        bare.median, watched.median, cost.median, cost.low, cost.high
    );
    cost.median
}

/// A server on a thread of its own, for as long as the process lives.
fn serve(is_watched: bool) -> std::net::SocketAddr {
    let (sender, address) = mpsc::channel();
    let run = move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let app = Router::new().route("/", get(async || "served\n"));
        if is_watched {
            offramp::watch::tokio::hooks(&mut builder);
        }
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port");
            sender
                .send(listener.local_addr().expect("its number"))
                .expect("somebody waits");
            let served = match is_watched {
                true => {
                    let app = WatchLayer::new().around(app);
                    axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
                }
                false => axum::serve(listener, app).await,
            };
            served.expect("it serves");
        });
    };
    thread::spawn(run);
    address.recv().expect("the server starts")
}

/// Requests on one connection, one after the other.
async fn ask(address: std::net::SocketAddr, requests: usize) -> std::io::Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    for _ in 0..requests {
        let written = stream
            .async_io(Interest::WRITABLE, || stream.try_write(REQUEST))
            .await?;
        assert_eq!(written, REQUEST.len(), "a request is written at once");
        let mut read = 0;
        while !buffer[..read].ends_with(b"served\n") {
            let rest = &mut buffer[read..];
            match stream
                .async_io(Interest::READABLE, || stream.try_read(rest))
                .await?
            {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => read += count,
            }
        }
    }
    Ok(())
}

/// Requests per second.
fn throughput(clients: &tokio::runtime::Runtime, address: std::net::SocketAddr) -> f64 {
    let start = Instant::now();
    clients.block_on(async {
        let asking: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(ask(address, REQUESTS / CONNECTIONS)))
            .collect();
        for client in asking {
            client
                .await
                .expect("it does not panic")
                .expect("the server answers");
        }
    });
    REQUESTS as f64 / start.elapsed().as_secs_f64()
}

fn server_cost(options: &Options, servers: [std::net::SocketAddr; 2]) -> f64 {
    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let clients = clients.expect("a runtime");
    let mut shuffler = stats::Shuffler::new(options.seed);
    let (mut ratios, mut bare, mut watched) = (Vec::new(), Vec::new(), Vec::new());
    // One more, for the caches, that does not count.
    for round in 0..=options.rounds * 3 {
        let mut order = [0, 1];
        shuffler.shuffle(&mut order);
        let mut both = [0.0; 2];
        for which in order {
            let watchdog = (which == 1).then(|| Watchdog::builder().start().expect("a watchdog"));
            both[which] = throughput(&clients, servers[which]);
            drop(watchdog);
        }
        if round > 0 {
            bare.push(both[0]);
            watched.push(both[1]);
            ratios.push(both[1] / both[0]);
        }
    }
    let range = |values: &[f64]| stats::range(values).expect("at least one round").median;
    let ratio = stats::confidence(&ratios).expect("at least six rounds");
    println!(
        "a server: {:.0} requests per second bare, {:.0} watched: {:.4} times ({:.4} .. {:.4} at 95 %)",
        range(&bare),
        range(&watched),
        ratio.median,
        ratio.low,
        ratio.high
    );
    ratio.median
}

/// The part of a CPU that this process takes with a watchdog and nothing to watch.
fn idle_cost() -> f64 {
    let _watchdog = Watchdog::builder().start().expect("a watchdog");
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let held = std::sync::Arc::clone(&held);
            thread::spawn(move || {
                let mut cx = Context::from_waker(Waker::noop());
                let _pending = pin!(watch(Busy(0))).poll(&mut cx);
                let held = held.lock().expect("nobody panics");
                // Ends with an error, when the other end is dropped.
                let _: Result<(), _> = held.recv();
            })
        })
        .collect();
    // Until it sleeps.
    thread::sleep(Duration::from_secs(1));
    let before = machine::usage();
    thread::sleep(IDLE);
    let spent = machine::usage().since(before);
    drop(hold);
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    let part = spent.cpu.as_secs_f64() / IDLE.as_secs_f64();
    println!(
        "idle: {:?} of CPU time in {IDLE:?}, {:.4} % of a CPU, {} switches",
        spent.cpu,
        part * 100.0,
        spent.switches
    );
    part
}

/// Whether it holds, at the first time or at two others.
fn holds(check: bool, measure: impl Fn() -> bool) -> bool {
    measure() || check && measure() && measure()
}

fn run(options: &Options) -> bool {
    machine::print_environment();
    // First: the servers' threads stay.
    let is_idle = holds(options.check, || idle_cost() <= MOST_IDLE);
    let is_cheap = holds(options.check, || poll_cost(options) <= MOST_NANOS);
    let servers = [serve(false), serve(true)];
    let is_fast = holds(options.check, || {
        server_cost(options, servers) >= LEAST_THROUGHPUT
    });
    if options.check {
        for (is_good, what) in [
            (is_cheap, "a poll costs at most 3 ns"),
            (is_fast, "a server keeps at least 0.99 of its throughput"),
            (is_idle, "an idle watchdog takes at most 0.05 % of a CPU"),
        ] {
            println!(
                "check: {} {what}",
                if is_good { "passed," } else { "FAILED:" }
            );
        }
    }
    is_cheap && is_fast && is_idle
}

fn main() -> ExitCode {
    options::main("watch", HELP, 2, |options| Ok(run(options)))
}
