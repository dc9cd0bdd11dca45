//! The engine as it should be: plain lists, no timers, no wakers, everything counted afresh.
//!
//! Where two things happen at one instant, the laws leave it open which is noticed first: two endpoints
//! whose windows open in the same millisecond reach the overall limit in either order. So what happens
//! next is not one state but a set of them, and what the real layer does rules out all but some.

mod contest;
mod events;
mod keys;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use tower_throttle::RefusedReason;

use crate::{
    config::{Bucket, Config, Limit, Millis},
    support::Face,
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
    Head,
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
}

#[derive(Clone, Debug, PartialEq)]
struct Request {
    leaf: Bucket,
    /// The buckets that it needs, from its leaf to the widest.
    path: Vec<Bucket>,
    stage: Stage,
    /// The order of entry.
    age: Option<u64>,
    since: Option<Millis>,
    deadline: Option<Millis>,
    panics: bool,
    connect: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Nobody has polled it.
    Made,
    Queued,
    /// It has its places, and nobody has polled it since.
    Granted(Places),
    /// It has its places, and waits for the inner service.
    Readying(Places),
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

/// Of its permits, those that will end with the response head.
type Places = BTreeSet<Bucket>;

#[derive(Clone, Debug, PartialEq)]
pub struct Model<'a> {
    config: &'a Config,
    pub now: Millis,
    scopes: Vec<Scope>,
    buckets: BTreeMap<Bucket, Counts>,
    requests: BTreeMap<usize, Request>,
    /// For each bucket that competes in its parent: the request it stands for, and its place in the
    /// order of arrival there.
    seats: BTreeMap<Bucket, (usize, usize)>,
    /// Buckets that have changed at this very instant, of which nobody may have noticed yet, and whether
    /// they were open before.
    unnoticed: BTreeMap<Bucket, bool>,
    entered: u64,
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
            seats: BTreeMap::new(),
            unnoticed: BTreeMap::new(),
            entered: 0,
        }
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
        self.at(bucket, |stage| matches!(stage, Stage::Queued))
            .len()
    }

    fn places(&self, bucket: Bucket) -> usize {
        let has_places = |stage: &Stage| matches!(stage, Stage::Granted(_) | Stage::Readying(_));
        self.at(bucket, has_places).len()
    }

    fn in_flight(&self, bucket: Bucket) -> usize {
        if self.config.face == Face::Rps {
            return 0;
        }
        let holds = |stage: &Stage| match stage {
            Stage::Granted(_) | Stage::Readying(_) => true,
            Stage::Sent { permits, .. } => permits.contains(&bucket),
            _ => false,
        };
        self.at(bucket, holds).len()
    }

    /// The times of the dispatches that a window counts, as far as they are known.
    fn known(&self, bucket: Bucket) -> Vec<Millis> {
        let counts = &self.buckets[&bucket];
        let mut stamps = counts.stamps.clone();
        if let Some(last) = counts.forgotten.checked_sub(1) {
            let last = stamps[last];
            stamps[..counts.forgotten].fill(last);
        }
        stamps
    }

    fn is_paused(&self, leaf: Bucket) -> bool {
        self.path(leaf)
            .iter()
            .any(|bucket| self.scopes[bucket.scope].paused_until > self.now)
    }

    /// Whether one more fits into a bucket.
    fn has_room(&self, bucket: Bucket) -> bool {
        let Scope {
            limit,
            paused_until,
        } = &self.scopes[bucket.scope];
        let in_flight = self.in_flight(bucket);
        let places = self.places(bucket);
        let known = self.known(bucket);
        *paused_until <= self.now
            && limit.concurrency.is_none_or(|n| in_flight < n)
            && limit.windows.iter().all(|&(n, period)| {
                let recent = known.iter().filter(|&&stamp| self.now - stamp < period);
                recent.count() + places < n as usize
            })
    }

    fn is_open(&self, bucket: Bucket) -> bool {
        let believed = self.unnoticed.get(&bucket).copied();
        believed.unwrap_or_else(|| self.has_room(bucket))
    }

    /// The requests that are not done, in any stage.
    pub fn live(&self) -> usize {
        self.requests.len()
    }
}
