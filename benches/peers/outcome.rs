//! What a pass measured in a cell, and the file in which it goes from the process of the pass to the one that judges.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::passes::Pass;
use crate::sample::{Push, Sample};

/// A cell's samples.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Outcome {
    pub(crate) pass: Pass,
    pub(crate) cell: String,
    pub(crate) columns: Vec<Column>,
}

/// One implementation's, in the order of the rounds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

impl Column {
    pub(crate) fn new(name: &str) -> Self {
        Column {
            name: name.into(),
            samples: Vec::new(),
        }
    }
}

impl Outcome {
    pub(crate) fn new(pass: Pass, cell: &str, columns: Vec<Column>) -> Self {
        Outcome {
            pass,
            cell: cell.into(),
            columns,
        }
    }

    pub(crate) fn samples(&self, implementation: &str) -> Option<&[Sample]> {
        let mut columns = self.columns.iter();
        let column = columns.find(|column| column.name == implementation)?;
        Some(&column.samples)
    }
}

/// The first line of the file. A figure that was not taken is empty.
const HEAD: &str = "process,pass,cell,implementation,round,jobs,ns,cpu_ns,switches,futexes,\
                    push_p50_ns,push_p99_ns,push_p9999_ns,push_p9999_with_preempted_ns,push_worst_ns";

/// All samples; `process` tells the first of a pass' processes, 0, from those that measured again.
pub(crate) fn to_csv(processes: &[(usize, Vec<Outcome>)]) -> String {
    let mut text = format!("{HEAD}\n");
    let rows = processes.iter().flat_map(|(process, outcomes)| {
        let all = outcomes.iter().flat_map(|outcome| {
            let columns = outcome.columns.iter();
            columns.map(move |column| (outcome, column))
        });
        all.map(move |(outcome, column)| (process, outcome, column))
    });
    for (process, outcome, column) in rows {
        for (round, sample) in column.samples.iter().enumerate() {
            let (pass, cell, name) = (outcome.pass.name(), &outcome.cell, &column.name);
            let Sample {
                jobs,
                ns,
                cpu_ns,
                switches,
                ..
            } = sample;
            let push = |of: fn(&Push) -> u64| optional(sample.push.as_ref().map(of));
            writeln!(
                text,
                "{process},{pass},{cell},{name},{round},{jobs},{ns},{cpu_ns},{switches},{},{},{},{},{},{}",
                optional(sample.futexes),
                push(|push| push.median),
                push(|push| push.p99),
                push(|push| push.p9999),
                push(|push| push.with_preempted),
                push(|push| push.worst),
            )
            .expect("a string takes everything");
        }
    }
    text
}

fn optional(figure: Option<u64>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}

pub(crate) fn write(path: &Path, processes: &[(usize, Vec<Outcome>)]) -> Result<(), String> {
    let written = fs::write(path, to_csv(processes));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Reads what was written, process by process.
pub(crate) fn read(path: &Path) -> Result<Vec<(usize, Vec<Outcome>)>, String> {
    let text =
        fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut processes: Vec<(usize, Vec<Outcome>)> = Vec::new();
    for line in text.lines().skip(1) {
        let broken = || format!("{}: not a sample: {line}", path.display());
        let fields: Vec<&str> = line.split(',').collect();
        let (process, pass, sample) = parse(&fields).ok_or_else(broken)?;
        let (cell, name) = (fields[2], fields[3]);
        let outcomes = place(
            &mut processes,
            |(known, _)| *known == process,
            || (process, Vec::new()),
        );
        let outcome = place(
            &mut outcomes.1,
            |known| known.pass == pass && known.cell == cell,
            || Outcome::new(pass, cell, Vec::new()),
        );
        let column = place(
            &mut outcome.columns,
            |known| known.name == name,
            || Column::new(name),
        );
        column.samples.push(sample);
    }
    Ok(processes)
}

/// The one that is there, or a new one at the end.
fn place<T>(all: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let index = all.iter().position(is_it).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[index]
}

fn parse(fields: &[&str]) -> Option<(usize, Pass, Sample)> {
    let number = |index: usize| -> Option<u64> { fields.get(index)?.parse().ok() };
    let push = || {
        Some(Push {
            median: number(10)?,
            p99: number(11)?,
            p9999: number(12)?,
            with_preempted: number(13)?,
            worst: number(14)?,
        })
    };
    let sample = Sample {
        jobs: number(5)?,
        ns: number(6)?,
        cpu_ns: number(7)?,
        switches: number(8)?,
        futexes: number(9),
        push: push(),
    };
    Some((number(0)? as usize, Pass::named(fields[1])?, sample))
}
