//! The latest pauses: how long a request that waited was held up by them.

use std::{collections::VecDeque, time::Duration};

use super::node::Node;
use crate::{bucket::Tick, endpoints::SpecId};

/// How many pauses are kept. Of more than these within one wait, the earliest do not count.
const KEPT: usize = 64;

/// The latest pauses of all buckets, in the order in which they began.
#[derive(Debug, Default)]
pub(in crate::admission) struct Pauses {
    /// Whether somebody wants to know.
    pub(in crate::admission) tracked: bool,
    kept: VecDeque<Pause>,
}

#[derive(Debug)]
struct Pause {
    of: Paused,
    began: Tick,
    until: Tick,
}

/// What is paused. Nodes move, so a bucket goes by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paused {
    /// All buckets of a scope.
    Scope(SpecId),
    Bucket {
        scope: SpecId,
        partition: u64,
        hash: u32,
    },
}

impl Paused {
    /// `scope` is that of the node, or that of which it is a variant.
    pub(super) fn bucket(scope: SpecId, node: &Node) -> Self {
        Self::Bucket {
            scope,
            partition: node.partition,
            hash: node.hash,
        }
    }

    fn scope(self) -> SpecId {
        match self {
            Self::Scope(scope) | Self::Bucket { scope, .. } => scope,
        }
    }

    fn concerns(self, (scope, node): (SpecId, &Node)) -> bool {
        self == Self::Scope(scope) || self == Self::bucket(scope, node)
    }
}

impl Pauses {
    /// A pause begins, or one that lasts becomes longer.
    pub(super) fn begin(&mut self, of: Paused, until: Tick, now: Tick) {
        if !self.tracked {
            return;
        }
        let mut kept = self.kept.iter_mut();
        if let Some(same) = kept.find(|pause| pause.of == of && pause.until >= now) {
            same.until = same.until.max(until);
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        let began = now;
        self.kept.push_back(Pause { of, began, until });
    }

    /// The pauses of a scope and of all its buckets end.
    pub(super) fn end(&mut self, scope: SpecId, now: Tick) {
        for pause in &mut self.kept {
            if pause.of.scope() == scope {
                pause.until = pause.until.min(now);
            }
        }
    }

    /// For how long one of these nodes, each with its scope, was paused between two times.
    pub(super) fn within(&self, nodes: &[(SpecId, &Node)], from: Tick, to: Tick) -> Duration {
        let mut counted_to = from;
        let mut sum = Duration::ZERO;
        for pause in &self.kept {
            let end = pause.until.min(to);
            let begin = pause.began.max(counted_to);
            if end > begin && nodes.iter().any(|&node| pause.of.concerns(node)) {
                sum += end.since(begin);
                counted_to = end;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(scope: u32) -> Node {
        Node::new(SpecId(scope), None)
    }

    fn within(pauses: &Pauses, nodes: &[&Node], from: u64, to: u64) -> u128 {
        let nodes: Vec<_> = nodes.iter().map(|&node| (node.spec, node)).collect();
        pauses.within(&nodes, Tick(from), Tick(to)).as_nanos()
    }

    /// What two pauses have in common counts once, and what lies before or after the wait not at all.
    #[test]
    fn overlapping_pauses_count_once() {
        let (a, b) = (node(0), node(1));
        let mut pauses = Pauses {
            tracked: true,
            ..Pauses::default()
        };
        pauses.begin(Paused::bucket(a.spec, &a), Tick(20), Tick(10));
        pauses.begin(Paused::Scope(SpecId(1)), Tick(30), Tick(15));
        pauses.begin(Paused::bucket(a.spec, &a), Tick(50), Tick(40));
        assert_eq!(within(&pauses, &[&a, &b], 0, 100), 30);
        assert_eq!(within(&pauses, &[&a], 0, 100), 20);
        assert_eq!(within(&pauses, &[&b], 0, 100), 15);
        assert_eq!(within(&pauses, &[&a, &b], 12, 45), 23);
        assert_eq!(within(&pauses, &[&node(2)], 0, 100), 0);
    }

    /// A pause that becomes longer is one; one that is ended ends there, and the others go on.
    #[test]
    fn a_pause_becomes_longer_and_is_ended() {
        let (a, b) = (node(0), node(1));
        let mut pauses = Pauses {
            tracked: true,
            ..Pauses::default()
        };
        pauses.begin(Paused::bucket(a.spec, &a), Tick(20), Tick(10));
        pauses.begin(Paused::bucket(a.spec, &a), Tick(40), Tick(20));
        pauses.begin(Paused::bucket(b.spec, &b), Tick(90), Tick(20));
        assert_eq!(within(&pauses, &[&a], 0, 100), 30);
        pauses.end(SpecId(0), Tick(25));
        assert_eq!(within(&pauses, &[&a], 0, 100), 15);
        assert_eq!(within(&pauses, &[&b], 0, 100), 70);
    }

    /// However many there are, few are kept; and none that nobody asks for.
    #[test]
    fn the_latest_are_kept() {
        let a = node(0);
        let mut pauses = Pauses::default();
        pauses.begin(Paused::bucket(a.spec, &a), Tick(20), Tick(10));
        assert!(pauses.kept.is_empty());
        pauses.tracked = true;
        for at in (0..200).step_by(2) {
            pauses.begin(Paused::bucket(a.spec, &a), Tick(at + 1), Tick(at));
        }
        assert_eq!(within(&pauses, &[&a], 0, 200), KEPT as u128);
    }
}
