//! What runs share: the service, the files, and the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use backon::BackoffBuilder;

use crate::args::Args;
use crate::event_loop::EventLoop;
use crate::heartbeat::{Heartbeat, Lag};
use crate::legacy_sdk::Client;
use crate::plan::Plan;
use crate::service::Service;
use crate::steps::{self, Shared};
use crate::store::Store;
use crate::{corpus, embed};

/// Of embedding, for each session. A fifth more than the 10 ms that `--check` asks for:
/// the calibration has some error.
const CPU_PER_SESSION: Duration = Duration::from_millis(12);

pub(crate) struct Bench {
    pub(crate) event_loop: EventLoop,
    pub(crate) io_threads: usize,
    pub(crate) knowledge_bytes: usize,
    plan: Plan,
    url: String,
    dir: PathBuf,
    runs: AtomicUsize,
    _service: Option<Service>,
    _temporary: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn prepare(args: &Args, plan: Plan) -> Result<Bench> {
        let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let temporary = tempfile::Builder::new()
            .prefix("sessions-")
            .tempdir_in(&parent)
            .with_context(|| {
                format!("step prepare (a working directory in {})", parent.display())
            })?;
        let dir = temporary.path().to_owned();
        let knowledge_bytes = embed::bytes_worth(CPU_PER_SESSION);
        for base in 0..corpus::BASES {
            let file = dir.join(format!("{base}.txt"));
            std::fs::write(&file, corpus::knowledge(base, knowledge_bytes))
                .with_context(|| format!("step prepare (the knowledge file {})", file.display()))?;
        }
        let (url, service) = match &args.service {
            Some(url) => (url.trim_end_matches('/').to_owned(), None),
            None => {
                let service = Service::start(plan)?;
                (service.url.clone(), Some(service))
            }
        };
        Ok(Bench {
            event_loop: args.event_loop,
            io_threads: args.io_threads,
            knowledge_bytes,
            plan,
            url,
            dir,
            runs: AtomicUsize::new(0),
            _service: service,
            _temporary: temporary,
        })
    }

    /// Fresh files for each run, and fresh connections: neither way profits from the
    /// other.
    pub(crate) fn shared(&self) -> Result<Arc<Shared>> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let states = self.dir.join(format!("run-{run}"));
        std::fs::create_dir(&states)
            .with_context(|| format!("step prepare (the directory {})", states.display()))?;
        let database = states.join("turns.db");
        let store = Store::open(&database)
            .with_context(|| format!("step prepare (the SQLite file {})", database.display()))?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build()
            .into();
        Ok(Arc::new(Shared {
            model: Client::new(agent.clone(), &self.url),
            agent,
            service: self.url.clone(),
            store,
            knowledge: self.dir.clone(),
            states,
            seed: self.plan.seed,
        }))
    }

    /// What a session needs when no other is in its way, as the plan has it: calls and
    /// back-off.
    pub(crate) fn alone(&self, session: usize) -> Duration {
        let failures = self.plan.failures_of(session).count();
        let patience = steps::patience(self.plan.seed, session).build();
        self.plan.service_path(session) + patience.take(failures).sum::<Duration>()
    }

    /// The heartbeat of a loop that has nothing to do, on cores that have nothing to do.
    pub(crate) fn idle(&self, time: Duration) -> Result<Lag> {
        let beside = Heartbeat::beside(self.event_loop)?;
        std::thread::sleep(time);
        Ok(beside.end()?.0)
    }
}
