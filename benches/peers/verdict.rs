//! Holds the outcomes to the targets.

use crate::cells::FLAT;
use crate::outcome::Outcome;
use crate::passes::Pass;
use crate::report::spread_text;
use crate::sample::Sample;
use crate::stats::{self, Spread};
use crate::targets::{Measure, Pair, Target};

/// What one process' outcomes, or those of one process for each pass, say of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judgement {
    pub(crate) got: Spread,
    /// The worst of the target's pairs.
    pub(crate) pair: Pair,
    pub(crate) holds: bool,
}

/// `None`: nothing of it was measured.
pub(crate) fn judge(target: &Target, outcomes: &[Outcome]) -> Option<Judgement> {
    let judged = target.pairs.iter().filter_map(|&pair| {
        let rounds = rounds(target, pair, outcomes)?;
        // With less than six rounds there is no such interval: then it is all of them.
        let got = stats::confidence(&rounds).or_else(|| stats::range(&rounds))?;
        Some(Judgement {
            got,
            pair,
            holds: holds(target, got),
        })
    });
    // The worst, as the medians are; and one that does not hold before those that do.
    let loss = |judgement: &Judgement| match target.measure.is_at_most() {
        true => judgement.got.median,
        false => -judgement.got.median,
    };
    judged.max_by(|a, b| {
        let by_holding = b.holds.cmp(&a.holds);
        by_holding.then(loss(a).total_cmp(&loss(b)))
    })
}

fn holds(target: &Target, got: Spread) -> bool {
    let wanted = target.wanted;
    if target.measure.is_at_most() {
        wanted.floor.is_none_or(|floor| got.median <= floor)
            && wanted.bound.is_none_or(|bound| got.high <= bound)
    } else {
        wanted.floor.is_none_or(|floor| got.median >= floor)
            && wanted.bound.is_none_or(|bound| got.low >= bound)
    }
}

/// The measure of each round.
fn rounds(target: &Target, pair: Pair, outcomes: &[Outcome]) -> Option<Vec<f64>> {
    let samples = |cell: &str, name: &str| -> Option<Vec<Sample>> {
        let mut outcomes = outcomes.iter();
        let outcome = outcomes.find(|outcome| outcome.pass == pair.pass && outcome.cell == cell)?;
        Some(outcome.samples(name)?.into())
    };
    let cell = target.cells[0];
    let ours = samples(cell, pair.ours)?;
    let paired = |ratio: fn(&Sample, &Sample) -> f64| {
        let theirs = samples(cell, pair.peer?)?;
        let rounds = ours.iter().zip(&theirs);
        Some(rounds.map(|(our, their)| ratio(our, their)).collect())
    };
    match target.measure {
        Measure::Speed => paired(|our, their| their.ns_per_job() / our.ns_per_job()),
        Measure::Cpu => paired(|our, their| our.cpu_per_job() / their.cpu_per_job()),
        Measure::Futexes => ours.iter().map(Sample::futexes_per_job).collect(),
        Measure::PushTail => {
            let tail = |sample: &Sample| Some(sample.push?.p9999 as f64 / 1000.0);
            ours.iter().map(tail).collect()
        }
        Measure::Flatness => {
            let of_cell = |cell: &&str| samples(cell, pair.ours);
            let cells: Vec<_> = target.cells.iter().map(of_cell).collect::<Option<_>>()?;
            let flatness = |round: usize| {
                let costs = cells.iter().map(|samples| samples[round].ns_per_job());
                let (low, high) = costs.fold((f64::INFINITY, 0.0_f64), |(low, high), cost| {
                    (low.min(cost), high.max(cost))
                });
                high / low
            };
            Some((0..ours.len()).map(flatness).collect())
        }
        Measure::Further => {
            let total = |&(cell, jobs): &(&str, usize)| {
                let samples = samples(cell, pair.ours)?;
                let costs: Vec<f64> = samples.iter().map(Sample::ns_per_job).collect();
                Some((stats::range(&costs)?.median * jobs as f64, jobs as f64))
            };
            let totals: Vec<_> = FLAT.iter().map(total).collect::<Option<_>>()?;
            let further = totals.windows(2).map(|pair| {
                let ((less, fewer), (more, jobs)) = (pair[0], pair[1]);
                (more - less) / (jobs - fewer)
            });
            let costs = stats::range(&further.collect::<Vec<f64>>())?;
            Some(vec![costs.high / costs.low])
        }
    }
}

/// A target with what was found: once, or three times at most.
pub(crate) struct Row {
    pub(crate) target: Target,
    pub(crate) judgements: Vec<Judgement>,
}

impl Row {
    pub(crate) fn new(target: Target) -> Self {
        Row {
            target,
            judgements: Vec::new(),
        }
    }

    /// In most of its processes. None: not measured.
    pub(crate) fn holds(&self) -> Option<bool> {
        let all = self.judgements.len();
        let short = self.judgements.iter().filter(|j| !j.holds).count();
        (all > 0).then_some(2 * short < all)
    }

    /// Whether one more process would say more.
    pub(crate) fn is_open(&self) -> bool {
        let short = self.judgements.iter().filter(|j| !j.holds).count();
        match self.judgements.len() {
            1 => short == 1,
            // Once it is short in two it is.
            2 => short == 1,
            _ => false,
        }
    }

    /// Each pass with its cells.
    pub(crate) fn places(&self) -> Vec<(Pass, &'static str)> {
        let target = &self.target;
        let mut places = Vec::new();
        for pair in &target.pairs {
            places.extend(target.cells.iter().map(|&cell| (pair.pass, cell)));
        }
        places.dedup();
        places
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.holds() {
            None => "n/a",
            Some(_) if self.target.wanted.floor.is_none() => "told",
            Some(true) => "ok",
            Some(false) => "SHORT",
        }
    }

    /// For people, in one line.
    pub(crate) fn name(&self) -> String {
        let cells = match self.target.cells[..] {
            [cell] => cell.to_owned(),
            _ => format!(
                "{} to {}",
                self.target.cells[0],
                self.target.cells.last().unwrap_or(&"")
            ),
        };
        format!(
            "{} ({cells}): {}",
            self.target.row,
            self.target.measure.title()
        )
    }

    fn wanted(&self) -> String {
        let wanted = self.target.wanted;
        let sign = if self.target.measure.is_at_most() {
            "<="
        } else {
            ">="
        };
        let mut parts = Vec::new();
        parts.extend(wanted.floor.map(|floor| format!("{sign} {floor}")));
        parts.extend(wanted.bound.map(|bound| format!("bound {sign} {bound}")));
        parts.extend(wanted.aim.map(|aim| format!("aim {aim}")));
        parts.join(", ")
    }

    fn got(&self) -> String {
        let mut judgements = self.judgements.iter();
        let Some(first) = judgements.next() else {
            return "–".into();
        };
        let against = first
            .pair
            .peer
            .map_or_else(String::new, |peer| format!(" {peer}"));
        let mut text = format!("{}{against}", spread_text(first.got));
        for again in judgements {
            text += &format!("; again {:.2}", again.got.median);
        }
        text
    }
}

/// In Markdown, so that it can be put into the documentation as it is.
pub(crate) fn print(rows: &[Row]) {
    println!("\n| | row (cell): measure | wanted | got, [95 % interval], worst peer |");
    println!("|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} |",
            row.verdict(),
            row.name(),
            row.wanted(),
            row.got()
        );
    }
}
