//! A member's side of the protocol: what it is to say in its next call, and what an answer means for it. No clock,
//! no I/O; times are the member's own.
//!
//! One call is under way at a time. [`Member::ask`] makes it; if no answer comes, the same ask is sent again. If the
//! store refuses it again and again, [`Member::refused`] gives it up: the next one says all that was in it.
//! [`Member::hear`] takes the answer and makes [`Slot`]s of it. A slot belongs to its leaf: the request that is
//! first there when the slot opens goes, in [`Slot::opens`] to [`Slot::closes`], and [`Member::dispatched`] says so
//! after it did; a slot that was missed goes back by [`Member::give_back`].

mod held;
mod stamps;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use self::{
    held::{Held, Holdings},
    stamps::{Stamped, coarse},
};
use crate::protocol::{
    Answer, Ask, GiveBack, Leaf, LeafAnswer, Micros, Release, Scope, ScopeAnswer, Settlement,
    Since, Stamp, Timing, Warning,
};

/// About so many scopes one call names for what is said and asserted: a store takes 7000. The rest is said in the next.
const MOST_SAID: usize = 4000;

/// What one process says to a store, and what it holds.
#[derive(Debug)]
pub struct Member {
    id: String,
    timing: Timing,
    units: Vec<String>,
    seq: i64,
    epoch: String,
    /// The call under way, and when it was sent first.
    pending: Option<(Ask, Micros)>,
    /// The last answered call.
    last: Option<Answered>,
    /// What was dispatched or ended while it may still count.
    stamps: VecDeque<Stamped>,
    longest: Micros,
    /// What is to be released.
    held: Holdings,
    known: BTreeMap<String, Known>,
    /// The scopes of which the store is to be told all that is held there.
    asserts: BTreeSet<String>,
    releases: Vec<(i64, Vec<String>, Option<Vec<i64>>)>,
    back: Vec<(Vec<String>, i64, Vec<i64>)>,
    settlements: Vec<(Vec<String>, i64, usize, i64)>,
    late: Vec<Stamped>,
    assert_stamps: bool,
}

#[derive(Clone, Debug)]
struct Answered {
    sent: Micros,
    heard: Micros,
    /// Of the answer.
    epoch: String,
}

/// What is known of a scope from answers.
#[derive(Clone, Debug, Default)]
struct Known {
    generation: i64,
    version: i64,
}

/// A reservation in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The head's number.
    pub id: i64,
    /// Whose it is.
    pub leaf: i64,
    /// The first instant at which a request may be dispatched.
    pub opens: Micros,
    /// The last one. It may be before [`Slot::opens`], if the answer took too long.
    pub closes: Micros,
    /// What is charged, by unit. If another request goes, settle the difference or give the slot back.
    pub costs: Vec<i64>,
    /// How many permits it has.
    pub permits: i64,
    /// The leaf's scopes.
    pub scopes: Vec<String>,
    /// The store's name for it.
    pub end: i64,
}

/// What an answer means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// New reservations.
    pub slots: Vec<Slot>,
    /// The epoch is new: slots that were in hand are void, and their requests wait again. Ask at once.
    pub void: bool,
    /// What the store did not know: ask at once.
    pub assert: bool,
    /// By the leaf's number: when to ask again, and for how long its next head waits at least.
    pub leaves: Vec<(i64, LeafAnswer)>,
    /// By name: pauses and lessons.
    pub scopes: Vec<(String, ScopeAnswer)>,
    /// Nothing is granted for so long.
    pub settling: Micros,
    /// Where members are configured differently.
    pub warnings: Vec<Warning>,
}

impl Member {
    /// `id` is new for each start of a process: 1 to 64 characters of `0-9` and `a-z`; [`Member::random_id`] makes
    /// one. `units` begins with [`REQUESTS`](crate::protocol::REQUESTS).
    pub fn new(id: String, units: Vec<String>, timing: Timing) -> Self {
        Self {
            id,
            timing,
            units,
            seq: 0,
            epoch: String::new(),
            pending: None,
            last: None,
            stamps: VecDeque::new(),
            longest: 0,
            held: Holdings::default(),
            known: BTreeMap::new(),
            asserts: BTreeSet::new(),
            releases: Vec::new(),
            back: Vec::new(),
            settlements: Vec::new(),
            late: Vec::new(),
            assert_stamps: false,
        }
    }

    /// 32 characters that no other member has.
    pub fn random_id() -> String {
        format!("{:032x}", fastrand::u128(..))
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a call has no answer yet.
    pub fn is_asking(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether it has something to say even if nobody waits: what came back, what is to be asserted.
    pub fn has_news(&self) -> bool {
        self.assert_stamps
            || !self.releases.is_empty()
            || !self.back.is_empty()
            || !self.settlements.is_empty()
            || !self.late.is_empty()
            || !self.asserts.is_empty()
    }

    /// The place of a unit in `Ask::units` and in costs; a new one gets the next.
    pub fn unit(&mut self, name: &str) -> usize {
        let place = self.units.iter().position(|unit| unit == name);
        place.unwrap_or_else(|| {
            self.units.push(name.to_owned());
            self.units.len() - 1
        })
    }

    /// When it is to call at the latest, if it holds permits or has stamps that a store may forget: a third of a lease
    /// after its last call, or after one of the scopes in which it holds something was named last.
    pub fn heartbeat(&mut self, now: Micros) -> Option<Micros> {
        self.forget(now);
        let last = self.last.as_ref()?.sent;
        let asserts = !self.stamps.is_empty() && self.timing.settle_most > 0;
        let since = self.held.named_first().or(asserts.then_some(last))?;
        Some(since + self.timing.lease / 3)
    }

    /// The scopes that the next call is to name beside those of its leaves: those of which it has something to say, and
    /// of those in which it holds something the ones that it has not named for long.
    pub fn scopes(&self, now: Micros) -> impl Iterator<Item = &str> {
        let renewed = self.held.to_name(now, self.timing.lease);
        renewed.chain(self.said().take(MOST_SAID))
    }

    /// All scopes that this call or a later one is to name.
    pub fn all_scopes(&self) -> impl Iterator<Item = &str> {
        self.held.scopes().chain(self.said())
    }

    fn said(&self) -> impl Iterator<Item = &str> {
        let releases = self.releases.iter().flat_map(|(_, scopes, _)| scopes);
        let back = self.back.iter().flat_map(|(scopes, ..)| scopes);
        let settled = self.settlements.iter().flat_map(|(scopes, ..)| scopes);
        let stamps = self.stamps.iter().filter(|_| self.assert_stamps);
        let stamps = stamps.chain(&self.late).flat_map(|stamp| &stamp.scopes);
        let said = releases.chain(back).chain(settled).chain(stamps);
        said.chain(&self.asserts).map(String::as_str)
    }

    /// The next call, or the one that has no answer yet, to be sent again as it is.
    ///
    /// `scopes` are configured, with pauses and lessons to share; they hold those of [`Member::scopes`] and of the
    /// leaves. What is to be said of one that is not among them waits for a later call.
    pub fn ask(&mut self, now: Micros, scopes: Vec<Scope>, leaves: Vec<Leaf>) -> &Ask {
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => (self.make(now, scopes, leaves), now),
        };
        &self.pending.insert(pending).0
    }

    fn make(&mut self, now: Micros, mut scopes: Vec<Scope>, leaves: Vec<Leaf>) -> Ask {
        self.seq += 1;
        for scope in &scopes {
            for window in &scope.windows {
                let margin = window.margin.max(window.learned_margin);
                self.longest = self.longest.max(window.period + margin);
            }
        }
        self.forget(now);
        for scope in &mut scopes {
            if self.asserts.remove(&scope.name) {
                scope.keep = Some(self.held.kept(&scope.name));
            }
            scope.holds = self.held.count(&scope.name);
            if let Some(known) = self.known.get(&scope.name) {
                (scope.generation, scope.heard) = (known.generation, known.version);
            }
        }
        // One of which nothing is known is like one that is not named.
        (self.known).retain(|_, known| (known.generation, known.version) != (0, 0));
        let names = scopes.iter().map(|scope| scope.name.as_str());
        let places: HashMap<&str, usize> = names.zip(0..).collect();
        let indices = |names: &[String]| -> Vec<usize> {
            let places = names.iter().map(|name| places.get(name.as_str()));
            places.flatten().copied().collect()
        };
        if std::mem::take(&mut self.assert_stamps) {
            self.late = coarse(&self.stamps);
            // The ends are among the stamps, and what is held is said anew.
            self.releases.clear();
        }
        let stamps = sayable(&mut self.late, &places, |stamp| &stamp.scopes);
        let releases = sayable(&mut self.releases, &places, |(_, scopes, _)| scopes);
        let back = sayable(&mut self.back, &places, |(scopes, ..)| scopes);
        let settlements = sayable(&mut self.settlements, &places, |(scopes, ..)| scopes);
        let reservation = self.timing.reservation;
        Ask {
            member: self.id.clone(),
            seq: self.seq,
            epoch: self.epoch.clone(),
            since: self.last.as_ref().map(|last| Since {
                sent: now - last.sent,
                heard: if last.epoch == self.epoch {
                    now - last.heard
                } else {
                    0
                },
            }),
            units: self.units.clone(),
            leaves,
            releases: releases
                .into_iter()
                .map(|(id, names, costs)| Release {
                    id,
                    scopes: indices(&names),
                    costs,
                })
                .collect(),
            back: back
                .into_iter()
                .map(|(names, end, costs)| GiveBack {
                    scopes: indices(&names),
                    end,
                    reservation,
                    costs,
                })
                .collect(),
            settlements: settlements
                .into_iter()
                .map(|(names, end, unit, change)| Settlement {
                    scopes: indices(&names),
                    end,
                    unit,
                    change,
                })
                .collect(),
            stamps: stamps
                .into_iter()
                .map(|stamp| Stamp {
                    scopes: indices(&stamp.scopes),
                    age: (now - stamp.at).max(0),
                    at_end: stamp.at_end,
                    costs: stamp.costs,
                })
                .collect(),
            scopes,
        }
    }

    fn forget(&mut self, now: Micros) {
        while self
            .stamps
            .front()
            .is_some_and(|stamp| stamp.at + self.longest <= now)
        {
            self.stamps.pop_front();
        }
    }

    /// The store has refused the call under way, and it did nothing: what was in it is said by the next one. Returns it.
    ///
    /// A call that was refused once may have been executed: it is to be sent once more as it is before.
    pub fn refused(&mut self) -> Option<Ask> {
        let (ask, sent) = self.pending.take()?;
        let names = |scopes: &[usize]| -> Vec<String> {
            let names = scopes.iter().map(|index| ask.scopes[*index].name.clone());
            names.collect()
        };
        let releases = ask.releases.iter().cloned();
        let releases = releases.map(|one| (one.id, names(&one.scopes), one.costs));
        self.releases.extend(releases);
        // What an earlier epoch granted is not in the books.
        if ask.epoch == self.epoch {
            let back = ask.back.iter().cloned();
            self.back
                .extend(back.map(|one| (names(&one.scopes), one.end, one.costs)));
            let settlements = ask.settlements.iter();
            let settlements =
                settlements.map(|one| (names(&one.scopes), one.end, one.unit, one.change));
            self.settlements.extend(settlements);
        }
        let stamps = ask.stamps.iter().cloned();
        self.late.extend(stamps.map(|one| Stamped {
            at: sent - one.age,
            scopes: names(&one.scopes),
            costs: one.costs,
            at_end: one.at_end,
        }));
        let kept = ask.scopes.iter().filter(|scope| scope.keep.is_some());
        self.asserts.extend(kept.map(|scope| scope.name.clone()));
        Some(ask)
    }

    /// The member ends: the next call is its last, and its answer is not waited for. Nor is that to a call under way; what
    /// that has granted is given up. Whether there is something to say.
    pub fn leave(&mut self) -> bool {
        if let Some((ask, _)) = self.pending.take() {
            let asked = ask.leaves.iter().filter(|leaf| !leaf.heads.is_empty());
            let scopes = asked.flat_map(|leaf| &leaf.scopes);
            let names = scopes.map(|index| ask.scopes[*index].name.clone());
            self.asserts.extend(names);
        }
        self.has_news()
    }

    /// What an answer to the call under way means; it came at `now`. Another call's answer means nothing: tell them
    /// apart by the connection, or drop a connection on which one is missing.
    pub fn hear(&mut self, now: Micros, answer: &Answer) -> Heard {
        let Some((ask, sent)) = self.pending.take() else {
            return Heard::default();
        };
        if answer.stale {
            self.assert_all();
            return Heard::default();
        }
        self.last = Some(Answered {
            sent,
            heard: now,
            epoch: answer.epoch.clone(),
        });
        // A message may have told of a newer epoch since the call was made: its answer is from before that.
        let outdated = ask.epoch != self.epoch && ask.epoch == answer.epoch;
        let void = !outdated && self.begins(&answer.epoch);
        let grants = !outdated && !void;
        let mut heard = Heard {
            void,
            settling: answer.settling,
            warnings: answer.warnings.clone(),
            ..Heard::default()
        };
        for (scope, told) in ask.scopes.iter().zip(&answer.scopes) {
            let known = self.known.entry(scope.name.clone()).or_default();
            known.generation = told.generation;
            if !outdated {
                known.version = known.version.max(told.version);
                if told.assert {
                    self.asserts.insert(scope.name.clone());
                }
            }
            heard.assert |= self.asserts.contains(&scope.name);
            heard.scopes.push((scope.name.clone(), told.clone()));
        }
        for (leaf, told) in ask.leaves.iter().zip(&answer.leaves) {
            heard.leaves.push((leaf.leaf, told.clone()));
            for (head, grant) in leaf.heads.iter().zip(&told.grants).filter(|_| grants) {
                let name = |&index: &usize| ask.scopes[index].name.clone();
                let permits = head.permits.unwrap_or(1);
                let slot = Slot {
                    id: head.id,
                    leaf: leaf.leaf,
                    opens: now + grant.wait,
                    closes: sent + grant.wait + self.timing.reservation,
                    costs: head.costs.clone(),
                    permits,
                    scopes: leaf.scopes.iter().map(name).collect(),
                    end: grant.end,
                };
                if !grant.held.is_empty() {
                    let held = Held {
                        scopes: grant.held.iter().map(name).collect(),
                        permits,
                        costs: head.costs.clone(),
                    };
                    self.held.insert(head.id, held, sent);
                }
                heard.slots.push(slot);
            }
        }
        for scope in &ask.scopes {
            self.held.name(&scope.name, sent);
        }
        heard
    }

    /// A message says that the store has another epoch. If it is new, slots in hand are void: true is returned, and
    /// the member is to ask at once.
    pub fn begins(&mut self, epoch: &str) -> bool {
        if self.epoch == epoch {
            return false;
        }
        let first = self.epoch.is_empty();
        epoch.clone_into(&mut self.epoch);
        if first {
            return false;
        }
        // What an earlier epoch granted is not in the books: only what was dispatched is to be asserted.
        self.back.clear();
        self.settlements.clear();
        self.assert_all();
        let released = self.releases.iter().flat_map(|(_, scopes, _)| scopes);
        self.asserts.extend(released.cloned());
        for known in self.known.values_mut() {
            known.version = 0;
        }
        self.assert_stamps = true;
        true
    }

    /// The store is to be told what is held in all scopes that it may know of.
    fn assert_all(&mut self) {
        let held = self.held.scopes().map(str::to_owned);
        self.asserts.extend(held.chain(self.known.keys().cloned()));
    }

    /// A request was dispatched in the slot, just now: to be called *after* it went. One that went later than the
    /// slot's end is reported to the store.
    pub fn dispatched(&mut self, slot: &Slot, now: Micros) {
        let stamp = Stamped {
            at: now,
            scopes: slot.scopes.clone(),
            costs: slot.costs.clone(),
            at_end: false,
        };
        if now > slot.closes {
            self.late.push(stamp.clone());
        }
        self.stamps.push_back(stamp);
    }

    /// A request went without a slot, just now: the store is told of it afterwards.
    pub fn unreserved(&mut self, scopes: Vec<String>, costs: Vec<i64>, now: Micros) {
        let stamp = Stamped {
            at: now,
            scopes,
            costs,
            at_end: false,
        };
        self.late.push(stamp.clone());
        self.stamps.push_back(stamp);
    }

    /// The slot was not used. `void` slots ([`Heard::void`]) go back too: only their permits are given up then.
    pub fn give_back(&mut self, slot: &Slot, void: bool) {
        if let Some(held) = self.held.remove(slot.id) {
            self.releases
                .push((slot.id, held.scopes, Some(vec![0; self.units.len()])));
        }
        if !void {
            self.back
                .push((slot.scopes.clone(), slot.end, slot.costs.clone()));
        }
    }

    /// A dispatched request cost `actual` of a unit that counts at dispatch, instead of what its slot was charged.
    pub fn settled(&mut self, slot: &Slot, unit: usize, actual: i64) {
        let charged = slot
            .costs
            .get(unit)
            .copied()
            .unwrap_or(i64::from(unit == 0));
        if actual != charged {
            self.settlements
                .push((slot.scopes.clone(), slot.end, unit, actual - charged));
        }
    }

    /// A dispatched request has ended. `costs` is what it cost of the units that count at the end, by unit; `None`
    /// leaves the estimate.
    pub fn ended(&mut self, id: i64, costs: Option<Vec<i64>>, now: Micros) {
        let Some(held) = self.held.remove(id) else {
            return;
        };
        // The store may not know the estimate any more, if the member was cut off for longer than its lease.
        let costs = costs.unwrap_or(held.costs);
        self.stamps.push_back(Stamped {
            at: now,
            scopes: held.scopes.clone(),
            costs: costs.clone(),
            at_end: true,
        });
        self.releases.push((id, held.scopes, Some(costs)));
    }
}

/// Takes out what is about scopes of the call alone.
fn sayable<T>(
    all: &mut Vec<T>,
    places: &HashMap<&str, usize>,
    scopes: impl Fn(&T) -> &Vec<String>,
) -> Vec<T> {
    let is_named = |name: &String| places.contains_key(name.as_str());
    let (said, left) = std::mem::take(all)
        .into_iter()
        .partition(|one| scopes(one).iter().all(is_named));
    *all = left;
    said
}
