//! For how long nothing is sent after a refusal that names no delay.

use super::news::{Refusal, RefusalKind, Sent};
use crate::bucket::tick::{SECOND, Span, Tick};

/// The first delay after a refusal by rate that names none, where the bucket knows its window, which
/// does most of the waiting; and after all others. Doubled for each further wave.
const KNOWN: Span = Span(SECOND / 20);
const UNKNOWN: Span = Span(SECOND / 2);
/// The longest such delay: the vendor's advice for back-off (20 s).
const LONGEST: Span = Span(20 * SECOND);

/// Fewer may have come in another order than they went.
const MIXED: u32 = 4;

/// Which waves of refusals there were.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    /// Waves in a row without a delay named and without a success in between.
    setbacks: u32,
    /// Up to here requests belong to a wave that has been heard of ...
    wave: u64,
    /// ... and up to here to the one before.
    wave_before: u64,
    /// The first request of the wave that was refused, and the last of those that were sent together with it.
    first: u64,
    last: u64,
    /// How many between them were accepted, and how many of the wave were refused: of the waves before this half as
    /// many count, of those before them a quarter, and so on.
    accepted_after: u32,
    refused_lately: u32,
    /// When the last waves were heard of, and how many of each were refused.
    refused: [(Tick, u32); WAVES],
}

/// As many as can matter: a rate is learned from what was accepted in a period, of all waves in it.
const WAVES: usize = 4;

impl Default for Backoff {
    fn default() -> Self {
        Self {
            setbacks: 0,
            wave: 0,
            wave_before: 0,
            first: 0,
            last: 0,
            accepted_after: 0,
            refused_lately: 0,
            refused: [(Tick::NONE, 0); WAVES],
        }
    }
}

impl Backoff {
    /// Whether a refusal is the first of its wave.
    pub(super) fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>) -> bool {
        let is_first = sent.serial > self.wave;
        if is_first {
            self.wave_before = self.wave;
            self.wave = sent.newest;
            self.first = sent.serial;
            self.last = sent.newest;
            self.accepted_after /= 2;
            self.refused_lately /= 2;
            if refusal.retry_after.is_none() {
                self.setbacks += 1;
            }
            self.refused.rotate_right(1);
            self.refused[0] = (sent.now, 0);
        }
        self.first = self.first.min(sent.serial);
        self.count();
        is_first
    }

    /// A refusal that is its request's own trouble belongs to no wave, and was not accepted all the same.
    pub(super) fn refused_alone(&mut self, now: Tick) {
        if self.refused[0].0 != now {
            self.refused.rotate_right(1);
            self.refused[0] = (now, 0);
        }
        self.count();
    }

    fn count(&mut self) {
        self.refused_lately = self.refused_lately.saturating_add(1);
        let refused = &mut self.refused[0].1;
        *refused = refused.saturating_add(1);
    }

    /// How many were refused in the waves that began within a period.
    pub(super) fn refused_within(&self, period: Span, now: Tick) -> u32 {
        let since = now.before(period);
        let within = self.refused.iter().filter(|(at, _)| *at > since);
        within.fold(0, |sum, (_, refused)| sum.saturating_add(*refused))
    }

    pub(super) fn accepted(&mut self, sent: &Sent<'_>) {
        // Also if it belongs to the wave that is being refused: the server takes some of it.
        if sent.serial > self.wave_before {
            self.setbacks = 0;
        }
        if sent.serial > self.first && sent.serial <= self.last {
            self.accepted_after = self.accepted_after.saturating_add(1);
        }
    }

    /// The waves so far were refused under a limit that did not matter: the next delay is the first again.
    pub(super) fn restart(&mut self) {
        self.setbacks = self.setbacks.min(1);
    }

    /// Whether accepted requests stand among those that were refused: no window does that, which takes the first of
    /// a wave and refuses the rest.
    pub(super) fn is_mixed(&self) -> bool {
        let after = self.accepted_after;
        after >= MIXED && after.saturating_mul(4) >= self.refused_lately
    }

    /// What was sent later than this belongs to the wave, but was not sent together with it.
    pub(super) fn ends_with(&mut self, last: u64) {
        self.last = self.last.min(last);
    }

    /// The last request of the wave.
    pub(super) fn wave(&self) -> u64 {
        self.wave
    }

    /// How long to back off. `known` is whether a limit does most of the waiting.
    pub(super) fn delay(&self, refusal: &Refusal, known: bool) -> Span {
        let base = match refusal.kind {
            RefusalKind::Rate if known => KNOWN,
            _ => UNKNOWN,
        };
        let doublings = self.setbacks.saturating_sub(1);
        let doublings = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let delay = base.times(doublings).min(LONGEST).min(refusal.ceiling);
        // Half of it is certain: what was just refused is not worth asking again at once.
        delay.part(0.5 + 0.5 * refusal.random)
    }
}
