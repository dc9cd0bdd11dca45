//! Colours and letters, and small things to draw with them.

use plotters::style::{
    RGBColor,
    text_anchor::{HPos, VPos},
};

use crate::canvas::{Canvas, Drawn, Point, Style};

// The colours are those of Okabe and Ito, which everybody can tell apart; besides, what is over a limit
// is above its line, and what is left unused below it. Text in them is darker, to be read on white.
pub const WITHIN: RGBColor = RGBColor(86, 160, 211);
pub const OVER: RGBColor = RGBColor(213, 94, 0);
pub const UNUSED: RGBColor = RGBColor(246, 219, 150);
pub const OVER_TEXT: RGBColor = RGBColor(173, 66, 0);
pub const UNUSED_TEXT: RGBColor = RGBColor(128, 88, 0);
pub const GOOD_TEXT: RGBColor = RGBColor(0, 92, 148);
pub const INK: RGBColor = RGBColor(31, 35, 40);
pub const PALE_INK: RGBColor = RGBColor(87, 96, 106);
pub const LINE: RGBColor = RGBColor(200, 206, 212);
pub const PAPER: RGBColor = RGBColor(255, 255, 255);
pub const GROUND: RGBColor = RGBColor(243, 245, 247);
/// Behind what is ours.
pub const OURS: RGBColor = RGBColor(229, 241, 250);

pub fn dashes(canvas: &Canvas<'_>, (from, to): (f64, f64), y: f64) -> Drawn {
    let mut x = from;
    while x < to {
        canvas.line((x, y), ((x + 4.0).min(to), y), 1.5, INK)?;
        x += 7.0;
    }
    Ok(())
}

/// In any direction.
pub fn dashes_between(canvas: &Canvas<'_>, from: Point, to: Point) -> Drawn {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    let at = |way: f64| {
        let share = way / length;
        (
            from.0 + share * (to.0 - from.0),
            from.1 + share * (to.1 - from.1),
        )
    };
    let mut way = 0.0;
    while way < length {
        canvas.line(at(way), at((way + 4.0).min(length)), 1.5, INK)?;
        way += 7.0;
    }
    Ok(())
}

pub fn plain(size: f64, colour: RGBColor) -> Style {
    Style {
        size,
        bold: false,
        colour,
        anchor: (HPos::Left, VPos::Top),
    }
}

pub fn bold(size: f64, colour: RGBColor) -> Style {
    Style {
        bold: true,
        ..plain(size, colour)
    }
}

impl Style {
    pub fn anchored(self, anchor: (HPos, VPos)) -> Self {
        Self { anchor, ..self }
    }
}

pub fn thousands(n: u32) -> String {
    if n < 1_000 {
        n.to_string()
    } else {
        format!("{} {:03}", n / 1_000, n % 1_000)
    }
}
