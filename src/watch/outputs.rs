//! Where reports can go.

use super::report::Report;
use std::io::{self, Write};

/// Reports as warnings for `log`, target `offramp::watch`: several lines in one record. What a
/// [`Watchdog`](super::Watchdog) does if it is told nothing else.
pub fn to_log() -> impl FnMut(&Report) + Send + 'static {
    |report| log::warn!(target: "offramp::watch", "{report}")
}

/// Reports as text for a file, a pipe, or [`stderr`](std::io::stderr).
///
/// What cannot be written is lost.
pub fn to_writer(mut writer: impl Write + Send + 'static) -> impl FnMut(&Report) + Send + 'static {
    move |report| {
        // At once: parts of it would mix with what others write.
        let text = format!("{report}\n");
        let _: io::Result<()> = writer
            .write_all(text.as_bytes())
            .and_then(|()| writer.flush());
    }
}

/// Reports as JSON, one line each.
///
/// What cannot be written is lost.
#[cfg(feature = "serde")]
pub fn to_json_lines(
    mut writer: impl Write + Send + 'static,
) -> impl FnMut(&Report) + Send + 'static {
    move |report| {
        let Ok(mut line) = serde_json::to_vec(report) else {
            return;
        };
        line.push(b'\n');
        let _: io::Result<()> = writer.write_all(&line).and_then(|()| writer.flush());
    }
}

/// Reports as warnings for `tracing`, target `offramp::watch`: the most important fields, and
/// the text as message.
#[cfg(feature = "tracing")]
pub fn to_tracing() -> impl FnMut(&Report) + Send + 'static {
    |report| {
        let advice = report.advice.as_ref();
        tracing::warn!(
            target: "offramp::watch",
            incident = report.incident,
            duration_ms = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
            task = report.task.type_name,
            name = report.task.name,
            lane = report.task.lane,
            state = %report.state,
            advice = advice.map(tracing::field::display),
            "{report}"
        );
    }
}
