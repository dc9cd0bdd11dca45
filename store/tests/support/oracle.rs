//! What really happened, by one true clock, and whether any limit was broken. It shares no code with the decision.

use tower_throttle_store::protocol::{Micros, Scope};

/// One dispatched request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Micros,
    pub scopes: Vec<usize>,
    /// By unit: what was charged first.
    pub estimate: Vec<i64>,
    /// By unit, and since when.
    pub settled: Option<(Micros, Vec<i64>)>,
    /// When it ended, or stopped to be covered by its member's lease.
    pub ended: Option<Micros>,
    pub permits: i64,
    /// When the store could not know of it any more: it had forgotten, and the member was silent until it had settled.
    pub unknown: Option<Micros>,
}

impl Sent {
    fn cost(&self, unit: usize, at: Micros) -> i64 {
        match &self.settled {
            Some((since, costs)) if *since <= at => costs[unit],
            _ => self.estimate[unit],
        }
    }
}

/// Fails if a window ever held more than its `n`, or more permits were out than there are. The scopes are those of
/// the laxest member.
pub fn check(seed: u64, scopes: &[Scope], units: &[String], sent: &[Sent]) {
    for (index, scope) in scopes.iter().enumerate() {
        let here: Vec<_> = sent
            .iter()
            .filter(|sent| sent.scopes.contains(&index))
            .collect();
        for window in &scope.windows {
            let unit = units.iter().position(|unit| *unit == window.unit).unwrap();
            let span = window.period + window.margin;
            for now in here.iter().map(|sent| sent.at) {
                let counts = |sent: &&&Sent| {
                    let until = match (window.at_end, sent.ended) {
                        (true, None) => Micros::MAX,
                        (true, Some(ended)) => ended + span,
                        (false, _) => sent.at + span,
                    };
                    let until = match sent.unknown {
                        Some(unknown) if window.at_end => until.min(unknown),
                        _ => until,
                    };
                    sent.at <= now && now < until
                };
                let sum: i64 = here
                    .iter()
                    .filter(counts)
                    .map(|sent| sent.cost(unit, now))
                    .sum();
                assert!(
                    sum <= window.n,
                    "seed {seed}: {sum} in {window:?} of {} at {now}",
                    scope.name
                );
            }
        }
        let Some(limit) = scope.permits else {
            continue;
        };
        for now in here.iter().map(|sent| sent.at) {
            let out = |sent: &&&Sent| sent.at <= now && sent.ended.is_none_or(|ended| now < ended);
            let sum: i64 = here.iter().filter(out).map(|sent| sent.permits).sum();
            assert!(
                sum <= limit,
                "seed {seed}: {sum} permits of {limit} of {} at {now}",
                scope.name
            );
        }
    }
}
