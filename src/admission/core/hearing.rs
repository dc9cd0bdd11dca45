//! What the layer hears from a store, and what follows.

use std::time::Duration;

use tower_throttle_store::{
    Message, StoreError,
    protocol::{Answer, News},
};

use super::{
    asking::waiting_of,
    effects::{Decision, Effects},
    fleet::{self, Fleet},
    ids::NodeId,
    state::Core,
    task::Task,
};
use crate::{
    bucket::{Span, Tick},
    event::PauseCause,
};

impl Core {
    /// The call under way was answered.
    pub(in crate::admission) fn hear(&mut self, answer: &Answer, now: Tick, fx: &mut Effects) {
        let Some(mut fleet) = self.tree.fleet.take() else {
            return;
        };
        let back = fleet.answered(now);
        let heard = fleet.member.hear(fleet::ceil(now), answer);
        if heard.void {
            fleet.forget();
        }
        let mut touched = Vec::new();
        for mut slot in heard.slots {
            fleet.thaw_slot(&mut slot);
            if let Some((leaf, _)) = waiting_of(slot.leaf) {
                fleet.put(leaf, slot, now);
                touched.push(leaf);
            }
        }
        for (number, told) in heard.leaves {
            let Some(of) = waiting_of(number) else {
                continue;
            };
            fleet.asked.remove(&of);
            if !fleet.reported.contains_key(&of) {
                continue;
            }
            if let Some(again) = told.again {
                fleet.set_again(of, fleet::tick(fleet::ceil(now) + again));
            } else {
                fleet.forget_waiting(of);
                self.tree.node_mut(of.0).pins -= 1;
                // Somebody may have come since.
                fleet.note(of.0);
            }
        }
        // The store has not looked at these.
        let asked = std::mem::take(&mut fleet.asked);
        fleet.due.extend(asked);
        let mut pauses = Vec::new();
        for (name, told) in heard.scopes {
            let Some(known) = fleet.scopes.get_mut(&name) else {
                continue;
            };
            let until = now.after(span(told.paused));
            if told.paused > 0 && until > known.paused_until {
                known.paused_until = until;
                pauses.push((name, Some(until)));
            } else if told.paused == 0 && known.generation < told.generation {
                known.paused_until = Tick::NONE;
                pauses.push((name, None));
            }
            known.generation = told.generation;
        }
        let mut differences = Vec::new();
        for warning in heard.warnings {
            let node = self.tree.bucket_of(&fleet, &warning.scope);
            let scope = node.map(|id| self.tree.base(self.tree.node(id).spec));
            if let Some(scope) = scope.filter(|scope| fleet.is_new(*scope, &warning)) {
                differences.push((scope, warning));
            }
        }
        self.tree.fleet = Some(fleet);
        if let Some(time) = back {
            self.tell_of_store(now, fx, || Decision::StoreBack { time });
        }
        for (scope, warning) in differences {
            let told = || Decision::Disagrees(Box::new(warning));
            self.tree.tell_of_scope(scope, now, fx, told);
        }
        for (name, until) in pauses {
            self.follow_pause(&name, until, now, fx);
        }
        touched.dedup();
        for leaf in touched {
            self.work.push(Task::Settle(leaf));
        }
        self.run(now, fx);
    }

    /// The store tells something without being asked.
    pub(in crate::admission) fn hear_message(
        &mut self,
        message: Message,
        now: Tick,
        fx: &mut Effects,
    ) {
        let Some(fleet) = &mut self.tree.fleet else {
            return;
        };
        match message {
            Message::Ask | Message::Lost => fleet.ask_all(),
            Message::News(News::Epoch(epoch)) => {
                if fleet.member.begins(&epoch) {
                    fleet.forget();
                }
            }
            Message::News(News::Pause {
                scope,
                left,
                generation,
            }) => {
                let Some(known) = fleet.scopes.get_mut(&scope) else {
                    return;
                };
                if generation < known.generation {
                    return;
                }
                known.generation = generation;
                let until = (left > 0).then(|| now.after(span(left)));
                if until.is_some_and(|until| until <= known.paused_until) {
                    return;
                }
                known.paused_until = until.unwrap_or(Tick::NONE);
                self.follow_pause(&scope, until, now, fx);
            }
        }
    }

    /// The call under way was not answered.
    pub(in crate::admission) fn unanswered(
        &mut self,
        error: StoreError,
        now: Tick,
        fx: &mut Effects,
    ) {
        let Some(fleet) = &mut self.tree.fleet else {
            return;
        };
        let is_first = fleet.away(now).is_none();
        fleet.failed(error.clone(), now);
        if is_first {
            self.tell_of_store(now, fx, || Decision::StoreAway(Box::new(error)));
        }
    }

    fn tell_of_store(&mut self, now: Tick, fx: &mut Effects, decision: impl FnOnce() -> Decision) {
        if let Some(overall) = self.tree.overall {
            self.tree.tell_of_scope(overall, now, fx, decision);
        }
    }

    /// The wall clock is ahead of the other one by so much.
    pub(in crate::admission) fn look_at_wall(&mut self, wall: Duration, now: Tick) {
        self.tree.look_at_wall(wall, now);
    }

    /// Does what has become due at a store's side by itself.
    pub(super) fn attend_to_store(&mut self, now: Tick) {
        let Some(fleet) = &mut self.tree.fleet else {
            return;
        };
        fleet.close_slots(now);
        if fleet.opens(now) {
            for leaf in fleet.waiting() {
                self.work.push(Task::Settle(leaf));
            }
        }
    }

    /// A bucket is paused for all until a time, or for nobody any more.
    fn follow_pause(&mut self, name: &str, until: Option<Tick>, now: Tick, fx: &mut Effects) {
        let node = self
            .tree
            .fleet()
            .and_then(|fleet| self.tree.bucket_of(fleet, name));
        let Some(node) = node else { return };
        let Some(until) = until else {
            return self.resume_bucket(node, now, fx);
        };
        self.teach(node, PauseCause::Store, now, fx, |bucket, _, _, _| {
            bucket.pause(until);
        });
    }

    /// Another member has ended a pause.
    fn resume_bucket(&mut self, id: NodeId, now: Tick, fx: &mut Effects) {
        if self.tree.paused_until(self.tree.node(id)) <= now {
            return;
        }
        self.tree.node_mut(id).bucket.resume();
        let spec = self.tree.node(id).spec;
        let scope = &mut self.tree.scopes[spec.0 as usize];
        if !scope.has_keys() {
            scope.set_paused_until(Tick::NONE);
        }
        self.tree.tell(id, now, fx, || Decision::Resumed);
        if let Some(fleet) = &mut self.tree.fleet {
            fleet.ask_all();
        }
        self.work.push(Task::Settle(id));
        self.run(now, fx);
    }
}

impl Fleet {
    /// The pauses of these scopes end for all members.
    pub(super) fn resume(&mut self, names: &[String]) {
        for name in names {
            if let Some(known) = self.scopes.get_mut(name) {
                known.resume = true;
                known.paused_until = Tick::NONE;
                self.news.insert(name.clone());
            }
        }
    }
}

fn span(micros: i64) -> Span {
    Span(micros.unsigned_abs().saturating_mul(1000))
}
