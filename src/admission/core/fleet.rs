//! What a store has granted to this layer, and what it is to be told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tower_throttle_store::{
    StoreError, WhenAway,
    member::{Member, Slot},
    protocol::{Micros, Scope, Warning},
};

use super::{frozen::Frozen, ids::NodeId};
use crate::{
    bucket::{Demand, Gate, Span, Tick},
    costs::{Priority, Unit},
    endpoints::SpecId,
};

/// A call that failed is followed by the next after this time, which doubles up to [`LATEST`]: 50 ms, of one round trip
/// and more.
const SOONEST: Span = Span(50_000_000);
/// The server is back at full speed within a second of its return.
const LATEST: Span = Span(400_000_000);

/// Of so many scopes one call tells or asks news.
const NEWS: usize = 500;

/// So many differences of configurations are remembered.
const MOST_DIFFERENCES: usize = 1000;

/// A layer that shares its limits by way of a store.
///
/// The queues are the layer's own. The heads of leaves ask the store, and a head goes when the leaf has a *slot* that
/// is open: a reservation that the store has granted. Slots belong to their leaf, and not to a request.
#[derive(Debug)]
pub(in crate::admission) struct Fleet {
    pub(super) member: Member,
    /// Those of the member, in its order.
    units: Vec<Unit>,
    /// Those that wait, and when to ask again about them.
    pub(super) reported: BTreeMap<Waiting, Tick>,
    /// Of those, the ones of which the store does not know: this layer itself does not let them go yet.
    pub(super) held_back: BTreeSet<Waiting>,
    /// The leaves that had a slot lately and could not use it.
    missed: BTreeSet<NodeId>,
    again: BTreeSet<(Tick, Waiting)>,
    /// Those of which it is to hear.
    pub(super) due: BTreeSet<Waiting>,
    /// Those that the call under way is about.
    pub(super) asked: BTreeSet<Waiting>,
    /// The leaves at which somebody has come or gone.
    changed: BTreeSet<NodeId>,
    /// A request that has come to a leaf and is no waiter yet: the store may answer before it has to be.
    pub(super) newcomer: Option<(Waiting, Demand)>,
    /// Where it takes its slot, or waits, very soon.
    pub(super) expected: Option<NodeId>,
    /// Slots in hand, by when they open.
    hand: BTreeMap<NodeId, Vec<Slot>>,
    closing: BTreeSet<(Tick, NodeId)>,
    /// The scopes that the store was told of, by name.
    pub(super) scopes: HashMap<String, Known>,
    /// With more than this it is looked for those that are over.
    pub(super) most_scopes: usize,
    /// Those of which it is to hear at once.
    pub(super) news: BTreeSet<String>,
    /// When the member has to call at the latest.
    beat: Tick,
    next_id: i64,
    /// How many times the store has forgotten what it had granted.
    epoch: u32,
    /// When the call that failed is to be repeated, or made anew.
    retry: Option<Tick>,
    /// The store has refused the call under way once.
    is_refused: bool,
    pub(super) away: Option<Away>,
    frozen: Frozen,
    /// How other members are configured otherwise, as far as it was told.
    differences: HashSet<Difference>,
    when_away: Option<(WhenAway, Span)>,
}

/// Those that wait at a leaf, and are of one class.
pub(super) type Waiting = (NodeId, Priority);

/// What is known of a scope that has a name.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) node: NodeId,
    /// As the store was told last.
    pub(super) scope: Scope,
    /// Until when the store knows it to be paused.
    pub(super) paused_until: Tick,
    /// The pause is to end for all.
    pub(super) resume: bool,
    /// The newest pause that was ended by hand.
    pub(super) generation: i64,
}

/// How a scope is configured otherwise: what differs, of which unit and rank, and how it is here and there.
type Difference = (SpecId, String, String, i64, i64, i64);

/// The store does not answer.
#[derive(Debug)]
pub(super) struct Away {
    since: Tick,
    failures: u32,
    pub(super) error: StoreError,
    /// Requests go by the layer's own limits meanwhile.
    is_unlimited: bool,
}

/// A reservation of an admitted request.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) slot: Slot,
    epoch: u32,
    /// For how long the machine had been frozen when it was taken.
    frozen: Micros,
}

impl Fleet {
    pub(in crate::admission) fn new(
        member: Member,
        when_away: Option<(WhenAway, Duration)>,
    ) -> Self {
        Self {
            member,
            units: vec![Unit::REQUESTS],
            reported: BTreeMap::new(),
            held_back: BTreeSet::new(),
            missed: BTreeSet::new(),
            again: BTreeSet::new(),
            due: BTreeSet::new(),
            asked: BTreeSet::new(),
            changed: BTreeSet::new(),
            newcomer: None,
            expected: None,
            hand: BTreeMap::new(),
            closing: BTreeSet::new(),
            scopes: HashMap::new(),
            most_scopes: 64,
            news: BTreeSet::new(),
            beat: Tick::NEVER,
            next_id: 0,
            epoch: 0,
            retry: None,
            is_refused: false,
            away: None,
            frozen: Frozen::default(),
            differences: HashSet::new(),
            when_away: when_away.map(|(policy, after)| (policy, after.into())),
        }
    }

    /// Somebody has come to a leaf, or gone.
    pub(super) fn note(&mut self, leaf: NodeId) {
        self.changed.insert(leaf);
    }

    pub(super) fn next_changed(&mut self) -> Option<NodeId> {
        self.changed.pop_first()
    }

    /// The request that was to come to a leaf has come, or does not.
    pub(super) fn no_longer_expects(&mut self, leaf: NodeId) {
        self.expected.take_if(|expected| *expected == leaf);
    }

    /// Whether a leaf has a slot for a request that takes so much.
    pub(super) fn gate(&self, leaf: NodeId, demand: &Demand, now: Tick) -> Gate {
        if self.is_unlimited() {
            return Gate::Open;
        }
        let slots = self.hand.get(&leaf).map_or(&[][..], Vec::as_slice);
        let mut fitting = slots
            .iter()
            .filter(|slot| now <= tick(slot.closes) && self.covers(slot, demand));
        match fitting.next().map(|slot| tick(slot.opens)) {
            None => Gate::Closed,
            Some(opens) if opens <= now => Gate::Open,
            Some(opens) => Gate::Until(opens),
        }
    }

    fn is_unlimited(&self) -> bool {
        self.away.as_ref().is_some_and(|away| away.is_unlimited)
    }

    /// A request takes so much, so it takes the first slot that is open and has as much.
    pub(super) fn take(&mut self, leaf: NodeId, demand: &Demand, now: Tick) -> Option<Reserved> {
        let slots = self.hand.get(&leaf)?;
        let place = slots.iter().position(|slot| {
            (tick(slot.opens)..=tick(slot.closes)).contains(&now) && self.covers(slot, demand)
        })?;
        let slot = self.take_out(leaf, place)?;
        self.no_longer_expects(leaf);
        self.note(leaf);
        Some(Reserved {
            slot,
            epoch: self.epoch,
            frozen: self.frozen.all,
        })
    }

    fn take_out(&mut self, leaf: NodeId, place: usize) -> Option<Slot> {
        let slots = self.hand.get_mut(&leaf)?;
        let slot = slots.remove(place);
        let closes = tick(slot.closes);
        if !slots.iter().any(|other| tick(other.closes) == closes) {
            self.closing.remove(&(closes, leaf));
        }
        if slots.is_empty() {
            self.hand.remove(&leaf);
        }
        Some(slot)
    }

    /// A leaf has got a slot. One that came too late goes back.
    pub(super) fn put(&mut self, leaf: NodeId, slot: Slot, now: Tick) {
        self.note(leaf);
        if tick(slot.closes) < now || slot.closes < slot.opens {
            return self.member.give_back(&slot, false);
        }
        self.closing.insert((tick(slot.closes), leaf));
        let slots = self.hand.entry(leaf).or_default();
        let place = slots.partition_point(|other| other.opens <= slot.opens);
        slots.insert(place, slot);
    }

    /// The request was not dispatched: its slot is there for the next one, if it lasts.
    pub(super) fn put_back(&mut self, leaf: NodeId, mut reserved: Reserved, now: Tick) {
        reserved.slot.closes -= self.frozen.all - reserved.frozen;
        if reserved.epoch == self.epoch {
            self.put(leaf, reserved.slot, now);
        } else {
            self.note(leaf);
            self.member.give_back(&reserved.slot, true);
        }
    }

    /// Whether a request can still go in its slot.
    pub(super) fn lasts(&self, reserved: &Reserved, now: Tick) -> bool {
        let frozen = self.frozen.all - reserved.frozen;
        reserved.epoch == self.epoch && now <= tick(reserved.slot.closes - frozen)
    }

    /// The request has gone, in its slot or after it.
    pub(super) fn dispatched(&mut self, reserved: &Reserved, now: Tick) {
        let Reserved {
            slot,
            epoch,
            frozen,
        } = reserved;
        if *epoch == self.epoch {
            let frozen = self.frozen.all - frozen;
            self.member.dispatched(slot, ceil(now) + frozen);
        } else {
            // The store knows nothing of it any more.
            let (scopes, costs) = (slot.scopes.clone(), slot.costs.clone());
            self.member.unreserved(scopes, costs, ceil(now));
        }
    }

    /// What the dispatched request takes of a unit that counts at dispatch.
    pub(super) fn settled(&mut self, reserved: &mut Reserved, unit: Unit, actual: u64) {
        if reserved.epoch != self.epoch {
            return;
        }
        let (place, actual) = (self.place(unit), amount(actual));
        self.member.settled(&reserved.slot, place, actual);
        let costs = &mut reserved.slot.costs;
        while costs.len() <= place {
            costs.push(i64::from(costs.is_empty()));
        }
        costs[place] = actual;
    }

    /// The request has ended, and cost so much of the units that count then.
    pub(super) fn ended(&mut self, reserved: &Reserved, costs: &[(Unit, u64)], now: Tick) {
        let mut by_unit = vec![0; self.units.len()];
        for &(unit, actual) in costs {
            let place = self.place(unit);
            by_unit.resize(self.units.len(), 0);
            by_unit[place] = amount(actual);
        }
        let costs = (!costs.is_empty()).then_some(by_unit);
        self.member.ended(reserved.slot.id, costs, ceil(now));
    }

    fn covers(&self, slot: &Slot, demand: &Demand) -> bool {
        let has = |place: usize| slot.costs.get(place).copied();
        let requests = has(0).unwrap_or(1);
        let of_unit = |&(unit, taken): &(Unit, u64)| {
            let mut units = self.units.iter();
            let place = units.position(|known| known.is_called_as(&unit));
            amount(taken) <= place.and_then(has).unwrap_or(0)
        };
        i64::from(demand.requests) <= requests
            && i64::from(demand.permits) <= slot.permits
            && demand.units.iter().all(of_unit)
    }

    /// What the next slot of a leaf has of a unit: a request that states nothing of it goes by that.
    pub(super) fn in_hand(&self, leaf: NodeId, unit: Unit) -> Option<u64> {
        let slot = self.hand.get(&leaf)?.first()?;
        let mut units = self.units.iter();
        let place = units.position(|known| known.is_called_as(&unit))?;
        let taken = slot.costs.get(place)?;
        u64::try_from(*taken).ok().filter(|taken| *taken > 0)
    }

    /// Where a unit stands in costs.
    pub(super) fn place(&mut self, unit: Unit) -> usize {
        let mut units = self.units.iter();
        let known = units.position(|known| known.is_called_as(&unit));
        known.unwrap_or_else(|| {
            self.units.push(unit);
            self.member.unit(unit.name())
        })
    }

    /// What a request takes, as the protocol has it.
    pub(super) fn costs(&mut self, demand: &Demand) -> Vec<i64> {
        if demand.units.is_empty() && demand.requests == 1 {
            return Vec::new();
        }
        let mut costs = vec![0; self.units.len()];
        costs[0] = demand.requests.into();
        for &(unit, taken) in &demand.units {
            let place = self.place(unit);
            costs.resize(self.units.len(), 0);
            costs[place] = amount(taken);
        }
        costs
    }

    pub(super) fn announces(&self, of: Waiting) -> bool {
        self.newcomer
            .as_ref()
            .is_some_and(|(newcomer, _)| *newcomer == of)
    }

    pub(super) fn next_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// How many slots a leaf has in hand.
    pub(super) fn slots(&self, leaf: NodeId) -> usize {
        self.hand.get(&leaf).map_or(0, Vec::len)
    }

    /// Nobody is there for the last so many slots of a leaf.
    pub(super) fn give_back_last(&mut self, leaf: NodeId, n: usize) {
        for _ in 0..n {
            let last = self.slots(leaf).checked_sub(1);
            if let Some(slot) = last.and_then(|last| self.take_out(leaf, last)) {
                self.member.give_back(&slot, false);
            }
        }
    }

    /// Whether each slot of a leaf has as much as one of these takes.
    pub(super) fn fits_all(&self, leaf: NodeId, demands: &[Demand]) -> bool {
        let mut slots = self.hand.get(&leaf).into_iter().flatten();
        slots.all(|slot| self.fits(slot, demands))
    }

    fn fits(&self, slot: &Slot, demands: &[Demand]) -> bool {
        demands.iter().any(|demand| self.covers(slot, demand))
    }

    /// Gives back the slots of a leaf that have less than each of these takes.
    pub(super) fn give_back_small(&mut self, leaf: NodeId, demands: &[Demand]) {
        for place in (0..self.slots(leaf)).rev() {
            let slot = self.hand.get(&leaf).and_then(|slots| slots.get(place));
            if slot.is_some_and(|slot| self.fits(slot, demands)) {
                continue;
            }
            if let Some(slot) = self.take_out(leaf, place) {
                self.member.give_back(&slot, false);
            }
        }
    }

    /// The wall clock is ahead of the other one by so much. What that has grown by since the last look is time for which
    /// the machine was frozen: slots in hand close earlier by that.
    pub(super) fn look_at_wall(&mut self, wall: Duration, now: Tick) {
        let Some(frozen) = self.frozen.look(wall) else {
            return;
        };
        self.closing.clear();
        for (leaf, slots) in &mut self.hand {
            for slot in slots {
                slot.closes = slot.closes.saturating_sub(frozen);
                self.closing.insert((tick(slot.closes), *leaf));
            }
        }
        self.close_slots(now);
    }

    /// A slot that has come lacks the time for which the machine was frozen since the call.
    pub(super) fn thaw_slot(&self, slot: &mut Slot) {
        slot.closes -= self.frozen.all - self.frozen.at_call;
    }

    /// Gives back what nobody has used in time.
    pub(super) fn close_slots(&mut self, now: Tick) {
        while let Some(&(closes, leaf)) = self.closing.first().filter(|(closes, _)| *closes < now) {
            self.closing.remove(&(closes, leaf));
            self.no_longer_expects(leaf);
            let slots = self.hand.remove(&leaf).unwrap_or_default();
            let (over, left): (Vec<_>, Vec<_>) = slots
                .into_iter()
                .partition(|slot| tick(slot.closes) <= closes);
            for slot in over {
                self.missed.insert(leaf);
                self.member.give_back(&slot, false);
            }
            if !left.is_empty() {
                self.hand.insert(leaf, left);
            }
            self.note(leaf);
        }
    }

    /// The store has forgotten what it granted: nothing goes by that any more.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
        self.closing.clear();
        for (leaf, slots) in std::mem::take(&mut self.hand) {
            self.changed.insert(leaf);
            for slot in slots {
                self.member.give_back(&slot, true);
            }
        }
        self.ask_all();
    }

    /// All that wait are to ask.
    pub(super) fn ask_all(&mut self) {
        self.again.clear();
        self.due.extend(self.reported.keys());
    }

    /// The store knows that those wait, and wants to hear of them again at that time.
    pub(super) fn set_again(&mut self, of: Waiting, at: Tick) {
        let before = self.reported.insert(of, at);
        if let Some(before) = before {
            self.again.remove(&(before, of));
        }
        if at != Tick::NEVER {
            self.again.insert((at, of));
        }
    }

    /// Whether a leaf could not use a slot.
    pub(super) fn has_missed(&mut self, leaf: NodeId) -> bool {
        self.missed.remove(&leaf)
    }

    /// What those at a leaf take may have changed.
    pub(super) fn ask_about(&mut self, leaf: NodeId) {
        let of_leaf = Priority::ALL.map(|priority| (leaf, priority));
        let known = of_leaf
            .into_iter()
            .filter(|of| self.reported.contains_key(of));
        self.due.extend(known);
    }

    /// It knows that nobody of them waits.
    pub(super) fn forget_waiting(&mut self, of: Waiting) {
        if let Some(before) = self.reported.remove(&of) {
            self.again.remove(&(before, of));
        }
        self.held_back.remove(&of);
        self.due.remove(&of);
    }

    /// Whether there is something to say now, or something to be said again.
    pub(super) fn wants(&mut self, now: Tick) -> bool {
        self.beat = self.member.heartbeat(floor(now)).map_or(Tick::NEVER, tick);
        if !self.is_free() {
            return self.retry.is_some_and(|at| at <= now);
        }
        while let Some(&(at, of)) = self.again.first().filter(|(at, _)| *at <= now) {
            self.again.remove(&(at, of));
            self.due.insert(of);
        }
        self.beat <= now || !self.due.is_empty() || !self.news.is_empty() || self.member.has_news()
    }

    /// When something is due by itself after `now`.
    pub(super) fn next_due(&self, now: Tick) -> Tick {
        let closes = self.closing.first().map(|(at, _)| at.after(Span(1)));
        let calls = if self.is_free() {
            [self.again.first().map(|(at, _)| *at), Some(self.beat)]
        } else {
            let opens = self.when_away.zip(self.away.as_ref());
            let opens = opens.filter(|(_, away)| !away.is_unlimited);
            let opens = opens.map(|((_, after), away)| away.since.after(after));
            [self.retry, opens]
        };
        let due = [closes].into_iter().chain(calls).flatten();
        due.filter(|at| *at > now).min().unwrap_or(Tick::NEVER)
    }

    /// The scopes of which a call is to be at once, as many as it takes.
    pub(super) fn take_news(&mut self) -> BTreeSet<String> {
        match self.news.iter().nth(NEWS).cloned() {
            Some(next) => {
                let later = self.news.split_off(&next);
                std::mem::replace(&mut self.news, later)
            }
            None => std::mem::take(&mut self.news),
        }
    }

    /// Whether a call can be made now, if there is something to say.
    pub(super) fn is_free(&self) -> bool {
        !self.member.is_asking() && self.retry.is_none()
    }

    /// A call is about to be made, again perhaps.
    pub(super) fn calls(&mut self) {
        self.retry = None;
        if !self.member.is_asking() {
            self.frozen.at_call = self.frozen.all;
        }
    }

    /// The call under way was answered. Returns for how long none was.
    pub(super) fn answered(&mut self, now: Tick) -> Option<Duration> {
        self.is_refused = false;
        let away = self.away.take()?;
        Some(now.since(away.since))
    }

    /// It was not answered. One that is refused has a second try as it is, in case that it was executed; then the next
    /// one is made of what is to be said at that time.
    pub(super) fn failed(&mut self, error: StoreError, now: Tick) {
        if !error.is_away() {
            if self.is_refused {
                self.give_up_call();
            }
            self.is_refused = !self.is_refused;
        }
        let away = self.away.get_or_insert_with(|| Away {
            since: now,
            failures: 0,
            error: error.clone(),
            is_unlimited: false,
        });
        away.error = error;
        let wait = SOONEST.times(1 << away.failures.min(8)).0.min(LATEST.0);
        away.failures += 1;
        self.retry = Some(now.after(Span(wait)));
    }

    /// The next call says what was in this one.
    fn give_up_call(&mut self) {
        let scopes = self
            .member
            .refused()
            .map_or_else(Vec::new, |ask| ask.scopes);
        for scope in scopes {
            let Some(known) = self.scopes.get_mut(&scope.name) else {
                continue;
            };
            if scope.pause.is_some() {
                known.paused_until = Tick::NONE;
            }
            known.resume |= scope.resume;
            if scope.pause.is_some() || scope.resume {
                self.news.insert(scope.name);
            }
        }
        self.due.append(&mut self.asked);
    }

    /// For how long it has not answered.
    pub(in crate::admission) fn away(&self, now: Tick) -> Option<(Duration, &StoreError)> {
        let away = self.away.as_ref()?;
        Some((now.since(away.since), &away.error))
    }

    /// Whether a difference was not told yet.
    pub(super) fn is_new(&mut self, scope: SpecId, warning: &Warning) -> bool {
        if self.differences.len() >= MOST_DIFFERENCES {
            self.differences.clear();
        }
        let (what, unit) = (warning.what.clone(), warning.unit.clone());
        let &Warning {
            rank, mine, theirs, ..
        } = warning;
        (self.differences).insert((scope, what, unit, rank, mine, theirs))
    }

    /// Whether requests go by the layer's own limits from now on, as the store does not answer.
    pub(super) fn opens(&mut self, now: Tick) -> bool {
        let Some((WhenAway::Unlimited, after)) = self.when_away else {
            return false;
        };
        let away = self.away.as_mut().filter(|away| !away.is_unlimited);
        let opens = away.filter(|away| away.since.after(after) <= now);
        opens.map(|away| away.is_unlimited = true).is_some()
    }

    /// The leaves at which somebody waits, as far as the store is to know.
    pub(super) fn waiting(&self) -> Vec<NodeId> {
        let all = self.reported.keys().chain(&self.due);
        all.map(|(leaf, _)| *leaf).collect()
    }
}

/// Microseconds of the member's clock, as a time that has come.
pub(super) fn floor(at: Tick) -> Micros {
    since_start(at).div_euclid(1000)
}

/// The same, as a time that is not over.
pub(super) fn ceil(at: Tick) -> Micros {
    -((-since_start(at)).div_euclid(1000))
}

pub(super) fn tick(at: Micros) -> Tick {
    Tick(Tick::ORIGIN.saturating_add_signed(at.saturating_mul(1000)))
}

/// Nanoseconds of the member's clock, which starts with the engine's.
fn since_start(at: Tick) -> i64 {
    let since = i128::from(at.0) - i128::from(Tick::ORIGIN);
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// The largest that the protocol has stands for all larger ones.
pub(super) fn amount(n: impl TryInto<i64>) -> i64 {
    use tower_throttle_store::protocol::MOST;
    n.try_into().unwrap_or(MOST).min(MOST)
}
