use std::collections::BTreeSet;

use super::{
    ids::{NodeId, WaiterId},
    node::Opens,
};
use crate::{bucket::Tick, steps};

/// Everything that becomes due by itself. The engine has one clock for all of it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// A gate opens for the head that waits at it.
    gates: BTreeSet<(Opens, NodeId)>,
    /// A waiter has waited for as long as it is prepared to.
    limits: BTreeSet<(Tick, WaiterId)>,
    /// A waiter was offered its turn, and has had enough time to take it.
    absences: BTreeSet<(Tick, WaiterId)>,
}

impl Timers {
    /// When the next of them is due.
    pub(super) fn next(&self) -> Tick {
        let gate = self.gates.first().map(|&((due, _), _)| due);
        let limit = self.limits.first().map(|&(due, _)| due);
        let absence = self.absences.first().map(|&(due, _)| due);
        [gate, limit, absence]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Tick::NEVER)
    }

    pub(super) fn set_gate(&mut self, id: NodeId, before: Option<Opens>, opens: Option<Opens>) {
        steps::count_way_down(self.gates.len());
        if let Some(before) = before {
            self.gates.remove(&(before, id));
        }
        if let Some(opens) = opens {
            self.gates.insert((opens, id));
        }
    }

    pub(super) fn set_limit(&mut self, id: WaiterId, before: Tick, due: Tick) {
        set(&mut self.limits, id, before, due);
    }

    pub(super) fn set_absence(&mut self, id: WaiterId, before: Tick, due: Tick) {
        set(&mut self.absences, id, before, due);
    }

    pub(super) fn first_gate(&self) -> Option<NodeId> {
        self.gates.first().map(|&(_, id)| id)
    }

    pub(super) fn first_limit(&self) -> Option<WaiterId> {
        self.limits.first().map(|&(_, id)| id)
    }

    pub(super) fn due_gate(&self, now: Tick) -> Option<NodeId> {
        steps::count_way_down(self.gates.len());
        let &((due, _), id) = self.gates.first()?;
        (due <= now).then_some(id)
    }

    pub(super) fn due_limit(&self, now: Tick) -> Option<WaiterId> {
        due(&self.limits, now)
    }

    pub(super) fn due_absence(&self, now: Tick) -> Option<WaiterId> {
        due(&self.absences, now)
    }
}

/// `Tick::NEVER` is no time to be reminded of.
fn set<T: Ord + Copy>(timers: &mut BTreeSet<(Tick, T)>, of: T, before: Tick, due: Tick) {
    if before == due {
        return;
    }
    steps::count_way_down(timers.len());
    if before != Tick::NEVER {
        timers.remove(&(before, of));
    }
    if due != Tick::NEVER {
        timers.insert((due, of));
    }
}

fn due<T: Copy + Ord>(timers: &BTreeSet<(Tick, T)>, now: Tick) -> Option<T> {
    steps::count_way_down(timers.len());
    let &(due, of) = timers.first()?;
    (due <= now).then_some(of)
}
