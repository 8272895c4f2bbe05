//! The same tests under each runtime.

use std::future::Future;
use std::pin::Pin;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn tokio_with_many_threads(body: Body) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).build().unwrap();
    // As a task of its own: its wakers are those of a worker, not of `block_on`.
    runtime.block_on(async { tokio::spawn(body).await.unwrap() });
}

pub(crate) fn tokio_with_one_thread(body: Body) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime
        .unwrap()
        .block_on(async { tokio::spawn(body).await.unwrap() });
}

pub(crate) fn smol_with_its_executor(body: Body) {
    smol::block_on(smol::spawn(body));
}

pub(crate) fn the_block_on_of_smol(body: Body) {
    smol::block_on(body);
}

pub(crate) fn the_block_on_of_futures(body: Body) {
    futures::executor::block_on(body);
}

pub(crate) fn the_block_on_of_pollster(body: Body) {
    pollster::block_on(body);
}

/// `name: body;` for each test, a module of them for each runtime.
macro_rules! under_each_runtime {
    ($($tests:tt)*) => {
        under_runtime! { tokio_with_many_threads $($tests)* }
        under_runtime! { tokio_with_one_thread $($tests)* }
        under_runtime! { smol_with_its_executor $($tests)* }
        under_runtime! { the_block_on_of_smol $($tests)* }
        under_runtime! { the_block_on_of_futures $($tests)* }
        under_runtime! { the_block_on_of_pollster $($tests)* }
    };
}

macro_rules! under_runtime {
    ($runtime:ident $($test:ident: $body:expr;)*) => {
        mod $runtime {
            use super::*;

            $(
                #[test]
                fn $test() {
                    let _watchdog = watchdog(stringify!($test));
                    runtimes::$runtime(Box::pin($body));
                }
            )*
        }
    };
}
