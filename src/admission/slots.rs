//! When the turn of a request comes, as far as that can be computed, and who need not wait for it.

use super::{
    age::Age,
    ids::{NodeId, WaiterId},
    node::Entrant,
    state::State,
    tree::Tree,
    waiter::{Limit, Stage},
    wakes::Wakes,
};
use crate::{
    bucket::Tick,
    endpoints::SpecId,
    error::{Refused, RefusedReason},
};

impl Tree {
    /// Why a request may not even begin to wait.
    pub(super) fn refuse_entry(
        &mut self,
        leaf: NodeId,
        age: Age,
        limit: Limit,
        max_waiting: Option<usize>,
        now: Tick,
    ) -> Option<Refused> {
        let full = max_waiting
            .and_then(|most| self.path(leaf).find(|&id| self.node(id).waiting() >= most));
        if full.is_none() && !limit.is_some() {
            return None;
        }
        let contest = self.node(leaf).contest.as_ref();
        let rank = contest.map_or(0, |contest| match contest.queue.last() {
            Some(&(youngest, _)) if youngest > age.get() => {
                contest.queue.range(..(age.get(), Entrant::FIRST)).count()
            }
            _ => contest.queue.len(),
        });
        let (slot, scope) = self.slot(leaf, rank, now);
        if let Some(full) = full {
            return Some(self.refuse(leaf, full, RefusedReason::QueueFull, slot, now));
        }
        // A limit of zero means "now or never": this is no longer now.
        (slot > limit.until || limit.until <= now)
            .then(|| self.refuse(leaf, scope, limit.reason, slot, now))
    }

    pub(super) fn refuse(
        &mut self,
        leaf: NodeId,
        scope: NodeId,
        reason: RefusedReason,
        slot: Tick,
        now: Tick,
    ) -> Refused {
        self.each(leaf, |node, _, _| node.counters.refused += 1);
        let wait = slot.since(now);
        Refused::new(
            &self.name(leaf),
            &self.name(scope),
            reason,
            (!wait.is_zero() && slot != Tick::NEVER).then_some(wait),
        )
    }

    /// When a request that `rank` others of its endpoint precede can go out at the earliest, and
    /// which scope says so. Permits count as free.
    pub(super) fn slot(&self, leaf: NodeId, rank: usize, now: Tick) -> (Tick, NodeId) {
        let mut latest = (Tick::NONE, leaf);
        for (id, ahead) in self.ahead(leaf) {
            let node = self.node(id);
            let spec = self.spec(node.spec);
            let start = now.max(spec.paused_until);
            let slot = node.bucket.slot(&spec.rules, ahead.of(rank), now, start);
            if slot > latest.0 {
                latest = (slot, id);
            }
        }
        latest
    }

    /// The same for the first `ranks`, at the cost of one.
    pub(super) fn slots(&self, leaf: NodeId, ranks: usize, now: Tick) -> Vec<(Tick, NodeId)> {
        let mut latest = vec![(Tick::NONE, leaf); ranks];
        for (id, ahead) in self.ahead(leaf) {
            let node = self.node(id);
            let spec = self.spec(node.spec);
            let start = now.max(spec.paused_until);
            let most = ahead.of(0).max(ahead.of(ranks)) + 1;
            let slots = node.bucket.slots(&spec.rules, most, now, start);
            for (rank, latest) in latest.iter_mut().enumerate() {
                let slot = slots[ahead.of(rank)];
                if slot > latest.0 {
                    *latest = (slot, id);
                }
            }
        }
        latest
    }

    /// How many precede the requests of a leaf, at each node up to the root.
    pub(super) fn ahead(&self, leaf: NodeId) -> impl Iterator<Item = (NodeId, Ahead)> {
        let mut ahead = Ahead::default();
        let mut child: Option<NodeId> = None;
        self.path(leaf).map(move |id| {
            if let (Some(child), Some(contest)) = (child, &self.node(id).contest) {
                let seat = self.node(child).seat();
                let before = seat.map_or(contest.queue.len(), |seat| {
                    contest.queue.range(..(seat.ticket, Entrant::FIRST)).count()
                });
                let others = contest.queue.len() - usize::from(seat.is_some());
                // A head that is no longer one has every other head's turn before its own.
                ahead.head += if ahead.head == 0 { before } else { others };
                ahead.others += others;
            }
            child = Some(id);
            (id, ahead)
        })
    }
}

impl State {
    /// Refuses a request that waits, and takes it out of its queue; its future is told. `slot` is its
    /// turn, and the scope that says so.
    pub(super) fn turn_away(
        &mut self,
        id: WaiterId,
        reason: RefusedReason,
        (slot, scope): (Tick, NodeId),
        now: Tick,
        wakes: &mut Wakes,
    ) {
        self.leave(id);
        let leaf = self.waiters[id.0 as usize].leaf;
        let refused = self.tree.refuse(leaf, scope, reason, slot, now);
        let waiter = &mut self.waiters[id.0 as usize];
        waiter.stage = Stage::Refused(Box::new(refused));
        wakes.wake(waiter.waker.take());
    }

    /// The buckets of `spec` have a new quota or a new pause: admits whom they admit now, and
    /// refuses whom they would keep for too long.
    pub(super) fn reconsider(&mut self, spec: SpecId, now: Tick, wakes: &mut Wakes) {
        let affected: Vec<_> = self
            .tree
            .table
            .nodes
            .iter()
            .filter(|(_, node)| node.spec == spec && node.contest.is_some())
            .map(|(index, _)| NodeId::new(index))
            .collect();
        // All of them first, and only then whoever can go: else the first could let somebody through by
        // the seat that another is about to lose.
        for &id in &affected {
            self.take_seats(id, now, wakes);
        }
        for id in affected {
            self.settle(id, now, wakes);
        }
        self.refuse_the_hopeless(now, wakes);
    }

    /// Refuses everyone whose turn is now known to come after its limit.
    pub(super) fn refuse_the_hopeless(&mut self, now: Tick, wakes: &mut Wakes) {
        if self.limited == 0 {
            return;
        }
        let leaves: std::collections::BTreeSet<_> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.limit().is_some() && waiter.is_queued())
            .map(|(_, waiter)| waiter.leaf)
            .collect();
        for leaf in leaves {
            let Some(contest) = &self.tree.node(leaf).contest else {
                // Settling another leaf has let its waiters through.
                continue;
            };
            let queue: Vec<_> = contest.queue.iter().copied().collect();
            let slots = self.tree.slots(leaf, queue.len(), now);
            let mut rank = 0;
            for (_, entrant) in queue {
                let Entrant::Waiter(id) = entrant else {
                    unreachable!("a leaf has no children")
                };
                let limit = self.waiters[id.0 as usize].limit();
                let slot = slots[rank];
                if slot.0 <= limit.until {
                    rank += 1;
                } else {
                    self.turn_away(id, limit.reason, slot, now, wakes);
                }
            }
            self.settle(leaf, now, wakes);
        }
    }
}

/// How many requests precede those of one leaf at a node: its head, and whoever is behind its head,
/// who has the turn of every other head before its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    head: usize,
    others: usize,
}

impl Ahead {
    fn of(self, rank: usize) -> usize {
        if rank == 0 {
            self.head
        } else {
            rank + self.others
        }
    }
}
