//! What one hold of the lock does not finish, and the next ones do.

use super::{
    effects::Effects,
    ids::NodeId,
    state::Core,
    task::{Progress, Task},
};
use crate::{bucket::Tick, endpoints::SpecId};

impl Core {
    /// Whether another hold has something to do.
    pub(in crate::admission) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// How many pieces of work are left.
    pub(in crate::admission) fn work_left(&self) -> usize {
        self.work.len()
    }

    /// Does what is due, and as much of the unfinished work as the budget allows.
    pub(in crate::admission) fn run(&mut self, now: Tick, fx: &mut Effects) {
        self.fire(now, fx);
        self.follow_tiers();
        let mut pieces = self.work.len();
        while pieces > 0 && fx.spend() {
            pieces -= 1;
            let Some(task) = self.work.pop() else {
                break;
            };
            self.work_at(task, now, fx);
        }
    }

    /// No timer can wake a request any more: the waiter that is due next is woken now, and finds out.
    pub(in crate::admission) fn wake_next_due(&mut self, fx: &mut Effects) {
        if let Some(id) = self.timers.first_limit() {
            fx.wake(id);
        }
        let head = self.timers.first_gate().and_then(|id| {
            let queue = self.tree.node(id).wait_queue.as_ref()?;
            let first = queue.first(&self.links)?;
            Some(self.head_of(first))
        });
        if let Some(head) = head {
            fx.wake(head);
        }
    }

    /// Something was given back or stamped at a leaf. `contested` says whether a request waits there or above.
    pub(in crate::admission) fn settle_after(
        &mut self,
        leaf: NodeId,
        contested: bool,
        now: Tick,
        fx: &mut Effects,
    ) {
        if contested {
            self.run(now, fx);
            self.settle(leaf, now, fx);
        }
    }

    fn work_at(&mut self, task: Task, now: Tick, fx: &mut Effects) {
        match task {
            Task::Settle(id) => {
                if self.tree.keys.nodes.get(id.index()).is_some() {
                    self.settle(id, now, fx);
                }
            }
            Task::Recheck { node, after } => self.recheck(node, after, now, fx),
            Task::Scope {
                scope,
                resume,
                from,
            } => self.update_scope(scope, resume, from, now, fx),
            Task::Pools { scope, from } => self.update_pooled(scope, from, now, fx),
            Task::Rules { from } => {
                let scopes = self.tree.scopes.end();
                let mut from = from;
                while from < scopes && fx.spend() {
                    if self.tree.scopes.get(from).is_some() {
                        self.tree.renew_rules(from);
                    }
                    from += 1;
                }
                if from < scopes {
                    self.work.push(Task::Rules { from });
                }
            }
            Task::Close { from } => self.close_waiters(from, now, fx),
            Task::Move { from, to } => self.move_waiters(from, to, now, fx),
        }
    }

    /// Visits the nodes of one scope: those with a bucket of its own are few where there are no keys.
    fn update_scope(
        &mut self,
        scope: SpecId,
        resume: bool,
        mut from: usize,
        now: Tick,
        fx: &mut Effects,
    ) {
        // Without partitions, and where paths have no bucket of their own, there is one.
        let Some(of_scope) = self.tree.scopes.get(scope.0 as usize) else {
            return;
        };
        let end = if of_scope.has_keys() {
            self.tree.keys.nodes.end()
        } else {
            from = from.max(of_scope.node.index());
            of_scope.node.index() + 1
        };
        while from < end {
            if !fx.spend() {
                self.work.push(Task::Scope {
                    scope,
                    resume,
                    from,
                });
                return;
            }
            let node = self.tree.keys.nodes.get(from);
            let is_of = |spec| spec == scope || self.tree.base(spec) == scope;
            let affected = node.is_some_and(|node| is_of(node.spec));
            if affected {
                let id = NodeId::new(from);
                if resume {
                    self.tree.node_mut(id).bucket.resume();
                }
                if self.tree.node(id).wait_queue.is_some() {
                    self.settle(id, now, fx);
                    self.work.push(Task::Recheck {
                        node: id,
                        after: Progress::Begun,
                    });
                }
            }
            from += 1;
        }
    }
}
