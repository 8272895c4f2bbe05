//! The steps of a session, all of them plain sync code: this is what an application has
//! before it goes async, and none of it is written twice. `session.rs` calls it in two
//! ways.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use backon::ExponentialBuilder;

use crate::embed::Index;
use crate::legacy_sdk::{self, Client};
use crate::plan::mix;
use crate::store::{Store, Turn};
use crate::{corpus, usage};

/// What all sessions of a run share.
pub(crate) struct Shared {
    pub(crate) agent: ureq::Agent,
    pub(crate) service: String,
    pub(crate) model: Client,
    pub(crate) store: Store,
    pub(crate) knowledge: PathBuf,
    pub(crate) states: PathBuf,
    pub(crate) seed: u64,
}

/// What a session cost, noted by its steps, on whichever thread they run.
#[derive(Default)]
pub(crate) struct Meter {
    in_service: AtomicU64,
    embedding: AtomicU64,
    failures: AtomicU32,
}

#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) meter: Arc<Meter>,
}

impl Session {
    /// (a) A document, over HTTP, with a blocking client.
    pub(crate) fn fetch(&self) -> Result<String> {
        let url = format!("{}/documents/{}", self.shared.service, self.id);
        self.meter
            .serviced(|| {
                let response = self.shared.agent.get(&url).call();
                response.and_then(|response| response.into_body().read_to_string())
            })
            .with_context(|| self.at("fetch", format_args!("GET {url}")))
    }

    /// (b) A knowledge file, from disk.
    pub(crate) fn read_knowledge(&self) -> Result<String> {
        let file = self
            .shared
            .knowledge
            .join(format!("{}.txt", self.id % corpus::BASES));
        fs::read_to_string(&file).with_context(|| self.at("read", file.display()))
    }

    /// (c) Split and embedded: the step that needs the CPU.
    pub(crate) fn embed(&self, knowledge: &str) -> Index {
        let before = usage::thread_cpu();
        let index = Index::new(knowledge);
        self.meter.embedding.fetch_add(
            (usage::thread_cpu() - before).as_nanos() as u64,
            Ordering::Relaxed,
        );
        index
    }

    /// (c) The passages that the document is about.
    pub(crate) fn search(&self, index: &Index, document: &str) -> Vec<String> {
        index
            .nearest(document, 3)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// (d) The user's turn goes into SQLite; what was said so far, with the passages,
    /// makes the prompt.
    pub(crate) fn prompt(&self, document: &str, passages: &[String]) -> Result<String> {
        let question = format!("What does my knowledge say about this? {document:.400}");
        let turns = self.turn("user", &question)?;
        let mut prompt: String = turns
            .iter()
            .map(|turn| format!("{}: {}\n", turn.role, turn.text))
            .collect();
        for passage in passages {
            prompt.push_str(&format!("passage: {}\n", passage.replace('\n', " ")));
        }
        Ok(prompt)
    }

    /// (e) The model's answer, streamed, through the SDK that can only block. Fails now
    /// and then. `tries` counts from 1.
    pub(crate) fn ask(&self, prompt: &str, tries: u32) -> Result<String> {
        let mut words: Vec<String> = Vec::new();
        let request = legacy_sdk::Request {
            session: self.id,
            prompt,
            retries: tries - 1,
        };
        let outcome = self.meter.serviced(|| {
            self.shared
                .model
                .complete(&request, |token| words.push(token.to_owned()))
        });
        if outcome.is_err() {
            self.meter.failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome.with_context(|| self.at("ask", format_args!("try {tries} of the model")))?;
        Ok(words.join(" "))
    }

    /// (d) The model's turn goes into SQLite, and the session's turns come back.
    pub(crate) fn turn(&self, role: &str, text: &str) -> Result<Vec<Turn>> {
        let turns = self.shared.store.add(self.id, role, text, 20);
        turns.with_context(|| self.at("store", "the turns in SQLite"))
    }

    /// (f) The state, whole or not at all: written to a temporary file, flushed to the
    /// disk, renamed. Without the last flush, of the directory, the new name itself could
    /// be lost.
    pub(crate) fn save(&self, turns: &[Turn]) -> Result<()> {
        let file = self.shared.states.join(format!("{}.state", self.id));
        let save = || {
            let mut temporary = tempfile::NamedTempFile::new_in(&self.shared.states)?;
            writeln!(temporary, "session {}", self.id)?;
            for turn in turns {
                writeln!(temporary, "{}: {}", turn.role, turn.text)?;
            }
            temporary.as_file().sync_all()?;
            temporary.persist(&file)?;
            File::open(&self.shared.states)?.sync_all()
        };
        save().with_context(|| self.at("save", file.display()))
    }

    pub(crate) fn patience(&self) -> ExponentialBuilder {
        patience(self.shared.seed, self.id)
    }

    fn at(&self, step: &str, what: impl Display) -> String {
        format!("session {}, step {step} ({what})", self.id)
    }
}

/// How often and how late a failed call to the model is tried again. The jitter keeps a
/// hundred sessions from coming back at the same moment; its seed makes runs repeatable.
pub(crate) fn patience(seed: u64, session: usize) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(5)
        .with_jitter()
        .with_jitter_seed(mix(seed, session as u64, 7))
}

/// Of the model's failures only those that may pass; a wrong address stays wrong.
pub(crate) fn may_pass(error: &anyhow::Error) -> bool {
    error
        .downcast_ref()
        .is_some_and(legacy_sdk::Error::is_transient)
}

impl Meter {
    fn serviced<T>(&self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let output = call();
        self.in_service
            .fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        output
    }

    /// Time spent in calls to the service, back-off not counted.
    pub(crate) fn in_service(&self) -> Duration {
        Duration::from_nanos(self.in_service.load(Ordering::Relaxed))
    }

    /// Tries of the model that came to nothing.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// CPU time of splitting and embedding.
    pub(crate) fn embedding(&self) -> Duration {
        Duration::from_nanos(self.embedding.load(Ordering::Relaxed))
    }
}
