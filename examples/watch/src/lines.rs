//! A bucket as lines of text, for a terminal of some width.

use std::iter;

use ratatui::{
    style::{Color, Modifier, Style, Stylize},
    symbols::bar,
    text::{Line, Span},
};

use crate::{
    recent::{News, seconds},
    stack::{Bucket, Window},
};

/// Left of what is said about a bucket.
const INDENT: &str = "    ";
/// For the names of windows.
const LABEL: usize = 22;
/// For the figures beside a gauge, as a rule.
const FIGURES: usize = 34;
/// The longest gauge.
const GAUGE: usize = 30;
/// A minute, three seconds a cell.
const SPARKS: usize = 20;
/// Below this width gauges and sparklines give way to figures.
const NARROW: usize = 74;

/// How many lines there are about a bucket.
pub(crate) fn height(bucket: &Bucket) -> usize {
    let said = [
        bucket.waiting > 0,
        bucket.paused_for.is_some(),
        bucket.learned.is_some(),
        bucket.refused > 0,
    ];
    2 + bucket.windows.len() + said.into_iter().filter(|is_so| *is_so).count()
}

/// All about a bucket: its name, then a line for each limit and for each thing that is so of it.
pub(crate) fn bucket(bucket: &Bucket, is_selected: bool, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(bucket, is_selected, width)];
    lines.extend(bucket.windows.iter().map(|of| limit(of, width)));
    lines.push(permits(bucket, width));
    if bucket.waiting > 0 {
        lines.push(said(&waiting(bucket), Color::Yellow, width));
    }
    if let Some(time) = bucket.paused_for {
        let words = format!("paused for {} more", seconds(time));
        lines.push(said(&words, Color::Red, width));
    }
    if let Some(learned) = &bucket.learned {
        lines.push(said(&format!("learned: {learned}"), Color::Magenta, width));
    }
    if bucket.refused > 0 {
        let words = format!("refused by the layer: {}", bucket.refused);
        lines.push(said(&words, Color::Red, width));
    }
    debug_assert_eq!(lines.len(), height(bucket));
    lines
}

/// The name, the throttled answers of the last minute, and how many there were.
fn title(bucket: &Bucket, is_selected: bool, width: usize) -> Line<'static> {
    let marker = if is_selected { "▶ " } else { "  " };
    let throttled = bucket.throttled_last_minute();
    let count = match throttled {
        0 => String::new(),
        n => format!(" 429s: {n}"),
    };
    let sparks = if width < NARROW || throttled == 0 {
        String::new()
    } else {
        sparkline(&bucket.throttled_by_second)
    };
    let right = length(&sparks) + length(&count);
    let mut name = bucket.name.clone();
    if let Some(partition) = &bucket.partition {
        name = format!("{name} [{partition}]");
    }
    let room = width.saturating_sub(length(marker) + right + 1);
    let name = shortened(&name, room);
    let gap = " ".repeat((room + 1).saturating_sub(length(&name)));
    let mut style = Style::new().add_modifier(Modifier::BOLD);
    if is_selected {
        style = style.add_modifier(Modifier::REVERSED);
    }
    Line::from(vec![
        Span::raw(marker),
        Span::styled(name, style),
        Span::raw(gap),
        sparks.red(),
        count.red(),
    ])
}

fn limit(of: &Window, width: usize) -> Line<'static> {
    let falls = of
        .falls_in
        .map(|time| format!("  frees up in {}", seconds(time)));
    let figures = format!("{}/{}{}", of.used, of.allowed, falls.unwrap_or_default());
    gauge(&of.label, of.used, Some(of.allowed), &figures, width)
}

fn permits(bucket: &Bucket, width: usize) -> Line<'static> {
    let in_flight = bucket.in_flight;
    let figures = match bucket.concurrency {
        Some(n) => format!("{in_flight}/{n}"),
        None => format!("{in_flight}, without a limit"),
    };
    gauge("in flight", in_flight, bucket.concurrency, &figures, width)
}

fn gauge(label: &str, used: u64, of: Option<u64>, figures: &str, width: usize) -> Line<'static> {
    let label = shortened(label, LABEL);
    if width < NARROW {
        let text = format!("{INDENT}{label}: {figures}");
        return Line::raw(shortened(&text, width)).style(colour(used, of));
    }
    let label = format!("{INDENT}{label:<LABEL$} ");
    let room = width.saturating_sub(length(&label) + 2);
    let cells = room.saturating_sub(FIGURES).min(GAUGE);
    let room = room.saturating_sub(cells);
    let (full, rest) = gauge_cells(used, of, cells);
    Line::from(vec![
        Span::raw(label),
        Span::styled(full, colour(used, of)),
        rest.dark_gray(),
        Span::raw(format!("  {}", shortened(figures, room))),
    ])
}

/// The full cells, and the others. Nothing is full of what has no limit.
fn gauge_cells(used: u64, of: Option<u64>, cells: usize) -> (String, String) {
    let Some(of) = of.filter(|of| *of > 0) else {
        return (String::new(), "·".repeat(cells));
    };
    let share = (used as f64 / of as f64).min(1.0);
    let eighths = (share * cells as f64 * 8.0).floor() as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    let mut full = bar_of(8).repeat(whole);
    let mut rest = cells - whole;
    if part > 0 {
        full.push_str(PARTS[part]);
        rest -= 1;
    }
    (full, "░".repeat(rest))
}

/// Eighths of a cell, from its left.
const PARTS: [&str; 8] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

fn colour(used: u64, of: Option<u64>) -> Color {
    match of {
        Some(of) if used >= of => Color::Red,
        Some(of) if used.saturating_mul(4) >= of.saturating_mul(3) => Color::Yellow,
        _ => Color::Green,
    }
}

fn waiting(bucket: &Bucket) -> String {
    let n = bucket.waiting;
    let Some(head) = &bucket.head else {
        return format!("waiting: {n}");
    };
    let awaits = head.awaits.as_ref();
    let awaits = awaits.map(|what| format!(", for {what}"));
    let age = seconds(head.age);
    format!(
        "waiting: {n}, the first for {age}{}",
        awaits.unwrap_or_default()
    )
}

fn said(words: &str, colour: Color, width: usize) -> Line<'static> {
    let room = width.saturating_sub(length(INDENT));
    Line::from(vec![
        Span::raw(INDENT),
        Span::styled(shortened(words, room), colour),
    ])
}

/// News, on one line.
pub(crate) fn news(of: &News, width: usize) -> Line<'static> {
    let ago = format!("{:>10} ago  ", seconds(of.ago));
    let room = width.saturating_sub(length(&ago));
    let text = shortened(&format!("{}: {}", of.bucket, of.words), room);
    Line::from(vec![ago.dark_gray(), Span::raw(text)])
}

/// The last minute, in cells of three seconds, as high as the highest.
fn sparkline(by_second: &[u64]) -> String {
    let missing = (SPARKS * 3).saturating_sub(by_second.len());
    let seconds = iter::repeat_n(&0, missing).chain(by_second);
    let seconds: Vec<_> = seconds.copied().collect();
    let cells: Vec<u64> = seconds.chunks(3).map(|cell| cell.iter().sum()).collect();
    let most = cells.iter().copied().max().unwrap_or_default().max(1);
    let level = |n: &u64| match n {
        0 => bar_of(0),
        // At least an eighth, for what is there.
        n => bar_of((n * 8).div_ceil(most) as usize),
    };
    cells.iter().map(level).collect()
}

/// So many eighths of a cell, from its bottom.
fn bar_of(eighths: usize) -> &'static str {
    let set = &bar::NINE_LEVELS;
    match eighths {
        0 => set.empty,
        1 => set.one_eighth,
        2 => set.one_quarter,
        3 => set.three_eighths,
        4 => set.half,
        5 => set.five_eighths,
        6 => set.three_quarters,
        7 => set.seven_eighths,
        _ => set.full,
    }
}

/// How many columns a text takes.
fn length(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in at most that many columns. What is cut off is replaced by an ellipsis.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    if length(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if length(&short) > room {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}
