//! Law L14, naively: what every request counts for at every instant, and who may go, must go, or must not.
//!
//! Where the contract leaves something open (the order within one instant, an average's rounding, the instant from
//! which a second settlement counts) the ledger knows a range. Nothing may be sent that does not fit with the least
//! that can count, and nobody may wait who fits with the most.

use std::fmt::Write as _;

use std::collections::{BTreeMap, BTreeSet};

use tower_throttle::{Cost, Endpoints, Quota, Unit, WindowUse};

use crate::support::{Face, ms};

pub const UNITS: [Unit; 3] = [Unit::REQUESTS, Unit::TOKENS, Unit::OUTPUT_TOKENS];
pub const REQUESTS: usize = 0;
pub const TOKENS: usize = 1;
pub const OUTPUT: usize = 2;
/// What permits are among the units.
const PERMITS: usize = 3;

/// Numbers of endpoints, and those of the wider scopes after them.
pub const ENDPOINTS: usize = 3;
pub const PATHS: [&str; ENDPOINTS] = ["/a", "/b", "/c"];
pub const GROUP: usize = ENDPOINTS;
pub const OVERALL: usize = ENDPOINTS + 1;
pub const ACROSS: usize = ENDPOINTS + 2;
pub const SCOPES: usize = ENDPOINTS + 3;

pub fn name(scope: usize) -> &'static str {
    match scope {
        GROUP => "group",
        OVERALL => Endpoints::OVERALL,
        _ => PATHS[scope],
    }
}

/// A limit as the test knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limit {
    /// The unit's place in `UNITS`, n, milliseconds.
    pub windows: Vec<(usize, u64, u64)>,
    pub permits: Option<usize>,
    pub margin: u64,
    pub grace: u64,
    pub until_head: bool,
}

impl Limit {
    pub fn quota(&self) -> Quota {
        let mut quota = Quota::unlimited();
        for &(unit, n, period) in &self.windows {
            quota = quota.units(UNITS[unit], n, ms(period));
        }
        if let Some(n) = self.permits {
            quota = quota.concurrency(n);
        }
        if self.margin > 0 {
            quota = quota.margin(ms(self.margin));
        }
        if self.grace > 0 {
            quota = quota.grace(ms(self.grace));
        }
        if self.until_head {
            quota = quota.release_at_head();
        }
        quota
    }

    /// What a face enforces of it.
    fn under(&self, face: Face) -> Self {
        let mut limit = self.clone();
        match face {
            Face::Rps => (limit.permits, limit.grace) = (None, 0),
            Face::Concurrency => limit.windows.clear(),
            Face::Throttle => {}
        }
        limit
    }

    pub fn longest(&self, unit: usize) -> Option<u64> {
        let of_unit = self.windows.iter().filter(|(of, ..)| *of == unit);
        of_unit.map(|(_, _, period)| period + self.margin).max()
    }
}

/// The limits of a layer. Two endpoints are in the group.
#[derive(Clone, Debug)]
pub struct Config {
    pub face: Face,
    pub endpoints: Vec<Limit>,
    pub group: Option<Limit>,
    pub overall: Option<Limit>,
    pub across: Option<Limit>,
    pub partitions: bool,
}

impl Config {
    pub fn build(&self) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for (path, limit) in PATHS.iter().zip(&self.endpoints) {
            endpoints = endpoints.route(path, limit.quota());
        }
        if let Some(limit) = &self.group {
            endpoints = endpoints.group("group", limit.quota(), [PATHS[0], PATHS[1]]);
        }
        if let Some(limit) = &self.overall {
            endpoints = endpoints.overall(limit.quota());
        }
        if self.partitions {
            endpoints = endpoints.partition_by_header("x-key");
            if let Some(limit) = &self.across {
                endpoints = endpoints.across_partitions(limit.quota());
            }
        }
        endpoints
    }

    /// The buckets of a request, from the narrowest.
    pub fn buckets(&self, endpoint: usize, partition: usize) -> Vec<Bucket> {
        let partition = if self.partitions { partition } else { 0 };
        let mut buckets = vec![(endpoint, partition)];
        if self.group.is_some() && endpoint < 2 {
            buckets.push((GROUP, partition));
        }
        if self.overall.is_some() {
            buckets.push((OVERALL, partition));
        }
        if self.partitions && self.across.is_some() {
            buckets.push((ACROSS, 0));
        }
        buckets
    }

    fn limits(&self) -> Vec<Limit> {
        let mut limits = self.endpoints.clone();
        limits.resize(ENDPOINTS, Limit::default());
        limits
            .into_iter()
            .chain(
                [&self.group, &self.overall, &self.across]
                    .map(|limit| limit.clone().unwrap_or_default()),
            )
            .map(|limit| limit.under(self.face))
            .collect()
    }

    /// Whether no request has more than one wider scope, so that it is clear when it comes to the contest.
    fn has_clear_contest(&self) -> bool {
        !(self.partitions || self.group.is_some() && self.overall.is_some())
    }
}

/// A scope and a partition.
pub type Bucket = (usize, usize);

/// At least, at most.
pub type Range = (u128, u128);

fn hull(a: Range, b: Range) -> Range {
    (a.0.min(b.0), a.1.max(b.1))
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Waiting,
    Sent,
    /// It left, or was refused, without having been sent.
    Gone,
}

/// A request, as the ledger knows it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub endpoint: usize,
    pub buckets: Vec<Bucket>,
    /// What it states; one request if it says nothing of them.
    pub stated: [Option<u64>; 3],
    pub permits: usize,
    pub phase: Phase,
    /// When it was sent.
    pub at: u64,
    /// What it costs of each unit: what can be known while it waits, and what is known then.
    pub cost: [Range; 3],
    /// Units that count at the end: from when on they do, at the earliest and at the latest.
    counts_from: [Option<(u64, u64)>; 3],
    /// When its permit ended, and whether somebody dropped it.
    permit_ended: Option<(u64, bool)>,
    /// For a longer window after a shorter one: as when a request can count that the shorter could not see any more.
    seen_as: BTreeMap<(usize, usize), u64>,
    /// Since which step it is in the contest, at the earliest, and without a doubt.
    in_contest: Option<u64>,
    surely_in_contest: Option<u64>,
    pub answered: bool,
    pub succeeded: bool,
    hand: [Option<u64>; 3],
}

pub struct Ledger {
    config: Config,
    limits: Vec<Limit>,
    pub entries: Vec<Entry>,
    pub now: u64,
    step: u64,
    /// Whether a quota has changed.
    resized: bool,
    /// Until when each scope is paused.
    paused_until: [u64; SCOPES],
    /// Who was passed in this step though it could have gone, and by whom.
    passed: Vec<(usize, usize)>,
    /// Per endpoint and unit: what was settled, and whether it is beyond doubt that it was a success.
    settled: Vec<[(Option<Range>, bool); 3]>,
}

impl Ledger {
    pub fn new(config: &Config) -> Self {
        Self {
            limits: config.limits(),
            config: config.clone(),
            entries: Vec::new(),
            now: 0,
            step: 0,
            resized: false,
            paused_until: [0; SCOPES],
            passed: Vec::new(),
            settled: vec![[(None, false); 3]; ENDPOINTS],
        }
    }

    pub fn limit(&self, scope: usize) -> &Limit {
        &self.limits[scope]
    }

    /// Whether one of these buckets counts a unit.
    fn counts(&self, buckets: &[Bucket], unit: usize) -> bool {
        let mut limits = buckets.iter().map(|(scope, _)| &self.limits[*scope]);
        limits.any(|limit| limit.longest(unit).is_some())
    }

    pub fn counts_more_than_requests(&self, id: usize) -> bool {
        let buckets = &self.entries[id].buckets;
        self.counts(buckets, TOKENS) || self.counts(buckets, OUTPUT)
    }

    /// What a request costs now that says nothing of a unit.
    fn estimate(&self, endpoint: usize, buckets: &[Bucket], unit: usize) -> Range {
        let (settled, surely) = self.settled[endpoint][unit];
        let limits = buckets.iter().map(|(scope, _)| &self.limits[*scope]);
        let windows = limits
            .flat_map(|limit| &limit.windows)
            .filter(|(of, ..)| *of == unit)
            .map(|&(_, n, _)| u128::from(n));
        let eighth = windows.clone().map(|n| (n / 8, n.div_ceil(8))).reduce(hull);
        let estimate = match (settled, surely && !self.config.partitions) {
            (Some(settled), true) => settled,
            (settled, _) => [settled, eighth]
                .into_iter()
                .flatten()
                .reduce(hull)
                .unwrap_or((0, 0)),
        };
        // More than n can be taken for n, since either can go alone only.
        let n = windows.min().unwrap_or(0);
        (estimate.0.min(n), estimate.1)
    }

    /// A request comes. Gives its number, and whether it can never fit.
    pub fn enter(&mut self, endpoint: usize, partition: usize, cost: &Cost) -> (usize, bool) {
        let buckets = self.config.buckets(endpoint, partition);
        let mut stated = UNITS.map(|unit| cost.get(unit));
        stated[REQUESTS].get_or_insert(1);
        let mut known = [(0, 0); 3];
        for unit in 0..3 {
            known[unit] = match stated[unit] {
                Some(n) => (u128::from(n), u128::from(n)),
                None => self.estimate(endpoint, &buckets, unit),
            };
        }
        let id = self.entries.len();
        self.entries.push(Entry {
            endpoint,
            buckets,
            stated,
            permits: cost.get_permits().unwrap_or(1),
            phase: Phase::Waiting,
            at: 0,
            cost: known,
            counts_from: [None; 3],
            permit_ended: None,
            seen_as: BTreeMap::new(),
            in_contest: None,
            surely_in_contest: None,
            answered: false,
            succeeded: false,
            hand: [None; 3],
        });
        let never = self.never_fits(id);
        if never {
            self.entries[id].phase = Phase::Gone;
        }
        (id, never)
    }

    /// Whether it states more than a configured n or permits.
    fn never_fits(&self, id: usize) -> bool {
        let entry = &self.entries[id];
        entry.buckets.iter().any(|(scope, _)| {
            let limit = &self.limits[*scope];
            let windows = limit.windows.iter();
            let mut over =
                windows.filter(|(unit, n, _)| entry.stated[*unit].is_some_and(|cost| cost > *n));
            over.next().is_some() || limit.permits.is_some_and(|n| entry.permits > n)
        })
    }

    /// The heads of all queues.
    fn heads(&self) -> Vec<usize> {
        let mut queues = BTreeSet::new();
        let waiting = self.entries.iter().enumerate();
        waiting
            .filter(|(_, entry)| entry.phase == Phase::Waiting)
            .filter(|(_, entry)| queues.insert(entry.buckets[0]))
            .map(|(id, _)| id)
            .collect()
    }

    /// What is used of a window of a bucket, at least and at most.
    fn used(&self, bucket: Bucket, unit: usize, period: u64) -> Range {
        let mut used = (0, 0);
        for entry in &self.entries {
            if entry.phase != Phase::Sent || !entry.buckets.contains(&bucket) {
                continue;
            }
            let (first, last) = if UNITS[unit].is_at_end() {
                entry.counts_from[unit].unwrap_or((self.now, self.now))
            } else {
                (entry.at, entry.at)
            };
            let seen_as = entry.seen_as.get(&(bucket.0, unit)).copied();
            if self.now < first + period {
                used.0 += entry.cost[unit].0;
            }
            if self.now < seen_as.unwrap_or(0).max(last) + period {
                used.1 += entry.cost[unit].1;
            }
        }
        used
    }

    fn permits_held(&self, bucket: Bucket) -> usize {
        let grace = self.limits[bucket.0].grace;
        let entries = self.entries.iter();
        let held = entries.filter(|entry| {
            entry.phase == Phase::Sent
                && entry.buckets.contains(&bucket)
                && !(self.limits[bucket.0].until_head && entry.answered)
                && match entry.permit_ended {
                    None => true,
                    Some((at, true)) => self.now < at + grace,
                    Some((_, false)) => false,
                }
        });
        held.map(|entry| entry.permits).sum()
    }

    /// Of what a bucket has no room for a request: without a doubt, and perhaps.
    fn lacks(&self, id: usize, bucket: Bucket) -> ([bool; 4], [bool; 4]) {
        let entry = &self.entries[id];
        let limit = &self.limits[bucket.0];
        let (mut surely, mut perhaps) = ([false; 4], [false; 4]);
        for &(unit, n, period) in &limit.windows {
            let used = self.used(bucket, unit, period + limit.margin);
            let cost = entry.cost[unit];
            // An estimate of more than n can only go alone.
            let estimated = entry.stated[unit].is_none();
            let lacks = |used: u128, cost: u128| {
                cost > 0 && used + cost > u128::from(n) && !(estimated && used == 0)
            };
            surely[unit] |= lacks(used.0, cost.0);
            perhaps[unit] |= lacks(used.1, cost.1);
        }
        let no_permit = entry.permits > 0
            && limit
                .permits
                .is_some_and(|n| self.permits_held(bucket) + entry.permits > n);
        surely[PERMITS] = no_permit;
        perhaps[PERMITS] = no_permit;
        (surely, perhaps)
    }

    fn is_paused(&self, bucket: Bucket) -> bool {
        self.now < self.paused_until[bucket.0]
    }

    pub fn pause(&mut self, scope: usize, time: u64) {
        let until = &mut self.paused_until[scope];
        *until = (self.now + time).max(*until);
    }

    pub fn resume(&mut self, scope: usize) {
        self.paused_until[scope] = 0;
    }

    fn may_fit(&self, id: usize, buckets: &[Bucket]) -> bool {
        let mut buckets = buckets.iter();
        buckets.all(|bucket| !self.is_paused(*bucket) && self.lacks(id, *bucket).0 == [false; 4])
    }

    fn fits(&self, id: usize, buckets: &[Bucket]) -> bool {
        let mut buckets = buckets.iter();
        buckets.all(|bucket| !self.is_paused(*bucket) && self.lacks(id, *bucket).1 == [false; 4])
    }

    /// Whether a request costs something of a unit: without a doubt, and perhaps.
    fn costs(&self, id: usize, unit: usize) -> (bool, bool) {
        let entry = &self.entries[id];
        if unit == PERMITS {
            return (entry.permits > 0, entry.permits > 0);
        }
        (entry.cost[unit].0 > 0, entry.cost[unit].1 > 0)
    }

    /// It is not said when the estimate of a request that waits is made.
    fn estimate_anew(&mut self, id: usize) {
        for unit in TOKENS..=OUTPUT {
            let entry = &self.entries[id];
            if entry.stated[unit].is_none() {
                let estimate = self.estimate(entry.endpoint, &entry.buckets, unit);
                let cost = &mut self.entries[id].cost[unit];
                *cost = hull(*cost, estimate);
            }
        }
    }

    /// A request is sent: was it its turn, and is there room?
    pub fn send(&mut self, id: usize) {
        self.estimate_anew(id);
        let entry = &self.entries[id];
        assert_eq!(
            entry.phase,
            Phase::Waiting,
            "{id} is sent, which does not wait: {}",
            self.tell()
        );
        let queue = entry.buckets[0];
        let head = self
            .heads()
            .into_iter()
            .find(|head| self.entries[*head].buckets[0] == queue);
        assert_eq!(
            head,
            Some(id),
            "L14: within an endpoint nobody passes a head, but {id} is sent: {}",
            self.tell()
        );
        for bucket in &entry.buckets {
            assert!(
                !self.is_paused(*bucket),
                "L7: {id} is sent in a pause: {}",
                self.tell()
            );
            let (surely, _) = self.lacks(id, *bucket);
            assert_eq!(
                surely,
                [false; 4],
                "L14: {id} is sent too early, there is no room for it in {bucket:?}: {}",
                self.tell()
            );
        }
        if self.config.has_clear_contest() {
            self.check_nobody_is_passed(id);
        }
        let now = self.now;
        let entry = &mut self.entries[id];
        entry.phase = Phase::Sent;
        entry.at = now;
    }

    /// After all that happens at once: is everybody gone who could go, and was nobody passed?
    pub fn end_of_step(&mut self) {
        for id in 0..self.entries.len() {
            if self.entries[id].phase == Phase::Waiting {
                self.estimate_anew(id);
            }
        }
        let heads = self.heads();
        for &head in &heads {
            let narrow = self.entries[head].buckets[0];
            let may = self.may_fit(head, &[narrow]);
            let does = self.fits(head, &[narrow]);
            let step = self.step;
            let entry = &mut self.entries[head];
            if may {
                entry.in_contest.get_or_insert(step);
            }
            if does {
                entry.surely_in_contest.get_or_insert(step);
            } else {
                entry.surely_in_contest = None;
            }
        }
        self.check_nobody_waits_in_vain(&heads);
        for (front, id) in std::mem::take(&mut self.passed) {
            assert!(
                self.entries[front].phase != Phase::Waiting,
                "L3: {id} took what {front} could have had: {}",
                self.tell()
            );
        }
        self.step += 1;
    }

    /// L2: a head that fits everywhere waits only behind another that waits for what both need.
    fn check_nobody_waits_in_vain(&self, heads: &[usize]) {
        let clear = self.config.has_clear_contest();
        for &id in heads {
            let entry = &self.entries[id];
            if !self.fits(id, &entry.buckets) {
                continue;
            }
            let excused = entry.buckets[1..].iter().any(|wide| {
                heads.iter().any(|&other| {
                    let front = &self.entries[other];
                    // Who waits in a narrower scope is in nobody's way.
                    let narrower = front.buckets.split(|bucket| bucket == wide).next();
                    if !self.may_fit(other, narrower.unwrap_or(&[])) {
                        return false;
                    }
                    let in_front = !clear
                        || match (front.in_contest, entry.surely_in_contest) {
                            (Some(front), Some(mine)) => front <= mine,
                            (front, _) => front.is_some(),
                        };
                    other != id
                        && front.buckets.contains(wide)
                        && in_front
                        && (0..4)
                            .any(|unit| self.lacks(other, *wide).1[unit] && self.costs(id, unit).1)
                })
            });
            assert!(
                excused,
                "L2: {id} could have been sent at {}: {}",
                self.now,
                self.tell()
            );
        }
    }

    /// L14: at a wider scope nobody is passed in a unit that he waits for. Notes whom it has passed who could have gone.
    fn check_nobody_is_passed(&mut self, id: usize) {
        let entry = &self.entries[id];
        let mine = entry.in_contest.unwrap_or(self.step);
        let mut passed = Vec::new();
        for wide in &entry.buckets[1..] {
            for other in self.heads() {
                let front = &self.entries[other];
                let in_front = front.surely_in_contest.is_some_and(|front| front < mine)
                    && self.fits(other, &front.buckets[..1]);
                if other == id || !front.buckets.contains(wide) || !in_front {
                    continue;
                }
                let lacks = self.lacks(other, *wide).0;
                for (unit, lacks) in lacks.into_iter().enumerate() {
                    assert!(
                        !(lacks && self.costs(id, unit).0),
                        "L14: {id} passes {other}, which waits at {wide:?} for unit {unit}: {}",
                        self.tell()
                    );
                }
                let share = (0..4).any(|unit| self.costs(id, unit).0 && self.costs(other, unit).0);
                let held_up = self.heads().into_iter().any(|third| {
                    let lacks = self.lacks(third, *wide).1;
                    third != other && (0..4).any(|unit| lacks[unit] && self.costs(other, unit).1)
                });
                if share && !held_up && self.fits(other, &front.buckets) {
                    passed.push((other, id));
                }
            }
        }
        self.passed.extend(passed);
    }

    /// A snapshot's numbers.
    pub fn check_window(&self, scope: usize, seen: &WindowUse) {
        let window = seen.window();
        let unit = UNITS.iter().position(|unit| *unit == window.unit());
        let unit = unit.expect("it is one of ours");
        let period = u64::try_from(window.period().as_millis()).unwrap();
        let mut used = self.used((scope, 0), unit, period + self.limits[scope].margin);
        if self.resized {
            // What the window before could not see is not shown. It counts all the same.
            used.0 = 0;
        }
        let said = u128::from(seen.used());
        let capped = |n: u128| n.min(u128::from(u64::MAX));
        assert!(
            capped(used.0) <= said && said <= capped(used.1),
            "{said} are said to be used of {window:?} in {}, but it is {used:?}: {}",
            name(scope),
            self.tell()
        );
        assert_eq!(seen.left_free(), 0);
    }

    pub fn waiting_in(&self, scope: usize) -> usize {
        let entries = self.entries.iter();
        entries
            .filter(|e| e.phase == Phase::Waiting && e.buckets.contains(&(scope, 0)))
            .count()
    }

    // What happens to requests.

    /// A request that waits leaves; whoever is behind it takes its place.
    pub fn leave(&mut self, id: usize) {
        let queue = self.entries[id].buckets[0];
        let was = self.entries[id].in_contest;
        self.entries[id].phase = Phase::Gone;
        let next = self
            .heads()
            .into_iter()
            .find(|head| self.entries[*head].buckets[0] == queue);
        if let Some(next) = next {
            let place = &mut self.entries[next].in_contest;
            *place = match (*place, was) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }

    /// What a request was estimated at becomes known.
    pub fn estimated(&mut self, id: usize, estimate: &Cost) {
        for unit in TOKENS..=OUTPUT {
            let entry = &self.entries[id];
            if !self.counts(&entry.buckets, unit) {
                continue;
            }
            let said = estimate.get(UNITS[unit]).map(u128::from);
            let within = entry.cost[unit];
            let said = said.unwrap_or_else(|| panic!("{id} has no estimate of {unit}"));
            assert!(
                within.0 <= said && said <= within.1,
                "{id} is estimated at {said} of unit {unit}, not {within:?}: {}",
                self.tell()
            );
            self.entries[id].cost[unit] = (said, said);
        }
    }

    /// The answer has ended, or failed, or somebody dropped it. `kept`: a settlement of it is.
    pub fn end(&mut self, id: usize, dropped: bool, kept: bool) {
        let now = self.now;
        self.entries[id].permit_ended = Some((now, dropped));
        if !kept {
            self.nobody_settles(id);
        }
        let entry = &self.entries[id];
        if entry.succeeded && !dropped {
            let (endpoint, hand) = (entry.endpoint, entry.hand);
            for unit in 0..3 {
                if hand[unit].is_some() {
                    self.settled[endpoint][unit].1 = true;
                }
            }
        }
    }

    /// The answer has ended, and its settlement is dropped.
    pub fn nobody_settles(&mut self, id: usize) {
        let now = self.now;
        let entry = &self.entries[id];
        let Some((ended, dropped)) = entry.permit_ended else {
            return;
        };
        let graces = entry
            .buckets
            .iter()
            .map(|(scope, _)| self.limits[*scope].grace);
        let grace = if dropped {
            graces.max().unwrap_or(0)
        } else {
            0
        };
        let entry = &mut self.entries[id];
        for from in &mut entry.counts_from {
            from.get_or_insert((now, now.max(ended + grace)));
        }
    }

    /// Its cost of a unit is now this.
    fn settled_at(&mut self, id: usize, unit: usize, n: u64) {
        let now = self.now;
        let entry = &mut self.entries[id];
        entry.cost[unit] = (u128::from(n), u128::from(n));
        match &mut entry.counts_from[unit] {
            // Whether it counts for as long again is not said.
            Some(from) => from.1 = now,
            none => *none = Some((now, now)),
        }
    }

    /// Settled by hand.
    pub fn settle(&mut self, id: usize, actual: &Cost) {
        for unit in TOKENS..=OUTPUT {
            let entry = &self.entries[id];
            let Some(n) = actual.get(UNITS[unit]) else {
                continue;
            };
            if !self.counts(&entry.buckets, unit) {
                continue;
            }
            let (endpoint, succeeded) = (entry.endpoint, entry.succeeded);
            let over = entry.permit_ended.is_some_and(|(_, dropped)| !dropped);
            if !succeeded {
                self.settled_at(id, unit, n);
                continue;
            }
            let value = (u128::from(n), u128::from(n));
            let known = &mut self.settled[endpoint][unit];
            known.0 = Some(known.0.map_or(value, |known| hull(known, value)));
            known.1 |= over;
            self.settled_at(id, unit, n);
            self.entries[id].hand[unit] = Some(n);
        }
        // Waiting requests go by the average as it is now.
        for id in 0..self.entries.len() {
            if self.entries[id].phase == Phase::Waiting {
                self.estimate_anew(id);
            }
        }
    }

    /// A client's error costs nothing but a request.
    pub fn settle_to_nothing(&mut self, id: usize) {
        for unit in TOKENS..=OUTPUT {
            self.settled_at(id, unit, 0);
        }
    }

    /// A new quota. Gives those that can never fit any more.
    pub fn set_quota(&mut self, scope: usize, limit: &Limit) -> Vec<usize> {
        let now = self.now;
        let limit = limit.under(self.config.face);
        self.resized = true;
        for unit in 0..3 {
            let Some(longest) = self.limits[scope].longest(unit) else {
                continue;
            };
            let Some(unseen) = now.checked_sub(longest) else {
                continue;
            };
            for entry in &mut self.entries {
                let from = if UNITS[unit].is_at_end() {
                    entry.counts_from[unit].map(|(first, _)| first)
                } else {
                    Some(entry.at)
                };
                if entry.phase == Phase::Sent && from.is_some_and(|from| from <= unseen) {
                    let seen_as = entry.seen_as.entry((scope, unit)).or_insert(unseen);
                    *seen_as = unseen.max(*seen_as);
                }
            }
        }
        self.limits[scope] = limit;
        let waiting = 0..self.entries.len();
        let never: Vec<_> = waiting
            .filter(|id| self.entries[*id].phase == Phase::Waiting && self.never_fits(*id))
            .collect();
        for id in &never {
            self.leave(*id);
        }
        never
    }

    /// Whether a new quota finds an empty window that is too small for someone who waits.
    pub fn would_go_alone(&self, scope: usize, limit: &Limit) -> bool {
        let bucket = (scope, 0);
        let waiting = self.entries.iter();
        let mut waiting = waiting
            .filter(|entry| entry.phase == Phase::Waiting && entry.buckets.contains(&bucket));
        let none_held = self.permits_held(bucket) == 0;
        waiting.any(|entry| {
            let more_permits = limit.permits.is_some_and(|n| entry.permits > n);
            (more_permits && none_held)
                || limit.windows.iter().any(|&(unit, n, period)| {
                    entry.stated[unit].is_some_and(|cost| cost > n)
                        && self.used(bucket, unit, period + limit.margin).0 == 0
                })
        })
    }

    /// For messages.
    pub fn tell(&self) -> String {
        let mut text = format!("at {} in step {}\n", self.now, self.step);
        for (scope, limit) in self.limits.iter().enumerate() {
            if *limit != Limit::default() {
                _ = writeln!(text, "  scope {scope}: {limit:?}");
                for &(unit, n, period) in &limit.windows {
                    let used = self.used((scope, 0), unit, period + limit.margin);
                    _ = writeln!(text, "    unit {unit} of {n}: {used:?}");
                }
                _ = writeln!(text, "    permits: {}", self.permits_held((scope, 0)));
            }
        }
        for (id, entry) in self.entries.iter().enumerate() {
            _ = writeln!(text, "  {id}: {entry:?}");
        }
        text
    }
}
