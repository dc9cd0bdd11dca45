//! How many requests the server takes in a time.

use super::{
    estimate::Estimate,
    lesson::{Lesson, Limit},
    news::{Refusal, Report, Sent},
};
use crate::bucket::{
    rules::{Rule, Rules},
    tick::{SECOND, Span, Tick},
};

/// Until a try has failed, so much time is as good as a round of successes: of long periods nobody has to
/// wait for many.
const ROUND: Span = Span(10 * SECOND);

#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    window: Option<Window>,
}

#[derive(Clone, Debug)]
struct Window {
    estimate: Estimate,
    period: Span,
    /// When the limit became what it is.
    set: Tick,
    /// Nothing more is tried: something else is, or will be instead.
    held: bool,
    /// It was found to be lower than it seemed.
    fell: bool,
    /// The widest margin was tried before, and did not help.
    steady: bool,
}

impl Window {
    /// The limit, and what may be tried beyond it by now.
    fn n(&self, now: Tick) -> u32 {
        let more = if now >= self.tried_at() {
            self.estimate.next_raise()
        } else {
            0
        };
        self.estimate.value.saturating_add(more)
    }

    /// When more is tried although there were not enough successes.
    fn tried_at(&self) -> Tick {
        // What is named needs no trying so soon.
        if self.held || self.estimate.named || self.estimate.failures > 0 {
            return Tick::NEVER;
        }
        self.set
            .after(ROUND.times(u64::from(self.estimate.patience)))
    }

    fn is_tried(&self, sent: &Sent<'_>) -> bool {
        self.estimate.raise > 0
            || sent.in_period(self.period) > self.estimate.value && sent.now >= self.tried_at()
    }
}

impl Lesson for Rate {
    fn refused(&mut self, refusal: &Refusal, sent: &Sent<'_>, _: &Rules) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        // More went because it was time for it: that it is a try is noticed with its first answer.
        let is_new_try = window.estimate.raise == 0 && window.is_tried(sent);
        if is_new_try && sent.serial > window.estimate.wave {
            window.estimate.raise = window.estimate.next_raise();
            window.estimate.value = window.estimate.value.saturating_add(window.estimate.raise);
        }
        let Window {
            estimate, period, ..
        } = window;
        estimate.refused(sent, sent.in_period(*period), refusal.named_rate());
        window.set = sent.now;
        // Of a wave of which nothing was accepted nobody knows what is too much.
        if refusal.named_rate().is_none() && !estimate.stands() {
            self.window = None;
            return false;
        }
        true
    }

    fn accepted(&mut self, _: &Report, sent: &Sent<'_>, rules: &Rules) {
        let Some(window) = &mut self.window else {
            return;
        };
        let tried = sent.serial > window.estimate.wave
            && sent.now >= window.tried_at()
            && sent.in_period(window.period) > window.estimate.value;
        let Window {
            estimate, period, ..
        } = window;
        estimate.succeeded(sent, sent.in_use(*period));
        if tried || estimate.is_due() && !window.held {
            estimate.raise(sent.newest);
            window.set = sent.now;
            window.steady = false;
        }
        let given_back = |rule: &Rule| rule.period >= *period && estimate.value >= rule.n;
        if rules.windows().iter().any(given_back) {
            self.window = None;
        }
    }

    fn limit(&self, now: Tick) -> Option<Limit> {
        let window = self.window.as_ref()?;
        let tried_at = window.tried_at();
        let until = if now < tried_at {
            tried_at
        } else {
            Tick::NEVER
        };
        Some(Limit::Window(Rule {
            counts_forgotten: false,
            until,
            ..Rule::new(window.n(now), window.period, Span::ZERO)
        }))
    }
}

impl Rate {
    /// Of `sent` requests in a period one was refused, and perhaps the limit named.
    pub(super) fn begin(&mut self, n: u32, named: Option<u32>, period: Span, sent: &Sent<'_>) {
        self.window = Some(Window {
            estimate: Estimate::new(n, named, sent.newest),
            period,
            set: sent.now,
            held: false,
            fell: false,
            steady: false,
        });
    }

    /// So many of a period had been refused when the limit was guessed.
    pub(super) fn weigh(&mut self, refused: u32) {
        if let Some(window) = &mut self.window {
            window.estimate.evidence.weigh(refused);
        }
    }

    /// Whether a refusal is one of those that set the limit.
    pub(super) fn is_set_by(&self, sent: &Sent<'_>) -> bool {
        self.window
            .as_ref()
            .is_some_and(|window| sent.serial <= window.estimate.wave)
    }

    /// Whether a wave gave the first idea of the limit.
    pub(super) fn is_first_of(&self, wave: u64) -> bool {
        let is_first = |window: &Window| window.estimate.is_first_of(wave);
        self.window.as_ref().is_some_and(is_first)
    }

    /// Whether more is being tried.
    pub(super) fn is_tried(&self, sent: &Sent<'_>) -> bool {
        self.window
            .as_ref()
            .is_some_and(|window| window.is_tried(sent))
    }

    /// A refusal of requests that kept to the limit. `false` if it explains too few of them.
    pub(super) fn doubt(&mut self, sent: &Sent<'_>, has_erred: bool) -> bool {
        self.window.as_mut().is_none_or(|window| {
            let estimate = &mut window.estimate;
            // No round is clean of which something was refused.
            estimate.successes = 0;
            estimate.evidence.contradict(sent);
            let is_lowest = estimate.value < 3 && !estimate.named;
            let evidence = &estimate.evidence;
            !(evidence.refutes(has_erred) || is_lowest && evidence.refutes_one())
        })
    }

    /// A refusal has another reason. No round is less clean for it.
    pub(super) fn contradict(&mut self, sent: &Sent<'_>) {
        if let Some(window) = &mut self.window {
            window.estimate.evidence.contradict(sent);
        }
    }

    /// Whether it explains too few refusals.
    pub(super) fn is_refuted(&self, has_erred: bool) -> bool {
        self.window.as_ref().is_some_and(|window| {
            let estimate = &window.estimate;
            !estimate.named && estimate.evidence.refutes(has_erred)
        })
    }

    /// It is not the way's fault.
    pub(super) fn exclude_jitter(&mut self) {
        if let Some(window) = &mut self.window {
            window.steady = true;
        }
    }

    pub(super) fn excludes_jitter(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.steady)
    }

    /// The limit was believed to be higher.
    pub(super) fn fall(&mut self) {
        if let Some(window) = &mut self.window {
            window.fell = true;
        }
    }

    /// Whether a limit that is refuted may still be a lower one.
    pub(super) fn may_fall(&self) -> bool {
        let may_fall = |window: &Window| !window.fell && !window.estimate.evidence.is_of_one();
        self.window.as_ref().is_some_and(may_fall)
    }

    /// Has nothing more tried, or again.
    pub(super) fn hold(&mut self, held: bool) {
        if let Some(window) = &mut self.window {
            window.held = held;
        }
    }

    /// Whether it is held, and more would be tried.
    pub(super) fn is_due(&self) -> bool {
        self.window
            .as_ref()
            .is_some_and(|window| window.estimate.is_due())
    }

    /// A refusal has another explanation than a limit that is too high: see [`Estimate::excuse`], and
    /// [`Estimate::fail`] if something else was tried instead of more.
    pub(super) fn excuse(&mut self, sent: &Sent<'_>, failed: bool) {
        if let Some(window) = &mut self.window {
            window.held = false;
            window.set = sent.now;
            if failed {
                window.estimate.fail(sent.newest);
            } else {
                window.estimate.excuse(sent.newest);
            }
        }
    }

    pub(super) fn is_learned(&self) -> bool {
        self.window.is_some()
    }

    /// The most that may be sent in a period, with what is tried next.
    pub(super) fn most(&self) -> u32 {
        self.window.as_ref().map_or(0, |window| {
            let estimate = &window.estimate;
            estimate.value.saturating_add(estimate.next_raise())
        })
    }

    /// The limit, its period, and whether the server named it.
    pub(super) fn learned(&self) -> Option<(u32, Span, bool)> {
        self.window.as_ref().map(|window| {
            let estimate = &window.estimate;
            (estimate.value, window.period, estimate.named)
        })
    }
}
