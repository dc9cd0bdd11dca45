//! A request's way through the queue of its endpoint: in, a look now and then, and out.

use std::task::Waker;

use super::{
    age::Age,
    ids::{NodeId, WaiterId},
    state::{Look, State},
    taken::Taken,
    waiter::{Limit, Stage, Waiter},
    wakes::Wakes,
};
use crate::{bucket::Tick, error::RefusedReason};

impl State {
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
        if self.tree.is_contested(leaf) {
            // A gate may have opened since the last timer tick; those in front go first.
            self.settle(leaf, now, wakes);
        }
        let taken = (limit.until >= now)
            .then(|| self.tree.admit(leaf, now))
            .flatten();
        if let Some(taken) = taken {
            return Look::Granted(taken, age);
        }
        if let Some(refused) = self.tree.refuse_entry(leaf, age, limit, max_waiting, now) {
            return Look::Refused(refused);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "2^32 waiters do not fit into memory"
        )]
        let id = WaiterId(self.waiters.insert(Waiter::new(leaf, age, limit)) as u32);
        self.limited += usize::from(limit.is_some());
        let place = self.waiters[id.0 as usize].place(id);
        self.tree.join(leaf, place);
        self.settle(leaf, now, wakes);
        self.look(id, now, wakes)
    }

    /// A queued, granted or refused request fetches its news.
    pub(super) fn check(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) -> Look {
        let waiter = &mut self.waiters[id.0 as usize];
        // Whoever polls needs no wake.
        wakes.discard(waiter.waker.take());
        waiter.armed = Tick::NEVER;
        if waiter.is_queued() && waiter.alarm.min(waiter.limit().until) <= now {
            waiter.alarm = Tick::NEVER;
            let leaf = waiter.leaf;
            self.settle(leaf, now, wakes);
            // What can go at this very instant goes; only then has it waited too long.
            let waiter = &self.waiters[id.0 as usize];
            if waiter.is_queued() && waiter.limit().until <= now {
                let slot = self.tree.slot(leaf, self.rank(id), now);
                self.turn_away(id, RefusedReason::WaitedTooLong, slot, now, wakes);
                self.settle(leaf, now, wakes);
            }
        }
        self.look(id, now, wakes)
    }

    pub(super) fn look(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) -> Look {
        self.call_back(id, now, wakes);
        let waiter = &self.waiters[id.0 as usize];
        let until = match &waiter.stage {
            Stage::Queued => waiter.alarm.min(waiter.limit().until),
            // Polled before an older one that has its places too: that one is on its way.
            Stage::Granted(taken) if !self.tree.is_first_to_leave(taken.leaf, id) => Tick::NEVER,
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
    pub(super) fn call_back(&mut self, id: WaiterId, now: Tick, wakes: &mut Wakes) {
        let waiter = &mut self.waiters[id.0 as usize];
        let place = waiter.place(id);
        let Stage::Granted(taken) = waiter.stage else {
            return;
        };
        if !self.tree.is_paused(taken, now) {
            return;
        }
        let waiter = &mut self.waiters[id.0 as usize];
        waiter.stage = Stage::Queued;
        waiter.alarm = Tick::NEVER;
        self.tree.give_back(taken);
        self.has_left(taken.leaf, place, wakes);
        self.tree.join(taken.leaf, place);
        self.settle(taken.leaf, now, wakes);
        let waiter = &self.waiters[id.0 as usize];
        let limit = waiter.limit();
        if waiter.is_queued() && limit.is_some() {
            let slot = self.tree.slot(taken.leaf, self.rank(id), now);
            if slot.0 > limit.until {
                self.turn_away(id, limit.reason, slot, now, wakes);
                self.settle(taken.leaf, now, wakes);
            }
        }
    }

    /// Removes a waiter whose queue it has left already, and lets the next one out.
    pub(super) fn forget(&mut self, id: WaiterId, wakes: &mut Wakes) -> Waiter {
        let waiter = self.waiters.remove(id.0 as usize);
        self.limited -= usize::from(waiter.limit().is_some());
        if let Stage::Granted(Taken { leaf, .. }) = waiter.stage {
            self.has_left(leaf, waiter.place(id), wakes);
            self.tree.tidy(leaf);
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
            Stage::Granted(taken) => self.tree.give_back(taken),
            Stage::Queued => {}
            // It has left its queue already, and its leaf may have been forgotten since.
            Stage::Refused(_) => return,
        }
        self.settle(leaf, now, wakes);
    }

    pub(super) fn rank(&self, id: WaiterId) -> usize {
        let waiter = &self.waiters[id.0 as usize];
        let contest = self.tree.node(waiter.leaf).contest.as_ref();
        contest.map_or(0, |contest| contest.queue.range(..waiter.place(id)).count())
    }
}
