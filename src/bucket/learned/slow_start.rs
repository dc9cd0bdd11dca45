//! How many may be in flight where nothing is configured, and no limit is learned.

use super::news::Sent;
use crate::bucket::{
    rules::AT_FIRST,
    tick::{RECENT, Span, Tick},
};

/// For how long a limit is kept that is not in use: as long as a bucket remembers what it has sent.
const KEPT: Span = RECENT;

/// TCP's slow start, in requests: the limit doubles with each round trip of which nothing is refused, while at
/// least half of it is in use.
///
/// It steps aside where a rate or a concurrency is learned, which explains refusals better. Meanwhile it follows what
/// is in flight, so that it goes on from there.
#[derive(Clone, Copy, Debug)]
pub(in crate::bucket) struct SlowStart {
    limit: u32,
    /// Up to here requests were sent while at least half of the limit was in use.
    in_use: u64,
    /// How many were in flight when the last answer came, and at most since the present round trip began: with the
    /// first answer to a request that is later than this.
    in_flight: u32,
    most: u32,
    round: u64,
    /// Up to here requests belong to the last wave of refusals, of which so many were accepted.
    wave: u64,
    accepted: u32,
    /// Whether the limit was in use when that wave was heard of.
    falls: bool,
    /// When the limit is forgotten, unless it is in use by then.
    until: Tick,
}

impl SlowStart {
    pub(super) fn new() -> Self {
        Self {
            limit: AT_FIRST,
            in_use: 0,
            in_flight: 0,
            most: 0,
            round: 0,
            wave: 0,
            accepted: 0,
            falls: false,
            until: Tick::NONE,
        }
    }

    /// Whether half of the first limit is in use. Otherwise there is nothing to remember.
    pub(in crate::bucket) fn begins_with(in_flight: u32) -> bool {
        in_flight.saturating_mul(2) >= AT_FIRST
    }

    /// How many may be in flight. Once nobody uses it, no more than twice as many as there were last.
    pub(super) fn limit(&self, now: Tick) -> u32 {
        if self.is_over(now) {
            self.limit.min(self.limit_in_use())
        } else {
            self.limit
        }
    }

    fn limit_in_use(&self) -> u32 {
        self.in_flight.saturating_mul(2).max(AT_FIRST)
    }

    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.until <= now
    }

    /// Forgets what has not been in use for long. `None` if nothing is left to be remembered.
    pub(super) fn forget(self, now: Tick) -> Option<Self> {
        if !self.is_over(now) {
            return Some(self);
        }
        let limit = self.limit(now);
        (limit > AT_FIRST).then(|| Self {
            limit,
            until: now.after(KEPT),
            ..self
        })
    }

    fn hear(&mut self, sent: &Sent<'_>) {
        // Without those that have a place and have not gone out: a pause calls them back.
        let in_flight = sent.in_flight.unwrap_or(0);
        self.in_flight = in_flight.saturating_sub(sent.log.places());
        if sent.serial > self.round {
            self.round = sent.newest;
            self.most = 0;
        }
        self.most = self.most.max(self.in_flight);
    }

    fn is_in_use(&self) -> bool {
        self.most.saturating_mul(2) >= self.limit
    }

    /// A request was accepted. `is_aside` is whether a limit is learned.
    ///
    /// All that were sent up to now count if the limit is in use: the answers of a round trip may come together, and
    /// what is in flight falls while they do.
    pub(super) fn accepted(&mut self, sent: &Sent<'_>, is_aside: bool) {
        self.hear(sent);
        if self.is_in_use() {
            self.in_use = sent.newest;
            self.until = sent.now.after(KEPT);
        }
        if sent.serial <= self.wave {
            return;
        }
        if is_aside {
            self.limit = self.limit.max(self.in_flight);
        } else if sent.serial <= self.in_use {
            self.limit = self.limit.saturating_add(1);
        }
    }

    /// The last request that was sent before an answer of the present round trip came.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Accepted requests stood among the refused ones, so their number did not matter: what is accepted of that wave
    /// counts, too.
    pub(super) fn forgive(&mut self) {
        self.wave = 0;
    }

    /// How many were in flight when the wave began, without what was refused of it before the present answer.
    pub(super) fn of_wave(&self) -> u32 {
        self.accepted.saturating_add(1)
    }

    /// A request was refused, for whatever reason.
    pub(super) fn refused(&mut self, sent: &Sent<'_>) {
        self.hear(sent);
        if sent.serial > self.wave {
            self.wave = sent.newest;
            self.accepted = self.most;
            self.until = sent.now.after(KEPT);
            self.falls = self.is_in_use();
        }
        self.accepted = self.accepted.saturating_sub(1);
    }

    /// Nothing else explains that. If the limit was in use, it was too high.
    pub(super) fn fall(&mut self) {
        if self.falls {
            self.limit = match self.accepted {
                // A wave of which nothing was accepted does not tell how many would be.
                0 => AT_FIRST,
                accepted => accepted,
            };
        }
    }
}
