//! Colours, and small things to draw with them.

use svg::node::element::{Line, Rectangle, Text};

use crate::lane::PartKind;

// Colours of Okabe and Ito, which everybody can tell apart. Bars also differ in height: what is with the server is
// high, what waits is low.
pub(crate) const INK: &str = "#1f2328";
pub(crate) const PALE_INK: &str = "#57606a";
pub(crate) const LINE: &str = "#d9dee3";
pub(crate) const PAPER: &str = "#ffffff";
pub(crate) const EDGE: &str = "#b6bec6";
/// Words about trouble, dark enough to be read on white.
pub(crate) const TROUBLE_TEXT: &str = "#ad4200";

/// All that a legend explains, in the order in which it does.
pub(crate) const KINDS: [PartKind; 7] = [
    PartKind::Queued,
    PartKind::Paused,
    PartKind::BackingOff,
    PartKind::Sent,
    PartKind::Answered,
    PartKind::Throttled,
    PartKind::Failed,
];

impl PartKind {
    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::Queued => "#c3cbd3",
            Self::Paused => "#f0b84a",
            Self::BackingOff => "#cc79a7",
            Self::Sent => "#0072b2",
            Self::Answered => "#56b4e9",
            Self::Throttled => "#d55e00",
            Self::Failed => "#7a2e00",
        }
    }

    /// As the legend calls it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Paused => "held by a pause",
            Self::BackingOff => "backing off",
            Self::Sent => "sent, no answer yet",
            Self::Answered => "answer being read",
            Self::Throttled => "throttled by the server",
            Self::Failed => "failed",
        }
    }

    /// What is with the server is drawn over the whole height of a bar.
    pub(crate) fn is_with_server(self) -> bool {
        !matches!(self, Self::Queued | Self::Paused | Self::BackingOff)
    }
}

/// A number of pixels, as written.
pub(crate) fn px(n: f64) -> String {
    let text = format!("{n:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

pub(crate) fn rectangle((x, y): (f64, f64), (width, height): (f64, f64), fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", px(x))
        .set("y", px(y))
        .set("width", px(width))
        .set("height", px(height))
        .set("fill", fill)
}

pub(crate) fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) -> Line {
    Line::new()
        .set("x1", px(x1))
        .set("y1", px(y1))
        .set("x2", px(x2))
        .set("y2", px(y2))
        .set("stroke", stroke)
}

/// Words that begin there; `y` is their base line.
pub(crate) fn text(words: impl Into<String>, (x, y): (f64, f64), size: u32, fill: &str) -> Text {
    Text::new(words)
        .set("x", px(x))
        .set("y", px(y))
        .set("font-size", size)
        .set("fill", fill)
}
