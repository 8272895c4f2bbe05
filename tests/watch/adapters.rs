//! tokio's hooks, smol's names, tower's layer.

use super::common::{PATIENCE, alone, wait_until};
use super::scene::{Scene, read_fifo, sleep};
use offramp::watch::{Phase, Remedy, State, Watch, WatchLayer};
use std::thread;
use std::time::Duration;

/// No future is watched here: the runtime's hooks tell that its worker does not come back.
fn a_task_that_is_not_watched(mut builder: tokio::runtime::Builder) {
    let scene = Scene::new();
    let inside = scene.clone();
    let runtime = offramp::watch::tokio::hooks(builder.enable_all())
        .build()
        .unwrap();
    let task = async move {
        // So that the worker has slept before.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = std::time::Instant::now();
        while inside.reports().is_empty() {
            assert!(start.elapsed() < PATIENCE / 2, "{:?}", inside.stats());
            block_for_long();
        }
    };
    runtime.block_on(async { tokio::spawn(task).await.unwrap() });
    wait_until("it is over", || {
        scene
            .reports()
            .iter()
            .any(|report| report.phase == Phase::Over)
    });
    runtime.shutdown_timeout(PATIENCE);
    let reports = scene.end();
    let first = &reports[0];
    assert!(
        first.task.type_name.is_none() && first.task.name.is_none(),
        "{first}"
    );
    assert!(matches!(first.state, State::SystemCall(_)), "{first}");
    assert_eq!(first.advice.as_ref().unwrap().wrap_in, Remedy::OffloadIo);
    let blamed = first
        .blamed()
        .expect("a frame to blame")
        .function
        .as_deref();
    assert!(blamed.unwrap_or("").contains("block_for_long"), "{first}");
}

#[inline(never)]
fn block_for_long() {
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn tasks_of_tokio_with_one_thread() {
    alone("adapters::tasks_of_tokio_with_one_thread", || {
        a_task_that_is_not_watched(tokio::runtime::Builder::new_current_thread());
    });
}

#[test]
fn tasks_of_tokio_with_many_threads() {
    alone("adapters::tasks_of_tokio_with_many_threads", || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        a_task_that_is_not_watched(builder);
    });
}

/// The blocking pool's threads run the same hooks at their start, and are there to block.
#[test]
fn tokios_blocking_pool_may_block() {
    alone("adapters::tokios_blocking_pool_may_block", || {
        let scene = Scene::new();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = offramp::watch::tokio::hooks(builder.worker_threads(2).enable_all());
        let runtime = runtime.build().unwrap();
        runtime.block_on(async {
            let blocking = || thread::sleep(Duration::from_millis(400));
            let tasks = [(); 3].map(|()| tokio::task::spawn_blocking(blocking));
            for task in tasks {
                task.await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        drop(runtime);
        let stats = scene.stats();
        assert!(scene.end().is_empty(), "{stats:?}");
        assert_eq!(stats.incidents, 0);
    });
}

#[test]
fn a_request_is_named_by_its_layer() {
    alone("adapters::a_request_is_named_by_its_layer", || {
        use axum::{Router, routing::get};
        let scene = Scene::new();
        let inside = scene.clone();
        let app = Router::new()
            .route(
                "/slow",
                get(move || async move { read_fifo(&inside, "slow") })
                    .layer(WatchLayer::named("slow")),
            )
            .layer(WatchLayer::new());
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/slow", listener.local_addr().unwrap());
            tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
            let answer = offramp::offload_io(move || ureq::get(&url).call().unwrap().status());
            assert_eq!(answer.await.unwrap(), 200);
        });
        drop(runtime);
        let reports = scene.whole_incident("slow");
        let first = &reports[0];
        let spawned = first.task.watched_at.unwrap();
        assert!(
            spawned.file().ends_with("tests/watch/adapters.rs"),
            "{first}"
        );
        let blamed = first
            .blamed()
            .expect("a frame to blame")
            .function
            .as_deref();
        assert!(blamed.unwrap_or("").contains("read_fifo"), "{first}");
        scene.end();
    });
}

#[test]
fn smols_names_watch() {
    alone("adapters::smols_names_watch", || {
        use offramp::watch::smol;
        let scene = Scene::new();
        let inside = scene.clone();
        // Named inside, as `spawn` gives no name; the outermost is what `spawn` watched.
        let task = move |name| {
            let inside = inside.clone();
            async move { sleep(&inside, name) }.watched(name)
        };
        smol::block_on(smol::spawn(task("global")));
        scene.whole_incident("global");
        let executor = smol::Executor::new();
        smol::block_on(executor.run(executor.spawn(task("own"))));
        scene.whole_incident("own");
        let executor = smol::LocalExecutor::new();
        smol::block_on(executor.run(executor.spawn(task("local"))));
        scene.whole_incident("local");

        // Without a name of their own.
        let inside = scene.clone();
        smol::block_on(smol::spawn(async move {
            while !inside
                .reports()
                .iter()
                .any(|report| report.task.name.is_none())
            {
                thread::sleep(Duration::from_millis(300));
            }
        }));
        let unnamed = scene
            .reports()
            .into_iter()
            .find(|report| report.task.name.is_none());
        let spawned = unnamed.unwrap().task.watched_at.unwrap();
        assert!(
            spawned.file().ends_with("tests/watch/adapters.rs"),
            "{spawned}"
        );
        drop(task);
    });
}
