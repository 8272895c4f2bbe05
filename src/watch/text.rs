//! Reports as text.

use super::report::{Frame, Owner, Phase, Report};
use std::fmt;
use std::time::Duration;

/// Durations in reports: whole milliseconds, as the watchdog does not see more.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = Millis(self.duration);
        let name = self
            .task
            .name
            .map_or(String::new(), |name| format!("`{name}` "));
        let incident = self.incident;
        let times = match self.phase {
            Phase::Over => {
                return write!(
                    f,
                    "incident {incident} is over: {name}blocked its event loop for {duration}"
                );
            }
            Phase::Blocking { times } => times,
        };
        writeln!(
            f,
            "{name}blocks its event loop: {duration} so far, {times}x the threshold of {} \
             (incident {incident})",
            Millis(self.threshold)
        )?;
        writeln!(f, "  task:   {}", self.task)?;
        if let Some(thread) = &self.thread {
            writeln!(f, "  thread: {thread}")?;
        }
        write!(f, "  state:  {}", self.state)?;
        if let (Some(on_cpu), Some(waited)) = (self.on_cpu, self.waited_for_cpu) {
            write!(
                f,
                "; {} on a CPU, {} waiting for one",
                Millis(on_cpu),
                Millis(waited)
            )?;
        }
        self.write_stack(f)?;
        if let Some(advice) = &self.advice {
            write!(f, "\n  advice: {advice}")?;
        }
        if self.repeated > 0 {
            write!(
                f,
                "\n  {} incidents at the same place since the last report of it",
                self.repeated
            )?;
        }
        if self.held_back > 0 {
            write!(
                f,
                "\n  {} reports were held back by the limit per minute",
                self.held_back
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn write_stack(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = self.no_frames {
            return write!(f, "\n  stack:  none: {why}");
        }
        f.write_str("\n  stack:")?;
        let mut folded = Folded::default();
        for frame in &self.frames {
            if frame.owner == Owner::Runtime && !frame.is_blamed {
                folded.add(frame);
                continue;
            }
            folded.write(f)?;
            let mark = if frame.is_blamed { "->" } else { "  " };
            write!(f, "\n    {mark} {frame}")?;
        }
        folded.write(f)?;
        if self.is_partial {
            f.write_str("\n       … (callers are missing)")?;
        }
        Ok(())
    }
}

/// Runtime frames in a row.
#[derive(Default)]
struct Folded<'a> {
    count: usize,
    crates: Vec<&'a str>,
}

impl<'a> Folded<'a> {
    fn add(&mut self, frame: &'a Frame) {
        self.count += 1;
        let name = frame.crate_name().unwrap_or("others");
        if !self.crates.contains(&name) {
            self.crates.push(name);
        }
    }

    fn write(&mut self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count > 0 {
            write!(f, "\n       … {} of {}", self.count, self.crates.join(", "))?;
        }
        *self = Self::default();
        Ok(())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function.as_deref().unwrap_or("?");
        f.write_str(function)?;
        match self.place() {
            Some(place) => write!(f, "  {place}"),
            None => write!(
                f,
                "  {}+{:#x}",
                self.module.as_deref().unwrap_or("?"),
                self.offset
            ),
        }
    }
}

impl Frame {
    /// `file:line`.
    pub(super) fn place(&self) -> Option<String> {
        let file = self.file.as_ref()?.to_string_lossy();
        // From a registry the package and the path in it say enough.
        let file = match file.split_once("/registry/src/") {
            Some((_, path)) => path.split_once('/').map_or(path, |(_, path)| path),
            None => &*file,
        };
        Some(match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_owned(),
        })
    }
}
