use std::collections::VecDeque;

use super::{
    flows::FlowId,
    ids::{NodeId, QueueKey},
};
use crate::{endpoints::SpecId, steps};

/// What one hold of the lock did not finish, in the order in which it came.
///
/// In chunks, since there may be a task for each node, and a queue moves all of them when it grows.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// None of them is empty.
    chunks: VecDeque<VecDeque<Task>>,
    len: usize,
}

const CHUNK: usize = 512;

impl Work {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, task: Task) {
        self.len += 1;
        match self.chunks.back_mut() {
            Some(last) if last.len() < CHUNK => {
                if last.len() == last.capacity() {
                    steps::count(last.len());
                }
                last.push_back(task);
            }
            _ => {
                if self.chunks.len() == self.chunks.capacity() {
                    steps::count(self.chunks.len());
                }
                self.chunks.push_back(VecDeque::from([task]));
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Task> {
        let first = self.chunks.front_mut()?;
        let task = first.pop_front();
        if first.is_empty() {
            self.chunks.pop_front();
        }
        self.len -= 1;
        task
    }
}

/// One piece of work, of any size: a hold does as much of it as its budget allows, and puts the rest back.
///
/// Nodes are named by their index. If a node was forgotten since, no request waited there, and it does no harm
/// to settle another node at the same index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// Offers places to the waiters that can go, from this node up.
    Settle(NodeId),
    /// Refuses each waiter at a node or below whose turn has become too late for it. `after` says how far that
    /// has got.
    Recheck { node: NodeId, after: Progress },
    /// Brings the buckets of a scope up to date with a change of the scope.
    Scope {
        scope: SpecId,
        resume: bool,
        /// The index of the next node.
        from: usize,
    },
    /// Brings the queues of a scope up to date with its pools.
    Pools {
        scope: SpecId,
        /// The index of the next node.
        from: usize,
    },
    /// Brings the rules of the scopes from this one on up to date with what is to be learned.
    Rules { from: usize },
    /// Refuses each waiter from this index on: the layer is closed.
    Close { from: usize },
    /// Moves each waiter in this range of indices to the bucket that its endpoint has now.
    Move { from: usize, to: usize },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    Begun,
    /// Above the leaves: this child was the last.
    Child(NodeId),
    /// At a leaf: so far.
    Leaf(Place),
}

/// How far the requests of a leaf have been looked at: flow by flow, those without one first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) flow: Option<FlowId>,
    /// The last of it that stayed.
    pub(super) last: Option<QueueKey>,
}
