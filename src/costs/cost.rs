use std::fmt;

use super::unit::Unit;

/// What a request takes of each window and of the permits, or has taken.
///
/// A request that states nothing takes one request and one permit, and of every other unit that its endpoint
/// counts what requests there took on average: of about the last 64 that were settled, or an eighth of the smallest
/// window before the first is. The average is remembered for ten minutes, and never taken for more than the smallest
/// window.
///
/// What is said about a unit that the endpoint does not count concerns nobody. Units are told apart by their names
/// alone: when one is counted is the quota's business.
///
/// ```
/// use tower_throttle::{Cost, Unit};
///
/// let cost = Cost::new().of(Unit::INPUT_TOKENS, 350).of(Unit::OUTPUT_TOKENS, 1_000);
/// assert_eq!(cost.get(Unit::INPUT_TOKENS), Some(350));
/// assert_eq!(cost.get(Unit::CREDITS), None);
///
/// // A batch that the server counts as twenty requests, and works on with two of the account's four workers.
/// let batch = Cost::new().requests(20).permits(2);
/// assert_eq!((batch.get(Unit::REQUESTS), batch.get_permits()), (Some(20), Some(2)));
///
/// // A request that no limit shall hold up, such as a look at what is left. It waits for pauses only.
/// let free = Cost::new().requests(0).permits(0);
/// assert!(!free.is_empty());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cost {
    requests: Option<u32>,
    permits: Option<usize>,
    /// In the order of their names, each once.
    units: Vec<(Unit, u64)>,
}

impl Cost {
    /// States nothing.
    pub const fn new() -> Self {
        Self {
            requests: None,
            permits: None,
            units: Vec::new(),
        }
    }

    /// `n` of a unit. Replaces what was stated of it before.
    ///
    /// Of [`Unit::REQUESTS`] it is what [`requests`](Self::requests) states.
    ///
    /// # Panics
    ///
    /// If the unit is requests, and `n` is greater than `u32::MAX`.
    #[track_caller]
    pub fn of(mut self, unit: Unit, n: u64) -> Self {
        if unit.is_requests() {
            let Ok(n) = u32::try_from(n) else {
                panic!("a cost of {n} requests: expected at most {}", u32::MAX)
            };
            return self.requests(n);
        }
        let place = self
            .units
            .binary_search_by(|(known, _)| known.name().cmp(unit.name()));
        match place {
            Ok(place) => self.units[place] = (unit, n),
            Err(place) => self.units.insert(place, (unit, n)),
        }
        self
    }

    /// It counts as `n` requests, 1 by default. 0 waits for no window of requests.
    ///
    /// It takes time and memory in proportion to `n`, where a unit of its own does not: each of them has a time in the
    /// window. For amounts in the thousands, count a unit.
    pub fn requests(mut self, n: u32) -> Self {
        self.requests = Some(n);
        self
    }

    /// It takes `n` of the concurrency, 1 by default. 0 waits for no permit.
    ///
    /// All of them last as long as the request's one permit would.
    pub fn permits(mut self, n: usize) -> Self {
        self.permits = Some(n);
        self
    }

    /// What it states of a unit, whenever that is counted; `None` if it states nothing of it.
    pub fn get(&self, unit: Unit) -> Option<u64> {
        if unit.is_requests() {
            return self.requests.map(u64::from);
        }
        let found = self
            .units
            .iter()
            .find(|(known, _)| known.is_called_as(&unit));
        found.map(|&(_, n)| n)
    }

    /// How many permits it states to take; `None` if it states nothing of them.
    pub fn get_permits(&self) -> Option<usize> {
        self.permits
    }

    /// All units but requests of which it states something, in the order of their names.
    pub fn units(&self) -> impl Iterator<Item = (Unit, u64)> {
        self.units.iter().copied()
    }

    /// Whether it states nothing.
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.permits.is_none() && self.units.is_empty()
    }

    /// What `later` states, and the rest as it is.
    pub(crate) fn replaced_by(mut self, later: &Self) -> Self {
        self.requests = later.requests.or(self.requests);
        self.permits = later.permits.or(self.permits);
        for (unit, n) in later.units() {
            self = self.of(unit, n);
        }
        self
    }
}

/// `Cost(1 requests, 4 permits, 350 tokens)`.
impl fmt::Debug for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cost(")?;
        let requests = self.requests.map(|n| (u64::from(n), "requests"));
        let permits = self.permits.map(|n| (n as u64, "permits"));
        let units = self.units.iter().map(|(unit, n)| (*n, unit.name()));
        let mut separator = "";
        for (n, name) in requests.into_iter().chain(permits).chain(units) {
            write!(f, "{separator}{n} {name}")?;
            separator = ", ";
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_what_is_stated_is_irrelevant_and_the_last_word_counts() {
        let one = Cost::new()
            .of(Unit::TOKENS, 5)
            .of(Unit::CREDITS, 1)
            .of(Unit::TOKENS, 7);
        let other = Cost::new().of(Unit::CREDITS, 1).of(Unit::TOKENS, 7);
        assert_eq!(one, other);
        assert_eq!(one.get(Unit::TOKENS.at_end()), Some(7));
        assert_eq!(Cost::new().of(Unit::REQUESTS, 3), Cost::new().requests(3));
        assert_eq!(
            format!("{:?}", one.requests(2).permits(3)),
            "Cost(2 requests, 3 permits, 1 credits, 7 tokens)"
        );
        assert_eq!(Cost::new(), Cost::default());
        assert!(Cost::new().is_empty());
    }

    #[test]
    fn later_figures_replace_earlier_ones() {
        let first = Cost::new().of(Unit::INPUT_TOKENS, 10).permits(2);
        let later = Cost::new().of(Unit::OUTPUT_TOKENS, 3).permits(1);
        let both = first.replaced_by(&later);
        assert_eq!(
            both,
            Cost::new()
                .of(Unit::OUTPUT_TOKENS, 3)
                .of(Unit::INPUT_TOKENS, 10)
                .permits(1)
        );
    }
}
