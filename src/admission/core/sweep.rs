//! Forgetting the buckets of keys that are not in use any more, a few at a time.

use super::{
    effects::{Decider, Decision, Effects, Told},
    tree::Tree,
};
use crate::bucket::Tick;

/// A call looks at this many nodes while a pass is under way, or moves as many.
const SWEEP_STEP: usize = 256;

impl Tree {
    /// Forgets some dynamic nodes that would decide like new ones: each call does a little of a pass over
    /// all of them.
    pub(in crate::admission) fn sweep_a_little(&mut self, now: Tick, fx: &mut Effects) {
        if self.keys.sweep_is_due(now) {
            self.sweep_step(now, fx);
        }
    }

    /// The next step is the first of a pass.
    pub(in crate::admission) fn begin_sweep(&mut self) {
        self.keys.sweep.cursor = None;
        self.keys.sweep.compacting = false;
        self.keys.sweep.shrinking = false;
    }

    /// The next step of a pass, which begins if none is under way. Returns how many it has forgotten, and
    /// whether the pass goes on.
    pub(in crate::admission) fn sweep_step(
        &mut self,
        now: Tick,
        fx: &mut Effects,
    ) -> (usize, bool) {
        if self.keys.sweep.compacting || self.keys.sweep.shrinking {
            for _ in 0..SWEEP_STEP {
                if self.keys.is_sweeping() {
                    self.keys.compact(now, &mut fx.garbage);
                }
            }
            return (0, self.keys.is_sweeping());
        }
        if self.keys.sweep.cursor.is_none() {
            self.keys.sweep.remembered = 0;
        }
        self.part_some(now);
        self.end_pools(now, fx);
        // From the end on, so that memory at the end is given back as the pass goes.
        let to = self.keys.sweep.cursor.unwrap_or(usize::MAX);
        let to = to.min(self.keys.nodes.end());
        let from = to.saturating_sub(SWEEP_STEP).max(self.keys.fixed);
        let mut forgotten = 0;
        for index in (from..to).rev() {
            let Some(node) = self.keys.forget(&self.scopes, index, now) else {
                continue;
            };
            forgotten += 1;
            if self.observed {
                fx.told.push(Told {
                    decider: Decider::Another,
                    endpoint: self.scope(node.spec).name.clone(),
                    key: node.key(),
                    partition: self.partition(&node),
                    sequence: node.counters.told + 1,
                    at: now,
                    decision: Decision::Swept,
                });
            }
            fx.garbage.discard(node);
        }
        // More than a step makes: an earlier pass may have left any number in front of one that was kept.
        self.keys.trim(2 * SWEEP_STEP, &mut fx.garbage);
        if from > self.keys.fixed {
            self.keys.sweep.cursor = Some(from);
            return (forgotten, true);
        }
        self.keys.end_pass(now);
        (forgotten, true)
    }
}
