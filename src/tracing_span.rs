//! The caller's `tracing` span, carried over to its jobs.

use crate::context::ContextHook;
use tracing::Span;

/// Its first hook, in every builder.
pub(crate) struct CurrentSpan;

impl ContextHook for CurrentSpan {
    type Context = Span;

    fn capture(&self) -> Option<Span> {
        Some(Span::current()).filter(|span| !span.is_disabled())
    }

    fn enter(&self, span: &mut Span) {
        span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
    }

    fn exit(&self, span: &mut Span) {
        span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    }
}
