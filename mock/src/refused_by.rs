use std::time::Duration;

/// Which limit a request was refused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedBy {
    /// By a window of requests; where several windows are full, by the one that has room last.
    Rate {
        /// How many requests the window allows.
        limit: usize,
        /// How long the window is.
        period: Duration,
    },
    /// By a window of another unit; where several windows are full, by the one that has room last.
    Units {
        /// The unit's name.
        unit: &'static str,
        /// How much of it the window allows.
        limit: u64,
        /// How long the window is.
        period: Duration,
        /// What is in the window already.
        used: u64,
        /// What the request costs; 0 where that is counted at the end, since nobody knows yet. If it is
        /// more than the limit, such a request is always refused.
        requested: u64,
    },
    /// By the number of requests in flight.
    Concurrency {
        /// How many requests may be in flight.
        limit: usize,
    },
}
