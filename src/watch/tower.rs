//! A tower layer: every request is watched, under axum, tonic, hyper and the like.

use super::future::Watched;
use super::slot;
use super::task::Task;
use std::any::type_name;
use std::panic::Location;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Watches the requests of a service: the layer.
///
/// Reports name the future's type, which a router makes the same for all routes, and the layer's
/// own line; the stack names the handler. A [`named`](Self::named) layer for each route tells
/// them apart.
///
/// ```
/// use axum::{Router, routing::get};
/// use offramp::watch::WatchLayer;
///
/// let app: Router = Router::new()
///     .route("/checkout", get(async || "done").layer(WatchLayer::named("checkout")))
///     .layer(WatchLayer::new());
/// # drop(app);
/// ```
///
/// `Router::layer` makes one more allocation for each request, whatever the layer. Around the
/// whole router, by [`around`](Self::around), it does without:
///
/// ```
/// use axum::{Router, ServiceExt, extract::Request, routing::get};
/// use offramp::watch::WatchLayer;
///
/// let app: Router = Router::new().route("/", get(async || "done"));
/// let app = WatchLayer::new().around(app);
/// let app = ServiceExt::<Request>::into_make_service(app);
/// # drop(app);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WatchLayer {
    name: Option<&'static str>,
    location: &'static Location<'static>,
}

impl WatchLayer {
    /// A layer without a name.
    #[must_use]
    #[track_caller]
    #[expect(clippy::new_without_default)] // A default would have no place in the source.
    pub fn new() -> Self {
        Self {
            name: None,
            location: Location::caller(),
        }
    }

    /// A layer whose requests have this name in reports.
    #[must_use]
    #[track_caller]
    pub fn named(name: &'static str) -> Self {
        Self {
            name: Some(name),
            location: Location::caller(),
        }
    }
}

impl WatchLayer {
    /// `service`, watched: as the layer does it, for where there is no place for layers.
    #[must_use]
    pub fn around<S>(self, service: S) -> WatchService<S> {
        WatchService {
            inner: service,
            layer: self,
        }
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = WatchService<S>;

    fn layer(&self, inner: S) -> WatchService<S> {
        self.around(inner)
    }
}

/// A service whose requests are watched. Made by [`WatchLayer`].
#[derive(Debug, Clone, Copy)]
pub struct WatchService<S> {
    inner: S,
    layer: WatchLayer,
}

impl<S, R> Service<R> for WatchService<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Watched<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let _polling = slot::poll(self.task::<R>());
        self.inner.poll_ready(cx)
    }

    /// What the service does before it returns its future is watched, too.
    fn call(&mut self, request: R) -> Watched<S::Future> {
        let task = self.task::<R>();
        let _polling = slot::poll(task);
        Watched::of(task, self.inner.call(request))
    }
}

impl<S> WatchService<S> {
    fn task<R>(&self) -> &'static Task
    where
        S: Service<R>,
    {
        let future = type_name::<S::Future>();
        Task::of(Some(future), self.layer.name, Some(self.layer.location))
    }
}
