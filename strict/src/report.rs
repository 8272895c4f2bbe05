//! What a test that has blocked prints.

use crate::stack::Frame;
use crate::violation::Violation;
use std::env;
use std::fmt::Write;
use std::path::Path;

/// The most that other calls of the same poll are named.
const OTHERS: usize = 8;

/// On a poll with violations, if it has any.
pub(crate) fn on(violations: &[Violation<'_>]) -> Option<String> {
    let (first, rest) = violations.split_first()?;
    let mut text = format!("a poll made a blocking call: {}", called(first));
    if let Some(user) = first.user {
        let _ = write!(text, "\n  in {}", function(&first.frames[user]));
        if let Some(at) = at(&first.frames[user]) {
            let _ = write!(text, "\n  at {at}");
        }
    }
    text.push_str(
        "\nwrap it in `offload_io`; if it never blocks here, in \
         `offramp_strict::allow(\"why\", || ..)`",
    );
    text.push_str("\nstack, innermost first:");
    for (index, frame) in first.frames.iter().enumerate() {
        let mark = if Some(index) == first.user { '>' } else { ' ' };
        let _ = write!(text, "\n{mark} {}", frame.name);
        if let Some(at) = at(frame) {
            let _ = write!(text, " at {at}");
        }
    }
    others(&mut text, rest);
    Some(text)
}

/// The call as it would be written.
fn called(violation: &Violation<'_>) -> String {
    let call = violation.call;
    let mut text = format!("{}({})", call.function, call.note.to_text());
    if let Some(waited) = call.waited {
        let _ = write!(text, ", which waited for {:.1?}", waited.total);
    }
    if call.times > 1 {
        let _ = write!(text, ", {} times", call.times);
    }
    text
}

fn others(text: &mut String, others: &[Violation<'_>]) {
    if others.is_empty() {
        return;
    }
    let _ = write!(text, "\nand {} more in this poll:", others.len());
    for other in others.iter().take(OTHERS) {
        let _ = write!(text, "\n  {}", called(other));
        if let Some(user) = other.user {
            let _ = write!(text, " in {}", function(&other.frames[user]));
        }
    }
    if others.len() > OTHERS {
        text.push_str("\n  ..");
    }
}

/// The name as its author knows it: the body of an `async fn` is a closure in it.
fn function(frame: &Frame) -> &str {
    let mut name = &*frame.name;
    if frame.is_guessed {
        // What is left would be the module.
        return name;
    }
    // `{{closure}}`, `{closure#0}`, `{async_fn#0}<..>`.
    while let Some((at, _)) = name.match_indices("::{").last() {
        let outer = &name[..at];
        // Not those between the angles of another one's type.
        if outer.matches('<').count() > outer.matches('>').count() {
            break;
        }
        name = outer;
    }
    name
}

/// Where it is, unless in the standard library, whose sources are elsewhere.
fn at(frame: &Frame) -> Option<String> {
    let (file, line) = frame.place.as_ref()?;
    if file.starts_with("/rustc") {
        return None;
    }
    let here = env::current_dir().ok();
    let file = here
        .and_then(|here| file.strip_prefix(here).map(Path::to_owned).ok())
        .unwrap_or_else(|| file.clone());
    Some(format!("{}:{line}", file.display()))
}
