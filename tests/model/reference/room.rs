//! Whether there is room.

use super::{
    Model, Request, Scope, Stage,
    costs::{Account, Demand},
};
use crate::{
    config::{Bucket, Millis},
    costs::{UNITS, Unit},
    support::Face,
};

/// Whether a request fits into a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// If nothing else happens before.
    Until(Millis),
    Closed,
}

impl Model<'_> {
    /// The requests that need a bucket, have their places, and have not gone out.
    pub(super) fn admitted(&self, bucket: Bucket) -> impl Iterator<Item = &Request> {
        self.requests.values().filter(move |request| {
            let admitted = matches!(request.stage, Stage::Offered(_) | Stage::Reserved(_));
            admitted && request.path.contains(&bucket)
        })
    }

    /// As how many requests they count.
    pub(super) fn places(&self, bucket: Bucket) -> usize {
        let admitted = self.admitted(bucket);
        admitted
            .map(|request| request.taken.requests as usize)
            .sum()
    }

    pub(super) fn is_idle(&self, bucket: Bucket) -> bool {
        self.in_flight(bucket) == 0 && self.admitted(bucket).next().is_none()
    }

    /// How many permits are taken.
    pub(super) fn in_flight(&self, bucket: Bucket) -> usize {
        if self.config.face == Face::Rps {
            return 0;
        }
        let holds = |stage: &Stage| match stage {
            Stage::Offered(_) | Stage::Reserved(_) => true,
            Stage::Sent { permits, .. } => permits.contains(&bucket),
            _ => false,
        };
        let requests = self.requests.values();
        let holds =
            requests.filter(|request| request.path.contains(&bucket) && holds(&request.stage));
        holds.map(|request| request.taken.permits).sum()
    }

    /// The times of the dispatches that a window counts, as far as they are known.
    pub(super) fn known(&self, bucket: Bucket) -> Vec<Millis> {
        let counts = &self.buckets[&bucket];
        let mut stamps = counts.stamps.clone();
        if let Some(last) = counts.forgotten.checked_sub(1) {
            let last = stamps[last];
            stamps[..counts.forgotten].fill(last);
        }
        stamps
    }

    /// How much of each window of a unit is used.
    pub(super) fn used_units(&self, bucket: Bucket) -> Vec<(Unit, Vec<u64>)> {
        let limit = &self.scopes[bucket.scope].limit;
        let used = |unit| {
            let windows = limit.of_unit(unit);
            let used = windows.map(|(_, period)| self.used(bucket, unit, period));
            (unit, used.collect::<Vec<_>>())
        };
        let used = (0..UNITS.len()).map(used);
        used.filter(|(_, windows)| !windows.is_empty()).collect()
    }

    pub(super) fn gate(&self, bucket: Bucket, demand: &Demand) -> Gate {
        let Scope {
            limit,
            paused_until,
        } = &self.scopes[bucket.scope];
        let in_flight = self.in_flight(bucket) + demand.permits;
        if demand.permits > 0 && limit.concurrency.is_some_and(|n| in_flight > n) {
            return Gate::Closed;
        }
        let mut opens = *paused_until;
        let places = self.places(bucket);
        let known = self.known(bucket);
        for &(n, period) in limit.windows.iter().filter(|_| demand.requests > 0) {
            // Nobody knows when those with places go out.
            let taken = places + demand.requests as usize;
            let Some(free) = (n as usize).checked_sub(taken) else {
                return Gate::Closed;
            };
            if let Some(index) = known.len().checked_sub(free + 1) {
                opens = opens.max(known[index] + period);
            }
        }
        for (&unit, &amount) in demand.units.iter().filter(|(_, amount)| **amount > 0) {
            for (n, period) in limit.of_unit(unit) {
                match self.opens_for(bucket, unit, amount, (n, period)) {
                    Some(time) => opens = opens.max(time),
                    None => return Gate::Closed,
                }
            }
        }
        if opens <= self.now {
            Gate::Open
        } else {
            Gate::Until(opens)
        }
    }

    /// When an amount fits into a window of a unit.
    fn opens_for(
        &self,
        bucket: Bucket,
        unit: Unit,
        amount: u64,
        (n, period): (u64, Millis),
    ) -> Option<Millis> {
        let account = self.buckets[&bucket].accounts.get(&unit);
        let open = account.map_or(0, Account::open);
        // What is settled later, or dispatched later, counts from a time that nobody knows.
        let free = n.checked_sub(amount + open + self.places_of(bucket, unit))?;
        let Some(account) = account else {
            return Some(0);
        };
        let times = account.log.iter().map(|entry| entry.0 + period);
        let mut times: Vec<_> = times.chain([self.now]).collect();
        times.sort_unstable();
        let logged: u64 = account.log.iter().map(|entry| entry.1).sum();
        if let Some((last, forgotten)) = account.forgotten {
            if logged <= free {
                let opens = if logged + forgotten > free {
                    last + period
                } else {
                    0
                };
                return Some(opens);
            }
        }
        let fits = |&time: &Millis| time >= self.now && account.counted(time, period) <= free;
        times.into_iter().find(fits)
    }

    pub(super) fn is_open(&self, bucket: Bucket, demand: &Demand) -> bool {
        self.gate(bucket, demand) == Gate::Open
    }
}
