//! The pictures of `docs/fairness.md`.

use std::error::Error;
use std::fs;
use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, TriangleMarker,
};
use plotters::style::{Color, WHITE};

/// What was measured on the way, to be drawn at the end.
#[derive(Default)]
pub(crate) struct Drawn {
    pub(crate) floods: Vec<Line>,
    /// Of each slice of time, its middle in seconds, and the lanes' shares.
    pub(crate) shares: Vec<(f64, Vec<f64>)>,
    pub(crate) goodput: Vec<Line>,
}

/// A pool's or a lane's.
pub(crate) struct Line {
    name: &'static str,
    points: Vec<Point>,
}

#[derive(Clone, Copy)]
struct Point {
    at: (f64, f64),
    /// It would be higher, if it had been waited for.
    is_least: bool,
}

impl Drawn {
    /// B's wait, in milliseconds, behind so many jobs of A; the second: at least.
    pub(crate) fn flood(&mut self, pool: &'static str, jobs: usize, wait: (f64, bool)) {
        let (wait, is_least) = wait;
        let at = (jobs as f64, wait);
        add(&mut self.floods, pool, Point { at, is_least });
    }

    pub(crate) fn goodput(&mut self, pool: &'static str, load: f64, goodput: f64) {
        let at = (load * 100.0, goodput * 100.0);
        let is_least = false;
        add(&mut self.goodput, pool, Point { at, is_least });
    }
}

fn add(lines: &mut Vec<Line>, name: &'static str, point: Point) {
    match lines.iter_mut().find(|line| line.name == name) {
        Some(line) => line.points.push(point),
        None => lines.push(Line {
            name,
            points: vec![point],
        }),
    }
}

type Outcome = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (720, 380);
const GREY: RGBColor = RGBColor(120, 120, 120);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);

/// In the order of drawing and of the legend. What would be hidden is drawn later, and thinner.
const WIDTHS: [(&str, u32); 4] = [
    ("tokio", 8),
    ("blocking", 5),
    ("rayon + oneshot", 2),
    ("offramp", 3),
];

fn place(name: &str) -> usize {
    let place = WIDTHS.iter().position(|(of, _)| *of == name);
    place.unwrap_or(WIDTHS.len())
}

fn width(name: &str) -> u32 {
    WIDTHS.get(place(name)).map_or(2, |(_, width)| *width)
}

const LANES: [&str; 3] = ["weight 1", "weight 2", "weight 4"];

/// To be told apart also by those who see no red or no green.
fn colour(name: &str) -> RGBColor {
    match name {
        "offramp" | "weight 4" => BLUE,
        "tokio" | "weight 1" => RED,
        "blocking" | "weight 2" => GREEN,
        _ => PURPLE,
    }
}

/// Where the documentation has them.
pub(crate) fn draw(drawn: &Drawn) -> Result<(), String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/img"));
    let all = || -> Outcome {
        fs::create_dir_all(folder)?;
        flood(&folder.join("fairness-flood.svg"), &drawn.floods)?;
        shares(&folder.join("fairness-shares.svg"), &drawn.shares)?;
        goodput(&folder.join("fairness-overload.svg"), &drawn.goodput)
    };
    all().map_err(|error| format!("cannot draw: {error}"))
}

/// What a picture is about.
struct Frame<'a> {
    path: &'a Path,
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Each point is marked.
    has_dots: bool,
    legend: SeriesLabelPosition,
}

/// Draws lines over these axes; `marks` are levels to compare with.
fn chart<X, Y>(frame: &Frame<'_>, axes: (X, Y), lines: &[Line], marks: &[Line]) -> Outcome
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let area = SVGBackend::new(frame.path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(frame.title, ("sans-serif", 19))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(axes.0, axes.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 14))
        .x_desc(frame.x)
        .y_desc(frame.y)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()?;
    for mark in marks {
        let points = mark.points.iter().map(|point| point.at);
        chart.draw_series(LineSeries::new(points, GREY.stroke_width(1)))?;
    }
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|line| place(line.name));
    for line in lines {
        let (colour, width) = (colour(line.name), width(line.name));
        let points = line.points.iter().map(|point| point.at);
        let sample =
            move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(line.name)
            .legend(sample);
        let (ends, dots): (Vec<Point>, Vec<Point>) =
            line.points.iter().partition(|point| point.is_least);
        let dots = if frame.has_dots { dots } else { Vec::new() };
        let dot = |point: Point| Circle::new(point.at, 3, colour.filled());
        chart.draw_series(dots.into_iter().map(dot))?;
        let end = |point: Point| TriangleMarker::new(point.at, 7, colour.filled());
        chart.draw_series(ends.into_iter().map(end))?;
    }
    chart
        .configure_series_labels()
        .position(frame.legend.clone())
        .label_font(("sans-serif", 14))
        .border_style(GREY)
        .background_style(WHITE.filled())
        .draw()?;
    area.present()?;
    Ok(())
}

/// Without digits that say nothing.
fn short(value: &f64) -> String {
    let digits = format!("{value:.3}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    match digits.strip_suffix("000") {
        Some(thousands) if !thousands.is_empty() => format!("{thousands},000"),
        _ => digits.to_owned(),
    }
}

fn flood(path: &Path, lines: &[Line]) -> Outcome {
    let frame = Frame {
        path,
        title: "How long B's job waits behind A's flood of 1 ms jobs",
        x: "jobs of A that wait",
        y: "ms (triangle: given up there)",
        has_dots: true,
        legend: SeriesLabelPosition::UpperLeft,
    };
    let axes = ((80.0..150_000.0).log_scale(), (0.003..9_000.0).log_scale());
    chart(&frame, axes, lines, &[])
}

fn goodput(path: &Path, lines: &[Line]) -> Outcome {
    let frame = Frame {
        path,
        title: "Calls of 10 ms that are answered within 100 ms",
        x: "calls that come, in % of capacity",
        y: "answered in time, in % of capacity",
        has_dots: true,
        legend: SeriesLabelPosition::MiddleRight,
    };
    let axes: (Range<f64>, Range<f64>) = (40.0..310.0, 0.0..105.0);
    chart(&frame, axes, lines, &[])
}

fn shares(path: &Path, shares: &[(f64, Vec<f64>)]) -> Outcome {
    let frame = Frame {
        path,
        title: "Three lanes of weights 1 : 2 : 4, jobs of 0.1 to 20 ms mixed",
        x: "seconds",
        y: "share of the run time, in %, of each 250 ms",
        has_dots: false,
        legend: SeriesLabelPosition::UpperRight,
    };
    let point = |at, share: f64| Point {
        at: (at, share * 100.0),
        is_least: false,
    };
    let line = |(lane, name)| {
        let points = shares.iter().map(|(at, shares)| point(*at, shares[lane]));
        let points = points.collect();
        Line { name, points }
    };
    let lines: Vec<_> = LANES.into_iter().enumerate().map(line).collect();
    let end = shares.last().map_or(1.0, |(at, _)| at.ceil());
    let marks = [1.0, 2.0, 4.0].map(|weight| Line {
        name: "its weight",
        points: [0.0, end].map(|at| point(at, weight / 7.0)).into(),
    });
    let axes: (Range<f64>, Range<f64>) = (0.0..end, 0.0..90.0);
    chart(&frame, axes, &lines, &marks)
}
