//! Who waits in a scope: one ticket for each leaf, however many wait there.

use std::cmp::Ordering;

use crate::protocol::{Ask, Leaf, Micros, REQUESTS};

use super::{cost, count};

/// A request that is reported as this much younger than the one in its place before is another one.
const LATE: Micros = 50_000;

/// The name under which a ticket has its permits, beside the units.
const PERMITS: &str = "";

/// A place in the fleet's order: class, arrival, and then member and leaf, so that no two are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) class: i64,
    pub(super) arrival: Micros,
    pub(super) member: &'a str,
    pub(super) leaf: i64,
}

impl Place<'_> {
    fn tie(&self) -> (&str, i64) {
        (self.member, self.leaf)
    }

    pub(super) fn compare(&self, other: &Place<'_>) -> Ordering {
        (self.class, self.arrival, self.tie()).cmp(&(other.class, other.arrival, other.tie()))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Ticket {
    pub(super) member: String,
    pub(super) leaf: i64,
    /// It counts until then: somebody who does not call holds nobody up.
    pub(super) until: Micros,
    /// It counts for slots from then on: 0 where the scope is what it waits for, otherwise the time at which
    /// another scope lets it go.
    pub(super) from: Micros,
    /// Whether it waits here for a permit, or for a request's end.
    pub(super) blocked: bool,
    class: i64,
    /// When the first that wait arrived, oldest first; if more wait, the last is the youngest.
    arrivals: Vec<Micros>,
    pub(super) waiting: i64,
    /// What they cost, where it is not the usual.
    costs: Vec<Costs>,
}

/// What the waiting requests cost of one unit, or need of permits.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
struct Costs {
    unit: String,
    /// The first ones, each.
    heads: Vec<i64>,
    /// All together.
    total: i64,
}

impl Ticket {
    /// For those of a leaf who have no reservation yet: all but the first `granted`.
    pub(super) fn new(ask: &Ask, leaf: &Leaf, granted: usize, now: Micros) -> Self {
        let mut costs = Vec::new();
        for (index, unit) in ask.units.iter().enumerate() {
            let heads = leaf.heads.iter().map(|head| cost(&head.costs, index));
            let total = leaf.totals.get(index).copied();
            let usual = i64::from(index == 0);
            let total = total.unwrap_or(leaf.waiting * usual);
            costs.extend(Costs::unusual(
                unit,
                heads,
                total,
                granted,
                leaf.waiting,
                usual,
            ));
        }
        let heads = leaf.heads.iter().map(|head| head.permits.unwrap_or(1));
        let total = leaf.permits.unwrap_or(leaf.waiting);
        costs.extend(Costs::unusual(
            PERMITS,
            heads,
            total,
            granted,
            leaf.waiting,
            1,
        ));
        Self {
            member: ask.member.clone(),
            leaf: leaf.leaf,
            class: leaf.class,
            arrivals: leaf.ages[granted..].iter().map(|age| now - age).collect(),
            waiting: leaf.waiting - count(granted),
            costs,
            ..Self::default()
        }
    }

    /// Ages that are reported again. A call takes longer at one time than at another, and requests seem as much younger:
    /// each of two members could be told again and again that the other goes first. So they are as old as the call
    /// made them that took least.
    pub(super) fn steady(&self, ages: &mut [Micros], now: Micros) {
        let mut most = Micros::MAX;
        for (age, arrival) in ages.iter_mut().zip(&self.arrivals) {
            let known = now - arrival;
            if known > *age && known < *age + LATE {
                *age = known.min(most);
            }
            most = *age;
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            class: self.class,
            arrival: self.arrivals[0],
            member: &self.member,
            leaf: self.leaf,
        }
    }

    /// How many of the requests that wait here come before such a place.
    pub(super) fn before(&self, place: &Place<'_>) -> i64 {
        match self.class.cmp(&place.class) {
            Ordering::Less => return self.waiting,
            Ordering::Greater => return 0,
            Ordering::Equal => {}
        }
        let tie = (self.member.as_str(), self.leaf) < place.tie();
        let is_before =
            |arrival: &Micros| *arrival < place.arrival || *arrival == place.arrival && tie;
        let listed = count(self.arrivals.len());
        let older = count(
            self.arrivals
                .iter()
                .take_while(|arrival| is_before(arrival))
                .count(),
        );
        if older == listed {
            return self.waiting;
        }
        if self.waiting == listed || older < listed - 1 {
            return older;
        }
        // Between the last one listed and the youngest: as if they had come evenly. Where the youngest alone is
        // listed, nothing is known but that.
        let [.., last, youngest] = self.arrivals[..] else {
            return 0;
        };
        let unlisted = self.waiting - listed;
        older + share(unlisted, place.arrival - last, youngest - last)
    }

    /// What the first `many` of the waiting requests cost of a unit.
    pub(super) fn cost(&self, unit: &str, many: i64) -> i64 {
        self.cost_of(unit, many, i64::from(unit == REQUESTS))
    }

    /// How many permits the first `many` of the waiting requests need.
    pub(super) fn permits(&self, many: i64) -> i64 {
        self.cost_of(PERMITS, many, 1)
    }

    fn cost_of(&self, unit: &str, many: i64, usual: i64) -> i64 {
        let Some(costs) = self.costs.iter().find(|costs| costs.unit == unit) else {
            return many * usual;
        };
        let heads = count(costs.heads.len());
        let first = costs
            .heads
            .iter()
            .take(usize::try_from(many).unwrap_or(0))
            .sum::<i64>();
        if many <= heads {
            return first;
        }
        first
            + share(
                (costs.total - first).max(0),
                many - heads,
                self.waiting - heads,
            )
    }
}

impl Costs {
    fn unusual(
        unit: &str,
        heads: impl Iterator<Item = i64>,
        total: i64,
        granted: usize,
        waiting: i64,
        usual: i64,
    ) -> Option<Self> {
        let mut heads: Vec<_> = heads.collect();
        if total == waiting * usual && heads.iter().all(|cost| *cost == usual) {
            return None;
        }
        let gone: i64 = heads.drain(..granted).sum();
        Some(Self {
            unit: unit.to_owned(),
            heads,
            total: total - gone,
        })
    }
}

/// `whole * part / of`, rounded down, as Lua computes it: with doubles.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // as Lua does
fn share(whole: i64, part: i64, of: i64) -> i64 {
    (whole as f64 * part as f64 / of as f64).floor() as i64
}
