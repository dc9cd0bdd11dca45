use super::{
    account::Account,
    gate::Gate,
    rules::Rule,
    stamps::Stamps,
    tick::{Span, Tick},
};

/// When the latest requests of a bucket went out.
///
/// One log serves all windows of a bucket, since they count the same dispatches: the window (n, P)
/// has room at `now` exactly if the n-th last dispatch is at least P old. That is a look-up, with no
/// counter to decay and no edge to reset, so the window is exact by construction.
///
/// A *place* is a dispatch that is certain to come but has not happened. It counts as later than
/// every stamp, because it will be.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// In ascending order; at least as many as the largest window counts, if there were so many.
    stamps: Stamps,
    places: u32,
    /// The latest stamp that is no longer in `stamps`. A window that grows beyond what was kept takes
    /// it for all the stamps it cannot see: too strict rather than too lax.
    forgotten: Option<std::num::NonZeroU64>,
    /// How many there were of those.
    forgotten_count: u32,
}

/// How many stamps are kept at most for no other reason than that they are recent.
pub(crate) const MOST_RECENT: usize = 1 << 16;

impl Log {
    /// Takes places for a request that counts as `n`.
    pub(crate) fn take(&mut self, n: u32) {
        debug_assert!(self.places.checked_add(n).is_some(), "costs are bounded");
        self.places = self.places.wrapping_add(n);
    }

    pub(crate) fn give_back(&mut self, n: u32) {
        debug_assert!(self.places >= n, "a place is given back once");
        self.places = self.places.wrapping_sub(n);
    }

    /// Turns a place into a stamp, and forgets what nobody asks for: the last `depth` stamps are kept
    /// whatever their age, and those after `recent` up to a bound.
    #[inline]
    pub(crate) fn stamp(&mut self, now: Tick, depth: usize, recent: Tick) {
        debug_assert!(self.places > 0, "a place is given back once");
        self.places -= 1;
        // Two threads can read the clock in one order and come here in the other. The later reading
        // is safe for both: a stamp may be late, never early.
        let (forgotten, count) = (&mut self.forgotten, &mut self.forgotten_count);
        self.stamps.push(now, move |len, oldest| {
            let goes = len >= depth && (len >= MOST_RECENT || oldest <= recent);
            if goes {
                *forgotten = oldest.0.try_into().ok();
                *count = count.saturating_add(1);
            }
            goes
        });
    }

    /// When the one with this number was dispatched, from 1 on, if that is remembered.
    pub(super) fn stamp_at(&self, number: u64) -> Option<Tick> {
        let later = self.stamped().checked_sub(u128::from(number))?;
        let later = usize::try_from(later).ok()?;
        (number > 0)
            .then(|| self.stamps.nth_last(later + 1))
            .flatten()
    }

    /// Counts what another has dispatched, in the order of time.
    pub(super) fn note(&mut self, tick: Tick) {
        self.take(1);
        self.stamp(tick, MOST_RECENT, tick);
    }

    /// How many were dispatched, whether or not they are remembered.
    pub(super) fn stamped(&self) -> u128 {
        self.stamps.len() as u128 + u128::from(self.forgotten_count)
    }

    /// Its stamps, its places, and what it has forgotten: the latest of that, and how many there were.
    pub(super) fn parts(&self) -> (&Stamps, u32, Option<(Tick, u128)>) {
        let forgotten = self.forgotten.map(|tick| Tick(tick.get()));
        let forgotten = forgotten.map(|tick| (tick, u128::from(self.forgotten_count)));
        (&self.stamps, self.places, forgotten)
    }

    pub(crate) fn last(&self) -> Option<Tick> {
        self.stamps.last()
    }

    /// How many were dispatched after `time`, or are about to be.
    pub(crate) fn count_after(&self, time: Tick) -> u32 {
        u32::try_from(self.stamps.count_after(time))
            .unwrap_or(u32::MAX)
            .saturating_add(self.places)
    }

    /// How many count that were dispatched after `time` or are about to be, and when the first of those was
    /// dispatched.
    pub(crate) fn after(&self, time: Tick) -> (u32, Option<Tick>) {
        let stamped = self.stamps.count_after(time);
        let oldest = (stamped > 0).then(|| self.stamps.nth_last(stamped));
        (self.count_after(time), oldest.flatten())
    }

    /// When the latest but n-1 was dispatched, as far as that is remembered. `n` is not 0, and those that are
    /// about to be dispatched are the latest.
    pub(crate) fn dispatched(&self, n: u32) -> Option<Tick> {
        let stamped = n.checked_sub(self.places).filter(|&n| n > 0)?;
        self.stamps.nth_last(stamped as usize)
    }

    pub(crate) fn places(&self) -> u32 {
        self.places
    }

    pub(super) fn set_places(&mut self, places: u32) {
        self.places = places;
    }

    /// Whether the window has room for one more now: whether its [`gate`](Self::gate) is open.
    #[expect(clippy::inline_always, reason = "each call does this for each window")]
    #[inline(always)]
    pub(crate) fn has_room(&self, rule: &Rule, now: Tick) -> bool {
        if self.places >= rule.n {
            return false;
        }
        let stamped = rule.n - self.places;
        self.nth_last(stamped as usize, rule)
            .is_none_or(|stamp| rule.opens(stamp) <= now)
    }

    /// When the window has room for one more.
    #[inline]
    pub(crate) fn gate(&self, rule: &Rule) -> Gate {
        let Some(stamped) = rule.n.checked_sub(self.places).filter(|&n| n > 0) else {
            return Gate::Closed;
        };
        self.nth_last(stamped as usize, rule)
            .map_or(Gate::Open, |stamp| Gate::Until(rule.opens(stamp)))
    }

    /// When the window has room for a request that counts as `n`, where others have counted as more than one: by
    /// what is in `surplus`. One that counts for more than the window holds goes alone.
    pub(super) fn gate_of_many(&self, rule: &Rule, n: u32, surplus: Option<&Account>) -> Gate {
        let free = u128::from(rule.n.saturating_sub(n));
        let places = surplus.map_or(0, Account::places) + u128::from(self.places);
        let Some(free) = free.checked_sub(places).filter(|_| n > 0) else {
            return if n > 0 { Gate::Closed } else { Gate::Open };
        };
        let counted_after = |time: Tick| {
            let surplus = surplus.map_or(0, |surplus| surplus.logged_after(time));
            surplus + self.stamps.count_after(time) as u128
        };
        let len = self.stamps.len();
        let forgotten = self.forgotten.filter(|_| rule.counts_forgotten);
        let mut all = counted_after(Tick::NONE);
        if all <= free {
            let of_surplus = surplus.map_or(0, Account::forgotten);
            all += of_surplus + u128::from(self.forgotten_count);
            return match forgotten.filter(|_| all > free) {
                Some(tick) => Gate::Until(rule.opens(Tick(tick.get()))),
                None => Gate::Open,
            };
        }
        // The oldest of the latest stamps after which no more is counted than is free.
        let (mut fits, mut fits_not) = (1, len + 1);
        while fits + 1 < fits_not {
            let middle = usize::midpoint(fits, fits_not);
            let stamp = self.stamps.nth_last(middle);
            if stamp.is_some_and(|stamp| counted_after(stamp) <= free) {
                fits = middle;
            } else {
                fits_not = middle;
            }
        }
        let mut latest = self.stamps.nth_last(fits);
        // What counts besides may be older than the oldest stamp.
        let left = free.checked_sub(len as u128).filter(|_| fits == len);
        if let Some((left, surplus)) = left.zip(surplus) {
            let fills = surplus.fills(left).unwrap_or(Tick::NONE);
            latest = latest.map(|stamp| stamp.min(fills));
        }
        latest.map_or(Gate::Open, |latest| Gate::Until(rule.opens(latest)))
    }

    /// When the window has room for the request that `rank` others precede, if each of them goes
    /// out as early as it can, and none before `start`, which is not before `now`.
    pub(crate) fn slot(&self, rule: Rule, rank: usize, now: Tick, start: Tick) -> Tick {
        let n = rule.n as usize;
        let (rounds, rank) = (rank / n, rank % n);
        // The dispatch n before ours, counted from the end of the log once the places have been
        // stamped and the `rank` others of this round have gone.
        let back = n - rank;
        let places = self.places as usize;
        let earliest = if back > places {
            self.nth_last(back - places, &rule)
                .map_or(Tick::NONE, |stamp| rule.opens(stamp))
        } else {
            // It is a place: it will be stamped now at the earliest.
            rule.opens(now)
        };
        let slot = earliest.max(start).after(rule.span.times(rounds as u64));
        slot.min(rule.until.max(start))
    }

    /// The latest but n-1; `None` if there were not so many.
    #[expect(clippy::inline_always, reason = "each call does this for each window")]
    #[inline(always)]
    fn nth_last(&self, n: usize, rule: &Rule) -> Option<Tick> {
        match self.stamps.nth_last(n) {
            Some(stamp) => Some(stamp),
            None => self
                .forgotten
                .filter(|_| self.has_forgotten(n, rule))
                .map(|tick| Tick(tick.get())),
        }
    }

    /// Whether the latest but n-1 counts, and is among those that were forgotten. Not inlined: the compiler would
    /// count the stamps before every look at the windows, and few looks need that.
    #[inline(never)]
    fn has_forgotten(&self, n: usize, rule: &Rule) -> bool {
        rule.counts_forgotten && n - self.stamps.len() <= self.forgotten_count as usize
    }

    pub(crate) fn is_large(&self) -> bool {
        self.stamps.is_large()
    }

    /// Whether nothing here can close a window of length `longest` any more.
    pub(crate) fn is_quiet(&self, longest: Span, now: Tick) -> bool {
        self.places == 0 && self.last().is_none_or(|last| last.after(longest) <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    /// A push drops a bounded number of stamps, so a log gets shorter over several dispatches.
    #[test]
    fn a_log_falls_to_its_depth_and_counts_what_it_forgets() {
        let mut log = Log::default();
        let mut dispatched = 0;
        let mut dispatch = |depth| {
            dispatched += 1;
            log.take(1);
            log.stamp(Tick(dispatched), depth, Tick(dispatched));
            let kept = log.stamps.len() as u64;
            let forgotten = dispatched - kept;
            assert_eq!(u64::from(log.forgotten_count), forgotten);
            assert_eq!(log.forgotten.map_or(0, NonZeroU64::get), forgotten);
            // The windows see what they saw: who was dispatched last, and how many before whom.
            let kept = usize::try_from(kept).unwrap();
            assert_eq!(log.stamps.nth_last(kept), Some(Tick(forgotten + 1)));
            let rule = Rule::new(u32::MAX, Span(1), Span::ZERO);
            let unseen = (forgotten > 0).then_some(Tick(forgotten));
            assert_eq!(log.nth_last(kept + 1, &rule), unseen);
            assert_eq!(
                log.nth_last(usize::try_from(dispatched).unwrap() + 1, &rule),
                None
            );
            kept
        };
        for n in 1..=5000 {
            assert_eq!(dispatch(5000), n);
        }
        assert_eq!(dispatch(5000), 5000);
        let lengths: Vec<_> = (0..100).map(|_| dispatch(10)).collect();
        assert!(lengths.is_sorted_by(|longer, shorter| longer > shorter || *shorter == 10));
        assert_eq!(dispatch(10), 10);
    }
}
