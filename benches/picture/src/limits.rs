//! Who keeps to the limit: a row for each question, a chart for each answer. In every chart, how many requests were
//! sent within the last second, and the server's limit as a line.

use plotters::style::RGBColor;

use crate::{
    canvas::{Canvas, Drawn, Point},
    layout::{self, Area, Cell},
    style::{
        GOOD_TEXT, INK, OVER, OVER_TEXT, PALE_INK, UNUSED, UNUSED_TEXT, WITHIN, bold, dashes,
        plain, thousands,
    },
    timeline::{Figures, Step, Timeline},
};

/// Of what must not be overlooked.
const THINNEST: f64 = 1.5;
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
    let title = "Requests per second against the limit, by client";
    layout::svg(title, DESCRIPTION, |canvas| picture(canvas, figures))
}

fn picture(canvas: &Canvas<'_>, figures: &Figures) -> Drawn {
    layout::heading(
        canvas,
        "Who keeps to the limit?",
        "Each chart shows how many requests a client sent within the last second, over time.",
    )?;
    legend(canvas, layout::LEGEND)?;
    for (row, nth) in ROWS.iter().zip(0..) {
        draw_row(canvas, row, figures, nth)?;
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

fn draw_row(canvas: &Canvas<'_>, row: &Row, figures: &Figures, nth: u32) -> Drawn {
    layout::question(canvas, nth, row.title, row.explanation)?;
    let timelines = || {
        figures
            .timelines
            .iter()
            .filter(|t| t.scenario == row.scenario)
    };
    // Ours comes last, and is as fast as it can be: the bench has compared it with the oracle.
    let best = timelines().next_back().map_or(0.0, |ours| ours.took);
    for (timeline, column) in timelines().zip(0..) {
        let cell = Cell::at(nth, column);
        cell.caption(canvas, &timeline.client, verdict(timeline, best))?;
        let plot = Plot {
            area: cell.area(),
            row,
        };
        plot.draw(canvas, timeline)?;
    }
    Ok(())
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

/// Where a chart's numbers are on the picture.
struct Plot<'a> {
    area: Area,
    row: &'a Row,
}

impl Plot<'_> {
    fn x(&self, millis: u32) -> f64 {
        let share = f64::from(millis) / f64::from(self.row.seconds * 1_000);
        self.area.x(share)
    }

    fn y(&self, count: u32) -> f64 {
        let share = f64::from(count) / f64::from(self.row.top);
        self.area.y(share)
    }

    fn draw(&self, canvas: &Canvas<'_>, timeline: &Timeline) -> Drawn {
        self.area.ground(canvas, &timeline.client)?;
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
        dashes(canvas, (self.area.left, self.area.right), self.y(limit))?;
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
        let end = points.last().map_or(self.area.left, |(x, _)| *x);
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
        self.area.ground_line(canvas)?;
        let mut numbers = vec![(limit, bold(12.0, INK))];
        numbers.extend(self.row.mark.map(|mark| (mark, plain(12.0, PALE_INK))));
        // Where there is room for it.
        if self.area.bottom - self.y(limit) > 16.0 {
            numbers.push((0, plain(12.0, PALE_INK)));
        }
        for (number, style) in numbers {
            self.area
                .beside(canvas, &number.to_string(), self.y(number), style)?;
        }
        self.area.seconds(canvas, self.row.seconds, self.row.ticks)
    }

    /// Says how high it goes where that is not to be seen.
    fn off_the_scale(&self, canvas: &Canvas<'_>, steps: &[Step], most: u32) -> Drawn {
        if most <= self.row.top {
            return Ok(());
        }
        let mut after = steps.iter().skip_while(|step| step.count <= self.row.top);
        let end = after.find(|step| step.count <= self.row.top);
        let x = end.map_or(self.area.right, |step| self.x(step.from));
        let words = format!("\u{2191} up to {}", thousands(most));
        canvas.text(
            &words,
            (x + 7.0, self.area.top + 4.0),
            plain(12.0, OVER_TEXT),
        )
    }
}
