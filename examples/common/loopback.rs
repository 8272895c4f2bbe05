//! A real server on loopback for an example's clients, on a thread and a runtime of its
//! own: it answers also while the example's event loop is blocked.

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt;
use std::net::TcpListener;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running server. Dropping it ends it.
pub(crate) struct Loopback {
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    pub(crate) fn serve(routes: Router) -> Result<Loopback> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let serve = async move || {
            // Otherwise small pieces of an answer wait for the client's acknowledgement.
            let listener = tokio::net::TcpListener::from_std(listener)?
                .tap_io(|connection| drop(connection.set_nodelay(true)));
            axum::serve(listener, routes).await
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("loopback".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = serve() => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Loopback {
            url,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It fails only if the server panicked, which has been printed.
            let _ = thread.join();
        }
    }
}
