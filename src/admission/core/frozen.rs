//! For how long the machine was frozen, as far as its wall clock tells.

use std::time::Duration;

use tower_throttle_store::protocol::Micros;

/// A wall clock that is set right little by little gains less between two looks.
const TOLERATED: Micros = 2_000;

/// A virtual machine that is frozen, and goes on later, finds its monotonic clock where it was: only the wall clock tells
/// that a slot is over.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    /// How far the wall clock was ahead at the last look.
    wall: Option<Duration>,
    /// For how long in all.
    pub(super) all: Micros,
    /// For how long when the call under way was sent first.
    pub(super) at_call: Micros,
}

impl Frozen {
    /// For how long it was frozen since the last look, if it was.
    pub(super) fn look(&mut self, wall: Duration) -> Option<Micros> {
        let before = self.wall.replace(wall)?;
        let more = wall.checked_sub(before)?;
        // A clock may be set to another year, several times perhaps.
        let more = Micros::try_from(more.as_micros()).unwrap_or(Micros::MAX);
        let more = more.min(1 << 40);
        if more <= TOLERATED {
            return None;
        }
        self.all = self.all.saturating_add(more);
        Some(more)
    }
}
