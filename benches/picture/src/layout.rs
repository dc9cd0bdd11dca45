//! What the pictures have in common: a heading, and rows of charts, each row with a question.

use plotters::style::{
    RGBColor,
    text_anchor::{HPos, VPos},
};

use crate::{
    canvas::{self, Canvas, Drawn, Point, Style},
    style::{GROUND, INK, LINE, OURS, PALE_INK, PAPER, bold, plain},
};

const SIZE: (u32, u32) = (1_040, 912);
const WIDTH: f64 = 1_040.0;
const HEIGHT: f64 = 912.0;
const EDGE: f64 = 28.0;
const GAP: f64 = 22.0;
const CHARTS: f64 = 4.0;
/// Left of a chart, for the numbers at its axis.
const AXIS: f64 = 32.0;
const CHART_HEIGHT: f64 = 118.0;
const FIRST_ROW: f64 = 112.0;
const ROW_HEIGHT: f64 = 264.0;

/// Where the legend begins.
pub const LEGEND: Point = (EDGE, 80.0);

/// A picture with a title, and a description for those who cannot see it.
pub fn svg(
    title: &str,
    description: &str,
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<String, Box<dyn std::error::Error>> {
    let svg = canvas::svg(SIZE, |canvas| {
        // A ground of its own, since pages are light or dark.
        canvas.rectangle((0.0, 0.0), (WIDTH, HEIGHT), PAPER)?;
        draw(canvas)
    })?;
    let (head, rest) = svg.split_once('>').ok_or("it begins with a tag")?;
    Ok(format!(
        "{head} role=\"img\">\n<title>{title}</title>\n<desc>{description}</desc>{rest}"
    ))
}

pub fn heading(canvas: &Canvas<'_>, title: &str, explanation: &str) -> Drawn {
    canvas.text(title, (EDGE, 22.0), bold(24.0, INK))?;
    canvas.text(explanation, (EDGE, 54.0), plain(14.0, PALE_INK))
}

fn top_of(row: u32) -> f64 {
    FIRST_ROW + f64::from(row) * ROW_HEIGHT
}

/// What stands over a row.
pub fn question(canvas: &Canvas<'_>, row: u32, title: &str, explanation: &str) -> Drawn {
    let top = top_of(row);
    canvas.line((EDGE, top), (WIDTH - EDGE, top), 1.0, LINE)?;
    canvas.text(title, (EDGE, top + 14.0), bold(17.0, INK))?;
    canvas.text(explanation, (EDGE, top + 39.0), plain(13.0, PALE_INK))
}

fn is_ours(client: &str) -> bool {
    client == "tower-throttle"
}

/// The place of a chart, with its caption.
pub struct Cell {
    left: f64,
    top: f64,
    width: f64,
}

impl Cell {
    pub fn at(row: u32, column: u32) -> Self {
        let width = (WIDTH - 2.0 * EDGE - (CHARTS - 1.0) * GAP) / CHARTS;
        Self {
            left: EDGE + f64::from(column) * (width + GAP),
            top: top_of(row),
            width,
        }
    }

    /// The client, and what there is to be seen.
    pub fn caption(
        &self,
        canvas: &Canvas<'_>,
        client: &str,
        (words, colour): (String, RGBColor),
    ) -> Drawn {
        let (left, top) = (self.left, self.top);
        if is_ours(client) {
            let (from, to) = (
                (left - 10.0, top + 60.0),
                (left + self.width + 10.0, top + 254.0),
            );
            canvas.rectangle(from, to, OURS)?;
        }
        canvas.text(client, (left, top + 67.0), bold(14.0, INK))?;
        canvas.text(&words, (left, top + 86.0), plain(13.0, colour))
    }

    /// Where the chart itself is.
    pub fn area(&self) -> Area {
        let top = self.top + 110.0;
        Area {
            left: self.left + AXIS,
            top,
            right: self.left + self.width,
            bottom: top + CHART_HEIGHT,
        }
    }
}

/// Between the axes.
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    /// At that share of the width, and at its end beyond it.
    pub fn x(&self, share: f64) -> f64 {
        self.left + share.min(1.0) * (self.right - self.left)
    }

    /// At that share of the height, and at its end beyond it.
    pub fn y(&self, share: f64) -> f64 {
        self.bottom - share.min(1.0) * CHART_HEIGHT
    }

    pub fn ground(&self, canvas: &Canvas<'_>, client: &str) -> Drawn {
        let ground = if is_ours(client) { PAPER } else { GROUND };
        canvas.rectangle((self.left, self.top), (self.right, self.bottom), ground)
    }

    /// Words at the axis.
    pub fn beside(&self, canvas: &Canvas<'_>, words: &str, y: f64, style: Style) -> Drawn {
        let beside = style.anchored((HPos::Right, VPos::Center));
        canvas.text(words, (self.left - 6.0, y), beside)
    }

    /// The axis of time, so many seconds long.
    pub fn seconds(&self, canvas: &Canvas<'_>, seconds: u32, ticks: &[u32]) -> Drawn {
        for second in ticks {
            let (x, bottom) = (self.x(f64::from(*second) / f64::from(seconds)), self.bottom);
            canvas.line((x, bottom), (x, bottom + 4.0), 1.0, PALE_INK)?;
            let unit = if ticks.last() == Some(second) {
                " s"
            } else {
                ""
            };
            let below = plain(12.0, PALE_INK).anchored((HPos::Center, VPos::Top));
            canvas.text(&format!("{second}{unit}"), (x, bottom + 8.0), below)?;
        }
        Ok(())
    }

    pub fn ground_line(&self, canvas: &Canvas<'_>) -> Drawn {
        let bottom = self.bottom;
        canvas.line((self.left, bottom), (self.right, bottom), 1.0, PALE_INK)
    }
}
