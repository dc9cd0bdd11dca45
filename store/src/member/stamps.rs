//! What was dispatched or ended, as long as it may be asserted.

use std::collections::VecDeque;

use crate::protocol::Micros;

/// Above this many stamps, neighbours are asserted as one, at the later time.
const MOST_STAMPS: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Stamped {
    pub(super) at: Micros,
    pub(super) scopes: Vec<String>,
    pub(super) costs: Vec<i64>,
    pub(super) at_end: bool,
}

/// Fewer stamps, none of them earlier.
pub(super) fn coarse(stamps: &VecDeque<Stamped>) -> Vec<Stamped> {
    let mut stamps: Vec<_> = stamps.iter().cloned().collect();
    while stamps.len() > MOST_STAMPS {
        let before = stamps.len();
        let mut fewer: Vec<Stamped> = Vec::with_capacity(before / 2 + 1);
        let mut paired = false;
        for stamp in stamps {
            match fewer.last_mut() {
                Some(last)
                    if !paired && last.scopes == stamp.scopes && last.at_end == stamp.at_end =>
                {
                    last.costs = sum(&last.costs, &stamp.costs);
                    last.at = stamp.at;
                    paired = true;
                }
                _ => {
                    fewer.push(stamp);
                    paired = false;
                }
            }
        }
        stamps = fewer;
        if stamps.len() == before {
            break;
        }
    }
    stamps
}

/// Costs by unit, where a missing first one is one request.
fn sum(a: &[i64], b: &[i64]) -> Vec<i64> {
    let cost = |costs: &[i64], unit| costs.get(unit).copied().unwrap_or(i64::from(unit == 0));
    (0..a.len().max(b.len()).max(1))
        .map(|unit| cost(a, unit) + cost(b, unit))
        .collect()
}
