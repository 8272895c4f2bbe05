//! The table.

use crate::subjects::Subject;

/// One figure, as each pool has it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is measured.
    pub(crate) what: String,
    /// What offramp is checked for.
    pub(crate) wanted: String,
    /// In the order of the subjects; those that are missing have no such thing.
    pub(crate) measured: Vec<String>,
    pub(crate) holds: bool,
}

/// In Markdown, so that it can be put into the documentation as it is.
pub(crate) fn print(rows: &[Row], subjects: &[&dyn Subject]) {
    let names: Vec<_> = subjects.iter().map(|subject| subject.name()).collect();
    println!("\n| row | measured | wanted | {} |", names.join(" | "));
    println!("|---|---|---{}|", "|---".repeat(names.len()));
    for row in rows {
        let mut cells = row.measured.clone();
        cells.resize(names.len(), "–".to_owned());
        let Row {
            name, what, wanted, ..
        } = row;
        println!("| {name} | {what} | {wanted} | {} |", cells.join(" | "));
    }
}
