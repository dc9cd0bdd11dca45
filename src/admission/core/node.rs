use std::collections::BTreeSet;

use super::{
    charge::Needs,
    floors::Floors,
    flows::{FlowId, Flows},
    ids::{NodeId, Order, QueueKey, WaiterId},
    line::Line,
    ranked::{Links, Ranked},
    text::Text,
};
use crate::{
    bucket::{Bucket, Enforced, Tick},
    costs::{Flow, Priority},
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
    pub(in crate::admission) throttled: u32,
    /// With permits: how many more requests are under way than permits are held, for most take one and hold it for as
    /// long. Without: how many requests have ended. It wraps.
    pub(super) besides: u32,
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
    /// At a leaf: the queued requests. Above: the children whose gates are open, in the order in which their heads got
    /// here; only heads compete. Of those, heads with other needs than most have lines of their own.
    pub(super) queue: Line,
    /// Lines and tickets besides.
    more: Option<Box<More>>,
    /// At a leaf at which requests with flows wait: whose turn it is.
    pub(super) flows: Option<Box<Flows>>,
    /// At a leaf: requests that have been offered their places, and have yet to be polled. They go out in
    /// the order of the queue, and before anyone who comes later.
    pub(super) leaving: Ranked<QueueKey>,
    /// Offered requests that did not come in time: the others no longer wait for them.
    pub(super) late: Ranked<QueueKey>,
    /// At a leaf: those that wait and may be refused for one of a higher class, where there is room for so many only.
    pub(super) sheddable: Ranked<QueueKey>,
    /// Above the leaves: the children at which somebody waits.
    pub(super) children: BTreeSet<NodeId>,
    /// This node's own entry in its parent's queue, for the head of `queue` that is of the normal class.
    ticket: Option<Ticket>,
    /// When the gate opens for the head, if that is known: there is a timer for it.
    pub(super) opens: Option<Opens>,
    /// What lower classes are owed here.
    pub(super) floors: Floors,
    /// How many others want to know whatever happens here. It stays for them when nobody waits.
    pub(super) watched: u32,
}

/// When a gate opens, and the place of the head that waits for it, as its leaf numbers it.
pub(super) type Opens = (Tick, Order);

/// A node whose gate is open takes part in its parent's queue, for the request at its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) order: Order,
    pub(super) head: WaiterId,
    /// Which of the parent's lines it stands in.
    pub(super) needs: Needs,
}

/// A node has one seat in its parent's queue for each class and each kind of needs: this is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Which of the node's own lines its head stands in.
    pub(super) line: Needs,
    pub(super) priority: Priority,
}

impl Seat {
    /// That of most heads.
    pub(super) const USUAL: Self = Self {
        line: Needs::DEFAULT,
        priority: Priority::NORMAL,
    };
}

/// What hardly any queue has.
#[derive(Debug, Default)]
struct More {
    /// Above the leaves: a line for each kind of needs besides those of most.
    lines: Vec<(Needs, Line)>,
    /// This node's entries in its parent's queue besides that of most heads.
    tickets: Vec<(Seat, Ticket)>,
}

impl WaitQueue {
    /// All lines, each with what its heads need.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Needs, &Line)> {
        let more = self.more.iter().flat_map(|more| &more.lines);
        let more = more.map(|(needs, line)| (*needs, line));
        [(Needs::DEFAULT, &self.queue)].into_iter().chain(more)
    }

    /// Whether all that stand here need the same, and are of one class.
    pub(super) fn is_uniform(&self) -> bool {
        let others = self
            .more
            .as_ref()
            .is_some_and(|more| !more.lines.is_empty());
        !others && self.flows.is_none() && !self.queue.is_mixed()
    }

    /// Whether anybody of a class stands here.
    pub(super) fn has(&self, priority: Priority) -> bool {
        let of_flows = || self.flows.as_ref().is_some_and(|flows| flows.has(priority));
        self.lines().any(|(_, line)| line.has(priority)) || of_flows()
    }

    /// The head of a class in one of the lines.
    pub(super) fn first_of(
        &self,
        links: &Links<QueueKey>,
        line: Needs,
        priority: Priority,
    ) -> Option<QueueKey> {
        if let Some(flows) = &self.flows {
            let flow = flows.first_of(priority)?;
            if flow.is_named() {
                return flows.line(flow)?.first(links);
            }
        }
        self.line(line)?.first_of(links, priority)
    }

    /// A request stands at its leaf.
    pub(super) fn stand(&mut self, links: &mut Links<QueueKey>, key: QueueKey, flow: Option<Flow>) {
        if flow.is_some() && self.flows.is_none() {
            let flows = Flows::beside(|priority| self.queue.len_of(priority));
            self.flows = Some(Box::new(flows));
        }
        if let Some(flows) = &mut self.flows {
            let id = FlowId::new(key.order.priority(), flow);
            flows.enter(links, id, flow.map_or(1, Flow::weighs), key);
        }
        if flow.is_none() {
            self.queue.insert(links, key);
        }
    }

    /// A request stands at its leaf no more. Returns whether it did.
    pub(super) fn stand_aside(
        &mut self,
        links: &mut Links<QueueKey>,
        key: &QueueKey,
        flow: Option<Flow>,
    ) -> bool {
        let mut known = flow.is_none() && self.queue.remove(links, key);
        if let Some(flows) = self.flows.as_mut().filter(|_| known || flow.is_some()) {
            known = flows.leave(links, FlowId::new(key.order.priority(), flow), key);
        }
        known
    }

    /// The line of those with these needs, if there is one.
    pub(super) fn line(&self, needs: Needs) -> Option<&Line> {
        self.lines()
            .find_map(|(of, line)| (of == needs).then_some(line))
    }

    /// The same, made if there is none.
    pub(super) fn line_mut(&mut self, needs: Needs) -> &mut Line {
        if needs == Needs::DEFAULT {
            return &mut self.queue;
        }
        let lines = &mut self.more.get_or_insert_default().lines;
        let place = lines.iter().position(|(of, _)| *of == needs);
        let place = place.unwrap_or_else(|| {
            lines.push((needs, Line::default()));
            lines.len() - 1
        });
        &mut lines[place].1
    }

    /// This node's entry in its parent's queue for the head of a seat.
    pub(super) fn ticket(&self, of: Seat) -> Option<Ticket> {
        if of == Seat::USUAL {
            return self.ticket;
        }
        let mut tickets = self.more.iter().flat_map(|more| &more.tickets);
        tickets.find_map(|(seat, ticket)| (*seat == of).then_some(*ticket))
    }

    pub(super) fn set_ticket(&mut self, of: Seat, ticket: Option<Ticket>) {
        if of == Seat::USUAL {
            self.ticket = ticket;
            return;
        }
        if let Some(more) = &mut self.more {
            more.tickets.retain(|(seat, _)| *seat != of);
        }
        if let Some(ticket) = ticket {
            let more = self.more.get_or_insert_default();
            more.tickets.push((of, ticket));
        }
    }

    /// Drops lines in which nobody is.
    pub(super) fn clear_lines(&mut self) {
        if let Some(more) = &mut self.more {
            more.lines.retain(|(_, line)| !line.is_empty());
        }
        self.more
            .take_if(|more| more.lines.is_empty() && more.tickets.is_empty());
    }

    /// This node's entries in its parent's queue, each with its seat.
    pub(super) fn seats(&self) -> impl Iterator<Item = (Seat, Ticket)> {
        let usual = self.ticket.map(|ticket| (Seat::USUAL, ticket));
        let more = self
            .more
            .iter()
            .flat_map(|more| more.tickets.iter().copied());
        usual.into_iter().chain(more)
    }

    /// The same without their seats.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.seats().map(|(_, ticket)| ticket)
    }

    /// Whether somebody stands in front of a newcomer.
    #[cold]
    fn has_contenders(&self) -> bool {
        self.has_queued() || self.has_leaving()
    }

    /// Whether anybody stands in a line here.
    pub(super) fn has_queued(&self) -> bool {
        let of_flows = || self.flows.as_ref().is_some_and(|flows| !flows.is_empty());
        self.lines().any(|(_, line)| !line.is_empty()) || of_flows()
    }

    /// The first of all lines.
    pub(super) fn first(&self, links: &Links<QueueKey>) -> Option<QueueKey> {
        if self.flows.is_some() {
            let mut classes = Priority::ALL.into_iter();
            return classes.find_map(|class| self.first_of(links, Needs::DEFAULT, class));
        }
        self.lines().filter_map(|(_, line)| line.first(links)).min()
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

    /// Host and path, if it stands for these.
    pub(super) fn key(&self) -> Option<Box<str>> {
        (!self.text.is_empty()).then(|| self.text.as_str().into())
    }

    pub(in crate::admission) fn waiting(&self) -> usize {
        self.wait_queue.as_ref().map_or(0, |queue| queue.waiting)
    }

    /// Whether somebody waits here, or has been admitted and is about to go out.
    pub(super) fn goes_first(&self) -> bool {
        let queue = self.wait_queue.as_ref();
        queue.is_some_and(|queue| queue.waiting > 0 || !queue.leaving.is_empty())
    }

    /// How many requests have been admitted, and have a response future or a body that is alive.
    pub(in crate::admission) fn unfinished(&self, enforced: Enforced) -> usize {
        let besides = self.counters.besides;
        if enforced.permits {
            let (_, in_flight) = self.bucket.taken();
            return in_flight.wrapping_add(besides) as usize;
        }
        #[expect(clippy::cast_possible_truncation, reason = "both wrap")]
        let admitted = self.counters.admitted as u32;
        admitted.wrapping_sub(besides) as usize
    }

    #[inline]
    pub(super) fn add_besides(&mut self, n: u32) {
        self.counters.besides = self.counters.besides.wrapping_add(n);
    }

    #[inline]
    pub(super) fn take_besides(&mut self, n: u32) {
        self.counters.besides = self.counters.besides.wrapping_sub(n);
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
