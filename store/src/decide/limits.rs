//! What a scope allows belongs to the scope: of what the live members say, the strictest counts, and a window that
//! one of them lacks counts for all.

use crate::protocol::{Ask, Micros, Scope, Timing, Warning, Window as Limit};

use super::{definition::Definition, scope::ScopeState, windows::Window};

/// How many disagreements a call is told of.
const MOST_WARNINGS: usize = 8;

impl ScopeState {
    /// The member configures the scope so. Members count as alive for three leases after a call.
    pub(super) fn configure(
        &mut self,
        ask: &Ask,
        scope: &Scope,
        now: Micros,
        timing: &Timing,
        warnings: &mut Vec<Warning>,
    ) {
        let speaker = (ask.member.clone(), now + 3 * timing.lease);
        for definition in &mut self.definitions {
            definition
                .speakers
                .retain(|(member, _)| *member != ask.member);
        }
        match self
            .definitions
            .iter_mut()
            .find(|definition| definition.is(scope))
        {
            Some(definition) => definition.speakers.push(speaker),
            None => self.definitions.push(Definition {
                windows: scope.windows.clone(),
                permits: scope.permits,
                learned_permits: scope.learned_permits,
                speakers: vec![speaker],
            }),
        }
        self.definitions.retain(Definition::is_spoken_for);
        for definition in &self.definitions {
            if !definition.is(scope) {
                disagreements(scope, definition, warnings);
            }
        }
        self.strictest(now + timing.ahead + timing.reservation);
    }

    fn strictest(&mut self, exact_from: Micros) {
        self.permits = (self.definitions.iter())
            .flat_map(|definition| [definition.permits, definition.learned_permits])
            .flatten()
            .min();
        for limit in self
            .definitions
            .iter()
            .flat_map(|definition| &definition.windows)
        {
            let same = |window: &Window| window.unit == limit.unit && window.rank == limit.rank;
            if !self.windows.iter().any(same) {
                self.windows.push(Window::new(&limit.unit, limit.rank));
            }
        }
        for window in &mut self.windows {
            let limits = (self
                .definitions
                .iter()
                .flat_map(|definition| &definition.windows))
            .filter(|limit| limit.unit == window.unit && limit.rank == window.rank);
            let (mut n, mut period, mut margin, mut at_end) = (0, 0, 0, false);
            for limit in limits {
                let least = limit.learned.unwrap_or(limit.n).min(limit.n);
                n = if n == 0 { least } else { least.min(n) };
                period = limit.period.max(period);
                margin = limit.margin.max(limit.learned_margin).max(margin);
                at_end |= limit.at_end;
            }
            window.n = n;
            if n > 0 {
                window.lasts(period + margin, exact_from);
                window.counts_at_end(at_end, exact_from);
            }
        }
        self.sum_charges();
    }
}

/// Tells how another definition differs, learned values aside.
fn disagreements(scope: &Scope, other: &Definition, warnings: &mut Vec<Warning>) {
    let member = &other.speakers[0].0;
    let mut warn = |what: &str, unit: &str, rank, mine, theirs| {
        if mine != theirs && warnings.len() < MOST_WARNINGS {
            warnings.push(Warning {
                scope: scope.name.clone(),
                what: what.to_owned(),
                unit: unit.to_owned(),
                rank,
                mine,
                theirs,
                member: member.clone(),
            });
        }
    };
    warn(
        "permits",
        "",
        0,
        scope.permits.unwrap_or(0),
        other.permits.unwrap_or(0),
    );
    for mine in &scope.windows {
        let same = |theirs: &&Limit| theirs.unit == mine.unit && theirs.rank == mine.rank;
        let Some(theirs) = other.windows.iter().find(same) else {
            warn("window", &mine.unit, mine.rank, mine.n, 0);
            continue;
        };
        warn("n", &mine.unit, mine.rank, mine.n, theirs.n);
        warn("period", &mine.unit, mine.rank, mine.period, theirs.period);
        warn("margin", &mine.unit, mine.rank, mine.margin, theirs.margin);
        warn(
            "at_end",
            &mine.unit,
            mine.rank,
            mine.at_end.into(),
            theirs.at_end.into(),
        );
    }
    for theirs in &other.windows {
        if scope
            .windows
            .iter()
            .all(|mine| mine.unit != theirs.unit || mine.rank != theirs.rank)
        {
            warn("window", &theirs.unit, theirs.rank, 0, theirs.n);
        }
    }
}
