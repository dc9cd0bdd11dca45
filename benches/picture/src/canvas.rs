//! A drawing area in pixels and parts of them. The backend knows whole units only, of which there are four
//! to a pixel here, so that what lasts a few milliseconds is as thin as it has to be.

use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::{PathElement, Polygon, Rectangle, Text},
    style::{
        Color, FontStyle, IntoFont, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

const UNITS: f64 = 4.0;

pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// From the left and from the top, in pixels.
pub type Point = (f64, f64);

pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// How words look, and on which side of their point they stand.
#[derive(Clone, Copy)]
pub struct Style {
    pub size: f64,
    pub bold: bool,
    pub colour: RGBColor,
    pub anchor: (HPos, VPos),
}

/// Draws a picture of that size.
pub fn svg(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let units = |pixels: u32| (f64::from(pixels) * UNITS) as u32;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (units(width), units(height)));
    let canvas = Canvas {
        area: area.into_drawing_area(),
    };
    draw(&canvas)?;
    canvas.area.present()?;
    drop(canvas);
    // The view keeps its units, and is shown in the size that was asked for.
    let shown = |svg: String, name: &str, pixels: u32| {
        let drawn = format!("{name}=\"{}\"", units(pixels));
        svg.replacen(&drawn, &format!("{name}=\"{pixels}\""), 1)
    };
    Ok(shown(shown(svg, "width", width), "height", height))
}

fn unit((x, y): Point) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

impl Canvas<'_> {
    pub fn rectangle(&self, from: Point, to: Point, colour: RGBColor) -> Drawn {
        self.area
            .draw(&Rectangle::new([unit(from), unit(to)], colour.filled()))
    }

    pub fn polygon(&self, points: impl IntoIterator<Item = Point>, colour: RGBColor) -> Drawn {
        let mut points: Vec<_> = points.into_iter().map(unit).collect();
        points.dedup();
        self.area.draw(&Polygon::new(points, colour.filled()))
    }

    pub fn line(&self, from: Point, to: Point, width: f64, colour: RGBColor) -> Drawn {
        let style = colour.stroke_width((width * UNITS) as u32);
        self.area
            .draw(&PathElement::new([unit(from), unit(to)], style))
    }

    pub fn text(&self, words: &str, at: Point, style: Style) -> Drawn {
        let weight = if style.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        // The backend takes sizes for the height of the whole line, and divides them by this.
        let line = style.size * UNITS * 1.24;
        let mut text: TextStyle<'_> = ("sans-serif", line).into_font().style(weight).into();
        text.color = style.colour.to_backend_color();
        let (horizontal, vertical) = style.anchor;
        let text = text.pos(Pos::new(horizontal, vertical));
        self.area.draw(&Text::new(words.to_owned(), unit(at), text))
    }
}
