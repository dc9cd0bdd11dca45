//! What a member says to a store, and what it hears: plain data.
//!
//! Times are [`Micros`], and never points of a clock: an age, a time that is left, a time from now on. So no two
//! machines' clocks are compared. (`Grant::end` and the versions are the store's own clock; a member hands them
//! back as they are.)

use std::fmt;

/// Microseconds.
pub type Micros = i64;

/// The largest number that a message may hold: Lua's numbers are exact up to 2^53.
pub const MOST: i64 = 1 << 50;

/// How many ages of waiting requests a leaf reports at most.
pub const MOST_AGES: usize = 64;

/// The unit of which each request costs one if nothing else is said: `Ask::units` begins with it.
pub const REQUESTS: &str = "requests";

/// One call of a member: all that it has to say since the call before.
///
/// A member has one call under way at a time. If no answer comes, it sends the *same* ask again until one does:
/// the store answers a repeated `seq` as it did before, and does nothing for a lower one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Ask {
    /// Who speaks: new for each start of a process. 1 to 64 characters of `0-9` and `a-z`.
    pub member: String,
    /// One more than in the member's last call.
    pub seq: i64,
    /// The epoch that the member knows; empty before its first answer: it holds nothing then. A member that knows
    /// another epoch than the store's is granted nothing.
    pub epoch: String,
    /// How long ago the member's last answered call was, by its own clock.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub since: Option<Since>,
    /// The units that costs are given in, [`REQUESTS`] first.
    pub units: Vec<String>,
    /// The scopes that this call is about: those of its leaves, of its permits, and of its other messages. A scope
    /// in which the member holds permits is to be named at least every third of a lease.
    pub scopes: Vec<Scope>,
    /// Who waits, one report for each leaf and class. A leaf that was reported and has nobody left is reported
    /// once more, without heads.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub leaves: Vec<Leaf>,
    /// Requests that have ended, or were never dispatched: their permits come back.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub releases: Vec<Release>,
    /// Reservations that were not used.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub back: Vec<GiveBack>,
    /// What dispatched requests turned out to cost.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub settlements: Vec<Settlement>,
    /// Dispatches that the store does not know: those of before a new epoch, and any later than their
    /// reservation's end.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub stamps: Vec<Stamp>,
}

/// The member's own elapsed time since its last answered call. With both, a store tells a step forward
/// of its own clock from time that has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Since {
    /// Since that call was first sent.
    pub sent: Micros,
    /// Since its answer came: at least this much has passed for the store too. 0 if the answer was of an earlier epoch.
    pub heard: Micros,
}

/// A scope as the member configures it, and what the member knows and says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Scope {
    /// The same for all members; without secrets. 1 to 512 bytes.
    pub name: String,
    /// Its windows; for each unit and rank one at most.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub windows: Vec<Window>,
    /// How many permits there are, if they are limited.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub permits: Option<i64>,
    /// A lower number of permits that was learned.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub learned_permits: Option<i64>,
    /// How many grants the member holds here ([`Grant::held`]), without those that `releases` names.
    pub holds: i64,
    /// All that the member holds here, if the store asked for it or the epoch is new. It replaces what the store
    /// knows.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub keep: Option<Vec<Hold>>,
    /// The newest [`ScopeAnswer::generation`] that the member knows.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub generation: i64,
    /// Nothing is to be sent for this long. The store keeps the longest; it ignores one of an older generation.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub pause: Option<Micros>,
    /// Ends the pause, if no later generation has begun.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub resume: bool,
    /// The newest [`ScopeAnswer::version`] that the member knows.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub heard: i64,
    /// What the member has learned since its last call.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub lessons: Vec<Lesson>,
}

/// At most `n` of a unit in any interval of the period's length.
///
/// Members that disagree are served by the strictest of each: the smallest `n`, the longest period, the largest
/// margin, and at the end if it is so for one. Windows are matched by unit and rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Window {
    /// What it counts: one of `Ask::units`.
    pub unit: String,
    /// Its place among the scope's windows of this unit, by period, the shortest first; from 0.
    pub rank: i64,
    /// How many.
    pub n: i64,
    /// A smaller number that was learned.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub learned: Option<i64>,
    /// How long a unit counts.
    pub period: Micros,
    /// What is added to the period for the network's jitter.
    pub margin: Micros,
    /// A larger margin that was learned, or 0.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_zero"))]
    pub learned_margin: Micros,
    /// Whether the API counts when the answer ends: then the estimate counts until the release, and the actual
    /// cost for a period from there.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub at_end: bool,
}

/// Who waits in one queue of the member: an endpoint's requests of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Leaf {
    /// The member's own number for it.
    pub leaf: i64,
    /// Its class; a lower one goes first.
    pub class: i64,
    /// The scopes that a request of it needs, all at once: indices into `Ask::scopes`.
    pub scopes: Vec<usize>,
    /// The first that wait, in their order: those that a grant is asked for.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub heads: Vec<Head>,
    /// How long the first of them have waited, in the queue's order, the heads included; at most [`MOST_AGES`]. If
    /// more wait than are listed, the last is the age of the youngest, and is no head's.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub ages: Vec<Micros>,
    /// How many wait, the heads included.
    pub waiting: i64,
    /// What all that wait cost together, by unit. Missing: one request each, and nothing of the others.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub totals: Vec<i64>,
    /// How many permits all that wait need together. Missing: one each.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub permits: Option<i64>,
}

/// A request that asks for a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Head {
    /// The member's own number of the reservation, never used twice: the permit's name.
    pub id: i64,
    /// What it costs, by unit. Missing: one request, and nothing of the others.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub costs: Vec<i64>,
    /// How many permits it needs. Missing: one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub permits: Option<i64>,
}

/// A grant whose permits, or whose estimate of units that count at the end, the member holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Hold {
    /// The head's number.
    pub id: i64,
    /// How many permits.
    pub permits: i64,
    /// What it was estimated to cost, by unit, as in [`Head::costs`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub costs: Vec<i64>,
}

/// A request that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Release {
    /// The head's number.
    pub id: i64,
    /// Where it held something: indices into `Ask::scopes`.
    pub scopes: Vec<usize>,
    /// What it cost of the units that count at the end, by unit. Missing as a whole: as estimated, if the store still
    /// holds it. With costs it counts from now on even if the member was cut off for longer than its lease.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub costs: Option<Vec<i64>>,
}

/// A reservation that was not used: its units are free again. Its permits come back by a [`Release`] with costs of
/// zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct GiveBack {
    /// The leaf's scopes: indices into `Ask::scopes`.
    pub scopes: Vec<usize>,
    /// [`Grant::end`].
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub end: i64,
    /// The reservation's length, as it was then: [`Timing::reservation`].
    pub reservation: Micros,
    /// What was charged, as in [`Head::costs`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub costs: Vec<i64>,
}

/// A dispatched request cost more or less of one unit than was charged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Settlement {
    /// The leaf's scopes: indices into `Ask::scopes`.
    pub scopes: Vec<usize>,
    /// [`Grant::end`].
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub end: i64,
    /// Index into `Ask::units`.
    pub unit: usize,
    /// What is added to the charge; less than zero gives back.
    pub change: i64,
}

/// A dispatch, or an end, that the store is told of afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Stamp {
    /// The leaf's scopes: indices into `Ask::scopes`.
    pub scopes: Vec<usize>,
    /// How long ago it was.
    pub age: Micros,
    /// Whether it is the request's end, for windows that count there; otherwise its dispatch, for all others.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub at_end: bool,
    /// What it cost, as in [`Head::costs`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub costs: Vec<i64>,
}

/// What one member has learned of a scope and the others should hear. The last word on a subject counts, for ten
/// minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Lesson {
    /// What it is about, in the members' own words: `ceiling`, `rate`, `margin of tokens`. At most 64 bytes.
    pub subject: String,
    /// What was learned.
    pub value: i64,
}

/// What a store answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Answer {
    /// The store's epoch. If it is not the one that the member knew, the store may have forgotten what it granted:
    /// reservations in hand are void, and the member asserts its stamps and permits.
    pub epoch: String,
    /// The call was older than one that was answered: it did nothing, and this says nothing else.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub stale: bool,
    /// For how long nothing is granted, since the epoch is new.
    pub settling: Micros,
    /// One for each of `Ask::leaves`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub leaves: Vec<LeafAnswer>,
    /// One for each of `Ask::scopes`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub scopes: Vec<ScopeAnswer>,
    /// Members that may go now, and should ask. The store delivers it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub wake: Vec<String>,
    /// What all members should know at once. The store delivers it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub news: Vec<News>,
    /// Where members disagree about a scope; at most eight.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub warnings: Vec<Warning>,
}

/// What became of a leaf's report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct LeafAnswer {
    /// Reservations for the first of the heads, in their order.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub grants: Vec<Grant>,
    /// When to ask again, from receipt on, if somebody still waits. Later than that the leaf loses its place in
    /// the fleet's order until it asks.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub again: Option<Micros>,
    /// When the first head without a reservation may go: a lower bound, by windows and pauses.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub wait: Option<Micros>,
}

/// A reservation: a dispatch in `[wait, wait + reservation]` from the answer's instant on is within all windows.
///
/// The member knows that instant only as later than its first sending and earlier than the receipt: it dispatches
/// in `[receipt + wait, first sending + wait + reservation]`, and gives the reservation back if that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Grant {
    /// From the answer's instant on.
    pub wait: Micros,
    /// Its end by the store's clock: what a [`GiveBack`] or a [`Settlement`] names.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub end: i64,
    /// Where a permit or an estimate is held until the [`Release`]: indices into `Ask::scopes`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub held: Vec<usize>,
}

/// What the store knows of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct ScopeAnswer {
    /// How long it is still paused.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_zero"))]
    pub paused: Micros,
    /// Changes when a pause is ended by hand.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub generation: i64,
    /// The store does not know what the member holds here: the next call is to say it ([`Scope::keep`]).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub assert: bool,
    /// The newest lesson's version, or 0.
    #[cfg_attr(feature = "serde", serde(with = "text"))]
    pub version: i64,
    /// Lessons that are newer than [`Scope::heard`].
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub lessons: Vec<Lesson>,
}

/// What all members should know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum News {
    /// The store has a new epoch: assert what you hold, in a call now.
    Epoch(String),
    /// A scope is paused for longer than it was, or no longer.
    Pause {
        /// Which.
        scope: String,
        /// For how long from now on; zero ends a pause.
        left: Micros,
        /// As in [`ScopeAnswer::generation`].
        #[cfg_attr(feature = "serde", serde(with = "text"))]
        generation: i64,
    },
}

/// Another member is configured otherwise. The strictest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Warning {
    /// The scope's name.
    pub scope: String,
    /// What differs: `n`, `period`, `margin`, `at_end`, `window` (one of them has none), `permits`.
    pub what: String,
    /// The window's unit; empty for permits.
    pub unit: String,
    /// The window's rank.
    pub rank: i64,
    /// The asking member's value; 0 for none.
    pub mine: i64,
    /// The other's.
    pub theirs: i64,
    /// One of the members that have it so.
    pub member: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scope,
            what,
            unit,
            rank,
            mine,
            theirs,
            member,
        } = self;
        write!(f, "`{scope}`: ")?;
        match what.as_str() {
            "permits" => write!(f, "{mine} permits here, {theirs} at member {member}")?,
            "window" => write!(
                f,
                "window {rank} of {unit}: {mine} here, {theirs} at member {member} (0: has no such window)"
            )?,
            _ => write!(
                f,
                "{what} of window {rank} of {unit}: {mine} here, {theirs} at member {member}"
            )?,
        }
        f.write_str("; the stricter counts for all")
    }
}

/// What a fleet agrees on beside its limits. Members should have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timing {
    /// How long a reservation lasts. A window of period P is used up to P / (P + reservation + margin).
    pub reservation: Micros,
    /// How long before its slot a request gets its reservation.
    pub ahead: Micros,
    /// How long permits are held for a member that does not call.
    pub lease: Micros,
    /// How long nothing is granted in a new epoch, at least.
    pub settle_least: Micros,
    /// And at most, whatever the windows.
    pub settle_most: Micros,
}

impl Timing {
    /// For a store that cannot forget: a reservation of 10 ms, 30 ms ahead, leases of 5 s, nothing to settle.
    pub const LASTING: Self = Self {
        reservation: 10_000,
        ahead: 30_000,
        lease: 5_000_000,
        settle_least: 0,
        settle_most: 0,
    };
    /// For a store that may forget: after it did, it waits for two seconds (a third of a lease, in which each
    /// member calls, and a time-out) to five.
    pub const FORGETFUL: Self = Self {
        settle_least: 2_000_000,
        settle_most: 5_000_000,
        ..Self::LASTING
    };
}

#[cfg(feature = "serde")]
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Integers above 10^14 as text: Redis's JSON writes numbers with 14 digits.
#[cfg(feature = "serde")]
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub(super) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format_args!("`{text}` is no whole number")))
    }
}
