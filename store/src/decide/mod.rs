//! The decision: a state, an ask and the time make an answer. No clock, no lock, no I/O.
//!
//! 1. The store's clock never goes back (`clock`). A state without an epoch, or of another run of the server,
//!    begins an epoch, which grants nothing until it has settled (`epoch`).
//! 2. The same call again gets the same answer; an older one does nothing.
//! 3. What the member says is booked: its limits (`limits`), permits (`permits`), stamps, give-backs and
//!    settlements (`windows`), pauses and lessons (`shared`).
//! 4. Its heads are looked at in the order of class and age (`contest`). Each gets the first instant at which
//!    every scope has room for it *behind* all older requests of the fleet (`tickets`). If that is near, the
//!    units are taken until a period after the reservation's end; if not, the leaf leaves a ticket.
//!
//! `ask.lua` is the same program; a test runs both on the same histories. What changes here changes there.

mod check;
mod clock;
mod contest;
mod definition;
mod epoch;
mod holder;
mod limits;
mod member;
mod permits;
mod scope;
mod shared;
mod tickets;
mod windows;

use std::{collections::BTreeMap, ops::Bound};

pub use check::InvalidAsk;
#[cfg(feature = "redis")]
pub(crate) use check::check;

use crate::protocol::{Answer, Ask, Micros, News, Timing};

use self::{clock::Clock, contest::Contest, epoch::Epoch, member::Record, scope::ScopeState};

/// The same decision for Redis 6.2 or later and Valkey.
///
/// `KEYS[1]` is the fleet's state, the only key. `ARGV`: the ask and the timing as JSON, the prefix of the channels
/// (`PREFIX` with the member's name to wake one, with `all` for news), and in tests `{"clock": .., "run": ..}`.
/// It answers with JSON.
pub const SCRIPT: &str = include_str!("../ask.lua");

/// How long what nobody speaks of any more is remembered: learned values, generations of pauses, members' last
/// answers.
const MEMORY: Micros = 600_000_000;

/// Later than every instant.
const NEVER: Micros = 9_000_000_000_000_000;

/// How many scopes and members a call looks at to forget what is over.
const SWEPT: usize = 4;

/// All that a store remembers.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct State {
    clock: Clock,
    epoch: Option<Epoch>,
    members: BTreeMap<String, Record>,
    scopes: BTreeMap<String, ScopeState>,
    swept: String,
    /// Of a store that has no other place for them.
    pub(crate) hash_keys: [u64; 2],
}

impl State {
    /// How many scopes something is remembered of.
    pub fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// How many members' last answers are remembered.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Forgets the members, as when all have ended: what they held counts for a period from now on, and nobody
    /// waits. Windows, pauses and lessons stay. `now` is the clock as [`decide`] gets it.
    pub fn all_have_left(&mut self, now: Micros) {
        let now = self.clock.read(now);
        self.members.clear();
        for scope in self.scopes.values_mut() {
            scope.all_have_left(now);
        }
    }

    /// Forgets what is over, a few entries at each call: it looks at the next after `self.swept`, all around.
    fn sweep(&mut self, now: Micros) {
        let next = (Bound::Excluded(self.swept.as_str()), Bound::Unbounded);
        let names: Vec<_> = self
            .scopes
            .range::<str, _>(next)
            .take(SWEPT)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            if self.scopes[name].is_over(now) {
                self.scopes.remove(name);
            }
        }
        let members = self.members.range::<str, _>(next).take(SWEPT);
        let members: Vec<_> = members.map(|(name, _)| name.clone()).collect();
        for name in &members {
            if self.members[name].at + MEMORY < now {
                self.members.remove(name);
            }
        }
        // The lesser of the two, so that neither list is passed over.
        self.swept = match (names.last(), members.last()) {
            (Some(scope), Some(member)) => scope.min(member).clone(),
            (Some(name), None) | (None, Some(name)) => name.clone(),
            (None, None) => String::new(),
        };
    }
}

/// Decides about one call. `clock` is the machine's time, which may step; `run` names the run of the server that
/// keeps the state: if it changes, the state may be older than what was granted.
///
/// # Errors
/// An ask that makes no sense ([`InvalidAsk`]) changes nothing.
pub fn decide(
    state: &mut State,
    ask: &Ask,
    clock: Micros,
    run: &str,
    timing: &Timing,
) -> Result<Answer, InvalidAsk> {
    check::check(ask)?;
    let mut time = state.clock.clone();
    let mut now = time.read(clock);
    let begins = state.epoch.as_ref().is_none_or(|epoch| epoch.run != run);
    let record = state
        .members
        .get(&ask.member)
        .filter(|record| record.at + MEMORY >= now);
    if let Some(record) = record.filter(|_| !begins) {
        if record.seq == ask.seq {
            return Ok(record.answer.clone());
        }
        if record.seq > ask.seq {
            return Ok(Answer {
                stale: true,
                ..Answer::default()
            });
        }
        if let Some(mut since) = ask.since.filter(|_| record.seq + 1 == ask.seq) {
            let epoch = state.epoch.as_ref();
            if epoch.is_none_or(|epoch| epoch.name != ask.epoch) {
                since.heard = 0;
            }
            now = time.compare(now, &ask.member, record.at, since);
        }
    }
    time.called_by(&ask.member);
    state.clock = time;

    let mut news = Vec::new();
    if begins {
        let epoch = Epoch::new(run, now);
        news.push(News::Epoch(epoch.name.clone()));
        state.epoch = Some(epoch);
    }
    let epoch = state.epoch.get_or_insert_with(|| Epoch::new(run, now));
    // A member that knows no epoch has no history that the store could have forgotten.
    let known = ask.epoch.is_empty() || ask.epoch == epoch.name;

    let mut scopes: Vec<_> = (ask.scopes.iter())
        .map(|scope| {
            let mut kept = state.scopes.remove(&scope.name).unwrap_or_default();
            kept.forget(now);
            kept
        })
        .collect();
    let mut answer = Answer {
        epoch: epoch.name.clone(),
        news,
        ..Answer::default()
    };
    // A call may name no scope.
    epoch.settles_for(0, timing);
    for (asked, scope) in ask.scopes.iter().zip(&mut scopes) {
        scope.configure(ask, asked, now, timing, &mut answer.warnings);
        epoch.settles_for(scope.longest(), timing);
    }
    answer.settling = (epoch.open_at() - now).max(0);

    book(&mut scopes, ask, now, known, timing, &mut answer);
    let mut contest = Contest {
        ask,
        now,
        timing,
        known,
        settling: answer.settling,
        scopes: &mut scopes,
    };
    answer.leaves = contest.run();
    answer.wake = contest.whom_to_wake();

    for (asked, mut scope) in ask.scopes.iter().zip(scopes) {
        scope.coarsen();
        scope.done();
        if !scope.is_empty() {
            state.scopes.insert(asked.name.clone(), scope);
        }
    }
    let record = Record {
        seq: ask.seq,
        at: now,
        answer: answer.clone(),
    };
    state.members.insert(ask.member.clone(), record);
    state.sweep(now);
    Ok(answer)
}

/// Books what the member says, and answers what the store knows of each scope.
fn book(
    scopes: &mut [ScopeState],
    ask: &Ask,
    now: Micros,
    known: bool,
    timing: &Timing,
    answer: &mut Answer,
) {
    for (asked, scope) in ask.scopes.iter().zip(&mut *scopes) {
        if let Some(keep) = &asked.keep {
            scope.keep(ask, keep, now, timing);
        }
        scope.renew(&ask.member, now, timing);
    }
    for release in &ask.releases {
        for &index in &release.scopes {
            scopes[index].release(ask, release, known, now);
        }
    }
    for stamp in &ask.stamps {
        for &index in &stamp.scopes {
            scopes[index].stamp(ask, stamp, now);
        }
    }
    // What an earlier epoch granted is not in the books.
    if known {
        for back in &ask.back {
            for &index in &back.scopes {
                scopes[index].give_back(ask, back, now);
            }
        }
        for settlement in &ask.settlements {
            for &index in &settlement.scopes {
                scopes[index].settle(ask, settlement, now);
            }
        }
    }
    for (asked, scope) in ask.scopes.iter().zip(&mut *scopes) {
        scope.moved |= scope.shared.hear(asked, now, &mut answer.news);
        let mut told = scope.shared.tell(asked, now);
        told.assert = scope.held_by(&ask.member) != asked.holds;
        answer.scopes.push(told);
    }
}

/// What a request costs of a unit, in the order of `Ask::units`: the first unit is requests.
fn cost(costs: &[i64], unit: usize) -> i64 {
    costs.get(unit).copied().unwrap_or(i64::from(unit == 0))
}

/// Numbers of things in memory, as the messages have them.
fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
