//! The engine as it should be: plain lists, no timers, no wakers, everything counted afresh.
//!
//! Where one call concerns many buckets, the laws leave it open which is served first: all partitions of
//! an endpoint that gets another quota, and those whose turn is too late by then. So what happens next is
//! not one state but a set of them, and what the real layer does rules out all but some.

mod absence;
mod closing;
mod contest;
mod costs;
mod events;
mod keys;
mod order;
mod room;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use tower_throttle::RefusedReason;

pub use costs::Estimates;
use costs::{Account, Charge, Class, Demand};
use order::Flows;

use crate::{
    config::{Bucket, Config, Limit, Millis},
    costs::{Stated, Unit},
    order::{Asked, BORDERS, Priority},
};

/// What a snapshot says of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub waiting: usize,
    pub in_flight: usize,
    pub admitted: u64,
    pub refused: u64,
    pub throttled: u64,
    pub concurrency: Option<usize>,
    pub paused_for: Option<Millis>,
    /// How much is used of the windows of each unit, in the order of the units.
    pub used: Vec<(Unit, Vec<u64>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub endpoint: &'static str,
    pub scope: &'static str,
    pub reason: RefusedReason,
    pub retry_after: Option<Millis>,
}

/// What a poll of a response future comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pending,
    Refused(Refusal),
    /// An error of the inner service.
    Failed,
    Panicked,
    /// And what its `Settlement` says, if it has one.
    Head(Option<Estimates>),
}

/// What a poll, or a call, does: whether the inner service is called meanwhile, and what comes of it.
pub type Step = (bool, Outcome);

#[derive(Clone, Debug, PartialEq)]
struct Scope {
    limit: Limit,
    paused_until: Millis,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    /// All dispatches. Of those that are forgotten only the last one's time is known.
    stamps: Vec<Millis>,
    forgotten: usize,
    admitted: u64,
    refused: u64,
    accounts: BTreeMap<Unit, Account>,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a model names what is the case"
)]
struct Request {
    leaf: Bucket,
    /// The buckets that it needs, from its leaf to the widest.
    path: Vec<Bucket>,
    stated: Stated,
    asked: Asked,
    /// What it took when it was admitted last.
    taken: Demand,
    stage: Stage,
    /// Its future has had its turn, and sees to the inner service until that is ready.
    readying: bool,
    /// It holds an instance of the inner service that is ready.
    is_ready: bool,
    /// The order of entry.
    age: Option<u64>,
    since: Option<Millis>,
    /// Tells those apart to whom the same happens at one instant.
    number: Option<usize>,
    /// When its turn was offered last: to take its places, or to go with them.
    offered: Millis,
    /// How many had been admitted when it was.
    serial: u64,
    /// When it is absent, if nothing is heard of it before.
    absent_at: Option<Millis>,
    /// For each bucket that stood for it in its parent when it was offered its turn or became absent: its
    /// place there, to which it comes back once.
    kept: BTreeMap<Bucket, usize>,
    /// Whether it has ever been absent.
    was_absent: bool,
    /// Whether it had its places, lost them to a pause or a quota, and has not been absent since.
    was_called_back: bool,
    /// At which borders between classes what it has counts as given out.
    counted: [bool; BORDERS],
    /// Whether what it has counts as given to its flow.
    was_served: bool,
    /// It was sent, and its answer has ended.
    is_over: bool,
    deadline: Option<Millis>,
    panics: bool,
    connect: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Nobody has polled it.
    Made,
    Queued,
    /// It did not take its turn: it waits, and stands in no queue until it is polled.
    Absent,
    /// It has its places, and nobody has polled it since.
    Offered(Places),
    /// It has its places, and waits for the inner service.
    Reserved(Places),
    /// Refused, and nobody has polled it since.
    Refused(Refusal),
    Sent {
        /// Where it holds a permit.
        permits: BTreeSet<Bucket>,
        at_head: BTreeSet<Bucket>,
        /// Whether its bucket has to stay, because it may come back to it.
        pin: bool,
    },
}

/// A bucket has one seat in its parent for each class and for each kind of needs.
type Seat = (Bucket, Priority, Class);

/// Of its permits, those that will end with the response head.
type Places = BTreeSet<Bucket>;

#[derive(Clone, Debug, PartialEq)]
pub struct Model<'a> {
    config: &'a Config,
    pub now: Millis,
    scopes: Vec<Scope>,
    buckets: BTreeMap<Bucket, Counts>,
    requests: BTreeMap<usize, Request>,
    /// What was dispatched and may be settled.
    charges: BTreeMap<usize, Charge>,
    /// For each seat that a bucket has in its parent: the request it stands for, and its place in the order of
    /// arrival there.
    seats: BTreeMap<Seat, (usize, usize)>,
    /// What those below each border between classes are owed, where a floor is kept and somebody waits.
    floors: BTreeMap<Bucket, [i128; BORDERS]>,
    /// Of the leaves at which somebody waits that has a flow, or did since anybody has waited there.
    flows: BTreeMap<Bucket, Flows>,
    /// Buckets that have changed at this very instant, and whose turn to be looked at has yet to come.
    unnoticed: BTreeSet<Bucket>,
    /// Who was offered places and did not take them in time: since when, and in which order.
    overdue: BTreeSet<(Millis, usize, usize)>,
    entered: u64,
    /// The numbers of those who wait: the last that became free is given out first.
    numbers: usize,
    free_numbers: Vec<usize>,
    /// How many have been admitted, and how many had been when a quota was set last.
    admissions: u64,
    changed: u64,
    /// Leaves whose first was refused early: those behind it may have no better prospects.
    to_recheck: Vec<Bucket>,
    is_closed: bool,
    /// How many were served at one instant.
    served: usize,
    /// The laws do not say in which order what was done at one instant was done.
    pub is_vague: bool,
    /// What has happened against the laws.
    pub broken: Vec<String>,
}

impl<'a> Model<'a> {
    pub fn new(config: &'a Config) -> Self {
        let scope = |limit| Scope {
            limit,
            paused_until: 0,
        };
        let buckets = config.fixed().into_iter();
        Self {
            config,
            now: 0,
            scopes: config.limits().into_iter().map(scope).collect(),
            buckets: buckets.map(|bucket| (bucket, Counts::default())).collect(),
            requests: BTreeMap::new(),
            charges: BTreeMap::new(),
            seats: BTreeMap::new(),
            floors: BTreeMap::new(),
            flows: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            overdue: BTreeSet::new(),
            entered: 0,
            numbers: 0,
            free_numbers: Vec::new(),
            admissions: 0,
            changed: 0,
            to_recheck: Vec::new(),
            is_closed: false,
            served: 0,
            is_vague: false,
            broken: Vec::new(),
        }
    }

    /// Nothing has been done yet at once.
    pub fn rested(mut self) -> Self {
        self.served = 0;
        self
    }

    pub fn figures(&self) -> BTreeMap<Bucket, Figures> {
        self.buckets
            .iter()
            .map(|(&bucket, counts)| {
                let scope = &self.scopes[bucket.scope];
                let paused = scope.paused_until.saturating_sub(self.now);
                let figures = Figures {
                    waiting: self.waiting(bucket),
                    in_flight: self.in_flight(bucket),
                    admitted: counts.admitted,
                    refused: counts.refused,
                    throttled: 0,
                    concurrency: scope.limit.concurrency,
                    paused_for: (paused > 0).then_some(paused),
                    used: self.used_units(bucket),
                };
                (bucket, figures)
            })
            .collect()
    }

    fn path(&self, leaf: Bucket) -> Vec<Bucket> {
        std::iter::successors(Some(leaf), |&bucket| self.config.parent(bucket)).collect()
    }

    /// The requests in a stage at a bucket or below it.
    fn at(&self, bucket: Bucket, stage: impl Fn(&Stage) -> bool) -> Vec<usize> {
        self.requests
            .iter()
            .filter(|(_, request)| request.path.contains(&bucket) && stage(&request.stage))
            .map(|(&id, _)| id)
            .collect()
    }

    fn waiting(&self, bucket: Bucket) -> usize {
        self.at(bucket, |stage| {
            matches!(stage, Stage::Queued | Stage::Absent)
        })
        .len()
    }

    fn is_paused(&self, leaf: Bucket) -> bool {
        self.path(leaf)
            .iter()
            .any(|bucket| self.scopes[bucket.scope].paused_until > self.now)
    }

    /// The requests that are not done, in any stage.
    pub fn live(&self) -> usize {
        self.requests.len() + self.charges.len()
    }

    /// How many instances of the inner service are kept ready by those who wait.
    pub fn kept_ready(&self) -> usize {
        let kept = |request: &&Request| request.is_ready;
        self.requests.values().filter(kept).count()
    }
}
