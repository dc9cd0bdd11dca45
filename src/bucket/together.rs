//! Several buckets that count as one: what one has admitted counts in all of them.
//!
//! A new bucket of an endpoint begins with what the old one has counted. They are not merged, since the old one is in
//! use until the last of its requests has ended: whoever asks looks at all of them.

use super::{
    demand::Demand,
    gate::Gate,
    rules::{Rule, Rules, UnitRules},
    stamps::Stamps,
    state::Bucket,
    sums::Sums,
    tick::Tick,
};

/// Amounts with their ticks, as far as it takes to say when so many are no longer counted.
trait Timeline {
    fn len(&self) -> usize;
    /// The time of the one that `index` others precede.
    fn tick(&self, index: usize) -> Tick;
    /// How much there is after a time.
    fn after(&self, time: Tick) -> u128;
}

impl Timeline for Stamps {
    fn len(&self) -> usize {
        self.len()
    }

    fn tick(&self, index: usize) -> Tick {
        self.nth_last(self.len() - index).unwrap_or(Tick::NONE)
    }

    fn after(&self, time: Tick) -> u128 {
        self.count_after(time) as u128
    }
}

impl Timeline for Sums {
    fn len(&self) -> usize {
        self.len()
    }

    fn tick(&self, index: usize) -> Tick {
        self.tick(index)
    }

    fn after(&self, time: Tick) -> u128 {
        self.after(time).0
    }
}

/// What several buckets have counted of one unit.
#[derive(Default)]
struct Counted<'a> {
    lines: Vec<&'a dyn Timeline>,
    /// What has no time yet.
    open: u128,
    /// What is no longer in the lines: how much of it there is, and when the latest of it was.
    forgotten: Vec<(Tick, u128)>,
}

impl Counted<'_> {
    fn after(&self, time: Tick) -> u128 {
        let lines = self.lines.iter().map(|line| line.after(time));
        let forgotten = self.forgotten.iter().filter(|(tick, _)| *tick > time);
        lines.chain(forgotten.map(|(_, amount)| *amount)).sum()
    }

    /// From when on no more than `most` counts that has a time. `None` if that is so from `since` on.
    fn fits_from(&self, most: u128, since: Tick) -> Option<Tick> {
        if self.after(since) <= most {
            return None;
        }
        let first_of_line = |line: &&dyn Timeline| {
            let (mut from, mut to) = (0, line.len());
            while from < to {
                let middle = usize::midpoint(from, to);
                if self.after(line.tick(middle)) <= most {
                    to = middle;
                } else {
                    from = middle + 1;
                }
            }
            (from < line.len()).then(|| line.tick(from))
        };
        let of_lines = self.lines.iter().filter_map(first_of_line);
        let forgotten = self.forgotten.iter().map(|(tick, _)| *tick);
        let forgotten = forgotten.filter(|&tick| self.after(tick) <= most);
        // After the latest of all nothing is left.
        of_lines.chain(forgotten).min()
    }
}

/// The later of two gates.
fn later(one: Gate, other: Gate) -> Gate {
    match (one, other) {
        (Gate::Closed, _) | (_, Gate::Closed) => Gate::Closed,
        (Gate::Open, gate) | (gate, Gate::Open) => gate,
        (Gate::Until(one), Gate::Until(other)) => Gate::Until(one.max(other)),
    }
}

/// Buckets that count as one.
pub(crate) struct Together<'a>(pub(crate) &'a [&'a Bucket]);

impl Together<'_> {
    /// Whether a request that takes `demand` could go, or when it can: each bucket lets it go, and so do the windows
    /// and the permits of all together.
    pub(crate) fn gate(&self, rules: &Rules, demand: &Demand, now: Tick) -> Gate {
        if !self.has_permits(rules, demand, now) {
            return Gate::Closed;
        }
        let each = self.0.iter().map(|bucket| bucket.gate(rules, demand, now));
        let units = rules
            .units()
            .iter()
            .map(|rules| self.gate_of_unit(rules, demand, now));
        let gate = each.chain(units).fold(Gate::Open, later);
        self.windows(rules, now)
            .map(|rule| self.gate_of_requests(&rule, demand, now))
            .fold(gate, later)
    }

    /// When the request that `rank` others precede can go out at the earliest: a lower bound, as by
    /// [`Bucket::slot`].
    pub(crate) fn slot(
        &self,
        rules: &Rules,
        demand: &Demand,
        rank: usize,
        now: Tick,
        start: Tick,
    ) -> Tick {
        let each = self.0.iter();
        let each = each.map(|bucket| bucket.slot(rules, demand, rank, now, start));
        let latest = each.max().unwrap_or(start);
        let of_windows = self.windows(rules, now).filter_map(|rule| {
            match self.gate_of_requests(&rule, demand, now) {
                Gate::Until(opens) => Some(opens),
                Gate::Open | Gate::Closed => None,
            }
        });
        of_windows.fold(latest, Tick::max)
    }

    fn has_permits(&self, rules: &Rules, demand: &Demand, now: Tick) -> bool {
        let in_flight = self.0.iter().map(|bucket| bucket.in_flight);
        let in_flight = in_flight.fold(0, u32::saturating_add);
        let limits = self.0.iter();
        let limits = limits.filter_map(|bucket| bucket.concurrency(rules, now));
        limits
            .min()
            .is_none_or(|limit| demand.has_permits(in_flight, limit))
    }

    /// The windows of requests: as configured, as one of the buckets has widened them, and as one of them has learned.
    fn windows<'a>(&'a self, rules: &'a Rules, now: Tick) -> impl Iterator<Item = Rule> + 'a {
        let of_bucket = move |bucket: &'a &'a Bucket| bucket.windows(rules, true, now);
        self.0.iter().flat_map(of_bucket)
    }

    fn gate_of_requests(&self, rule: &Rule, demand: &Demand, now: Tick) -> Gate {
        if demand.requests == 0 {
            return Gate::Open;
        }
        let mut counted = Counted::default();
        for bucket in self.0 {
            let (stamps, places, forgotten) = bucket.log.parts();
            counted.lines.push(stamps);
            counted.open += u128::from(places);
            if rule.counts_forgotten {
                counted.forgotten.extend(forgotten);
            }
            if let Some(surplus) = bucket.surplus() {
                let (log, open, forgotten) = surplus.parts();
                counted.lines.push(log);
                counted.open += open;
                counted.forgotten.extend(forgotten);
            }
        }
        let free = u128::from(rule.n.saturating_sub(demand.requests));
        let Some(free) = free.checked_sub(counted.open) else {
            return Gate::Closed;
        };
        let since = now.before(rule.span);
        let opens = counted.fits_from(free, since).map(|tick| rule.opens(tick));
        opens
            .filter(|&opens| opens > now)
            .map_or(Gate::Open, Gate::Until)
    }

    fn gate_of_unit(&self, rules: &UnitRules, demand: &Demand, now: Tick) -> Gate {
        let amount = demand.of(rules.unit);
        if amount == 0 {
            return Gate::Open;
        }
        let mut counted = Counted::default();
        let mut headroom = 0;
        for bucket in self.0 {
            headroom = headroom.max(bucket.headroom(rules.unit, now));
            if let Some(account) = bucket.account(rules.unit) {
                let (log, open, forgotten) = account.parts();
                counted.lines.push(log);
                counted.open += open;
                counted.forgotten.extend(forgotten);
            }
        }
        let mut gate = Gate::Open;
        for rule in &rules.windows {
            let left_free = u128::from(rule.n) * u128::from(headroom) / 1000;
            let free = u128::from(rule.n.saturating_sub(amount)).saturating_sub(left_free);
            let of_rule = match free.checked_sub(counted.open) {
                None => Gate::Closed,
                Some(free) => counted
                    .fits_from(free, now.before(rule.span))
                    .map(|tick| tick.after(rule.span))
                    .filter(|&opens| opens > now)
                    .map_or(Gate::Open, Gate::Until),
            };
            gate = later(gate, of_rule);
        }
        gate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Quota,
        bucket::{Enforced, Learning},
    };

    const JOINT: Enforced = Enforced {
        windows: true,
        permits: true,
    };

    fn rules(quota: &Quota) -> Rules {
        Rules::new(quota, JOINT, Learning::none(), true)
    }

    proptest! {
        /// However requests are spread over several buckets, together they are as open as one that has them all.
        #[test]
        fn several_buckets_are_as_open_as_one_that_has_all(
            n in 1..5_u32,
            windows in prop::collection::vec((1..6_u32, 1..20_u64), 0..3),
            steps in prop::collection::vec((0..3_usize, 0..8_u64, 0..4_u8), 1..60),
        ) {
            let mut quota = Quota::concurrent(n as usize + 2);
            for (n, period) in windows {
                quota = quota.and_per(n, std::time::Duration::from_nanos(period));
            }
            let rules = rules(&quota);
            let mut several = [Bucket::default(), Bucket::default(), Bucket::default()];
            let mut one = Bucket::default();
            let mut now = Tick(100);
            let mut under_way = Vec::new();
            for (which, later, what) in steps {
                now = Tick(now.0 + later);
                let all: Vec<_> = several.iter().collect();
                let together = Together(&all).gate(&rules, &Demand::ONE, now);
                prop_assert_eq!(together, one.gate(&rules, &Demand::ONE, now));
                match what {
                    0 | 1 => {
                        for bucket in [&mut several[which], &mut one] {
                            bucket.take_places(1);
                            bucket.take_permits(1);
                        }
                        under_way.push((which, false));
                    }
                    2 => {
                        if let Some((which, is_out)) = under_way.iter_mut().find(|(_, out)| !out) {
                            *is_out = true;
                            several[*which].stamp(&rules, 1, now);
                            one.stamp(&rules, 1, now);
                        }
                    }
                    _ => {
                        if let Some(of) = under_way.iter().position(|(_, out)| *out) {
                            let (which, _) = under_way.swap_remove(of);
                            several[which].release_permits(1);
                            one.release_permits(1);
                        }
                    }
                }
            }
        }
    }
}
