//! The detector in the build that this is: each planted call of `tests/watch`, under each
//! runtime, is reported while it blocks, once, as what it is. Argument: what stacks can name
//! here, `lines`, `functions` or `nothing`. `detector-tests/profiles` runs it in all builds.

#[cfg(target_os = "linux")]
#[path = "../../tests/watch/burning.rs"]
mod burning;
#[cfg(target_os = "linux")]
#[path = "../../tests/common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../../tests/watch/planted.rs"]
mod planted;
#[cfg(target_os = "linux")]
#[path = "../../tests/watch/scene.rs"]
// The tests use the rest.
#[allow(dead_code)]
mod scene;

#[cfg(target_os = "linux")]
fn main() {
    use planted::{Body, Names, PLANTED, all_are_reported};
    use scene::Scene;

    let names = match std::env::args().nth(1).as_deref() {
        Some("lines") => Names::Lines,
        Some("functions") => Names::Functions,
        Some("nothing") => Names::None,
        other => panic!("{other:?}: one of lines, functions, nothing"),
    };
    let scene = Scene::new();
    let play = |runtime: &str, run: &dyn Fn(Body)| {
        let calls = all_are_reported(&scene, names, PLANTED, run);
        println!("{runtime:32} {calls} calls as they should be");
        calls
    };

    let one = tokio::runtime::Builder::new_current_thread();
    let one = { one }.build().unwrap();
    let many = tokio::runtime::Builder::new_multi_thread();
    let many = { many }.worker_threads(2).build().unwrap();
    let executor = offramp::watch::smol::Executor::new();
    let pairs = [
        play("tokio, one thread", &|body| {
            one.block_on(async { tokio::spawn(body).await.unwrap() });
        }),
        play("tokio, two threads", &|body| {
            many.block_on(async { tokio::spawn(body).await.unwrap() });
        }),
        play("smol, global", &|body| smol::block_on(smol::spawn(body))),
        play("smol, an executor that watches", &|body| {
            smol::block_on(executor.run(executor.spawn(body)));
        }),
        play("futures", &futures::executor::block_on),
    ];
    println!("{} pairs", pairs.iter().sum::<usize>());
    #[cfg(tokio_unstable)]
    hooked(&scene);
}

/// With tokio's unstable hooks around each poll a task that nobody watches is seen computing.
#[cfg(all(target_os = "linux", tokio_unstable))]
fn hooked(scene: &scene::Scene) {
    use offramp::watch::State;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = offramp::watch::tokio::hooks(builder.worker_threads(1));
    let runtime = builder.build().unwrap();
    scene.forget();
    let inside = scene.clone();
    let task = async move {
        let mut number = 1u64;
        while inside.reports().is_empty() {
            for _ in 0..10_000 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
            }
        }
    };
    runtime.block_on(async { tokio::spawn(task).await.unwrap() });
    drop(runtime);
    let first = &scene.reports()[0];
    assert_eq!(first.state, State::BurningCpu, "{first}");
    let spawned = first.task.watched_at.expect("tokio tells where");
    assert!(
        spawned.file().ends_with("detector-tests/src/main.rs"),
        "{first}"
    );
    println!("tokio's hooks around polls        1 call as it should be");
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: stacks need Linux");
}
