use std::{task::Waker, time::Duration};

use slab::Slab;

use super::{
    age::Age,
    node::{Contest, Entrant, Node, NodeId, Seat},
    table::Table,
    waiter::{Limit, Stage, Waiter, WaiterId},
    wakes::Wakes,
};
use crate::{
    bucket::{Bucket, Face, Gate, Learning, Refusal, RefusalKind, Report, Rules, Span, Tick},
    endpoints::{Routes, SpecId, SpecKind},
    error::{Refused, RefusedReason},
    quota::Quota,
};

/// Everything behind the engine's lock. Takes the time as data, and leaves wakers to be woken in a
/// [`Wakes`], so nothing here blocks or runs foreign code.
#[derive(Debug)]
pub(super) struct State {
    pub(super) face: Face,
    learning: Learning,
    /// The longest pause that an answer can impose.
    pub(super) max_pause: Duration,
    pub(super) specs: Box<[SpecState]>,
    pub(super) nodes: Slab<Box<Node>>,
    pub(super) table: Table,
    pub(super) waiters: Slab<Waiter>,
    /// The latest time that anyone has told.
    latest: Tick,
    calls: u64,
    next_ticket: u64,
    /// How many requests have been admitted: numbers them.
    serial: u64,
    /// How many buckets have learned something: only they need to hear of successes.
    pub(super) learned: usize,
    /// How many waiters have a limit of their own, and so must hear of every new delay.
    limited: usize,
}

/// What all buckets of one configured endpoint, group or wider scope have in common.
#[derive(Debug)]
pub(super) struct SpecState {
    pub(super) name: Box<str>,
    pub(super) kind: SpecKind,
    pub(super) parent: Option<SpecId>,
    pub(super) quota: Quota,
    pub(super) rules: Rules,
    /// A pause of all its buckets, those not seen yet included.
    pub(super) paused_until: Tick,
}

/// What an admitted request holds, node by node from its leaf to the root: bit i is the i-th.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(super) leaf: NodeId,
    pub(super) places: u8,
    pub(super) permits: u8,
    /// Those of the permits that end with the response head.
    pub(super) at_head: u8,
    /// Numbers the requests of an engine in the order of their admission.
    pub(super) serial: u64,
}

/// What a look at one's place in the queue finds.
#[derive(Debug)]
pub(super) enum Look {
    /// Its places, and its age, in case it has to come back.
    Granted(Taken, Age),
    Refused(Refused),
    /// Look again when woken, and at this time.
    Wait(WaiterId, Tick),
}

impl State {
    pub(super) fn new(routes: &Routes, face: Face, now: Tick) -> Self {
        let specs: Box<[_]> = routes
            .specs()
            .iter()
            .map(|spec| SpecState {
                name: spec.name.clone(),
                kind: spec.kind,
                parent: spec.parent,
                quota: spec.quota.clone(),
                rules: Rules::new(&spec.quota, face, Learning::all(), learns(spec.kind)),
                paused_until: Tick::NONE,
            })
            .collect();
        // The node of a scope that has only one stands at the index of its spec, for ever.
        let nodes = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let parent = spec.parent.map(|parent| NodeId::new(parent.0 as usize));
                #[expect(clippy::cast_possible_truncation, reason = "`SpecId` is 32 bits wide")]
                let node = Node::new(SpecId(index as u32), parent);
                (index, Box::new(node))
            })
            .collect();
        Self {
            face,
            table: Table::new(routes.partitioned(), specs.len()),
            specs,
            nodes,
            waiters: Slab::new(),
            latest: now,
            calls: 0,
            next_ticket: 0,
            serial: 0,
            learned: 0,
            limited: 0,
            learning: Learning::all(),
            max_pause: super::answers::DEFAULT_MAX_PAUSE,
        }
    }

    /// The latest time known; a clock that was set back stands still until it has caught up.
    pub(super) fn now(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Every now and then while there are keys to forget: where there are no windows, nobody else
    /// would ever tell.
    pub(super) fn wants_to_know_the_time(&mut self) -> bool {
        const CALLS: u64 = 64;
        self.calls = self.calls.wrapping_add(1);
        self.calls % CALLS == 0 && !self.table.is_empty()
    }

    pub(super) fn latest(&self) -> Tick {
        self.latest
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub(super) fn spec(&self, id: SpecId) -> &SpecState {
        &self.specs[id.0 as usize]
    }

    /// The nodes that a request needs, from its leaf to the root.
    fn path(&self, leaf: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(leaf), |&id| self.node(id).parent)
    }

    fn gate(&self, id: NodeId, now: Tick) -> Gate {
        let node = self.node(id);
        let spec = self.spec(node.spec);
        match node.bucket.gate(&spec.rules, now) {
            Gate::Closed => Gate::Closed,
            Gate::Open if spec.paused_until > now => Gate::Until(spec.paused_until),
            Gate::Until(opens) => Gate::Until(opens.max(spec.paused_until)),
            Gate::Open => Gate::Open,
        }
    }

    /// Admits a newcomer if every scope has room and nobody stands before it.
    pub(super) fn admit(&mut self, leaf: NodeId, now: Tick) -> Option<Taken> {
        let free = self
            .path(leaf)
            .all(|id| !self.node(id).has_contenders() && self.gate(id, now) == Gate::Open);
        free.then(|| self.take(leaf))
    }

    /// Whether anyone waits at one of the scopes that a request to this leaf needs.
    pub(super) fn is_contested(&self, leaf: NodeId) -> bool {
        self.path(leaf).any(|id| self.node(id).contest.is_some())
    }

    /// Takes a place and a permit in every scope, in one step.
    fn take(&mut self, leaf: NodeId) -> Taken {
        self.serial += 1;
        let mut taken = Taken {
            leaf,
            places: 0,
            permits: 0,
            at_head: 0,
            serial: self.serial,
        };
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.nodes[id.index()];
            let rules = &self.specs[node.spec.0 as usize].rules;
            // Also where there is no window: there may be one before this request goes out.
            if self.face.windows {
                node.bucket.take_place();
                taken.places |= bit;
            }
            // Without permits to enforce, a bucket that comes and goes has to stay for its answer.
            if self.face.permits || id.index() >= self.specs.len() {
                node.bucket.take_permit();
                taken.permits |= bit;
                if rules.releases_at_head() || !self.face.permits {
                    taken.at_head |= bit;
                }
            }
            node.counters.admitted += 1;
            next = node.parent;
            bit <<= 1;
        }
        taken
    }

    /// The request has gone out: its places become stamps.
    pub(super) fn stamp(&mut self, taken: Taken, now: Tick, wakes: &mut Wakes) {
        let mut contested = false;
        self.each(taken.leaf, |node, specs, bit| {
            if taken.places & bit != 0 {
                node.bucket.stamp(&specs[node.spec.0 as usize].rules, now);
            }
            contested |= node.contest.is_some();
        });
        if contested {
            // Until now nobody could say when the next place comes; now its head can set a timer.
            self.settle(taken.leaf, now, wakes);
        }
    }

    /// Ends the permits in `mask`.
    pub(super) fn release(&mut self, leaf: NodeId, mask: u8) {
        self.each(leaf, |node, _, bit| {
            if mask & bit != 0 {
                node.bucket.release_permit();
            }
        });
    }

    /// The request was never dispatched: everything is as if it had not been admitted.
    pub(super) fn give_back(&mut self, taken: Taken) {
        self.each(taken.leaf, |node, _, bit| {
            if taken.places & bit != 0 {
                node.bucket.give_back_place();
            }
            if taken.permits & bit != 0 {
                node.bucket.release_permit();
            }
            node.counters.admitted -= 1;
        });
    }

    fn each(&mut self, leaf: NodeId, mut f: impl FnMut(&mut Node, &[SpecState], u8)) {
        let mut next = Some(leaf);
        let mut bit = 1;
        while let Some(id) = next {
            let node = &mut self.nodes[id.index()];
            f(node, &self.specs, bit);
            next = node.parent;
            bit <<= 1;
        }
    }

    /// A request enters the queue of its endpoint, unless it can go at once or must not wait.
    pub(super) fn enter(
        &mut self,
        leaf: NodeId,
        age: Age,
        limit: Limit,
        max_waiting: Option<usize>,
        now: Tick,
        wakes: &mut Wakes,
    ) -> Look {
        if self.is_contested(leaf) {
            // A gate may have opened since the last timer tick; those in front go first.
            self.settle(leaf, now, wakes);
        }
        let taken = (limit.until >= now)
            .then(|| self.admit(leaf, now))
            .flatten();
        if let Some(taken) = taken {
            return Look::Granted(taken, age);
        }
        if let Some(refused) = self.refuse_entry(leaf, age, limit, max_waiting, now) {
            return Look::Refused(refused);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "2^32 waiters do not fit into memory"
        )]
        let id = WaiterId(self.waiters.insert(Waiter {
            leaf,
            age,
            stage: Stage::Queued,
            waker: None,
            alarm: Tick::NEVER,
            armed: Tick::NEVER,
            limit,
        }) as u32);
        self.limited += usize::from(limit.is_some());
        self.join(leaf, (age.0, id.0), id);
        self.settle(leaf, now, wakes);
        self.look(id, now, wakes)
    }

    /// Why a request may not even begin to wait.
    fn refuse_entry(
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
        let rank = contest.map_or(0, |contest| match contest.queue.last_key_value() {
            Some((&(youngest, _), _)) if youngest > age.0 => {
                contest.queue.range(..(age.0, 0)).count()
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

    fn refuse(
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

    /// What a bucket is called: as configured, or by the host and path that it stands for.
    pub(super) fn name(&self, id: NodeId) -> Box<str> {
        let node = self.node(id);
        if node.text.is_empty() {
            self.spec(node.spec).name.clone()
        } else {
            node.text.clone()
        }
    }

    /// When a request that `rank` others of its endpoint precede can go out at the earliest, and
    /// which scope says so. Permits count as free.
    fn slot(&self, leaf: NodeId, rank: usize, now: Tick) -> (Tick, NodeId) {
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
    fn slots(&self, leaf: NodeId, ranks: usize, now: Tick) -> Vec<(Tick, NodeId)> {
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
    fn ahead(&self, leaf: NodeId) -> impl Iterator<Item = (NodeId, Ahead)> {
        let mut ahead = Ahead::default();
        let mut child: Option<NodeId> = None;
        self.path(leaf).map(move |id| {
            if let (Some(child), Some(contest)) = (child, &self.node(id).contest) {
                let seat = self.node(child).seat();
                let before = seat.map_or(contest.queue.len(), |seat| {
                    contest.queue.range(..(seat.ticket, 0)).count()
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

    /// A queued, granted or refused request fetches its news.
    pub(super) fn check(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) -> Look {
        let waiter = &mut self.waiters[id.0 as usize];
        // Whoever polls needs no wake.
        wakes.discard(waiter.waker.take());
        waiter.armed = Tick::NEVER;
        if waiter.is_queued() && waiter.alarm.min(waiter.limit.until) <= now {
            waiter.alarm = Tick::NEVER;
            let leaf = waiter.leaf;
            self.settle(leaf, now, wakes);
            // What can go at this very instant goes; only then has it waited too long.
            let waiter = &self.waiters[id.0 as usize];
            if waiter.is_queued() && waiter.limit.until <= now {
                let (slot, scope) = self.slot(leaf, self.rank(id), now);
                let reason = RefusedReason::WaitedTooLong;
                let refused = self.refuse(leaf, scope, reason, slot, now);
                self.waiters[id.0 as usize].stage = Stage::Refused(Box::new(refused));
                self.leave(id);
                self.settle(leaf, now, wakes);
            }
        }
        self.look(id, now, wakes)
    }

    fn rank(&self, id: WaiterId) -> usize {
        let waiter = &self.waiters[id.0 as usize];
        let contest = self.node(waiter.leaf).contest.as_ref();
        contest.map_or(0, |contest| {
            contest.queue.range(..(waiter.age.0, id.0)).count()
        })
    }

    fn look(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) -> Look {
        self.call_back(id, now, wakes);
        let waiter = &self.waiters[id.0 as usize];
        let until = match &waiter.stage {
            Stage::Queued => waiter.alarm.min(waiter.limit.until),
            // Polled before an older one that has its places too: that one is on its way.
            Stage::Granted(taken) if !self.is_first_to_leave(taken.leaf, id) => Tick::NEVER,
            Stage::Granted(_) | Stage::Refused(_) => {
                let waiter = self.forget(id, wakes);
                return match waiter.stage {
                    Stage::Granted(taken) => Look::Granted(taken, waiter.age),
                    Stage::Refused(refused) => Look::Refused(*refused),
                    Stage::Queued => unreachable!("matched above"),
                };
            }
        };
        self.waiters[id.0 as usize].armed = until;
        Look::Wait(id, until)
    }

    /// Puts a request that has its places and has not gone out back into its place in the queue, if a
    /// pause has begun since.
    fn call_back(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) {
        let waiter = &mut self.waiters[id.0 as usize];
        let place = (waiter.age.0, id.0);
        let Stage::Granted(taken) = waiter.stage else {
            return;
        };
        if !self.is_paused(taken, now) {
            return;
        }
        let waiter = &mut self.waiters[id.0 as usize];
        waiter.stage = Stage::Queued;
        waiter.alarm = Tick::NEVER;
        self.give_back(taken);
        self.has_left(taken.leaf, place, wakes);
        self.join(taken.leaf, place, id);
        self.settle(taken.leaf, now, wakes);
    }

    /// Whether a scope of an admitted request is paused.
    pub(super) fn is_paused(&self, taken: Taken, now: Tick) -> bool {
        self.path(taken.leaf).any(|id| {
            let node = self.node(id);
            node.bucket
                .paused_until()
                .max(self.spec(node.spec).paused_until)
                > now
        })
    }

    /// Takes its place in the queue of its leaf, and is counted all the way up.
    fn join(&mut self, leaf: NodeId, place: (u64, u32), id: WaiterId) {
        self.each(leaf, |node, _, _| {
            node.contest.get_or_insert_default().waiting += 1;
        });
        self.queue(leaf).insert(place, Entrant::Waiter(id));
    }

    /// Is no longer among those that are leaving; the next one can.
    fn has_left(&mut self, leaf: NodeId, place: (u64, u32), wakes: &mut Wakes) {
        let contest = self.node_mut(leaf).contest.as_mut();
        let contest = contest.expect("it has somebody leaving");
        contest.leaving.remove(&place);
        if let Some(&(_, next)) = contest.leaving.first() {
            wakes.wake(self.waiters[next as usize].waker.take());
        }
    }

    fn is_first_to_leave(&self, leaf: NodeId, id: WaiterId) -> bool {
        let contest = self.node(leaf).contest.as_ref();
        contest
            .and_then(|contest| contest.leaving.first())
            .is_some_and(|first| first.1 == id.0)
    }

    /// Removes a waiter whose queue it has left already, and lets the next one out.
    fn forget(&mut self, id: WaiterId, wakes: &mut Wakes) -> Waiter {
        let waiter = self.waiters.remove(id.0 as usize);
        self.limited -= usize::from(waiter.limit.is_some());
        if let Stage::Granted(Taken { leaf, .. }) = waiter.stage {
            self.has_left(leaf, (waiter.age.0, id.0), wakes);
            self.tidy(leaf);
        }
        if self.waiters.is_empty() && self.waiters.capacity() > 64 {
            self.waiters.shrink_to_fit();
        }
        waiter
    }

    /// Where to find the future of a request that stays queued.
    pub(super) fn register(&mut self, id: WaiterId, waker: Waker) {
        self.waiters[id.0 as usize].waker = Some(waker);
    }

    /// The future of a queued, granted or refused request was dropped.
    pub(super) fn cancel(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) {
        let waiter = &mut self.waiters[id.0 as usize];
        let leaf = waiter.leaf;
        wakes.discard(waiter.waker.take());
        if waiter.is_queued() {
            self.leave(id);
        }
        match self.forget(id, wakes).stage {
            Stage::Granted(taken) => self.give_back(taken),
            Stage::Queued => {}
            // It has left its queue already, and its leaf may have been forgotten since.
            Stage::Refused(_) => return,
        }
        self.settle(leaf, now, wakes);
    }

    /// Takes a waiter out of its queue. Seats are for [`settle`](Self::settle) to bring up to date.
    fn leave(&mut self, id: WaiterId) {
        let Waiter { leaf, age, .. } = self.waiters[id.0 as usize];
        self.queue(leaf).remove(&(age.0, id.0));
        self.each(leaf, |node, _, _| {
            let contest = node.contest.as_mut().expect("somebody waits here");
            contest.waiting -= 1;
        });
    }

    fn queue(&mut self, id: NodeId) -> &mut std::collections::BTreeMap<(u64, u32), Entrant> {
        let contest = self.node_mut(id).contest.as_mut();
        &mut contest.expect("somebody waits here or below").queue
    }

    /// Brings everything from `start` up to the root up to date after a change there, and admits all
    /// who can go.
    ///
    /// Going up, each node is asked who would be next, and whether its own gate is open for that
    /// one. If so it takes a seat in its parent's contest; if not it leaves. Whoever comes out at
    /// the root has every gate open, and takes its places in one step. That changes nothing outside
    /// its own path, so the walk starts again from its leaf. Each round is a grant or the last one.
    pub(super) fn settle(&mut self, start: NodeId, now: Tick, wakes: &mut Wakes) {
        let mut id = start;
        loop {
            let candidate = self.candidate(id, now, wakes);
            if let Some(parent) = self.node(id).parent {
                self.seat(id, parent, candidate);
                self.tidy(id);
                id = parent;
            } else if let Some(winner) = candidate {
                id = self.grant(winner, wakes);
            } else {
                self.tidy(id);
                return;
            }
        }
    }

    /// Who goes next through this node, if it is open. If it opens later, its head is told when.
    fn candidate(&mut self, id: NodeId, now: Tick, wakes: &mut Wakes) -> Option<WaiterId> {
        let contest = self.node(id).contest.as_ref()?;
        let head = match *contest.queue.first_key_value()?.1 {
            Entrant::Waiter(waiter) => waiter,
            Entrant::Child(child) => self.node(child).seat().expect("it stands in a queue").head,
        };
        match self.gate(id, now) {
            Gate::Open => return Some(head),
            Gate::Until(opens) => {
                let waiter = &mut self.waiters[head.0 as usize];
                waiter.alarm = opens;
                if opens < waiter.armed {
                    wakes.wake(waiter.waker.take());
                }
            }
            Gate::Closed => {}
        }
        None
    }

    /// Makes `candidate` the request for which this node stands in its parent's contest.
    ///
    /// A new head gets a new ticket, behind those that are there already.
    fn seat(&mut self, id: NodeId, parent: NodeId, candidate: Option<WaiterId>) {
        let seat = self.node(id).seat();
        if seat.map(|seat| seat.head) == candidate {
            return;
        }
        if let Some(seat) = seat {
            self.queue(parent).remove(&(seat.ticket, 0));
        }
        let seat = candidate.map(|head| {
            self.next_ticket += 1;
            Seat {
                ticket: self.next_ticket,
                head,
            }
        });
        if let Some(seat) = seat {
            self.queue(parent)
                .insert((seat.ticket, 0), Entrant::Child(id));
        }
        if let Some(contest) = &mut self.node_mut(id).contest {
            contest.seat = seat;
        }
    }

    /// Frees the contest of a node at which nobody waits any more.
    fn tidy(&mut self, id: NodeId) {
        let contest = &mut self.node_mut(id).contest;
        let is_over = |contest: &Contest| contest.waiting == 0 && contest.leaving.is_empty();
        if contest.as_deref().is_some_and(is_over) {
            debug_assert!(contest.as_ref().is_some_and(|contest| {
                let Contest { queue, seat, .. } = &**contest;
                queue.is_empty() && seat.is_none()
            }));
            *contest = None;
        }
    }

    fn grant(&mut self, id: WaiterId, wakes: &mut Wakes) -> NodeId {
        self.leave(id);
        let leaf = self.waiters[id.0 as usize].leaf;
        let taken = self.take(leaf);
        let waiter = &mut self.waiters[id.0 as usize];
        waiter.stage = Stage::Granted(taken);
        wakes.wake(waiter.waker.take());
        let place = (waiter.age.0, id.0);
        let contest = self.node_mut(leaf).contest.as_mut();
        contest.expect("it was waiting here").leaving.insert(place);
        leaf
    }

    /// The buckets of `spec` have a new quota or a new pause: admits whom they admit now, and
    /// refuses whom they would keep for too long.
    pub(super) fn reconsider(&mut self, spec: SpecId, now: Tick, wakes: &mut Wakes) {
        let affected: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.spec == spec && node.contest.is_some())
            .map(|(index, _)| NodeId::new(index))
            .collect();
        for id in affected {
            self.settle(id, now, wakes);
        }
        self.refuse_the_hopeless(now, wakes);
    }

    /// Refuses everyone whose turn is now known to come after its limit.
    fn refuse_the_hopeless(&mut self, now: Tick, wakes: &mut Wakes) {
        if self.limited == 0 {
            return;
        }
        let leaves: std::collections::BTreeSet<_> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.limit.is_some() && waiter.is_queued())
            .map(|(_, waiter)| waiter.leaf)
            .collect();
        for leaf in leaves {
            let Some(contest) = &self.node(leaf).contest else {
                // Settling another leaf has let its waiters through.
                continue;
            };
            let queue: Vec<_> = contest.queue.values().copied().collect();
            let slots = self.slots(leaf, queue.len(), now);
            let mut rank = 0;
            for entrant in queue {
                let Entrant::Waiter(id) = entrant else {
                    unreachable!("a leaf has no children")
                };
                let limit = self.waiters[id.0 as usize].limit;
                let (slot, scope) = slots[rank];
                if slot <= limit.until {
                    rank += 1;
                    continue;
                }
                let refused = self.refuse(leaf, scope, limit.reason, slot, now);
                self.leave(id);
                let waiter = &mut self.waiters[id.0 as usize];
                waiter.stage = Stage::Refused(Box::new(refused));
                wakes.wake(waiter.waker.take());
            }
            self.settle(leaf, now, wakes);
        }
    }

    pub(super) fn set_learning(&mut self, learning: Learning) {
        self.learning = learning;
        for spec in &mut self.specs {
            spec.rules = Rules::new(&spec.quota, self.face, learning, learns(spec.kind));
        }
    }

    /// The node whose limit an answer is about: the endpoint's, unless that has no limit of this kind
    /// and its group has.
    fn blamed(&self, leaf: NodeId, limits: impl Fn(&Rules) -> bool) -> NodeId {
        let blamed = self.path(leaf).find(|&id| {
            let spec = self.spec(self.node(id).spec);
            learns(spec.kind) && limits(&spec.rules)
        });
        blamed.unwrap_or(leaf)
    }

    /// The answer to a request was a refusal. Returns when its endpoint opens again.
    pub(super) fn refused(
        &mut self,
        taken: Taken,
        refusal: &Refusal,
        everything: bool,
        now: Tick,
        wakes: &mut Wakes,
    ) -> Tick {
        self.each(taken.leaf, |node, _, _| node.counters.throttled += 1);
        let mut blamed = match refusal.kind {
            RefusalKind::Concurrency(_) => {
                self.blamed(taken.leaf, |rules| rules.concurrency().is_some())
            }
            _ => self.blamed(taken.leaf, |rules| !rules.windows().is_empty()),
        };
        if everything {
            let overall = self
                .path(taken.leaf)
                .find(|&id| self.spec(self.node(id).spec).kind == SpecKind::Overall);
            blamed = overall.unwrap_or(blamed);
        }
        self.teach(blamed, now, wakes, |bucket, face, rules, newest| {
            bucket.refused(refusal, face, rules, (taken.serial, newest), now);
        });
        self.slot(taken.leaf, 0, now).0
    }

    /// Lets a bucket learn, and whoever waits for it hear of the consequences.
    fn teach(
        &mut self,
        id: NodeId,
        now: Tick,
        wakes: &mut Wakes,
        lesson: impl FnOnce(&mut Bucket, Face, &Rules, u64),
    ) {
        let node = &mut self.nodes[id.index()];
        let rules = &self.specs[node.spec.0 as usize].rules;
        let before = (node.bucket.paused_until(), node.bucket.lessons(now));
        let knew = node.bucket.has_learned();
        lesson(&mut node.bucket, self.face, rules, self.serial);
        let after = (node.bucket.paused_until(), node.bucket.lessons(now));
        let knows = node.bucket.has_learned();
        self.learned = self.learned + usize::from(knows) - usize::from(knew);
        if self.node(id).contest.is_some() {
            self.settle(id, now, wakes);
            if before != after {
                self.refuse_the_hopeless(now, wakes);
            }
        }
    }

    /// The head of an answer names a delay: nothing is sent until then, whatever else it says.
    pub(super) fn asked_to_wait(
        &mut self,
        taken: Taken,
        refusal: &Refusal,
        now: Tick,
        wakes: &mut Wakes,
    ) {
        let blamed = self.blamed(taken.leaf, |rules| !rules.windows().is_empty());
        self.teach(blamed, now, wakes, |bucket, _, _, _| {
            bucket.asked_to_wait(refusal, now);
        });
    }

    /// The answer to a request was none of the kind.
    pub(super) fn succeeded(
        &mut self,
        taken: Taken,
        report: &Report,
        now: Tick,
        wakes: &mut Wakes,
    ) {
        let mut next = Some(taken.leaf);
        while let Some(id) = next {
            next = self.node(id).parent;
            // What the headers say is about the endpoint.
            let report = if id == taken.leaf {
                report
            } else {
                &Report::default()
            };
            self.teach(id, now, wakes, |bucket, face, rules, newest| {
                bucket.succeeded(report, face, rules, (taken.serial, newest), now);
            });
        }
    }

    pub(super) fn set_quota(&mut self, spec: SpecId, quota: Quota) {
        let spec = &mut self.specs[spec.0 as usize];
        spec.rules = Rules::new(&quota, self.face, self.learning, learns(spec.kind));
        spec.quota = quota;
    }

    pub(super) fn pause(&mut self, spec: SpecId, until: Tick) {
        let spec = &mut self.specs[spec.0 as usize];
        spec.paused_until = spec.paused_until.max(until);
    }

    pub(super) fn resume(&mut self, spec: SpecId) {
        self.specs[spec.0 as usize].paused_until = Tick::NONE;
        for (_, node) in &mut self.nodes {
            if node.spec == spec {
                node.bucket.resume();
            }
        }
    }

    /// For how long any stamp of a bucket that comes and goes can matter.
    pub(super) fn longest(&self) -> Span {
        let comes_and_goes =
            |spec: &&SpecState| self.table.is_partitioned() || spec.kind == SpecKind::EachOther;
        self.specs
            .iter()
            .filter(comes_and_goes)
            .map(|spec| spec.rules.longest())
            .max()
            .unwrap_or(Span::ZERO)
    }
}

/// How many requests precede those of one leaf at a node: its head, and whoever is behind its head,
/// who has the turn of every other head before its own.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
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

/// Whether buckets of this kind learn: those whose limit a server can mean when it refuses a request.
/// What is overall is an agreement among ourselves.
fn learns(kind: SpecKind) -> bool {
    !matches!(kind, SpecKind::Overall | SpecKind::AcrossPartitions)
}
