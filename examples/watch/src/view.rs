use std::ops::ControlFlow;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Stylize,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    lines::{self, shortened},
    stack::Stack,
};

/// How many lines of news there are at most.
const NEWS: usize = 5;

const HELP: &str = "q quits  p pauses  ↑ ↓ PgUp PgDn Home End select";

/// The view: what is shown, which bucket is selected, and whether it is paused.
///
/// Tell it the keys that were pressed, give it what the layer is doing, and draw it into a frame.
#[derive(Clone, Debug)]
pub struct View {
    title: String,
    stack: Stack,
    /// What is wrong with the latest look, if it failed.
    trouble: Option<String>,
    is_paused: bool,
    selected: usize,
    /// The first line of the buckets that is shown.
    scrolled: usize,
    /// How many buckets fit, about: what a page is.
    page: usize,
}

impl View {
    /// A view under that title.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            stack: Stack::default(),
            trouble: None,
            is_paused: false,
            selected: 0,
            scrolled: 0,
            page: 1,
        }
    }

    /// What the layer is doing now, or why that is not known; then the last that was known stays. A paused view does not
    /// change.
    pub fn update(&mut self, look: Result<Stack, String>) {
        if self.is_paused {
            return;
        }
        match look {
            Ok(stack) => (self.stack, self.trouble) = (stack, None),
            Err(trouble) => self.trouble = Some(trouble),
        }
        self.select(self.selected);
    }

    /// A key was pressed. Breaks if it ends the view: `q`, Escape, or Ctrl-C, which is a key like any other in a terminal
    /// that is in raw mode.
    pub fn on_key(&mut self, key: KeyEvent) -> ControlFlow<()> {
        if key.kind == KeyEventKind::Release {
            return ControlFlow::Continue(());
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return ControlFlow::Break(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return ControlFlow::Break(());
            }
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(self.page)),
            KeyCode::PageDown => self.select(self.selected + self.page),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn select(&mut self, bucket: usize) {
        let last = self.stack.buckets.len().saturating_sub(1);
        self.selected = bucket.min(last);
    }

    /// How many lines it takes to show everything.
    pub fn height(&self) -> u16 {
        let buckets: usize = self.stack.buckets.iter().map(lines::height).sum();
        u16::try_from(buckets.max(1) + self.news_height() + 2).unwrap_or(u16::MAX)
    }

    /// Draws it over the whole frame. Scrolls so that the selected bucket is seen.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        // Small terminals have no room for news.
        let news =
            if usize::from(area.height) < self.news_height() + 8 && area.height < self.height() {
                0
            } else {
                self.news_height()
            };
        let rows = [
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(news as u16),
            Constraint::Length(1),
        ];
        let [head, middle, below, foot] = Layout::vertical(rows).areas(area);
        frame.render_widget(self.head(head.width), head);
        self.draw_buckets(frame, middle);
        if news > 0 {
            frame.render_widget(Paragraph::new(self.news(below.width)), below);
        }
        frame.render_widget(self.foot(foot.width), foot);
    }

    fn draw_buckets(&mut self, frame: &mut Frame<'_>, area: Rect) {
        if self.stack.buckets.is_empty() {
            let words = "  No buckets: nothing is configured, or nothing is known yet.";
            return frame.render_widget(Paragraph::new(words), area);
        }
        let heights: Vec<_> = self.stack.buckets.iter().map(lines::height).collect();
        let height = usize::from(area.height);
        let before: usize = heights[..self.selected].iter().sum();
        let total: usize = heights.iter().sum();
        // The whole selected bucket is seen, or its first lines if it is too large.
        let end = before + heights[self.selected];
        self.scrolled = self.scrolled.max(end.saturating_sub(height)).min(before);
        self.scrolled = self.scrolled.min(total.saturating_sub(height));
        self.page = (height * heights.len() / total).max(1);

        // There may be many buckets: lines are made of those that are seen.
        let (mut shown, mut skipped) = (Vec::new(), self.scrolled);
        for (n, bucket) in self.stack.buckets.iter().enumerate() {
            if shown.len() >= height {
                break;
            }
            if skipped >= heights[n] {
                skipped -= heights[n];
                continue;
            }
            let lines = lines::bucket(bucket, n == self.selected, usize::from(area.width));
            shown.extend(lines.into_iter().skip(skipped));
            skipped = 0;
        }
        frame.render_widget(Paragraph::new(shown), area);
    }

    fn head(&self, width: u16) -> Line<'static> {
        let count = |n: usize, one: &str, more: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {more}"),
        };
        let mut parts = vec![count(self.stack.buckets.len(), "bucket", "buckets")];
        let paused = self.stack.buckets.iter();
        let paused = paused.filter(|bucket| bucket.paused_for.is_some()).count();
        if paused > 0 {
            parts.push(format!("{paused} paused"));
        }
        if let Some(n @ 1..) = self.stack.backing_off {
            parts.push(format!("{n} backing off"));
        }
        let throttled = self.stack.throttled_last_minute;
        if throttled > 0 {
            parts.push(format!("{throttled} throttled in the last minute"));
        }
        if self.stack.is_closed {
            parts.push("closed".to_owned());
        }
        let text = format!("{}: {}", self.title, parts.join(", "));
        Line::raw(shortened(&text, usize::from(width))).bold()
    }

    fn news_height(&self) -> usize {
        match self.stack.news.len() {
            0 => 0,
            n => n.min(NEWS) + 1,
        }
    }

    fn news(&self, width: u16) -> Vec<Line<'static>> {
        let width = usize::from(width);
        let rule = Line::raw("─".repeat(width)).dark_gray();
        let news = self.stack.news.iter().take(NEWS);
        let news = news.map(|of| lines::news(of, width));
        std::iter::once(rule).chain(news).collect()
    }

    fn foot(&self, width: u16) -> Line<'static> {
        let width = usize::from(width);
        let said = match (&self.trouble, self.is_paused) {
            (_, true) => Some("PAUSED  ".to_owned().yellow()),
            (Some(trouble), false) => Some(shortened(&format!("{trouble}  "), width).red()),
            (None, false) => None,
        };
        let room = said.as_ref().map_or(0, Span::width);
        let help = shortened(HELP, width.saturating_sub(room));
        said.into_iter().chain([help.dark_gray()]).collect()
    }
}
