//! What the layer asks a store: when, and about whom.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tower_throttle_store::protocol::{Ask, Head, Leaf, MOST_AGES, Micros, Scope, Window};

use super::{
    charge::Needs,
    fleet::{self, Fleet, Known, Waiting, amount},
    ids::{NodeId, QueueKey, WaiterId},
    state::Core,
    tree::Tree,
};
use crate::{
    bucket::{Gate, Span, Tick},
    costs::{Asks, Priority},
    endpoints::SpecId,
};

/// For so many of a leaf and class one call asks at most. Those behind them ask when these have their slots.
const HEADS: usize = 32;

/// About so many leaves and classes one call asks at most.
const LEAVES: usize = 64;

/// A leaf that could not use a slot, as this layer itself did not let anybody go, asks after this time: 10 ms.
const MISSED: Span = Span(10_000_000);

/// Where learned rates stand among the windows of a scope: behind all that are configured, so that members that have
/// not learned any match the others by rank.
const LEARNED: i64 = 1000;

impl Core {
    /// A request has come that may have to wait: the store is asked about it already, if nobody waits before it.
    /// Returns whether it is.
    pub(in crate::admission) fn ask_for_newcomer(
        &mut self,
        leaf: NodeId,
        asks: Option<&Asks>,
    ) -> bool {
        let stated = asks.and_then(|asks| asks.cost.as_ref());
        let waits = self.tree.closed || self.tree.node(leaf).has_contenders();
        if !self.tree.is_joint() || waits || self.never_fits(leaf, stated).is_some() {
            return false;
        }
        let demand = self.tree.demand(leaf, stated);
        let of = (leaf, asks.map_or(Priority::NORMAL, |asks| asks.priority));
        let fleet = self.tree.fleet.as_mut();
        let Some(fleet) = fleet.filter(|fleet| fleet.is_free()) else {
            return false;
        };
        fleet.newcomer = Some((of, demand));
        fleet.expected = Some(leaf);
        if fleet.due.insert(of) && !fleet.reported.contains_key(&of) {
            self.tree.node_mut(leaf).pins += 1;
        }
        true
    }

    /// Whether the store is to be asked now.
    pub(in crate::admission) fn wants_to_ask(&mut self, now: Tick) -> bool {
        let Some(mut fleet) = self.tree.fleet.take() else {
            return false;
        };
        self.note_changes(&mut fleet);
        let wants = fleet.wants(now);
        self.tree.fleet = Some(fleet);
        wants
    }

    /// What to ask the store now, if anything.
    pub(in crate::admission) fn next_ask(&mut self, now: Tick) -> Option<Ask> {
        let mut fleet = self.tree.fleet.take()?;
        self.note_changes(&mut fleet);
        let ask = fleet.wants(now).then(|| self.ask_store(&mut fleet, now));
        self.tree.fleet = Some(fleet);
        ask
    }

    /// What to tell the store when the layer ends, if anything.
    pub(in crate::admission) fn last_ask(&mut self, now: Tick) -> Option<Ask> {
        let mut fleet = self.tree.fleet.take()?;
        if !fleet.member.leave() {
            return None;
        }
        let at = fleet::floor(now);
        let names = fleet.member.scopes(at).map(str::to_owned);
        let names: BTreeSet<String> = names.collect();
        let scopes = names.into_iter();
        let scopes = scopes.map(|name| self.tree.shared_scope(&mut fleet, name, now));
        let scopes = scopes.collect();
        Some(fleet.member.ask(at, scopes, Vec::new()).clone())
    }

    /// Finds out where more wait than have slots, and where slots are left.
    fn note_changes(&mut self, fleet: &mut Fleet) {
        while let Some(leaf) = fleet.next_changed() {
            self.fit_slots(fleet, leaf);
            let mut in_hand = fleet.slots(leaf);
            for priority in Priority::ALL {
                let waiting = self.tree.waiting_at(leaf, priority);
                let served = waiting.min(in_hand);
                in_hand -= served;
                let of = (leaf, priority);
                let is_known = fleet.reported.contains_key(&of);
                if (waiting > served) != is_known {
                    if fleet.due.insert(of) && !is_known {
                        self.tree.node_mut(leaf).pins += 1;
                    }
                } else if !is_known && !fleet.announces(of) && fleet.due.remove(&of) {
                    self.tree.node_mut(leaf).pins -= 1;
                }
            }
            let expected = usize::from(fleet.expected == Some(leaf));
            fleet.give_back_last(leaf, in_hand.saturating_sub(expected));
        }
    }

    /// Gives back the slots of a leaf that are too small for all that wait there.
    fn fit_slots(&self, fleet: &mut Fleet, leaf: NodeId) {
        if fleet.slots(leaf) == 0 || fleet.expected == Some(leaf) {
            return;
        }
        let waiting = |priority: Priority| self.tree.waiting_at(leaf, priority);
        let firsts = |most: usize| {
            let classes = Priority::ALL.into_iter();
            let listed = classes.flat_map(|priority| {
                let listed = self.first_waiting(leaf, priority, 0, waiting(priority).min(most));
                listed.into_iter().map(|id| self.demand_of(id))
            });
            listed.collect::<Vec<_>>()
        };
        let first = firsts(1);
        if !first.is_empty() && !fleet.fits_all(leaf, &first) {
            fleet.give_back_small(leaf, &firsts(usize::MAX));
        }
    }

    fn ask_store(&mut self, fleet: &mut Fleet, now: Tick) -> Ask {
        let at = fleet::floor(now);
        fleet.calls();
        if fleet.member.is_asking() {
            return fleet.member.ask(at, Vec::new(), Vec::new()).clone();
        }
        let due = self.whom_to_report(fleet);
        let mut scopes = Scopes::default();
        let mut leaves = Vec::new();
        fleet.asked.clear();
        for of in due {
            fleet.due.remove(&of);
            let mut report = self.report(fleet, of, &mut scopes, now);
            let waits = report.waiting > 0;
            let was_held = fleet.held_back.remove(&of);
            let was_known = fleet.reported.contains_key(&of) && !was_held;
            if let Some(opens) = self.opens_later(fleet, of, now).filter(|_| waits) {
                fleet.held_back.insert(of);
                fleet.set_again(of, opens);
                report = Leaf {
                    leaf: report.leaf,
                    class: report.class,
                    scopes: report.scopes,
                    ..Leaf::default()
                };
            } else if waits {
                // Until the answer comes.
                fleet.set_again(of, Tick::NEVER);
                fleet.asked.insert(of);
            } else {
                fleet.forget_waiting(of);
                self.tree.node_mut(of.0).pins -= 1;
            }
            if report.waiting > 0 || was_known {
                leaves.push(report);
            }
        }
        let news = fleet.take_news();
        let said = fleet.member.scopes(at).map(str::to_owned);
        let said: BTreeSet<String> = said.chain(news).collect();
        for name in said {
            scopes.place(name);
        }
        let scopes = scopes.names.into_iter();
        let scopes = scopes.map(|name| self.tree.shared_scope(fleet, name, now));
        let scopes = scopes.collect();
        let ask = fleet.member.ask(at, scopes, leaves).clone();
        self.forget_scopes(fleet, now);
        ask
    }

    /// Forgets the names of buckets that are gone and of which nothing is to be said, once there are many.
    fn forget_scopes(&self, fleet: &mut Fleet, now: Tick) {
        if fleet.scopes.len() <= fleet.most_scopes {
            return;
        }
        let mut scopes = std::mem::take(&mut fleet.scopes);
        let said: HashSet<&str> = fleet.member.all_scopes().collect();
        scopes.retain(|name, known| {
            let is_there = self.tree.keys.nodes.get(known.node.index()).is_some();
            let says = known.resume || known.generation != 0 || known.paused_until > now;
            let is_named = said.contains(name.as_str()) || fleet.news.contains(name);
            says || is_named || is_there && self.tree.shared_name(known.node) == *name
        });
        fleet.most_scopes = 64.max(2 * scopes.len());
        fleet.scopes = scopes;
    }

    /// Of whom a call is: of all that wait. If there are many, of those that are due, and of the oldest, as they go first.
    fn whom_to_report(&self, fleet: &Fleet) -> Vec<Waiting> {
        let all: BTreeSet<Waiting> = fleet
            .due
            .iter()
            .chain(fleet.reported.keys())
            .copied()
            .collect();
        let mut all: Vec<_> = all.into_iter().collect();
        if all.len() > LEAVES {
            let age = |&(leaf, priority): &Waiting| {
                let queue = self.tree.node(leaf).wait_queue.as_ref();
                let first =
                    queue.and_then(|queue| queue.first_of(&self.links, Needs::DEFAULT, priority));
                first.map(|first| self.waiter(self.head_of(first)).since)
            };
            // Each call leaves fewer that are due. Those of whom nobody waits any more come first.
            all.sort_by_cached_key(|of| (!fleet.due.contains(of), age(of)));
            all.truncate(LEAVES);
        }
        all
    }

    /// When the first of a class at a leaf can go as far as this layer knows, where a slot was of no use because that is
    /// later. Until then the store is not asked: others can use what it would grant.
    fn opens_later(&self, fleet: &mut Fleet, (leaf, priority): Waiting, now: Tick) -> Option<Tick> {
        if !fleet.has_missed(leaf) {
            return None;
        }
        let queue = self.tree.node(leaf).wait_queue.as_ref()?;
        let first = queue.first_of(&self.links, Needs::DEFAULT, priority)?;
        let demand = self.demand_of(self.head_of(first));
        let mut opens = now;
        for id in self.tree.path(leaf) {
            match self.tree.own_gate(id, &demand, now) {
                Gate::Open => {}
                Gate::Until(tick) => opens = opens.max(tick),
                // A permit of its own may be free at any time. The store knows of those, as a rule.
                Gate::Closed => opens = opens.max(now.after(MISSED)),
            }
        }
        (opens > now).then_some(opens)
    }

    /// Those of a class who wait at a leaf and have no slot.
    fn report(
        &mut self,
        fleet: &mut Fleet,
        (leaf, priority): Waiting,
        scopes: &mut Scopes,
        now: Tick,
    ) -> Leaf {
        let mut path = Vec::new();
        for id in self.tree.path(leaf) {
            let name = self.tree.shared_name(id);
            fleet.know(&name, id);
            path.push(scopes.place(name));
        }
        let higher = Priority::ALL.into_iter().filter(|other| *other > priority);
        let before: usize = higher.map(|other| self.tree.waiting_at(leaf, other)).sum();
        let served = fleet.slots(leaf).saturating_sub(before);
        let all = self.tree.waiting_at(leaf, priority);
        let newcomer = fleet.newcomer.take_if(|(of, _)| *of == (leaf, priority));
        let newcomer = newcomer.filter(|_| all == 0);
        let waiting = all.saturating_sub(served) + usize::from(newcomer.is_some());
        let class = i64::try_from(priority.place()).unwrap_or(0);
        let number = i64::try_from(leaf.index()).unwrap_or(0);
        let mut report = Leaf {
            leaf: number * LEAF + class,
            class,
            scopes: path,
            ..Leaf::default()
        };
        if waiting == 0 {
            return report;
        }
        if let Some((_, demand)) = newcomer {
            report.waiting = 1;
            report.ages = vec![0];
            report.totals = fleet.costs(&demand);
            report.permits = Some(demand.permits.into());
            let permits = (demand.permits != 1).then_some(i64::from(demand.permits));
            let (id, costs) = (fleet.next_id(), report.totals.clone());
            report.heads = vec![Head { id, costs, permits }];
            return report;
        }
        let listed = self.first_waiting(leaf, priority, served, waiting);
        let are_all = listed.len() == waiting;
        let heads = if are_all {
            listed.len()
        } else {
            // The last one's age is that of the youngest of all.
            listed.len() - 1
        };
        let age = |id: WaiterId| -> Micros {
            let since = self.waiter(id).since;
            amount(now.since(since).as_micros())
        };
        let mut ages: Vec<_> = listed.iter().map(|id| age(*id)).collect();
        // A retry is as old as the youngest behind it, at least.
        for place in (1..ages.len()).rev() {
            ages[place - 1] = ages[place - 1].max(ages[place]);
        }
        let mut totals: Vec<i64> = Vec::new();
        let mut permits = 0;
        for &id in &listed {
            let demand = self.demand_of(id);
            permits += i64::from(demand.permits);
            let costs = fleet.costs(&demand);
            totals.resize(totals.len().max(costs.len()).max(1), 0);
            totals[0] += costs.first().copied().unwrap_or(1);
            for (total, cost) in totals.iter_mut().zip(&costs).skip(1) {
                *total += cost;
            }
            if report.heads.len() < heads.min(HEADS) {
                let id = fleet.next_id();
                let permits = (demand.permits != 1).then_some(i64::from(demand.permits));
                report.heads.push(Head { id, costs, permits });
            }
        }
        // Of those that are not listed it is taken that they are like the others.
        let (of, all) = (amount(listed.len()), amount(waiting));
        let scale = |sum: i64| amount(i128::from(sum) * i128::from(all) / i128::from(of.max(1)));
        report.totals = totals.into_iter().map(scale).collect();
        report.permits = Some(scale(permits));
        report.ages = ages;
        report.waiting = all;
        report
    }

    /// The first requests that wait, behind those that have slots, as many as are reported; and the last of all if these
    /// are not all.
    fn first_waiting(
        &self,
        leaf: NodeId,
        priority: Priority,
        served: usize,
        waiting: usize,
    ) -> Vec<WaiterId> {
        let most = waiting.min(MOST_AGES);
        let Some(queue) = self.tree.node(leaf).wait_queue.as_ref() else {
            return Vec::new();
        };
        let mut keys: Vec<QueueKey> = Vec::new();
        let line = &queue.queue;
        let mut next = line.first_of(&self.links, priority);
        while let Some(key) = next.filter(|key| key.order.priority() == priority) {
            if keys.len() >= served + most {
                break;
            }
            keys.push(key);
            next = line.after(&self.links, &key);
        }
        if let Some(flows) = &queue.flows {
            // Somebody waits of each.
            for id in flows.waiting_of(priority).take(served + most) {
                let line = flows.line(id);
                let mut next = line.and_then(|line| line.first(&self.links));
                let mut taken = 0;
                while let Some(key) = next.filter(|_| taken < served + most) {
                    keys.push(key);
                    taken += 1;
                    next = line.and_then(|line| line.after(&self.links, &key));
                }
            }
            keys.sort_unstable();
        }
        let heads = keys.iter().skip(served).take(most);
        let mut listed: Vec<_> = heads.map(|key| self.head_of(*key)).collect();
        if waiting > listed.len() {
            if let Some(youngest) = line.last_of(&self.links, priority) {
                listed.truncate(most - 1);
                listed.push(self.head_of(youngest));
            }
        }
        listed
    }
}

/// One leaf has a number for each class.
const LEAF: i64 = 4;

/// Those of whom a report was.
pub(super) fn waiting_of(number: i64) -> Option<Waiting> {
    let leaf = usize::try_from(number / LEAF).ok()?;
    let class = usize::try_from(number % LEAF).ok()?;
    Some((NodeId::new(leaf), *Priority::ALL.get(class)?))
}

/// The scopes of one call, by name.
#[derive(Default)]
struct Scopes {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Scopes {
    fn place(&mut self, name: String) -> usize {
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let place = self.names.len();
        self.places.insert(name.clone(), place);
        self.names.push(name);
        place
    }
}

impl Core {
    /// All buckets of a scope that the store knows were paused by hand, or are paused no more.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_store(&mut self, scope: SpecId, resume: bool) {
        let Some(mut fleet) = self.tree.fleet.take() else {
            return;
        };
        let of_scope = self.tree.scope(scope);
        if !of_scope.has_keys() {
            fleet.know(&self.tree.shared_name(of_scope.node), of_scope.node);
        }
        let is_of = |node: NodeId| {
            let node = self.tree.keys.nodes.get(node.index());
            node.is_some_and(|node| self.tree.base(node.spec) == scope)
        };
        let known = fleet.scopes.iter().filter(|(_, known)| is_of(known.node));
        let names: Vec<_> = known.map(|(name, _)| name.clone()).collect();
        if resume {
            fleet.resume(&names);
        } else {
            fleet.news.extend(names);
        }
        self.tree.fleet = Some(fleet);
    }

    /// A bucket is paused for longer, or has learned something: all members are to hear of it.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_store_of(&mut self, id: NodeId) {
        let Some(mut fleet) = self.tree.fleet.take() else {
            return;
        };
        let name = self.tree.shared_name(id);
        fleet.know(&name, id);
        fleet.news.insert(name);
        self.tree.fleet = Some(fleet);
    }
}

impl Fleet {
    /// Which bucket goes by a name.
    fn know(&mut self, name: &str, node: NodeId) {
        if let Some(known) = self.scopes.get_mut(name) {
            known.node = node;
            return;
        }
        let known = Known {
            node,
            scope: Scope::default(),
            paused_until: Tick::NONE,
            resume: false,
            generation: 0,
        };
        self.scopes.insert(name.to_owned(), known);
    }
}

impl Tree {
    /// How many of a class stand in the queue of a leaf.
    fn waiting_at(&self, leaf: NodeId, priority: Priority) -> usize {
        let node = self.keys.nodes.get(leaf.index());
        let queue = node.and_then(|node| node.wait_queue.as_ref());
        queue.map_or(0, |queue| {
            let named = queue
                .flows
                .as_ref()
                .map_or(0, |flows| flows.named(priority));
            queue.queue.len_of(priority) + named
        })
    }

    /// The bucket that goes by a name, if it is there still.
    pub(super) fn bucket_of(&self, fleet: &Fleet, name: &str) -> Option<NodeId> {
        let id = fleet.scopes.get(name)?.node;
        self.keys.nodes.get(id.index())?;
        (self.shared_name(id) == name).then_some(id)
    }

    /// A scope as it is configured here, with what it has learned, and its pause if the store does not know of it.
    fn shared_scope(&self, fleet: &mut Fleet, name: String, now: Tick) -> Scope {
        let node = self.bucket_of(fleet, &name);
        if let Some(id) = node {
            let rules = &self.scope(self.node(id).spec).rules;
            rules
                .units()
                .iter()
                .for_each(|rules| _ = fleet.place(rules.unit));
        }
        let Some(known) = fleet.scopes.get_mut(&name) else {
            // Nobody knows it any more: it limits nothing.
            return Scope {
                name,
                ..Scope::default()
            };
        };
        if let Some(id) = node {
            known.scope = self.definition(id, now);
        }
        let mut scope = known.scope.clone();
        scope.name = name;
        scope.resume = std::mem::take(&mut known.resume);
        let paused = node.map_or(Tick::NONE, |id| self.paused_until(self.node(id)));
        if paused > now.max(known.paused_until) {
            known.paused_until = paused;
            scope.pause = Some(micros(paused.0 - now.0));
        }
        scope
    }

    fn definition(&self, id: NodeId, now: Tick) -> Scope {
        let node = self.node(id);
        let rules = &self.scope(node.spec).rules;
        let lessons = node.bucket.lessons(now);
        let mut windows = Vec::new();
        let mut requests: Vec<_> = rules.windows().to_vec();
        requests.sort_by_key(|rule| rule.period);
        for (rank, rule) in (0..).zip(requests) {
            let margin = lessons.margin.unwrap_or(0);
            windows.push(Window {
                unit: crate::costs::Unit::REQUESTS.name().to_owned(),
                rank,
                n: amount(rule.n),
                period: micros(rule.period.0),
                margin: micros(rule.span.0 - rule.period.0),
                learned_margin: micros(rule.period.thousandths(margin).0),
                ..Window::default()
            });
        }
        // What was not named was learned from this layer's requests alone.
        if let Some((n, period, true)) = lessons.rate {
            windows.push(Window {
                unit: crate::costs::Unit::REQUESTS.name().to_owned(),
                rank: LEARNED,
                n: amount(n),
                period: micros(period.0),
                ..Window::default()
            });
        }
        for of_unit in rules.units() {
            let mut rules = of_unit.windows.to_vec();
            rules.sort_by_key(|rule| rule.span);
            for (rank, rule) in (0..).zip(rules) {
                windows.push(Window {
                    unit: of_unit.unit.name().to_owned(),
                    rank,
                    n: amount(rule.n),
                    period: micros(rule.span.0),
                    at_end: of_unit.unit.is_at_end(),
                    ..Window::default()
                });
            }
        }
        let learned = lessons.concurrency.filter(|(_, is_named)| *is_named);
        Scope {
            windows,
            permits: rules.concurrency().map(amount),
            learned_permits: learned.map(|(n, _)| amount(n)),
            ..Scope::default()
        }
    }
}

/// A length of time, as long at least.
fn micros(nanos: u64) -> Micros {
    amount(Span(nanos).0.div_ceil(1000))
}
