use crate::costs::Unit;

/// What a request takes of each bucket that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// As how many requests it counts.
    pub(crate) requests: u32,
    pub(crate) permits: u32,
    /// Of everything else that its scopes count.
    pub(crate) units: Vec<(Unit, u64)>,
}

impl Demand {
    /// One request and one permit: what most take.
    pub(crate) const ONE: Self = Self {
        requests: 1,
        permits: 1,
        units: Vec::new(),
    };

    /// Nothing: what can be said of it goes for every request.
    pub(crate) const NOTHING: Self = Self {
        requests: 0,
        permits: 0,
        units: Vec::new(),
    };

    pub(crate) fn of(&self, unit: Unit) -> u64 {
        let mut units = self.units.iter();
        let found = units.find(|(known, _)| known.is_called_as(&unit));
        found.map_or(0, |&(_, amount)| amount)
    }

    /// Whether there are permits left for it, where `in_flight` of `limit` are taken. One that takes more than
    /// there are goes alone.
    pub(crate) fn has_permits(&self, in_flight: u32, limit: usize) -> bool {
        let (in_flight, permits) = (in_flight as usize, self.permits as usize);
        permits == 0 || in_flight == 0 || in_flight.saturating_add(permits) <= limit
    }

    /// The rank of the last of the requests that it counts as, where `rank` others precede it.
    pub(super) fn last_rank(&self, rank: usize) -> Option<usize> {
        let others = self.requests.checked_sub(1)?;
        Some(rank.saturating_add(others as usize))
    }
}
