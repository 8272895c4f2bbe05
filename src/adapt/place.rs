//! Where an adapter's jobs run, in which line, and under what name.

use crate::closure::Closure;
use crate::error::OffloadError;
use crate::future::options::hashed;
use crate::future::{Line, Offloaded};
use crate::lane::Lane;
use crate::offload::Offload;
use crate::pool::Kind;
use std::borrow::Cow;
use std::hash::Hash;

/// The options that adapters share with a call.
#[derive(Default)]
pub(crate) struct Place {
    on: Option<Offload>,
    pub(crate) line: Option<Line>,
    pub(crate) label: Option<Cow<'static, str>>,
}

impl Place {
    pub(crate) fn on(&mut self, offload: &Offload) {
        self.on = Some(offload.clone());
    }

    pub(crate) fn lane(&mut self, lane: &Lane) {
        self.line = Some(Line::Lane(lane.clone()));
    }

    pub(crate) fn tenant(&mut self, key: impl Hash) {
        self.line = Some(Line::Tenant(hashed(&key)));
    }

    /// The pools of all its jobs: once found they stay the same.
    pub(crate) fn offload(&mut self) -> Result<Offload, OffloadError> {
        let offload = match self.on.take() {
            Some(offload) => offload,
            None => Offload::of(self.line.as_ref().and_then(Line::lane))?,
        };
        self.on = Some(offload.clone());
        Ok(offload)
    }

    /// A call there, to the I/O pool.
    #[track_caller]
    pub(crate) fn call<F, R, Form>(&self, closure: F) -> Offloaded<F, R, Form>
    where
        F: Closure<R, Form>,
        R: Send + 'static,
        Form: 'static,
    {
        self.call_to(Kind::Io, closure)
    }

    #[track_caller]
    pub(crate) fn call_to<F, R, Form>(&self, pool: Kind, closure: F) -> Offloaded<F, R, Form>
    where
        F: Closure<R, Form>,
        R: Send + 'static,
        Form: 'static,
    {
        let mut call = Offloaded::new(pool, closure);
        if let Some(offload) = &self.on {
            call = call.on(offload);
        }
        if let Some(line) = &self.line {
            call = call.in_line(line.clone());
        }
        if let Some(label) = &self.label {
            call = call.label(label.clone());
        }
        call
    }
}
