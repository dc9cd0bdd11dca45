//! The terminal: keys in, screens out.

use std::{io, pin::pin, time::Duration};

use crossterm::event::{self, Event};
use ratatui::{Terminal, backend::TestBackend};
use tokio::time::{MissedTickBehavior, interval};

use crate::{stack::Stack, view::View};

/// The time between two screens. A key has its effect within that time.
const FRAME: Duration = Duration::from_millis(100);

/// How many lines a view as text has at most.
const LONGEST: u16 = 5_000;

/// Shows a view until a key ends it, or `end` is over. `look` is called for each screen, ten times per second, and says
/// what the layer is doing, or why that is not known.
///
/// The terminal is put back as it was when this ends, when it is dropped, and when the program panics.
///
/// # Errors
///
/// If standard output is no terminal, or cannot be read from or drawn to.
pub async fn show(
    mut view: View,
    mut look: impl FnMut() -> Result<Stack, String>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let _restore = Restore;
    let mut end = pin!(end);
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = frames.tick() => {}
        }
        // What was pressed since the last screen; nothing is waited for.
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && view.on_key(key).is_break()
            {
                return Ok(());
            }
        }
        view.update(look());
        terminal.draw(|frame| view.draw(frame))?;
    }
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// A view as text, in so many columns and as many lines as it takes, but at most 5 000.
pub fn text(view: &mut View, width: u16) -> String {
    let backend = TestBackend::new(width, view.height().min(LONGEST));
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| view.draw(frame));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
