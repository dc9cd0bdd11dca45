//! For how long nothing is sent after a refusal that names no delay.

use super::{
    SECOND,
    news::{Refusal, RefusalKind, Sent},
    tick::Span,
};

/// The first delay after a refusal by rate that names none, where the bucket knows its window, which
/// does most of the waiting; and after all others. Doubled for each further wave.
const KNOWN: Span = Span(SECOND / 20);
const UNKNOWN: Span = Span(SECOND / 2);
/// The longest such delay: the vendor's advice for back-off (20 s).
const LONGEST: Span = Span(20 * SECOND);

/// Which waves of refusals there were.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// Waves in a row without a delay named and without a success in between.
    setbacks: u32,
    /// Up to here requests belong to a wave that has been heard of ...
    wave: u64,
    /// ... and up to here to the one before.
    wave_before: u64,
}

impl Backoff {
    /// Whether a refusal is the first of its wave.
    pub(super) fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>) -> bool {
        let is_first = sent.serial > self.wave;
        if is_first {
            self.wave_before = self.wave;
            self.wave = sent.newest;
            if refusal.retry_after.is_none() {
                self.setbacks += 1;
            }
        }
        is_first
    }

    pub(super) fn accepted(&mut self, sent: &Sent<'_>) {
        // Also if it belongs to the wave that is being refused: the server takes some of it.
        if sent.serial > self.wave_before {
            self.setbacks = 0;
        }
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
