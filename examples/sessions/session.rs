//! One session, twice: as people write it first, and with offramp. Both call the same
//! sync steps.

use anyhow::Result;
use futures::try_join;
use offramp::{Offload, offload_cpu, offload_io};

use crate::event_loop::EventLoop;
use crate::steps::{Session, may_pass};

/// Before: sync calls in an `async fn`. It compiles, and with one user nobody notices;
/// but it never lets go of the loop, so all other sessions, and everything else on that
/// loop, wait until it is through.
pub(crate) async fn blocked(s: Session) -> Result<String> {
    let document = s.fetch()?;
    let knowledge = s.read_knowledge()?;
    let index = s.embed(&knowledge);
    let passages = s.search(&index, &document);
    let prompt = s.prompt(&document, &passages)?;
    let answer = ask_blocked(&s, &prompt)?;
    let turns = s.turn("model", &answer)?;
    s.save(&turns)?;
    Ok(answer)
}

/// After: the same steps, each handed to a pool. The loop is free while they run, and
/// steps that do not need each other run at the same time.
pub(crate) async fn offloaded(
    s: Session,
    offload: Offload,
    event_loop: EventLoop,
) -> Result<String> {
    let (a, b, c) = (s.clone(), s.clone(), s.clone());
    let fetch = offload_io(move || a.fetch())
        .label("fetch")
        .on(&offload)
        .flatten();
    let index = async {
        let knowledge = offload_io(move || b.read_knowledge())
            .label("read")
            .on(&offload)
            .flatten()
            .await?;
        let index = offload_cpu(move || c.embed(&knowledge))
            .label("embed")
            .on(&offload)
            .await?;
        Ok(index)
    };
    let (document, index) = try_join!(fetch, index)?;

    // The search needs the CPU too, but for less than a millisecond: not worth a turn of
    // its own, at the end of the queue of embeddings.
    let a = s.clone();
    let prompt = move || a.prompt(&document, &a.search(&index, &document));
    let prompt = offload_io(prompt)
        .label("store")
        .on(&offload)
        .flatten()
        .await?;

    let answer = ask_offloaded(&s, prompt, &offload, event_loop).await?;

    // Two steps, one call: no need to come back to the loop in between.
    let finish = move || {
        let turns = s.turn("model", &answer)?;
        s.save(&turns)?;
        Ok(answer)
    };
    offload_io(finish)
        .label("save")
        .on(&offload)
        .flatten()
        .await
}

/// Steps (a) and (e) only, to compare the waiting alone.
pub(crate) async fn blocked_calls(s: Session) -> Result<String> {
    let document = s.fetch()?;
    ask_blocked(&s, &document)
}

/// The same, offloaded.
pub(crate) async fn offloaded_calls(
    s: Session,
    offload: Offload,
    event_loop: EventLoop,
) -> Result<String> {
    let a = s.clone();
    let document = offload_io(move || a.fetch())
        .label("fetch")
        .on(&offload)
        .flatten()
        .await?;
    ask_offloaded(&s, document, &offload, event_loop).await
}

/// The pauses between tries are sync too: they hold up the loop like the calls.
fn ask_blocked(s: &Session, prompt: &str) -> Result<String> {
    use backon::BlockingRetryable;
    let mut tries = 0;
    let ask = || {
        tries += 1;
        s.ask(prompt, tries)
    };
    ask.retry(s.patience()).when(may_pass).call()
}

/// The retries stay in async code and only the tries are offloaded. A retry inside the
/// closure would work as well, but would hold a pool thread through every pause, and
/// dropping the session could not end it between two tries.
async fn ask_offloaded(
    s: &Session,
    prompt: String,
    offload: &Offload,
    event_loop: EventLoop,
) -> Result<String> {
    use backon::Retryable;
    let mut tries = 0;
    let ask = || {
        tries += 1;
        let (s, prompt) = (s.clone(), prompt.clone());
        offload_io(move || s.ask(&prompt, tries))
            .label("ask")
            .on(offload)
            .flatten()
    };
    ask.retry(s.patience())
        .sleep(move |pause| event_loop.sleep(pause))
        .when(may_pass)
        .await
}
