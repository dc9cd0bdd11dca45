//! Lanes as an SVG.

use std::time::Duration;

use svg::{
    Document, Node,
    node::element::{Description, Group, Title},
};

use crate::{
    lane::{Lane, Outcome, Part, PartKind},
    style::{EDGE, INK, KINDS, LINE, PALE_INK, PAPER, TROUBLE_TEXT, line, px, rectangle, text},
};

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 24.0;
/// Left of the bars, for the numbers of requests.
const NUMBERS: f64 = 36.0;
/// Right of the bars, for how they ended.
const ENDS: f64 = 96.0;
const LANE: f64 = 22.0;
const BAR: f64 = 14.0;
const WAITING_BAR: f64 = 6.0;
/// About the width of a letter of the legend.
const LETTER: f64 = 6.6;

/// What stands above a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    title: String,
    sentences: Vec<String>,
}

impl Heading {
    /// A title, and sentences that say what there is to be seen: one a line, of at most about 120 letters.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        sentences: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            title: title.into(),
            sentences: sentences.into_iter().map(Into::into).collect(),
        }
    }
}

/// Draws lanes. `strangers` are requests that have none.
pub(crate) fn svg(heading: &Heading, lanes: &[Lane], strangers: usize) -> String {
    let mut sentences = heading.sentences.clone();
    if strangers > 0 {
        sentences.push(format!(
            "Not drawn: {strangers} requests that went another way."
        ));
    }
    let mut drawing = Group::new();
    let mut y = 38.0;
    drawing.append(text(&heading.title, (MARGIN, y), 21, INK).set("font-weight", "bold"));
    y += 6.0;
    for sentence in &sentences {
        y += 20.0;
        drawing.append(text(sentence, (MARGIN, y), 14, PALE_INK));
    }
    y = legend(&mut drawing, lanes, y + 30.0);
    let area = Area::of(lanes, y + 22.0);
    area.seconds(&mut drawing);
    for (number, lane) in lanes.iter().enumerate() {
        area.lane(&mut drawing, number, lane);
    }
    let height = area.bottom() + 46.0;

    let ground = rectangle((0.5, 0.5), (WIDTH - 1.0, height - 1.0), PAPER)
        .set("rx", 8)
        .set("stroke", LINE);
    Document::new()
        .set("viewBox", format!("0 0 {} {}", px(WIDTH), px(height)))
        .set("width", px(WIDTH))
        .set("height", px(height))
        .set("role", "img")
        .set(
            "font-family",
            "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif",
        )
        .add(Title::new(&heading.title))
        .add(Description::new().add(svg::node::Text::new(sentences.join(" "))))
        // A ground of its own, since pages are light or dark.
        .add(ground)
        .add(drawing)
        .to_string()
        + "\n"
}

/// Explains what there is in these lanes, and returns where it ends.
fn legend(drawing: &mut Group, lanes: &[Lane], mut y: f64) -> f64 {
    let is_there = |kind: &PartKind| {
        let mut parts = lanes.iter().flat_map(|lane| &lane.parts);
        parts.any(|part| part.kind == *kind)
    };
    let mut x = MARGIN;
    for kind in KINDS.into_iter().filter(is_there) {
        let words = kind.words();
        let width = 30.0 + words.len() as f64 * LETTER + 18.0;
        if x + width > WIDTH - MARGIN + 18.0 {
            x = MARGIN;
            y += 22.0;
        }
        drawing.append(bar(kind, (x, y - 5.0), 22.0));
        drawing.append(text(words, (x + 30.0, y), 13, INK));
        x += width;
    }
    y
}

/// A piece of a bar, around the middle of its lane.
fn bar(kind: PartKind, (x, middle): (f64, f64), width: f64) -> svg::node::element::Rectangle {
    let height = if kind.is_with_server() {
        BAR
    } else {
        WAITING_BAR
    };
    rectangle((x, middle - height / 2.0), (width, height), kind.colour())
}

/// Where the bars are.
struct Area {
    top: f64,
    lanes: usize,
    /// How long the axis of time is, in seconds.
    seconds: f64,
    /// The time between two lines.
    step: f64,
}

impl Area {
    fn of(lanes: &[Lane], top: f64) -> Self {
        let parts = lanes.iter().flat_map(|lane| &lane.parts);
        let last = parts.map(|part| part.until).max().unwrap_or_default();
        let seconds = last.as_secs_f64().max(0.001);
        Self {
            top,
            lanes: lanes.len(),
            seconds,
            step: step(seconds),
        }
    }

    fn bottom(&self) -> f64 {
        self.top + self.lanes as f64 * LANE + 4.0
    }

    fn x(&self, at: f64) -> f64 {
        let left = MARGIN + NUMBERS;
        left + at / self.seconds * (WIDTH - MARGIN - ENDS - left)
    }

    fn seconds(&self, drawing: &mut Group) {
        let bottom = self.bottom();
        let lines = (self.seconds / self.step + 1e-9).floor() as u32;
        for n in 0..=lines {
            let at = f64::from(n) * self.step;
            let x = self.x(at);
            drawing.append(line((x, self.top), (x, bottom + 5.0), LINE));
            let unit = if n == lines { " s" } else { "" };
            let words = format!("{}{unit}", shortest(at));
            drawing
                .append(text(words, (x, bottom + 20.0), 13, PALE_INK).set("text-anchor", "middle"));
        }
        let words = "time since the first request came";
        let end = (self.x(self.seconds), bottom + 36.0);
        drawing.append(text(words, end, 12, PALE_INK).set("text-anchor", "end"));
        drawing.append(line(
            (self.x(0.0), bottom),
            (self.x(self.seconds), bottom),
            EDGE,
        ));
    }

    fn lane(&self, drawing: &mut Group, number: usize, lane: &Lane) {
        let middle = self.top + (number as f64 + 0.5) * LANE;
        let base = middle + 4.5;
        let words = (number + 1).to_string();
        let before = (self.x(0.0) - 9.0, base);
        drawing.append(text(words, before, 13, PALE_INK).set("text-anchor", "end"));
        // Before a request came there is nothing; a short line says when it did.
        if let Some(first) = lane.parts.first() {
            let x = self.x(first.from.as_secs_f64());
            drawing
                .append(line((x, middle - 7.0), (x, middle + 7.0), INK).set("stroke-width", 1.5));
        }
        for part in &lane.parts {
            self.part(drawing, part, middle);
        }
        let end = lane.parts.last().map(|part| part.until.as_secs_f64());
        let (words, fill) = ending(lane);
        let after = (self.x(end.unwrap_or_default()) + 7.0, base);
        drawing.append(text(words, after, 12, fill));
    }

    fn part(&self, drawing: &mut Group, part: &Part, middle: f64) {
        let [from, until] = [part.from, part.until].map(|at| self.x(at.as_secs_f64()));
        let width = (until - from).max(1.0);
        let tip = Title::new(format!("{}: {}", part.kind.words(), span(part)));
        drawing.append(bar(part.kind, (from, middle), width).add(tip));
    }
}

fn span(part: &Part) -> String {
    let [from, until] = [part.from, part.until].map(seconds);
    format!("{from} to {until} s")
}

fn seconds(time: Duration) -> String {
    shortest((time.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn shortest(n: f64) -> String {
    let text = format!("{n:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How a lane ended, in a word or two, and their colour.
fn ending(lane: &Lane) -> (String, &'static str) {
    let sent_again = if lane.attempts() > 1 {
        ", sent again"
    } else {
        ""
    };
    match lane.outcome {
        Outcome::Answered(status) => {
            let fill = if status.is_success() {
                PALE_INK
            } else {
                TROUBLE_TEXT
            };
            (format!("{}{sent_again}", status.as_u16()), fill)
        }
        Outcome::Refused => ("refused".to_owned(), TROUBLE_TEXT),
        Outcome::Failed => ("failed".to_owned(), TROUBLE_TEXT),
        Outcome::Dropped => ("dropped".to_owned(), TROUBLE_TEXT),
        Outcome::Open => ("not over".to_owned(), PALE_INK),
    }
}

/// The time between two lines: 1, 2 or 5 of a power of ten, so that there are at most ten.
fn step(seconds: f64) -> f64 {
    let mut power = 0.001;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if seconds / (power * factor) <= 10.0 {
                return power * factor;
            }
        }
        power *= 10.0;
    }
}
