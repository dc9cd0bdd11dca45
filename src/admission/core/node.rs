use std::collections::BTreeSet;

use super::{
    charge::Class,
    ids::{NodeId, QueueKey, WaiterId},
    ranked::{Links, Ranked},
    text::Text,
};
use crate::{
    admission::arrival::Arrival,
    bucket::{Bucket, Tick},
    endpoints::SpecId,
};

/// One bucket of one scope, and the requests that wait for it.
///
/// Nodes form trees that mirror the scopes: an endpoint's node is a leaf, its parent is its group's
/// or the overall one, and so on. A request enters at a leaf and needs every node up to the root.
#[derive(Debug)]
// Three lines of the cache, and no part of a fourth.
#[repr(align(64))]
pub(in crate::admission) struct Node {
    pub(in crate::admission) spec: SpecId,
    pub(super) parent: Option<NodeId>,
    /// Reference count: child nodes and admitted requests that hold this node's index. It must not move
    /// while it is non-zero. An admitted request counts until its last permit, in whatever scope, has
    /// ended.
    pub(super) pins: u32,
    /// Of the key, as the table of dynamic nodes keeps it.
    pub(super) hash: u32,
    pub(in crate::admission) partition: u64,
    pub(super) text: Text,
    pub(in crate::admission) bucket: Bucket,
    pub(in crate::admission) counters: Counters,
    /// Present while somebody waits here or below.
    pub(super) wait_queue: Option<Box<WaitQueue>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::admission) struct Counters {
    pub(in crate::admission) admitted: u64,
    pub(in crate::admission) refused: u64,
    pub(in crate::admission) throttled: u64,
    /// The number of events of this bucket that an observer got.
    pub(super) told: u64,
}

/// The order in which a node serves the requests that wait at it.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// How many requests wait here or below, absent ones included.
    pub(super) waiting: usize,
    /// How many of them have a limit of their own.
    pub(super) limited: usize,
    /// At a leaf: the queued requests by arrival. Above: the children whose gates are open, in the order
    /// in which their heads got here; only heads compete. Of those, heads of another class than most have
    /// [`seats`](Self::seats).
    pub(super) queue: Ranked<QueueKey>,
    /// Above the leaves: a queue for each other class.
    seats: Option<Box<Seats>>,
    /// At a leaf: requests that have been offered their places, and have yet to be polled. They go out in
    /// the order of the queue, and before anyone who comes later.
    pub(super) leaving: Ranked<QueueKey>,
    /// Offered requests that did not come in time: the others no longer wait for them.
    pub(super) late: Ranked<QueueKey>,
    /// Above the leaves: the children at which somebody waits.
    pub(super) children: BTreeSet<NodeId>,
    /// This node's own entry in its parent's queue, for the head of `queue`.
    pub(super) ticket: Option<Ticket>,
    /// When the gate opens for the head, if that is known: there is a timer for it.
    pub(super) opens: Option<Opens>,
}

/// When a gate opens, and the arrival of the head that waits for it.
pub(super) type Opens = (Tick, Arrival);

/// A node whose gate is open takes part in its parent's queue, for the request at its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) order: u64,
    pub(super) head: WaiterId,
    /// Which of the parent's queues it stands in.
    pub(super) class: Class,
}

/// The queues of classes, boxed together since there are hardly ever any.
#[derive(Debug, Default)]
struct Seats(Vec<Seat>);

/// The queue of one class above the leaves.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) class: Class,
    pub(super) queue: Ranked<QueueKey>,
    /// This node's entry for its head.
    pub(super) ticket: Option<Ticket>,
}

impl WaitQueue {
    /// Those of other classes than most.
    pub(super) fn seats(&self) -> &[Seat] {
        self.seats.as_deref().map_or(&[], |seats| &seats.0)
    }

    /// Above the leaves: the queue of a class, if there is one.
    pub(super) fn queue_of(&self, class: Class) -> Option<&Ranked<QueueKey>> {
        if class == Class::DEFAULT {
            return Some(&self.queue);
        }
        let seat = self.seats().iter().find(|seat| seat.class == class);
        seat.map(|seat| &seat.queue)
    }

    /// The same, made if there is none.
    pub(super) fn queue_of_mut(&mut self, class: Class) -> &mut Ranked<QueueKey> {
        if class == Class::DEFAULT {
            return &mut self.queue;
        }
        &mut self.seat_mut(class).queue
    }

    /// Where this node's entry for the head of a queue of its own is kept.
    pub(super) fn ticket_mut(&mut self, of: Class) -> &mut Option<Ticket> {
        if of == Class::DEFAULT {
            return &mut self.ticket;
        }
        &mut self.seat_mut(of).ticket
    }

    fn seat_mut(&mut self, class: Class) -> &mut Seat {
        let seats = &mut self.seats.get_or_insert_default().0;
        let place = seats.iter().position(|seat| seat.class == class);
        let place = place.unwrap_or_else(|| {
            seats.push(Seat {
                class,
                queue: Ranked::default(),
                ticket: None,
            });
            seats.len() - 1
        });
        &mut seats[place]
    }

    /// Drops the queues of classes of which nobody is there.
    pub(super) fn clear_seats(&mut self) {
        if let Some(seats) = &mut self.seats {
            (seats.0).retain(|seat| !seat.queue.is_empty() || seat.ticket.is_some());
        }
        self.seats.take_if(|seats| seats.0.is_empty());
    }

    /// This node's entries in its parent's queues: at a leaf one at most.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let seats = self.seats().iter().filter_map(|seat| seat.ticket);
        self.ticket.into_iter().chain(seats)
    }

    /// Whether somebody stands in front of a newcomer.
    #[cold]
    fn has_contenders(&self) -> bool {
        self.has_queued() || self.has_leaving()
    }

    /// Whether anybody stands in a queue here.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || self.seats().iter().any(|seat| !seat.queue.is_empty())
    }

    /// The first of all queues.
    pub(super) fn first(&self, links: &Links<QueueKey>) -> Option<QueueKey> {
        let seats = self
            .seats()
            .iter()
            .filter_map(|seat| seat.queue.first(links));
        self.queue.first(links).into_iter().chain(seats).min()
    }

    /// Whether a request has been offered its places, and has yet to be polled.
    pub(super) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty() || !self.late.is_empty()
    }

    /// The oldest of these.
    pub(super) fn first_leaving(&self, links: &Links<QueueKey>) -> Option<QueueKey> {
        let firsts = [self.leaving.first(links), self.late.first(links)];
        firsts.into_iter().flatten().min()
    }
}

impl Node {
    pub(super) fn new(spec: SpecId, parent: Option<NodeId>) -> Self {
        Self {
            spec,
            parent,
            pins: 0,
            hash: 0,
            partition: 0,
            text: Text::EMPTY,
            bucket: Bucket::default(),
            counters: Counters::default(),
            wait_queue: None,
        }
    }

    pub(in crate::admission) fn waiting(&self) -> usize {
        self.wait_queue.as_ref().map_or(0, |queue| queue.waiting)
    }

    /// Its entries in its parent's queues.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let queue = self.wait_queue.as_ref();
        queue.into_iter().flat_map(|queue| queue.tickets())
    }

    /// Whether somebody stands in front of a newcomer to this node.
    #[inline]
    pub(super) fn has_contenders(&self) -> bool {
        let queue = self.wait_queue.as_ref();
        queue.is_some_and(|queue| queue.has_contenders())
    }

    /// Whether other nodes, or requests that wait or are under way, know this one by its index.
    pub(super) fn is_pinned(&self) -> bool {
        self.pins > 0 || self.wait_queue.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Among a million, each line of the cache that a call has to fetch counts; and each byte for a million.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_node_takes_three_lines_of_the_cache() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (192, 64));
    }
}
