//! What offramp has to be, beside its peers. `--check` holds it to that.
//!
//! All of it is for two CPUs and ratios are formed round by round in one process: see the head of `peers.rs`.

use crate::cells::FLAT;
use crate::passes::Pass;
use crate::subjects::{
    BARE, BLOCKING_CAPPED, BLOCKING_DEFAULT, COMPUTING, OFFRAMP_BULK, OFFRAMP_CPU, OFFRAMP_IO,
    OFFRAMP_JOINED, TOKIO_CAPPED, TOKIO_DEFAULTS, TOKIO_RAYON, TOKIO_SHARDED,
};

/// What is asked of a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// The peer's time over ours: higher is better.
    Speed,
    /// Our CPU time for a job over the peer's: lower is better.
    Cpu,
    /// Our futex calls for a job.
    Futexes,
    /// The 99.99th percentile of our submissions, in us.
    PushTail,
    /// The dearest of our cells over the cheapest, for a job.
    Flatness,
    /// The same for each job by which a cell has more than the one before it, by their medians: what is
    /// paid once for a cell is left out.
    Further,
}

impl Measure {
    pub(crate) fn is_at_most(self) -> bool {
        !matches!(self, Measure::Speed)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Measure::Speed => "speed",
            Measure::Cpu => "CPU per job",
            Measure::Futexes => "futex calls per job",
            Measure::PushTail => "p99.99, us",
            Measure::Flatness | Measure::Further => "dearest over cheapest",
        }
    }
}

/// Who is compared, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    pub(crate) pass: Pass,
    pub(crate) ours: &'static str,
    /// None where a figure of ours is looked at alone.
    pub(crate) peer: Option<&'static str>,
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Wanted {
    /// Of the median; none: it is told, not judged.
    pub(crate) floor: Option<f64>,
    /// Of the interval's end that is nearer to a loss.
    pub(crate) bound: Option<f64>,
    /// What would be good. Not judged.
    pub(crate) aim: Option<f64>,
}

/// A row of the table.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Target {
    pub(crate) row: String,
    /// One, but for those that are compared with each other.
    pub(crate) cells: Vec<&'static str>,
    pub(crate) measure: Measure,
    /// It holds if it does for each; what is shown is the worst.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) wanted: Wanted,
    /// Part of a quick run.
    pub(crate) is_key: bool,
}

const fn pair(pass: Pass, ours: &'static str, peer: &'static str) -> Pair {
    Pair {
        pass,
        ours,
        peer: Some(peer),
    }
}

/// The pools with the same cap, in one pass.
fn same_cap(pass: Pass) -> Vec<Pair> {
    [TOKIO_CAPPED, TOKIO_SHARDED, BLOCKING_CAPPED]
        .map(|peer| pair(pass, OFFRAMP_IO, peer))
        .into()
}

/// Whoever is best, with whatever number of threads.
fn every_peer() -> Vec<Pair> {
    let mut pairs = same_cap(Pass::SameCap);
    pairs.extend([
        pair(Pass::Defaults, OFFRAMP_IO, TOKIO_DEFAULTS),
        pair(Pass::Defaults, OFFRAMP_IO, BLOCKING_DEFAULT),
        pair(Pass::CpuPools, OFFRAMP_IO, TOKIO_RAYON),
    ]);
    pairs
}

impl Target {
    fn new(row: &str, cell: &'static str, measure: Measure, pairs: Vec<Pair>) -> Self {
        Target {
            row: row.into(),
            cells: vec![cell],
            measure,
            pairs,
            wanted: Wanted {
                floor: None,
                bound: None,
                aim: None,
            },
            is_key: false,
        }
    }

    /// Against tokio with the same cap.
    fn tokio(row: &str, pass: Pass, cell: &'static str, measure: Measure) -> Self {
        let pairs = vec![pair(pass, OFFRAMP_IO, TOKIO_CAPPED)];
        Target::new(row, cell, measure, pairs)
    }

    /// Against the best of all peers, with two CPUs.
    fn best(row: &str, cell: &'static str) -> Self {
        let row = format!("{row}, best peer");
        Target::new(&row, cell, Measure::Speed, every_peer())
    }

    /// A figure of ours.
    fn alone(row: &str, pass: Pass, cell: &'static str, measure: Measure) -> Self {
        let pair = Pair {
            pass,
            ours: OFFRAMP_IO,
            peer: None,
        };
        Target::new(row, cell, measure, vec![pair])
    }

    fn cpu_pool(row: &str, pass: Pass, cell: &'static str) -> Self {
        let pairs = vec![pair(pass, OFFRAMP_CPU, TOKIO_RAYON)];
        Target::new(row, cell, Measure::Speed, pairs)
    }

    /// Not offramp's figure, but this one's.
    fn of(mut self, subject: &'static str) -> Self {
        for pair in &mut self.pairs {
            pair.ours = subject;
        }
        self
    }

    fn wants(mut self, floor: f64) -> Self {
        self.wanted.floor = Some(floor);
        self
    }

    fn bound(mut self, bound: f64) -> Self {
        self.wanted.bound = Some(bound);
        self
    }

    fn aims_at(mut self, aim: f64) -> Self {
        self.wanted.aim = Some(aim);
        self
    }

    fn key(mut self) -> Self {
        self.is_key = true;
        self
    }
}

/// Where a job's own time is most of it, nobody may be slower than the best.
const PARITY: [(Pass, &[&str]); 6] = [
    (
        Pass::SameCap,
        &[
            "1us-64",
            "10us-64",
            "100us-64",
            "1us-burst-64",
            "10us-burst-64",
            "100us-burst-64",
        ],
    ),
    (Pass::OneCpu, &["1us-64", "10us-64", "100us-64"]),
    (Pass::CurrentThread, &["1us-64", "10us-64", "100us-64"]),
    (Pass::BlockOn, &["1us-64", "10us-64", "100us-64"]),
    (Pass::Smol, &["1us-64", "10us-64", "100us-64"]),
    (Pass::Sleep, &["sleep-64", "sleep-burst-64"]),
];

fn parity() -> impl Iterator<Item = Target> {
    let cells = PARITY.into_iter();
    let cells = cells.flat_map(|(pass, cells)| cells.iter().map(move |&cell| (pass, cell)));
    cells.map(|(pass, cell)| {
        let row = format!("jobs that do something, {}", pass.name());
        let target = Target::new(&row, cell, Measure::Speed, same_cap(pass));
        let target = target.wants(0.97).bound(0.93);
        match (pass, cell) {
            (Pass::SameCap, "10us-64") => target.key(),
            _ => target,
        }
    })
}

fn cpu_pools() -> impl Iterator<Item = Target> {
    let two = |cell| Target::cpu_pool("CPU pool, tokio-rayon", Pass::CpuPools, cell);
    let one = |cell| {
        let row = "CPU pool on one CPU, tokio-rayon";
        Target::cpu_pool(row, Pass::OneCpuPools, cell)
    };
    let elsewhere = [
        "round-trip",
        "closed-8",
        "closed-1000",
        "closed-10000",
        "burst-64",
        "1us-64",
        "10us-64",
        "100us-64",
    ];
    let on_one_cpu = [
        "round-trip",
        "closed-8",
        "closed-64",
        "closed-1000",
        "burst-64",
    ];
    [
        two("closed-64").wants(1.5).key(),
        two("burst-10000").wants(3.0).key(),
    ]
    .into_iter()
    .chain(elsewhere.map(move |cell| two(cell).wants(0.95)))
    .chain(on_one_cpu.map(move |cell| one(cell).wants(0.95)))
    // Where nobody contends for anything it counts what is done for a job, and nothing else.
    .chain(["closed-10000", "burst-10000"].map(one))
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Target> {
    use Measure::{Cpu, Flatness, Further, Futexes, PushTail, Speed};

    let flat = |row, measure| {
        let mut target = Target::alone(row, Pass::Flat, FLAT[0].0, measure);
        target.cells = FLAT.map(|(cell, _)| cell).into();
        target
    };
    let (two, one) = (Pass::SameCap, Pass::OneCpu);
    let mut all = vec![
        Target::tokio("burst of 10,000, tokio capped", two, "burst-10000", Speed)
            .wants(3.5)
            .aims_at(5.5)
            .key(),
        Target::best("burst of 10,000", "burst-10000")
            .wants(2.2)
            .key(),
        Target::tokio("1,000 in flight, tokio capped", two, "closed-1000", Speed)
            .wants(2.0)
            .aims_at(2.8)
            .key(),
        Target::best("1,000 in flight", "closed-1000").wants(1.5),
        Target::tokio("10,000 in flight, tokio capped", two, "closed-10000", Speed)
            .wants(2.0)
            .aims_at(2.8)
            .key(),
        Target::best("10,000 in flight", "closed-10000").wants(1.5),
        Target::tokio("64 in flight, tokio capped", two, "closed-64", Speed)
            .wants(1.4)
            .key(),
        Target::best("64 in flight", "closed-64").wants(1.0),
        Target::tokio(
            "64 in flight on one CPU, tokio capped",
            one,
            "closed-64",
            Speed,
        )
        .wants(2.0)
        .aims_at(3.0)
        .key(),
        Target::tokio(
            "round trip on one CPU, tokio capped",
            one,
            "round-trip",
            Speed,
        )
        .wants(1.5)
        .key(),
        Target::alone(
            "futex calls of one on one CPU",
            Pass::OneCpuFutexes,
            "round-trip",
            Futexes,
        )
        .wants(2.7)
        .key(),
        Target::alone(
            "those of one on two CPUs",
            Pass::Futexes,
            "round-trip",
            Futexes,
        )
        .key(),
        Target::alone(
            "those of a bare thread on two CPUs",
            Pass::Futexes,
            "round-trip",
            Futexes,
        )
        .of(BARE)
        .key(),
        Target::tokio("8 in flight, tokio capped", two, "closed-8", Speed).wants(1.2),
        Target::best("8 in flight", "closed-8").aims_at(1.0),
        Target::tokio("burst of 64, tokio capped", two, "burst-64", Speed).wants(1.2),
        Target::best("burst of 64", "burst-64").aims_at(1.0),
    ];
    all.extend(parity());
    all.extend(cpu_pools());
    all.extend([
        Target::tokio(
            "16 tasks submit, tokio locked",
            Pass::Submitters,
            "submit-16",
            Speed,
        )
        .wants(2.0),
        Target {
            pairs: vec![pair(two, OFFRAMP_BULK, OFFRAMP_IO)],
            ..Target::tokio("64 together, one by one", two, "bulk-64", Speed)
        }
        .wants(2.0),
        Target {
            pairs: vec![pair(Pass::Least, OFFRAMP_BULK, OFFRAMP_JOINED)],
            ..Target::tokio("64 together, joined futures", two, "bulk-64", Speed)
        },
        Target {
            pairs: vec![pair(Pass::Least, BARE, OFFRAMP_IO)],
            ..Target::tokio(
                "a bare thread with 64 as one closure, one by one",
                two,
                "bulk-64",
                Speed,
            )
        },
        Target::alone("a submission among 16", Pass::Push, "push", PushTail)
            .wants(2.0)
            .key(),
        Target::alone(
            "what the machine does to 0.2 us",
            Pass::Push,
            "push",
            PushTail,
        )
        .of(COMPUTING)
        .key(),
        Target::tokio("64 in flight, tokio capped", two, "closed-64", Cpu)
            .wants(0.6)
            .key(),
        Target::tokio("10,000 in flight, tokio capped", two, "closed-10000", Cpu).wants(0.5),
        Target::tokio("burst of 10,000, tokio capped", two, "burst-10000", Cpu)
            .wants(0.3)
            .key(),
        flat("10^2 to 10^6 jobs", Flatness).wants(1.1),
        flat("each further job, 10^2 to 10^6", Further),
    ]);
    all
}

/// Whether a quick run has it.
pub(crate) fn is_key_cell(pass: Pass, cell: &str) -> bool {
    all().iter().any(|target| {
        let is_of_pass = target.pairs.iter().any(|pair| pair.pass == pass);
        target.is_key && is_of_pass && target.cells.contains(&cell)
    })
}
