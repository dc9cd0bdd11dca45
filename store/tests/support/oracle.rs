//! What really happened, by one true clock, and whether any limit was broken. It shares no code with the decision.

use tower_throttle_store::protocol::{Micros, Scope, Window};

/// One dispatched request.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The process, and its own number of the reservation.
    pub by: (u64, i64),
    pub at: Micros,
    pub scopes: Vec<usize>,
    /// By unit: what was charged first.
    pub estimate: Vec<i64>,
    /// By unit, and since when.
    pub settled: Option<(Micros, Vec<i64>)>,
    /// When it ended.
    pub ended: Option<Micros>,
    pub permits: i64,
    /// When the store could not know that it was under way, or when it ended.
    pub gaps: Vec<Gap>,
}

/// From when until when a store cannot know of a request, as the README says. What was granted in that time was
/// granted in ignorance: it ends a reservation and the time ahead of a slot after the store has heard.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub why: Why,
    pub from: Micros,
    pub to: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The store forgot while the request was under way, and the member asserted nothing until the store had settled.
    Silent,
    /// The member did not call for a lease. The estimate counts for a period from there.
    CutOff,
}

/// At how many dispatches a limit held only because of a gap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excused {
    pub silent: usize,
    pub cut_off: usize,
}

impl Sent {
    /// From now on the store does not know of it, if it did.
    pub fn unknown_from(&mut self, why: Why, from: Micros) {
        let open = |gap: &Gap| gap.why == why && gap.to == Micros::MAX;
        if !self.gaps.iter().any(open) {
            let to = Micros::MAX;
            self.gaps.push(Gap { why, from, to });
        }
    }

    fn cost(&self, unit: usize, at: Micros) -> i64 {
        match &self.settled {
            Some((since, costs)) if *since <= at => costs[unit],
            _ => self.estimate[unit],
        }
    }

    fn counts(&self, window: &Window, now: Micros) -> bool {
        let span = window.period + window.margin;
        let until = match (window.at_end, self.ended) {
            (true, None) => Micros::MAX,
            (true, Some(ended)) => ended + span,
            (false, _) => self.at + span,
        };
        self.at <= now && now < until
    }

    fn is_out(&self, now: Micros) -> bool {
        self.at <= now && self.ended.is_none_or(|ended| now < ended)
    }

    /// In a gap of one of these kinds. `cut_off` is how much longer than its lease the store counts it.
    fn is_unknown(&self, whys: &[Why], cut_off: Micros, now: Micros) -> bool {
        self.gaps.iter().any(|gap| {
            let longer = match gap.why {
                Why::Silent => 0,
                Why::CutOff => cut_off,
            };
            whys.contains(&gap.why) && (gap.from + longer..gap.to).contains(&now)
        })
    }
}

/// Fails if a window ever held more than its `n`, or more permits were out than there are. The scopes are those of
/// the laxest member.
pub fn check(seed: u64, scopes: &[Scope], units: &[String], sent: &[Sent]) -> Excused {
    let mut excused = Excused::default();
    for (index, scope) in scopes.iter().enumerate() {
        let here: Vec<_> = sent
            .iter()
            .filter(|sent| sent.scopes.contains(&index))
            .collect();
        for window in &scope.windows {
            let unit = units.iter().position(|unit| *unit == window.unit).unwrap();
            let span = window.period + window.margin;
            for now in here.iter().map(|sent| sent.at) {
                let sum = |whys: &[Why]| -> i64 {
                    here.iter()
                        .filter(|sent| sent.counts(window, now))
                        .filter(|sent| !window.at_end || !sent.is_unknown(whys, span, now))
                        .map(|sent| sent.cost(unit, now))
                        .sum()
                };
                let all = excused.sum(window.n, sum);
                assert!(
                    all <= window.n,
                    "seed {seed}: {all} in {window:?} of {} at {now}",
                    scope.name
                );
            }
        }
        let Some(limit) = scope.permits else {
            continue;
        };
        for now in here.iter().map(|sent| sent.at) {
            let sum = |whys: &[Why]| -> i64 {
                here.iter()
                    .filter(|sent| sent.is_out(now) && !sent.is_unknown(whys, 0, now))
                    .map(|sent| sent.permits)
                    .sum()
            };
            let all = excused.sum(limit, sum);
            assert!(
                all <= limit,
                "seed {seed}: {all} permits of {limit} of {} at {now}",
                scope.name
            );
        }
    }
    excused
}

impl Excused {
    /// What counts with all gaps left out; notes which kind of them the limit needs.
    fn sum(&mut self, limit: i64, sum: impl Fn(&[Why]) -> i64) -> i64 {
        self.silent += usize::from(sum(&[Why::CutOff]) > limit);
        self.cut_off += usize::from(sum(&[Why::Silent]) > limit);
        sum(&[Why::Silent, Why::CutOff])
    }
}
