//! What was measured, drawn: how many times as fast as each peer, and what a job costs by how many there are.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, PathElement,
    RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, IntoTextStyle, WHITE};

use crate::cells::FLAT;
use crate::outcome::{Column, Outcome};
use crate::passes::Pass;
use crate::sample::Sample;
use crate::stats;
use crate::subjects::{
    BLOCKING_CAPPED, BLOCKING_DEFAULT, OFFRAMP_CPU, OFFRAMP_IO, TOKIO_CAPPED, TOKIO_DEFAULTS,
    TOKIO_RAYON, TOKIO_SHARDED,
};

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 760;
/// Of a bar, and of what separates two cells.
const BAR: f64 = 13.0;
const GAP: f64 = 9.0;
/// Left of the bars.
const LABELS: u32 = 130;
/// Above the bars, for the title and the peers' colours.
const TOP: u32 = 60;
/// Above and below them.
const FRAME: u32 = TOP + 52;

const TEXT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 20);

const GREY: RGBColor = RGBColor(120, 120, 120);

/// To be told apart also by those who see no red or no green.
fn colour(name: &str) -> RGBColor {
    match name {
        OFFRAMP_IO | OFFRAMP_CPU => RGBColor(0, 114, 178),
        TOKIO_CAPPED | TOKIO_DEFAULTS => RGBColor(213, 94, 0),
        TOKIO_SHARDED => RGBColor(230, 159, 0),
        BLOCKING_CAPPED | BLOCKING_DEFAULT => RGBColor(0, 158, 115),
        TOKIO_RAYON => RGBColor(204, 121, 167),
        _ => GREY,
    }
}

/// A picture for each pass that compares speeds, and one of `flat`. What was not measured is not drawn.
pub(crate) fn draw(folder: &Path, outcomes: &[Outcome]) -> Result<(), String> {
    let all = || -> Drawn {
        fs::create_dir_all(folder)?;
        for pass in Pass::ALL {
            let of_pass: Vec<&Outcome> = outcomes.iter().filter(|o| o.pass == pass).collect();
            if of_pass.is_empty() {
                continue;
            }
            let path = folder.join(format!("performance-{}.svg", pass.name()));
            match pass {
                // Tables say it better.
                Pass::Push | Pass::Futexes | Pass::OneCpuFutexes | Pass::Least => {}
                Pass::Flat => costs(&path, &of_pass)?,
                Pass::CpuPools | Pass::OneCpuPools => bars(&path, pass, OFFRAMP_CPU, &of_pass)?,
                _ => bars(&path, pass, OFFRAMP_IO, &of_pass)?,
            }
        }
        Ok(())
    };
    all().map_err(|error| format!("cannot draw: {error}"))
}

/// A peer's time over ours.
struct Bar<'a> {
    peer: &'a str,
    ratio: f64,
}

/// Bars to the right of 1 are cells in which ours is faster.
fn bars(path: &Path, pass: Pass, ours: &str, outcomes: &[&Outcome]) -> Drawn {
    let cells: Vec<(&str, Vec<Bar<'_>>)> = outcomes
        .iter()
        .map(|outcome| (outcome.cell.as_str(), bars_of(outcome, ours)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let ratios = cells.iter().flat_map(|(_, bars)| bars).map(|bar| bar.ratio);
    let (low, high) = ratios.fold((0.8_f64, 1.25_f64), |(low, high), ratio| {
        (low.min(ratio), high.max(ratio))
    });
    let count: usize = cells.iter().map(|(_, bars)| bars.len()).sum();
    let height = count as f64 * BAR + cells.len() as f64 * GAP;
    if count == 0 {
        return Ok(());
    }

    let size = (WIDTH, height as u32 + FRAME);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_top(TOP)
        .margin_right(46)
        .x_label_area_size(40)
        .y_label_area_size(LABELS)
        .build_cartesian_2d((low * 0.85..high * 1.15).log_scale(), height..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(WHITE.mix(0.0))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_desc(format!("times as fast as the peer ({ours}; log)"))
        .x_label_formatter(&|value| {
            format!("{value:.2}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        })
        .draw()?;
    let mut peers: Vec<&str> = Vec::new();
    let mut top = GAP / 2.0;
    for (cell, bars) in &cells {
        let bottom = top + bars.len() as f64 * BAR;
        let middle = chart.backend_coord(&(low * 0.85, f64::midpoint(top, bottom)));
        label(&area, cell, (middle.0 - 8, middle.1), HPos::Right)?;
        for (index, bar) in bars.iter().enumerate() {
            let from = top + index as f64 * BAR + 1.0;
            let corners = [(1.0, from), (bar.ratio, from + BAR - 2.0)];
            let bar_of = Rectangle::new(corners, colour(bar.peer).filled());
            chart.draw_series([bar_of])?;
            if !peers.contains(&bar.peer) {
                peers.push(bar.peer);
            }
            let end = chart.backend_coord(&(bar.ratio.max(1.0), from + BAR / 2.0 - 1.0));
            label(
                &area,
                &format!("{:.2}", bar.ratio),
                (end.0 + 4, end.1),
                HPos::Left,
            )?;
        }
        top = bottom + GAP;
    }
    let one = [(1.0, 0.0), (1.0, height)];
    chart.draw_series([PathElement::new(one, GREY.stroke_width(1))])?;
    head(&area, pass.title(), &peers)?;
    area.present()?;
    Ok(())
}

/// The title, and whose colour is which.
fn head(area: &Area<'_>, title: &str, names: &[&str]) -> Drawn {
    let style = TITLE.into_font().into_text_style(area);
    area.draw(&Text::new(title.to_owned(), (LABELS as i32, 12), style))?;
    for (name, left) in names.iter().zip((LABELS as i32..).step_by(140)) {
        let corners = [(left, 38), (left + 12, 50)];
        area.draw(&Rectangle::new(corners, colour(name).filled()))?;
        label(area, name, (left + 18, 44), HPos::Left)?;
    }
    Ok(())
}

fn label(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos) -> Drawn {
    let style = TEXT.into_font().into_text_style(area);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

fn bars_of<'a>(outcome: &'a Outcome, ours: &str) -> Vec<Bar<'a>> {
    let Some(our) = outcome.samples(ours) else {
        return Vec::new();
    };
    let peers = outcome.columns.iter();
    let peers = peers.filter(|column| !column.name.starts_with("offramp"));
    peers
        .filter_map(|column| {
            let rounds = our.iter().zip(&column.samples);
            let ratios: Vec<f64> = rounds
                .map(|(our, their)| their.ns_per_job() / our.ns_per_job())
                .collect();
            Some(Bar {
                peer: &column.name,
                ratio: stats::range(&ratios)?.median,
            })
        })
        .collect()
}

/// Each implementation's cost of a job, by how many jobs there are.
fn costs(path: &Path, outcomes: &[&Outcome]) -> Drawn {
    let names: Vec<&str> = outcomes
        .first()
        .map(|outcome| {
            outcome
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect()
        })
        .unwrap_or_default();
    let lines: Vec<(&str, Vec<(f64, f64)>)> = names
        .into_iter()
        .map(|name| {
            (
                name,
                outcomes.iter().filter_map(|o| point(o, name)).collect(),
            )
        })
        .collect();
    let costs = lines
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.1);
    let (low, high) = costs.fold((f64::INFINITY, 0.0_f64), |(low, high), cost| {
        (low.min(cost), high.max(cost))
    });
    let area = SVGBackend::new(path, (WIDTH, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = "One empty job in a burst of so many";
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    head(&area, title, &names)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_top(TOP)
        .margin_right(46)
        .x_label_area_size(40)
        .y_label_area_size(LABELS / 2)
        .build_cartesian_2d(
            (80.0..1_250_000.0).log_scale(),
            (low * 0.7..high * 1.6).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_desc("jobs in the burst (log)")
        .y_desc("ns per job (log)")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for (name, points) in lines {
        let colour = colour(name);
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(3));
        chart.draw_series(line)?;
        let dots = points
            .into_iter()
            .map(|point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots)?;
    }
    area.present()?;
    Ok(())
}

fn point(outcome: &Outcome, name: &str) -> Option<(f64, f64)> {
    let (_, jobs) = FLAT.into_iter().find(|(cell, _)| *cell == outcome.cell)?;
    let column: &Column = outcome.columns.iter().find(|column| column.name == name)?;
    let times: Vec<f64> = column.samples.iter().map(Sample::ns_per_job).collect();
    Some((jobs as f64, stats::range(&times)?.median))
}
