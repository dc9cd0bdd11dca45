//! The picture: a row for each question, a chart for each answer. In every chart, how many requests were
//! sent within the last second, and the server's limit as a line.

use plotters::style::{
    RGBColor,
    text_anchor::{HPos, VPos},
};

use crate::{
    canvas::{self, Canvas, Drawn, Point, Style},
    timeline::{Figures, Step, Timeline},
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
/// Of what must not be overlooked.
const THINNEST: f64 = 1.5;
const FIRST_ROW: f64 = 112.0;
const ROW_HEIGHT: f64 = 264.0;

// The colours are those of Okabe and Ito, which everybody can tell apart; besides, what is over the limit
// is above the line, and what is left unused below it. Text in them is darker, to be read on white.
const WITHIN: RGBColor = RGBColor(86, 160, 211);
const OVER: RGBColor = RGBColor(213, 94, 0);
const UNUSED: RGBColor = RGBColor(246, 219, 150);
const OVER_TEXT: RGBColor = RGBColor(173, 66, 0);
const UNUSED_TEXT: RGBColor = RGBColor(128, 88, 0);
const GOOD_TEXT: RGBColor = RGBColor(0, 92, 148);
const INK: RGBColor = RGBColor(31, 35, 40);
const PALE_INK: RGBColor = RGBColor(87, 96, 106);
const LINE: RGBColor = RGBColor(200, 206, 212);
const PAPER: RGBColor = RGBColor(255, 255, 255);
const GROUND: RGBColor = RGBColor(243, 245, 247);
/// Behind what is ours.
const OURS: RGBColor = RGBColor(229, 241, 250);

/// A question, and what the charts below it have in common.
struct Row {
    scenario: &'static str,
    title: &'static str,
    explanation: &'static str,
    seconds: u32,
    /// Of the axis of counts.
    top: u32,
    ticks: &'static [u32],
    /// A count to go by, where the limit is far below.
    mark: Option<u32>,
}

const ROWS: [Row; 3] = [
    Row {
        scenario: "edge",
        title: "Bursts at the edge of a second: who breaks the limit?",
        explanation: "20 per second are allowed. One request opens a window, 30 come just before it ends, \
                      30 when the next one begins.",
        seconds: 5,
        top: 42,
        ticks: &[0, 1, 2, 3, 4, 5],
        mark: Some(40),
    },
    Row {
        scenario: "both limits",
        title: "Two limits at once: who breaks them, and who wastes them?",
        explanation: "5 per second and 4 at a time are allowed. 200 requests are there from the start, and \
                      each takes 0.2 to 0.4 s.",
        seconds: 55,
        top: 8,
        ticks: &[0, 10, 20, 30, 40, 50],
        mark: None,
    },
    Row {
        scenario: "storm",
        title: "A limit that nobody has configured: who storms?",
        explanation: "20 per second are allowed, and the client does not know. 200 requests are there from \
                      the start; refusals say \u{201c}Retry-After: 1\u{201d}.",
        seconds: 24,
        top: 210,
        ticks: &[0, 5, 10, 15, 20],
        mark: Some(200),
    },
];

/// What it says to those who cannot see it.
const DESCRIPTION: &str = "Three rows of four charts. Each chart shows how many requests a client sent \
    within the last second, over time, against what the server allows. At the edge of a second other \
    crates send nearly twice as many as are allowed. A polling loop leaves a part of the limit unused. \
    Retries without a shared pause send several times as many requests as are needed. tower-throttle \
    keeps to a limit that it knows, uses all of it, and stops a storm after its first wave.";

pub fn svg(figures: &Figures) -> Result<String, Box<dyn std::error::Error>> {
    let svg = canvas::svg(SIZE, |canvas| picture(canvas, figures))?;
    let (head, rest) = svg.split_once('>').ok_or("it begins with a tag")?;
    Ok(format!(
        "{head} role=\"img\">\n<title>Requests per second against the limit, by client</title>\n\
         <desc>{DESCRIPTION}</desc>{rest}"
    ))
}

fn picture(canvas: &Canvas<'_>, figures: &Figures) -> Drawn {
    // A ground of its own, since pages are light or dark.
    canvas.rectangle((0.0, 0.0), (WIDTH, HEIGHT), PAPER)?;
    canvas.text("Who keeps to the limit?", (EDGE, 22.0), bold(24.0, INK))?;
    canvas.text(
        "Each chart shows how many requests a client sent within the last second, over time.",
        (EDGE, 54.0),
        plain(14.0, PALE_INK),
    )?;
    legend(canvas, (EDGE, 80.0))?;
    let mut top = FIRST_ROW;
    for row in &ROWS {
        draw_row(canvas, row, figures, top)?;
        top += ROW_HEIGHT;
    }
    Ok(())
}

fn legend(canvas: &Canvas<'_>, (mut x, y): Point) -> Drawn {
    let entries = [
        (Some(WITHIN), "within the limit", 146.0),
        (
            Some(OVER),
            "over the limit: the server refuses these",
            304.0,
        ),
        (Some(UNUSED), "left unused while requests wait", 256.0),
        (None, "what the server allows", 0.0),
    ];
    for (colour, words, width) in entries {
        let words_at = match colour {
            Some(colour) => {
                canvas.rectangle((x, y + 1.0), (x + 14.0, y + 13.0), colour)?;
                x + 21.0
            }
            None => {
                dashes(canvas, (x, x + 22.0), y + 7.0)?;
                x + 29.0
            }
        };
        canvas.text(words, (words_at, y), plain(13.0, INK))?;
        x += width;
    }
    Ok(())
}

fn draw_row(canvas: &Canvas<'_>, row: &Row, figures: &Figures, top: f64) -> Drawn {
    canvas.line((EDGE, top), (WIDTH - EDGE, top), 1.0, LINE)?;
    canvas.text(row.title, (EDGE, top + 14.0), bold(17.0, INK))?;
    canvas.text(row.explanation, (EDGE, top + 39.0), plain(13.0, PALE_INK))?;
    let timelines = || {
        figures
            .timelines
            .iter()
            .filter(|t| t.scenario == row.scenario)
    };
    // Ours comes last, and is as fast as it can be: the bench has compared it with the oracle.
    let best = timelines().next_back().map_or(0.0, |ours| ours.took);
    let width = (WIDTH - 2.0 * EDGE - (CHARTS - 1.0) * GAP) / CHARTS;
    let mut left = EDGE;
    for timeline in timelines() {
        let plot = Plot {
            left: left + AXIS,
            top: top + 110.0,
            width: width - AXIS,
            row,
        };
        if timeline.client == "tower-throttle" {
            let (from, to) = (
                (left - 10.0, top + 60.0),
                (left + width + 10.0, top + 254.0),
            );
            canvas.rectangle(from, to, OURS)?;
        }
        caption(canvas, timeline, best, (left, top + 67.0))?;
        plot.draw(canvas, timeline)?;
        left += width + GAP;
    }
    Ok(())
}

fn caption(canvas: &Canvas<'_>, timeline: &Timeline, best: f64, (x, y): Point) -> Drawn {
    canvas.text(&timeline.client, (x, y), bold(14.0, INK))?;
    let (words, colour) = verdict(timeline, best);
    canvas.text(&words, (x, y + 19.0), plain(13.0, colour))
}

/// What there is to be seen, in a few words.
fn verdict(timeline: &Timeline, best: f64) -> (String, RGBColor) {
    let Timeline {
        limit,
        requests,
        refused,
        took,
        ..
    } = timeline;
    let (most, sent) = (timeline.most(), thousands(timeline.sent()));
    match timeline.scenario.as_str() {
        "edge" if most > *limit => (format!("up to {most} in one second"), OVER_TEXT),
        "edge" => (format!("never more than {most}"), GOOD_TEXT),
        "storm" => {
            let ours = timeline.client == "tower-throttle";
            let colour = if ours { GOOD_TEXT } else { OVER_TEXT };
            (
                format!("sent {sent} to get {requests}, {took:.0} s"),
                colour,
            )
        }
        _ if *refused > 0 => (format!("{refused} of {requests} refused"), OVER_TEXT),
        _ if *took > best => (
            format!("none refused, {took:.0} s instead of {best:.0}"),
            UNUSED_TEXT,
        ),
        _ => (format!("none refused, {took:.0} s: the optimum"), GOOD_TEXT),
    }
}

fn thousands(n: u32) -> String {
    if n < 1_000 {
        n.to_string()
    } else {
        format!("{} {:03}", n / 1_000, n % 1_000)
    }
}

/// Where a chart's numbers are on the picture.
struct Plot<'a> {
    left: f64,
    top: f64,
    width: f64,
    row: &'a Row,
}

impl Plot<'_> {
    fn x(&self, millis: u32) -> f64 {
        let share = f64::from(millis) / f64::from(self.row.seconds * 1_000);
        self.left + share.min(1.0) * self.width
    }

    fn y(&self, count: u32) -> f64 {
        let share = f64::from(count) / f64::from(self.row.top);
        self.bottom() - share.min(1.0) * CHART_HEIGHT
    }

    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn bottom(&self) -> f64 {
        self.top + CHART_HEIGHT
    }

    fn draw(&self, canvas: &Canvas<'_>, timeline: &Timeline) -> Drawn {
        let ours = timeline.client == "tower-throttle";
        let ground = if ours { PAPER } else { GROUND };
        canvas.rectangle((self.left, self.top), (self.right(), self.bottom()), ground)?;
        let limit = timeline.limit;
        let steps = timeline.last_second();
        if timeline.scenario != "edge" {
            // There all requests wait from the start until the last one has been sent.
            let last = timeline.last_sent();
            let waiting = steps.iter().take_while(|step| step.from < last);
            let full = Step {
                from: last,
                count: limit,
            };
            let unused: Vec<_> = waiting.copied().chain([full]).collect();
            self.fill(canvas, &unused, limit, UNUSED, |count| count.min(limit))?;
        }
        self.fill(canvas, &steps, 0, WITHIN, |count| count.min(limit))?;
        self.breaches(canvas, &steps, limit)?;
        dashes(canvas, (self.left, self.right()), self.y(limit))?;
        self.axes(canvas, limit)?;
        self.off_the_scale(canvas, &steps, timeline.most())
    }

    /// The ground between a level and the counts.
    fn fill(
        &self,
        canvas: &Canvas<'_>,
        steps: &[Step],
        level: u32,
        colour: RGBColor,
        shown: impl Fn(u32) -> u32,
    ) -> Drawn {
        let Some(first) = steps.first() else {
            return Ok(());
        };
        let mut y = self.y(level);
        let mut points = vec![(self.x(first.from), y)];
        for step in steps {
            let x = self.x(step.from);
            points.push((x, y));
            y = self.y(shown(step.count));
            points.push((x, y));
        }
        let end = points.last().map_or(self.left, |(x, _)| *x);
        points.push((end, self.y(level)));
        canvas.polygon(points, colour)
    }

    /// What is over the limit, as wide as it has to be to be seen.
    fn breaches(&self, canvas: &Canvas<'_>, steps: &[Step], limit: u32) -> Drawn {
        let base = self.y(limit);
        let mut left = None::<f64>;
        let mut points = Vec::new();
        for step in steps {
            let (x, y) = (self.x(step.from), self.y(step.count.max(limit)));
            let last = points.last().map_or(base, |(_, y)| *y);
            if step.count > limit {
                left.get_or_insert(x);
                points.extend([(x, last), (x, y)]);
            } else if let Some(left) = left.take() {
                let x = x.max(left + THINNEST);
                points.extend([(x, last), (x, base)]);
                canvas.polygon(std::mem::take(&mut points), OVER)?;
            }
        }
        Ok(())
    }

    fn axes(&self, canvas: &Canvas<'_>, limit: u32) -> Drawn {
        let bottom = self.bottom();
        canvas.line((self.left, bottom), (self.right(), bottom), 1.0, PALE_INK)?;
        let beside = (HPos::Right, VPos::Center);
        let mut numbers = vec![(limit, bold(12.0, INK))];
        numbers.extend(self.row.mark.map(|mark| (mark, plain(12.0, PALE_INK))));
        // Where there is room for it.
        if bottom - self.y(limit) > 16.0 {
            numbers.push((0, plain(12.0, PALE_INK)));
        }
        for (number, style) in numbers {
            let at = (self.left - 6.0, self.y(number));
            canvas.text(&number.to_string(), at, style.anchored(beside))?;
        }
        for second in self.row.ticks {
            let x = self.x(second * 1_000);
            canvas.line((x, bottom), (x, bottom + 4.0), 1.0, PALE_INK)?;
            let unit = if self.row.ticks.last() == Some(second) {
                " s"
            } else {
                ""
            };
            let below = plain(12.0, PALE_INK).anchored((HPos::Center, VPos::Top));
            canvas.text(&format!("{second}{unit}"), (x, bottom + 8.0), below)?;
        }
        Ok(())
    }

    /// Says how high it goes where that is not to be seen.
    fn off_the_scale(&self, canvas: &Canvas<'_>, steps: &[Step], most: u32) -> Drawn {
        if most <= self.row.top {
            return Ok(());
        }
        let mut after = steps.iter().skip_while(|step| step.count <= self.row.top);
        let end = after.find(|step| step.count <= self.row.top);
        let x = end.map_or(self.right(), |step| self.x(step.from));
        let words = format!("\u{2191} up to {}", thousands(most));
        canvas.text(&words, (x + 7.0, self.top + 4.0), plain(12.0, OVER_TEXT))
    }
}

fn dashes(canvas: &Canvas<'_>, (from, to): (f64, f64), y: f64) -> Drawn {
    let mut x = from;
    while x < to {
        canvas.line((x, y), ((x + 4.0).min(to), y), 1.5, INK)?;
        x += 7.0;
    }
    Ok(())
}

fn plain(size: f64, colour: RGBColor) -> Style {
    Style {
        size,
        bold: false,
        colour,
        anchor: (HPos::Left, VPos::Top),
    }
}

fn bold(size: f64, colour: RGBColor) -> Style {
    Style {
        bold: true,
        ..plain(size, colour)
    }
}

impl Style {
    fn anchored(self, anchor: (HPos, VPos)) -> Self {
        Self { anchor, ..self }
    }
}
