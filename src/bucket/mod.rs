//! One bucket's state and decisions: its window, its permits, its pause.
//!
//! Pure: time is a parameter, and an answer is a decision. No clock, no lock, no waker.

mod log;
mod rules;
mod tick;

pub(crate) use self::{
    rules::{Face, Rules},
    tick::{Span, Tick},
};

use self::log::Log;

/// Whether a bucket admits one more request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Closed until then, if nothing else happens before.
    Until(Tick),
    /// Closed until something is given back, stamped or changed; no time can be named.
    Closed,
}

impl Gate {
    /// Both have to be open.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Closed, _) | (_, Self::Closed) => Self::Closed,
            (Self::Open, gate) | (gate, Self::Open) => gate,
            (Self::Until(a), Self::Until(b)) => Self::Until(a.max(b)),
        }
    }
}

/// What one bucket has admitted and not yet forgotten.
///
/// A request goes through it in three steps. [`take_place`](Self::take_place) and
/// [`take_permit`](Self::take_permit) when it is admitted: it has a *place* in the windows and a
/// *permit*. [`stamp`](Self::stamp) when the inner service has been called: the place becomes a stamp.
/// [`release_permit`](Self::release_permit) when the work has ended. If it is never dispatched,
/// [`give_back_place`](Self::give_back_place) and `release_permit` undo the first step without trace.
#[derive(Debug)]
pub(crate) struct Bucket {
    log: Log,
    in_flight: u32,
    paused_until: Tick,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            log: Log::default(),
            in_flight: 0,
            paused_until: Tick::NONE,
        }
    }
}

impl Bucket {
    pub(crate) fn gate(&self, rules: &Rules, now: Tick) -> Gate {
        if rules
            .concurrency()
            .is_some_and(|limit| self.in_flight as usize >= limit)
        {
            return Gate::Closed;
        }
        let gate = rules
            .windows()
            .iter()
            .map(|&rule| self.log.gate(rule))
            .fold(Gate::Until(self.paused_until), Gate::and);
        match gate {
            Gate::Until(opens) if opens <= now => Gate::Open,
            gate => gate,
        }
    }

    /// Takes a place in the windows; [`stamp`](Self::stamp) or
    /// [`give_back_place`](Self::give_back_place) ends it.
    pub(crate) fn take_place(&mut self) {
        self.log.take();
    }

    pub(crate) fn give_back_place(&mut self) {
        self.log.give_back();
    }

    /// The request with a place has gone out, at `now` or a little before.
    pub(crate) fn stamp(&mut self, rules: &Rules, now: Tick) {
        self.log.stamp(now, rules.depth());
    }

    pub(crate) fn take_permit(&mut self) {
        self.in_flight += 1;
    }

    pub(crate) fn release_permit(&mut self) {
        debug_assert!(self.in_flight > 0, "a permit is released once");
        self.in_flight -= 1;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Closes the bucket until `until`; a pause that ends later already stays.
    pub(crate) fn pause(&mut self, until: Tick) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(crate) fn resume(&mut self) {
        self.paused_until = Tick::NONE;
    }

    pub(crate) fn paused_until(&self) -> Tick {
        self.paused_until
    }

    /// When the request that `rank` others precede can go out at the earliest, if none can before
    /// `start`, which is not before `now`.
    ///
    /// Permits count as free: nobody knows when work ends.
    pub(crate) fn slot(&self, rules: &Rules, rank: usize, now: Tick, start: Tick) -> Tick {
        let start = self.paused_until.max(start);
        rules
            .windows()
            .iter()
            .map(|&rule| self.log.slot(rule, rank, now, start))
            .fold(start, Tick::max)
    }

    /// Whether a new bucket would decide exactly as this one from now on.
    pub(crate) fn is_quiet(&self, longest: Span, now: Tick) -> bool {
        self.in_flight == 0 && self.paused_until <= now && self.log.is_quiet(longest, now)
    }

    /// Whether no request has a place or a permit here.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.log.places() == 0
    }
}

#[cfg(test)]
mod tests;
