//! How discovery goes on beside the lessons.

use super::{narrowing::Narrowing, news::Sent, slow_start::SlowStart};
use crate::bucket::{
    rules::{AT_FIRST, Rules},
    tick::Tick,
};

impl Narrowing {
    /// Discovery may have begun to listen after the first answers.
    pub(in crate::bucket) fn catch_up(&mut self, answered: u64) {
        self.answers.catch_up(answered);
    }

    /// Takes in a refusal for which a wider scope is to blame, where discovery goes on.
    pub(in crate::bucket) fn refused_elsewhere(&mut self, sent: &Sent<'_>) {
        self.slow_start_mut().refused(sent);
        self.slow_down();
    }

    pub(super) fn slow_start_mut(&mut self) -> &mut SlowStart {
        self.slow_start.get_or_insert_with(SlowStart::new)
    }

    /// The same news, with what was in flight before any of its wave had ended, if discovery has counted that.
    pub(super) fn in_flight_of_wave<'a>(&self, sent: &Sent<'a>, rules: &Rules) -> Sent<'a> {
        let slow_start = self.slow_start.filter(|_| rules.learning().discover);
        let of_wave = slow_start.map(|it| it.of_wave());
        Sent {
            in_flight: of_wave.or(sent.in_flight),
            ..*sent
        }
    }

    /// After a refusal that no limit explains. Where limits have explained nothing, fewer requests would not
    /// help either.
    pub(super) fn slow_down(&mut self) {
        let is_explained = self.knows_limit() || self.doubt.skips();
        if let Some(slow_start) = self.slow_start.as_mut().filter(|_| !is_explained) {
            slow_start.fall();
        }
    }

    pub(super) fn knows_limit(&self) -> bool {
        self.rate.is_learned() || self.concurrency.is_learned()
    }

    /// How many may be in flight, unless a lesson says better.
    pub(in crate::bucket) fn discovered(&self, now: Tick) -> Option<u32> {
        if self.knows_limit() && !self.is_forgotten(now) {
            return None;
        }
        let limit = |slow_start: &SlowStart| slow_start.limit(now);
        Some(self.slow_start.as_ref().map_or(AT_FIRST, limit))
    }

    /// Drops lessons that hold no longer, where discovery goes on.
    pub(in crate::bucket) fn forget(&mut self, now: Tick) {
        let Some(slow_start) = self.slow_start else {
            return;
        };
        self.slow_start = slow_start.forget(now);
        if self.forgotten_at.is_some_and(|at| at <= now) {
            *self = Self {
                slow_start: self.slow_start,
                closure: self.closure,
                ..Self::default()
            };
        }
    }
}
