//! A server that behaves is never reported, however long it is asked, and however many others
//! want its CPUs. `OFFRAMP_QUIET_SECONDS` says how long; 10 if it does not.

use super::common::{PATIENCE, alone_within, pin_to};
use super::pressure::cpu_time;
use super::scene::Scene;
use axum::{Router, ServiceExt, extract::Request, routing::get};
use offramp::watch::{WatchLayer, WatchStats, watch};
use std::hint::black_box;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 6;
const ROUTES: [&str; 5] = ["light", "work", "timer", "io", "cpu"];

#[test]
fn a_server_that_behaves() {
    let lasts = seconds();
    alone_within(
        PATIENCE + lasts,
        "quiet::a_server_that_behaves",
        &[],
        || {
            nothing_is_reported(lasts);
        },
    );
}

#[test]
fn a_server_that_behaves_on_a_host_that_is_too_small() {
    let lasts = seconds();
    let name = "quiet::a_server_that_behaves_on_a_host_that_is_too_small";
    alone_within(PATIENCE + lasts, name, &[], || {
        pin_to(2);
        let hogs: Vec<_> = (0..6).map(|_| Hog::new()).collect();
        let stats = nothing_is_reported(lasts);
        drop(hogs);
        assert!(stats.host_pressure > 0, "{stats:?}");
    });
}

fn seconds() -> Duration {
    let seconds = std::env::var("OFFRAMP_QUIET_SECONDS");
    let seconds = seconds.map_or(10, |seconds| seconds.parse().expect("whole seconds"));
    Duration::from_secs(seconds)
}

fn nothing_is_reported(lasts: Duration) -> WatchStats {
    let scene = Scene::new();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = offramp::watch::tokio::hooks(builder.worker_threads(2).enable_all());
    let runtime = builder.build().unwrap();
    let address = runtime.block_on(serve());
    runtime.spawn(watch(tick()));
    let until = Instant::now() + lasts;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| thread::spawn(move || ask(address, number, until)))
        .collect();
    let answers: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    runtime.shutdown_timeout(PATIENCE);
    let stats = scene.stats();
    println!("{answers} answers, {stats:?}");
    let reports: String = scene
        .end()
        .iter()
        .map(|report| format!("{report}\n"))
        .collect();
    assert!(reports.is_empty(), "{stats:?}:\n{reports}");
    assert_eq!(stats.incidents, 0, "{stats:?}");
    stats
}

async fn serve() -> SocketAddr {
    let app = Router::new()
        .route("/light", get(async || format!("{}\n", compute(1_000))))
        .route("/work", get(work))
        .route("/timer", get(async || tokio::time::sleep(PAUSE).await))
        .route("/io", get(io).layer(WatchLayer::named("io")))
        .route("/cpu", get(cpu).layer(WatchLayer::named("cpu")));
    let app = WatchLayer::new().around(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = ServiceExt::<Request>::into_make_service(app);
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

const PAUSE: Duration = Duration::from_millis(3);

fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum, number| black_box(sum ^ (number << 7)))
}

/// As much as a poll may take, on a CPU of its own, and no more.
async fn work() -> &'static str {
    let begin = cpu_time();
    while cpu_time() - begin < Duration::from_millis(10) {
        black_box(compute(1_000));
    }
    "worked\n"
}

/// Longer than the threshold, but not on the event loop.
async fn io() -> String {
    let read = || {
        thread::sleep(Duration::from_millis(40));
        std::fs::read_to_string("/proc/self/comm").unwrap()
    };
    offramp::offload_io(read).await.unwrap()
}

async fn cpu() -> String {
    let sum = offramp::offload_cpu(|| compute(300_000)).await;
    format!("{}\n", sum.unwrap())
}

async fn tick() {
    let mut interval = tokio::time::interval(PAUSE);
    loop {
        interval.tick().await;
        black_box(compute(100));
    }
}

/// One request after the other on one connection. Gives their number.
fn ask(address: SocketAddr, first: usize, until: Instant) -> usize {
    let agent = ureq::Agent::new_with_defaults();
    let mut routes = ROUTES.iter().cycle().skip(first);
    let mut answers = 0;
    while Instant::now() < until || answers < ROUTES.len() {
        let url = format!("http://{address}/{}", routes.next().unwrap());
        let mut answer = agent.get(&url).call().unwrap();
        assert_eq!(answer.status(), 200);
        // To its end, so that the connection is used again.
        answer.body_mut().read_to_vec().unwrap();
        answers += 1;
    }
    answers
}

/// A process that wants a CPU for itself.
struct Hog(Child);

impl Hog {
    fn new() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]);
        // SAFETY: one system call, nothing else.
        let shell = unsafe {
            shell.pre_exec(|| {
                // Should this process be killed: with the thread that started it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        Self(shell.spawn().unwrap())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
