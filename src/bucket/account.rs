//! What a bucket has counted of one unit besides requests.

use super::{
    gate::Gate,
    rules::UnitRule,
    sums::Sums,
    tick::{Span, Tick},
};
use crate::costs::Unit;

/// For how long an average is remembered after the last answer that has told it.
const KEPT: Span = Span(600_000_000_000);

/// So many settlements make an average; with more, it follows the latest.
const AVERAGED: u32 = 64;

/// A margin in thousandths of a window: where a window is full, the error of each estimate decides, and what the
/// estimates were too low by is what has to be left free. With 50, 2 in 100 are refused in `tests/it/costs/tokens`.
const FIRST_HEADROOM: u32 = 50;
const NEXT_HEADROOM: u32 = 25;
const MOST_HEADROOM: u32 = 200;
/// As long as nothing is refused, a hundredth is given back in each of these times.
const EASED: Span = Span(120_000_000_000);
const EASED_BY: u64 = 10;

/// More amounts than this are not kept for no other reason than that a window may become longer.
const MOST_KEPT: usize = 1 << 16;

/// And of those that are nothing, and may yet be settled at more before a window becomes longer, these.
const FEW_KEPT: usize = 64;

/// So many leave at most when one joins.
const LEAVE_AT_ONCE: usize = 4;

/// What a bucket has counted of one unit.
///
/// A request goes through it as through its windows of requests: a *place* when it is admitted, an amount in the
/// log when it is dispatched. Where the server counts at the answer's end, its estimate is *open* in between.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) unit: Unit,
    /// What was dispatched, or was settled at its end.
    pub(super) log: Sums,
    /// What was admitted and is not dispatched.
    pub(super) places: u128,
    /// What was dispatched and counts when it is settled.
    pub(super) open: u128,
    /// The latest amount that is no longer in the log, and the sum of all of these.
    pub(super) forgotten: (Tick, u128),
    pub(super) headroom: Headroom,
    pub(super) average: Average,
    pub(super) said: Option<Said>,
}

/// What the server has said about a window of which it knows more than we do: others use the same quota, or it is
/// smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// Which of the unit's windows.
    pub(super) window: usize,
    /// So much of it is used besides what is counted here.
    pub(super) taken: u64,
    pub(super) until: Tick,
}

/// Where what a request takes stands in an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nowhere: the bucket does not count the unit.
    #[default]
    Nothing,
    Place,
    Open,
    /// In the log, under this number.
    Logged(u64),
}

impl Account {
    pub(super) fn new(unit: Unit) -> Self {
        Self {
            unit,
            log: Sums::default(),
            places: 0,
            open: 0,
            forgotten: (Tick::NONE, 0),
            headroom: Headroom::default(),
            average: Average::default(),
            said: None,
        }
    }

    /// When a window has room for an amount. One that is larger than what was learned goes alone.
    pub(super) fn gate(&self, window: usize, rule: UnitRule, amount: u64, now: Tick) -> Gate {
        if amount == 0 {
            return Gate::Open;
        }
        let free = self.headroom.left_of(rule.n, now).saturating_sub(amount);
        let gate = self.gate_with(rule, free);
        let said = self
            .said
            .filter(|said| said.window == window && said.until > now);
        let Some(Said { taken, until, .. }) = said else {
            return gate;
        };
        // When that has passed, there is as much room as by our own count.
        let by_ours = match gate {
            Gate::Closed => return Gate::Closed,
            Gate::Open => now,
            Gate::Until(opens) => opens,
        };
        let with_theirs = free
            .checked_sub(taken)
            .map(|free| self.gate_with(rule, free));
        match with_theirs {
            Some(Gate::Open) => Gate::Open,
            Some(Gate::Until(opens)) => Gate::Until(opens.min(until.max(by_ours))),
            Some(Gate::Closed) | None => Gate::Until(until.max(by_ours)),
        }
    }

    /// When no more is taken than leaves so much free.
    pub(super) fn gate_with(&self, rule: UnitRule, free: u64) -> Gate {
        let Some(free) = u128::from(free).checked_sub(self.places.saturating_add(self.open)) else {
            return Gate::Closed;
        };
        match self.log.fills(free) {
            Some(tick) => Gate::Until(tick.after(rule.span)),
            None if self.log.total().saturating_add(self.forgotten.1) > free => {
                Gate::Until(self.forgotten.0.after(rule.span))
            }
            None => Gate::Open,
        }
    }

    /// What was dispatched and still counts is kept, and the last `most` of it whatever its age.
    pub(super) fn log(&mut self, (longest, most): (Span, u64), amount: u64, now: Tick) -> Held {
        for _ in 0..LEAVE_AT_ONCE {
            let Some(oldest) = self.log.front() else {
                break;
            };
            let is_old = oldest.tick.after(longest) <= now;
            let rest = self.log.total() - u128::from(oldest.amount);
            let kept = self.log.len();
            let is_nothing = oldest.amount == 0 && kept > FEW_KEPT;
            let is_needless = is_nothing || rest >= most.into() || kept > MOST_KEPT;
            if !(is_old && is_needless) {
                break;
            }
            self.log.pop_front();
            if oldest.amount > 0 {
                let sum = self.forgotten.1.saturating_add(oldest.amount.into());
                self.forgotten = (oldest.tick, sum);
            }
        }
        Held::Logged(self.log.push(now, amount))
    }

    /// Changes what a request takes.
    pub(super) fn change(&mut self, held: Held, before: u64, after: u64) {
        let sum = match held {
            Held::Place => &mut self.places,
            Held::Open => &mut self.open,
            Held::Logged(number) => return self.log.set(number, after),
            Held::Nothing => return,
        };
        *sum = sum
            .saturating_sub(before.into())
            .saturating_add(after.into());
    }

    /// All that it has counted, with or without a time.
    pub(super) fn sum(&self) -> u128 {
        let timed = self.log.total().wrapping_add(self.forgotten.1);
        let open = self.places.wrapping_add(self.open.wrapping_mul(3));
        timed.wrapping_mul(7).wrapping_add(open)
    }

    pub(super) fn unit(&self) -> Unit {
        self.unit
    }

    /// Counts what another has, in the order of time.
    pub(super) fn note(&mut self, tick: Tick, amount: u64) {
        let _ = self.log((Span::ZERO, u64::MAX), amount, tick);
    }

    /// So much of what another has under way counted here, and so much does now.
    pub(super) fn shift(&mut self, before: u128, after: u128) {
        self.open = self.open.saturating_sub(before).saturating_add(after);
    }

    /// Its log, what has no time yet, and what it has forgotten: the latest of that, and how much there was.
    pub(super) fn parts(&self) -> (&Sums, u128, Option<(Tick, u128)>) {
        let open = self.places.saturating_add(self.open);
        let forgotten = (self.forgotten.1 > 0).then_some(self.forgotten);
        (&self.log, open, forgotten)
    }

    pub(super) fn places(&self) -> u128 {
        self.places
    }

    pub(super) fn forgotten(&self) -> u128 {
        self.forgotten.1
    }

    /// See [`Sums::fills`].
    pub(super) fn fills(&self, most: u128) -> Option<Tick> {
        self.log.fills(most)
    }

    pub(super) fn logged_after(&self, time: Tick) -> u128 {
        self.log.after(time).0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.places == 0 && self.open == 0
    }

    pub(super) fn is_large(&self) -> bool {
        self.log.is_large()
    }

    /// Whether nothing here can close a window of length `longest` any more, and nothing is remembered.
    pub(super) fn is_quiet(&self, longest: Span, now: Tick) -> bool {
        let last = self.log.last().map_or(Tick::NONE, |last| last.tick);
        self.is_idle()
            && last.max(self.forgotten.0).after(longest) <= now
            && self.headroom.at(now) == 0
            && self.said.is_none_or(|said| said.until <= now)
            && (self.average.count == 0 || self.average.at.after(KEPT) <= now)
    }
}

/// What a bucket counts besides requests, boxed together since most count nothing else.
#[derive(Debug, Default)]
pub(super) struct Accounts(pub(super) Vec<Account>);

/// What is left free of a window because estimates were too low.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Headroom {
    pub(super) thousandths: u32,
    /// Requests up to this one were on their way when it was last raised.
    pub(super) wave: u64,
    pub(super) raised: Tick0,
}

/// A tick that begins as none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick0(Tick);

impl Default for Tick0 {
    fn default() -> Self {
        Self(Tick::NONE)
    }
}

impl Headroom {
    pub(super) fn refused(&mut self, (serial, newest): (u64, u64), now: Tick) {
        if serial <= self.wave {
            return;
        }
        let more = if self.at(now) == 0 {
            FIRST_HEADROOM
        } else {
            NEXT_HEADROOM
        };
        *self = Self {
            thousandths: (self.at(now) + more).min(MOST_HEADROOM),
            wave: newest,
            raised: Tick0(now),
        };
    }

    pub(super) fn at(&self, now: Tick) -> u32 {
        let eased = (now.0.saturating_sub(self.raised.0.0) / EASED.0).saturating_mul(EASED_BY);
        let eased = u32::try_from(eased).unwrap_or(u32::MAX);
        self.thousandths.saturating_sub(eased)
    }

    pub(super) fn left_of(&self, n: u64, now: Tick) -> u64 {
        let thousandths = u64::from(self.at(now));
        n - (n / 1000 * thousandths + n % 1000 * thousandths / 1000)
    }
}

/// What requests took on average: the mean of the first, and then one that follows the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Average {
    pub(super) sum: u128,
    pub(super) count: u32,
    pub(super) at: Tick,
}

impl Default for Average {
    fn default() -> Self {
        Self {
            sum: 0,
            count: 0,
            at: Tick::NONE,
        }
    }
}

impl Average {
    pub(super) fn add(&mut self, amount: u64, now: Tick) {
        if self.count < AVERAGED {
            self.count += 1;
        } else {
            self.sum -= self.sum / u128::from(AVERAGED);
        }
        self.sum += u128::from(amount);
        self.at = now;
    }

    /// One of the latest is another amount after all.
    pub(super) fn correct(&mut self, before: u64, amount: u64, now: Tick) {
        self.sum = self.sum.saturating_sub(before.into()) + u128::from(amount);
        self.at = now;
    }

    /// Rounded up.
    pub(super) fn get(&self) -> Option<u64> {
        let mean = self.sum.div_ceil(u128::from(self.count).max(1));
        (self.count > 0).then_some(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}
