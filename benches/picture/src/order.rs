//! Who goes first: waits of interactive requests beside a batch, what a batch gets beside too many of them, and waits of
//! tenants beside a greedy one.

use plotters::style::RGBColor;

use crate::{
    canvas::{Canvas, Drawn, Point},
    layout::{self, Area, Cell},
    style::{GOOD_TEXT, INK, LINE, OVER_TEXT, PALE_INK, WITHIN, dashes_between, plain},
    timeline::{Figures, Series},
};

/// A question, and what the charts below it have in common.
struct Row {
    scenario: &'static str,
    title: &'static str,
    explanation: &'static str,
    seconds: u32,
    ticks: &'static [u32],
    shows: Shows,
}

#[derive(Clone, Copy)]
enum Shows {
    /// How long requests wait that come at a time.
    Waits,
    /// How many of a batch have been sent by a time.
    Sent,
}

const ROWS: [Row; 3] = [
    Row {
        scenario: "interactive",
        title: "A person beside a batch: how long does an interactive request wait?",
        explanation: "1 000 requests of a batch are there from the start. Five interactive ones come per second, \
                      independently, for 50 s.",
        seconds: 50,
        ticks: &[0, 10, 20, 30, 40],
        shows: Shows::Waits,
    },
    Row {
        scenario: "batch",
        title: "More interactive requests than are allowed: does the batch get anything?",
        explanation: "25 interactive requests come per second, for a minute. 300 requests of a batch are there \
                      from the start: how many have been sent?",
        seconds: 100,
        ticks: &[0, 20, 40, 60, 80],
        shows: Shows::Sent,
    },
    Row {
        scenario: "polite",
        title: "Ten tenants, one of them greedy: how long do the other nine wait?",
        explanation: "One tenant has 500 requests there from the start. Each of the others sends one per second, \
                      independently, for 40 s.",
        seconds: 40,
        ticks: &[0, 10, 20, 30],
        shows: Shows::Waits,
    },
];

/// What it says to those who cannot see it.
const DESCRIPTION: &str = "Three rows of four charts, at one request per 50 ms. Beside a batch of 1 000, an interactive \
    request waits for half a minute with tower or a tokio semaphore, and for less than a fifth of a second with \
    throttle-net's queue or tower-throttle. If interactive requests take more than there is, throttle-net's queue sends \
    nothing of a batch until they are done; tower-throttle goes on sending one in eight. Beside a greedy tenant, the \
    others wait for many seconds with tower or a tokio semaphore, and for less than half a second with throttle-net's \
    queue or tower-throttle.";

/// Of the axis of waits, in milliseconds: each is ten times the one before.
const DECADES: [(f64, &str); 6] = [
    (1.0, "1 ms"),
    (10.0, "10 ms"),
    (100.0, "0.1 s"),
    (1_000.0, "1 s"),
    (10_000.0, "10 s"),
    (100_000.0, "100 s"),
];

/// Of the axis of what has been sent.
const MOST_SENT: f64 = 300.0;
const COUNTS: [u32; 4] = [0, 100, 200, 300];

/// What the batch is due: one in eight of 20 per second.
const DUE_PER_SECOND: f64 = 20.0 / 8.0;

const DOT: f64 = 1.25;

pub fn svg(figures: &Figures) -> Result<String, Box<dyn std::error::Error>> {
    let title = "Who goes first, by client";
    layout::svg(title, DESCRIPTION, |canvas| picture(canvas, figures))
}

fn picture(canvas: &Canvas<'_>, figures: &Figures) -> Drawn {
    layout::heading(
        canvas,
        "Who goes first?",
        "One request per 50 ms is allowed, and nobody exceeds it or leaves a slot unused: only the order differs.",
    )?;
    legend(canvas, layout::LEGEND)?;
    for (row, nth) in ROWS.iter().zip(0..) {
        draw_row(canvas, row, figures, nth)?;
    }
    Ok(())
}

fn legend(canvas: &Canvas<'_>, (x, y): Point) -> Drawn {
    dot(canvas, (x + 7.0, y + 7.0), 2.0)?;
    let words =
        "one request: when it came, and how long it waited (each line is ten times the one below)";
    canvas.text(words, (x + 21.0, y), plain(13.0, INK))?;
    let x = x + 690.0;
    dashes_between(canvas, (x, y + 7.0), (x + 22.0, y + 7.0))?;
    canvas.text(
        "one in eight of all that is sent",
        (x + 29.0, y),
        plain(13.0, INK),
    )
}

fn draw_row(canvas: &Canvas<'_>, row: &Row, figures: &Figures, nth: u32) -> Drawn {
    layout::question(canvas, nth, row.title, row.explanation)?;
    let of_row = figures.series.iter().filter(|s| s.scenario == row.scenario);
    for (series, column) in of_row.zip(0..) {
        let cell = Cell::at(nth, column);
        let verdict = match row.shows {
            Shows::Waits => waited(series),
            Shows::Sent => sent(series),
        };
        cell.caption(canvas, &series.client, verdict)?;
        let plot = Plot {
            area: cell.area(),
            row,
        };
        plot.draw(canvas, series)?;
    }
    Ok(())
}

/// The median and the longest wait.
fn waited(series: &Series) -> (String, RGBColor) {
    let mut waits: Vec<_> = series.points.iter().map(|(_, wait)| *wait).collect();
    waits.sort_unstable();
    let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let colour = if median < 1_000 { GOOD_TEXT } else { OVER_TEXT };
    (
        format!("median {}, worst {}", time(median), time(worst)),
        colour,
    )
}

fn time(millis: u32) -> String {
    let seconds = f64::from(millis) / 1_000.0;
    match millis {
        0..1_000 => format!("{seconds:.2} s"),
        1_000..10_000 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// How much of its part the batch gets while interactive requests come.
fn sent(series: &Series) -> (String, RGBColor) {
    let times = || series.points.iter().map(|(at, _)| *at);
    let pauses = times().skip(1).zip(times()).map(|(next, at)| next - at);
    let (longest, last) = (pauses.max().unwrap_or(0), times().max().unwrap_or(0));
    if longest > 10_000 {
        (format!("none for {}", time(longest)), OVER_TEXT)
    } else if last < 30_000 {
        (format!("all of it first: {}", time(last)), OVER_TEXT)
    } else {
        (format!("one at least every {}", time(longest)), GOOD_TEXT)
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

    /// Of a wait, on a logarithmic scale.
    fn wait(&self, millis: f64) -> f64 {
        // The axis begins at a millisecond, which is the least that a timer waits.
        let decades = millis.max(1.0).log10();
        self.area.y(decades / (DECADES.len() - 1) as f64)
    }

    fn count(&self, n: f64) -> f64 {
        self.area.y(n / MOST_SENT)
    }

    fn draw(&self, canvas: &Canvas<'_>, series: &Series) -> Drawn {
        self.area.ground(canvas, &series.client)?;
        match self.row.shows {
            Shows::Waits => self.waits(canvas, series)?,
            Shows::Sent => self.sent(canvas, series)?,
        }
        self.area.ground_line(canvas)?;
        self.area.seconds(canvas, self.row.seconds, self.row.ticks)
    }

    fn waits(&self, canvas: &Canvas<'_>, series: &Series) -> Drawn {
        for (millis, words) in DECADES {
            self.line(canvas, self.wait(millis), words)?;
        }
        for (at, wait) in &series.points {
            dot(canvas, (self.x(*at), self.wait(f64::from(*wait))), DOT)?;
        }
        Ok(())
    }

    fn sent(&self, canvas: &Canvas<'_>, series: &Series) -> Drawn {
        for count in COUNTS {
            self.line(canvas, self.count(f64::from(count)), &count.to_string())?;
        }
        let mut y = self.count(0.0);
        let mut points = vec![(self.x(0), y)];
        for (at, n) in &series.points {
            points.push((self.x(*at), y));
            y = self.count(f64::from(*n));
            points.push((self.x(*at), y));
        }
        let (right, bottom) = (self.area.right, self.area.bottom);
        points.extend([(right, y), (right, bottom)]);
        canvas.polygon(points, WITHIN)?;
        // While interactive requests wait, as they do for longer than they come.
        let until = 75;
        let due = self.count(f64::from(until) * DUE_PER_SECOND);
        dashes_between(
            canvas,
            (self.area.left, bottom),
            (self.x(until * 1_000), due),
        )
    }

    /// A line across the chart, with its number at the axis.
    fn line(&self, canvas: &Canvas<'_>, y: f64, words: &str) -> Drawn {
        canvas.line((self.area.left, y), (self.area.right, y), 0.5, LINE)?;
        self.area.beside(canvas, words, y, plain(11.0, PALE_INK))
    }
}

fn dot(canvas: &Canvas<'_>, (x, y): Point, size: f64) -> Drawn {
    canvas.rectangle((x - size, y - size), (x + size, y + size), WITHIN)
}
