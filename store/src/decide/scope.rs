//! A scope: its windows, who holds what, who waits, and what members share.

use crate::protocol::{Ask, GiveBack, Hold, Micros, Release, Settlement, Stamp, Timing};

use super::{
    cost,
    definition::Definition,
    holder::{Held, Holder},
    shared::Shared,
    tickets::Ticket,
    windows::Window,
};

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct ScopeState {
    /// How the live members configure it.
    pub(super) definitions: Vec<Definition>,
    /// What the strictest of them make together: how many permits.
    pub(super) permits: Option<i64>,
    /// By unit and rank.
    pub(super) windows: Vec<Window>,
    pub(super) holders: Vec<Holder>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) shared: Shared,
    /// During a call: a permit came back, or a ticket that stood before others does not any more.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) freed: bool,
    /// During a call: so many units came back.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) given_back: i64,
    /// During a call: somebody left the queue, or a pause ended.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) moved: bool,
}

impl ScopeState {
    /// Drops what is over by now.
    pub(super) fn forget(&mut self, now: Micros) {
        for definition in &mut self.definitions {
            definition.forget(now);
        }
        self.definitions.retain(Definition::is_spoken_for);
        for window in &mut self.windows {
            window.forget(now);
        }
        self.lapse(now);
        self.windows.retain(|window| !window.is_empty());
        self.tickets.retain(|ticket| ticket.until >= now);
        self.shared.forget(now);
        if self.definitions.is_empty() {
            self.permits = None;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.definitions.is_empty()
            && self.windows.iter().all(Window::is_empty)
            && self.holders.is_empty()
            && self.tickets.is_empty()
            && self.shared == Shared::default()
    }

    /// Whether [`ScopeState::forget`] would leave nothing.
    pub(super) fn is_over(&self, now: Micros) -> bool {
        let longest = self.longest();
        (self.holders.iter()).all(|holder| holder.until < now && holder.until + longest <= now)
            && self
                .definitions
                .iter()
                .all(|definition| definition.is_over(now))
            && self.windows.iter().all(|window| window.is_over(now))
            && self.tickets.iter().all(|ticket| ticket.until < now)
            && self.shared.is_over(now)
    }

    pub(super) fn all_have_left(&mut self, now: Micros) {
        self.definitions.clear();
        self.tickets.clear();
        for holder in &mut self.holders {
            holder.until = holder.until.min(now - 1);
        }
        self.lapse(now);
        self.done();
    }

    /// Clears what was noted during a call.
    pub(super) fn done(&mut self) {
        self.freed = false;
        self.given_back = 0;
        self.moved = false;
    }

    pub(super) fn coarsen(&mut self) {
        for window in &mut self.windows {
            window.coarsen();
        }
    }

    /// The longest time for which a unit counts.
    pub(super) fn longest(&self) -> Micros {
        self.windows
            .iter()
            .map(|window| window.span)
            .max()
            .unwrap_or(0)
    }

    /// Gives up what members hold that have not called for a lease.
    fn lapse(&mut self, now: Micros) {
        let (live, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.holders)
            .into_iter()
            .partition(|holder| holder.until >= now);
        self.holders = live;
        for holder in over {
            self.freed = true;
            for held in &holder.held {
                self.count_at_end(&held.charges, holder.until, now);
            }
        }
        self.sum_charges();
    }

    /// Charges that count for a period from `at` on.
    fn count_at_end(&mut self, charges: &[(String, i64)], at: Micros, now: Micros) {
        for window in self.windows.iter_mut().filter(|window| window.at_end) {
            let units = charges.iter().find(|(unit, _)| *unit == window.unit);
            if let Some((_, units)) = units.filter(|_| at + window.span > now) {
                window.put(at + window.span, *units);
            }
        }
    }

    pub(super) fn sum_charges(&mut self) {
        for window in &mut self.windows {
            if !window.at_end {
                window.held = 0;
                continue;
            }
            window.held = (self.holders.iter().flat_map(|holder| &holder.held))
                .flat_map(|held| &held.charges)
                .filter(|(unit, _)| *unit == window.unit)
                .map(|(_, units)| units)
                .sum();
        }
    }

    /// The member holds exactly these.
    pub(super) fn keep(&mut self, ask: &Ask, keep: &[Hold], now: Micros, timing: &Timing) {
        let held = keep.iter().map(|hold| Held {
            id: hold.id,
            permits: hold.permits,
            charges: self.charges(ask, &hold.costs),
        });
        let holder = Holder::new(&ask.member, now + timing.lease, held.collect());
        self.holders.retain(|holder| holder.member != ask.member);
        if !holder.held.is_empty() {
            self.holders.push(holder);
        }
        self.freed = true;
        self.sum_charges();
    }

    pub(super) fn renew(&mut self, member: &str, now: Micros, timing: &Timing) {
        if let Some(holder) = self
            .holders
            .iter_mut()
            .find(|holder| holder.member == member)
        {
            holder.until = now + timing.lease;
        }
    }

    /// A request has ended. One that is not held here may have outlived its lease: its estimate counted from there,
    /// and what the member says it cost counts from its end. `known` is whether the member knows the epoch; if not,
    /// it will assert the end.
    pub(super) fn release(&mut self, ask: &Ask, release: &Release, known: bool, now: Micros) {
        let held = self.let_go(&ask.member, release.id);
        self.freed |= held.is_some();
        let charges = match (&release.costs, held) {
            (Some(costs), Some(_)) => self.charges(ask, costs),
            (Some(costs), None) if known => self.charges(ask, costs),
            (None, Some(held)) => held.charges,
            (_, None) => return,
        };
        self.count_at_end(&charges, now, now);
        self.sum_charges();
    }

    /// What a request with such costs is charged until its end.
    pub(super) fn charges(&self, ask: &Ask, costs: &[i64]) -> Vec<(String, i64)> {
        let mut charges: Vec<(String, i64)> = Vec::new();
        for window in self.windows.iter().filter(|window| window.at_end) {
            let units = index(ask, &window.unit).map_or(0, |unit| cost(costs, unit));
            if units > 0 && charges.iter().all(|(unit, _)| *unit != window.unit) {
                charges.push((window.unit.clone(), units));
            }
        }
        charges
    }

    pub(super) fn stamp(&mut self, ask: &Ask, stamp: &Stamp, now: Micros) {
        for window in self
            .windows
            .iter_mut()
            .filter(|window| window.at_end == stamp.at_end)
        {
            let units = index(ask, &window.unit).map_or(0, |unit| cost(&stamp.costs, unit));
            let free = now - stamp.age + window.span;
            if units > 0 && free > now {
                window.put(free, units);
            }
        }
    }

    pub(super) fn give_back(&mut self, ask: &Ask, back: &GiveBack, now: Micros) {
        for window in self.windows.iter_mut().filter(|window| !window.at_end) {
            let units = index(ask, &window.unit).map_or(0, |unit| cost(&back.costs, unit));
            let cut = window.cut(back.end, units);
            if cut > 0 && back.end - back.reservation > now {
                window.put(back.end - back.reservation, cut);
            }
            self.given_back = self.given_back.max(cut);
        }
    }

    pub(super) fn settle(&mut self, ask: &Ask, settlement: &Settlement, now: Micros) {
        let unit = &ask.units[settlement.unit];
        for window in &mut self.windows {
            if window.at_end || window.unit != *unit {
                continue;
            }
            let free = settlement.end + window.span;
            if settlement.change < 0 {
                self.given_back = self
                    .given_back
                    .max(window.cut(settlement.end, -settlement.change));
            } else if settlement.change > 0 && free > now {
                window.put(free, settlement.change);
            }
        }
    }
}

/// A unit's place in the ask's own list.
pub(super) fn index(ask: &Ask, unit: &str) -> Option<usize> {
    ask.units.iter().position(|name| name == unit)
}
