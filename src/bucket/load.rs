use super::{state::Bucket, tick::Tick};

/// What the requests of one bucket hold, as far as wider scopes count the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    places: u32,
    in_flight: u32,
    open_bodies: u32,
}

impl Bucket {
    pub(crate) fn load(&self) -> Load {
        Load {
            places: self.log.places(),
            in_flight: self.in_flight,
            open_bodies: self.open_bodies,
        }
    }

    /// A narrower bucket's load has changed, and this one counts its requests, too.
    pub(crate) fn follow(&mut self, before: Load, now: Load) {
        let changed = |of: u32, before: u32, now: u32| of.wrapping_add(now.wrapping_sub(before));
        self.log
            .set_places(changed(self.log.places(), before.places, now.places));
        self.in_flight = changed(self.in_flight, before.in_flight, now.in_flight);
        self.open_bodies = changed(self.open_bodies, before.open_bodies, now.open_bodies);
    }

    /// What stands where a bucket was that is elsewhere now. Nothing goes through it.
    pub(crate) fn away() -> Self {
        let mut away = Self::default();
        away.log.set_places(AWAY);
        away.pause(Tick::NEVER);
        away
    }

    /// Whether this is only what stands for a bucket that is elsewhere.
    pub(crate) fn is_away(&self) -> bool {
        self.log.places() == AWAY
    }

    /// Whether nothing but windows and permits decides here: it is not paused or closed, and counts requests only.
    pub(crate) fn is_plain(&self, now: Tick) -> bool {
        self.accounts.is_none()
            && self.paused_until <= now
            && self.stop().is_none()
            && self.closure().is_none()
    }
}

/// More places than there ever are.
const AWAY: u32 = u32::MAX;
