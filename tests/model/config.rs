//! What a case is about: a layer with its limits, and the tree of its scopes.

use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, option, prelude::*};
use tower_throttle::{EndpointName, Endpoints, Quota};

use crate::{
    costs::{Resize, Unit, unit},
    support::{Face, ms},
};

/// Milliseconds since the case began. Everything happens at whole ones.
pub type Millis = u64;

/// A limit as the test knows it, since a `Quota` keeps its numbers to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limit {
    /// n, period
    pub windows: Vec<(u32, Millis)>,
    /// unit, n, period
    pub units: Vec<(Unit, u64, Millis)>,
    pub concurrency: Option<usize>,
    pub margin: Millis,
    pub release_at_head: bool,
}

impl Limit {
    pub fn quota(&self) -> Quota {
        let mut quota = Quota::unlimited();
        for &(n, period) in &self.windows {
            quota = quota.and_per(n, ms(period));
        }
        for &(of, n, period) in &self.units {
            quota = quota.units(unit(of), n, ms(period));
        }
        if let Some(n) = self.concurrency {
            quota = quota.concurrency(n);
        }
        if self.margin > 0 {
            quota = quota.margin(ms(self.margin));
        }
        if self.release_at_head {
            quota = quota.release_at_head();
        }
        quota
    }

    /// What a face enforces of it; the margin is part of the windows from here on.
    pub fn under(&self, face: Face) -> Self {
        let mut limit = self.clone();
        for window in &mut limit.windows {
            window.1 += self.margin;
        }
        for window in &mut limit.units {
            window.2 += self.margin;
        }
        if face == Face::Concurrency {
            limit.windows.clear();
            limit.units.clear();
        }
        if face == Face::Rps {
            limit.concurrency = None;
        }
        limit
    }

    /// Whether there is anything that it limits.
    pub fn limits(&self) -> bool {
        !self.windows.is_empty() || !self.units.is_empty() || self.concurrency.is_some()
    }

    /// The windows of one unit: n and period.
    pub fn of_unit(&self, unit: Unit) -> impl Iterator<Item = (u64, Millis)> {
        let windows = self.units.iter().copied();
        windows.filter_map(move |(of, n, period)| (of == unit).then_some((n, period)))
    }

    /// For how long something counts at most.
    pub fn longest(&self) -> Millis {
        let requests = self.windows.iter().map(|window| window.1);
        let units = self.units.iter().map(|window| window.2);
        requests.chain(units).max().unwrap_or(0)
    }
}

/// No window is longer, and no margin.
pub const LONGEST: Millis = 60;
pub const WIDEST: Millis = 5;

/// So narrow and so short that most of what happens in a case has to do with everything else.
pub fn limit() -> impl Strategy<Value = Limit> {
    let period = prop_oneof![5 => 1u64..16, 1 => 16..=LONGEST];
    (
        vec((1u32..5, period), 0..3),
        option::weighted(0.6, 1usize..4),
        prop_oneof![4 => Just(0u64), 1 => 1..=WIDEST],
        proptest::bool::weighted(0.15),
    )
        .prop_map(|(windows, concurrency, margin, release_at_head)| Limit {
            windows,
            units: Vec::new(),
            concurrency,
            margin,
            release_at_head,
        })
}

/// The scopes, by number. The first of them are leaves.
pub const ROUTES: [&str; 4] = ["/a", "/b", "/c", "/d"];
pub const NAMED: usize = 4;
pub const OTHER: usize = 5;
pub const GROUP: usize = 6;
pub const OVERALL: usize = 7;
pub const ACROSS: usize = 8;
pub const SCOPES: usize = 9;

/// What requests may ask for: the routes, the name, and two paths that no route serves.
pub const ENDPOINTS: usize = 7;

pub const PARTITIONS: usize = 3;
const KEYS: [Option<&str>; PARTITIONS] = [None, Some("secret-one"), Some("secret-two")];
const HEADER: &str = "x-key";

/// One bucket. Scopes that have only one have it in partition 0 and at path 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    pub scope: usize,
    pub partition: usize,
    pub path: usize,
}

/// What becomes of requests that match no route.
#[derive(Clone, Debug, PartialEq)]
pub enum Others {
    Unmatched,
    Each(Limit),
    All(Limit),
}

/// A layer. `/a` and `/b` are in the group, if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub face: Face,
    /// Whether requests may cost something else than one request and one permit.
    pub costs: bool,
    /// Whether they may be of several classes and flows.
    pub orders: bool,
    /// What goes to lower classes while they wait: one in so many.
    pub floor: Option<u32>,
    pub leaves: Vec<Limit>,
    pub others: Others,
    pub group: Option<Limit>,
    pub overall: Option<Limit>,
    pub partitions: bool,
    pub across: Option<Limit>,
    pub max_waiting: Option<usize>,
    pub max_wait: Option<Millis>,
}

impl Config {
    pub fn endpoints(&self) -> Endpoints {
        let mut endpoints = Endpoints::new().named("flash", self.leaves[NAMED].quota());
        for (path, limit) in ROUTES.iter().zip(&self.leaves) {
            endpoints = endpoints.route(path, limit.quota());
        }
        match &self.others {
            Others::Unmatched => {}
            Others::Each(limit) => endpoints = endpoints.each_other_path(limit.quota()),
            Others::All(limit) => endpoints = endpoints.all_other_paths(limit.quota()),
        }
        if let Some(limit) = &self.group {
            endpoints = endpoints.group("group", limit.quota(), [ROUTES[0], ROUTES[1]]);
        }
        if let Some(limit) = &self.overall {
            endpoints = endpoints.overall(limit.quota());
        }
        if self.partitions {
            endpoints = endpoints.partition_by_header(HEADER);
        }
        if let Some(limit) = &self.across {
            endpoints = endpoints.across_partitions(limit.quota());
        }
        endpoints
    }

    /// The limits by scope, as the face enforces them.
    pub fn limits(&self) -> Vec<Limit> {
        let others = match &self.others {
            Others::Unmatched => Limit::default(),
            Others::Each(limit) | Others::All(limit) => limit.clone(),
        };
        let wider = [&self.group, &self.overall, &self.across];
        self.leaves
            .iter()
            .cloned()
            .chain([others])
            .chain(wider.map(|limit| limit.clone().unwrap_or_default()))
            .map(|limit| limit.under(self.face))
            .collect()
    }

    /// Whether the computed wait is exact. Where not all cost the same or are of one class, it is a lower bound.
    pub fn knows_waits(&self) -> bool {
        !self.costs && !self.orders
    }

    /// How many requests the layer certainly serves at once before it turns to something else; `None` if more than
    /// there are in any case.
    pub fn at_once(&self) -> Option<usize> {
        let others = match &self.others {
            Others::Unmatched => None,
            Others::Each(limit) | Others::All(limit) => Some(limit),
        };
        let wider = [&others.cloned(), &self.group, &self.overall, &self.across];
        let wider = wider.into_iter().flatten();
        let limits = self.leaves.iter().chain(wider);
        let units: BTreeSet<_> = limits
            .flat_map(|limit| limit.units.iter().map(|window| window.0))
            .collect();
        let of_costs = if self.costs { 4 + 4 * units.len() } else { 1 };
        let of_order = if self.orders { 4 } else { 1 };
        let weight = (of_costs * of_order).min(32);
        (weight > 1).then(|| 64_usize.div_ceil(weight))
    }

    /// The first limit of a scope.
    pub fn limit_of(&self, scope: usize) -> Limit {
        let limit = match (scope, &self.others) {
            (OTHER, Others::Each(limit) | Others::All(limit)) => Some(limit),
            (OTHER, Others::Unmatched) => None,
            (GROUP, _) => self.group.as_ref(),
            (OVERALL, _) => self.overall.as_ref(),
            (ACROSS, _) => self.across.as_ref(),
            (leaf, _) => self.leaves.get(leaf),
        };
        limit.cloned().unwrap_or_default()
    }

    /// What becomes of a scope's first limit. Where there are classes it limits something if that did: the laws do not say
    /// what lower ones are owed when another scope becomes the widest that is limited.
    pub fn resized(&self, scope: usize, resize: &Resize) -> Limit {
        let first = self.limit_of(scope);
        let limit = resize.of(first.clone());
        let limits = |limit: &Limit| limit.under(self.face).limits();
        if self.orders && limits(&limit) != limits(&first) {
            first
        } else {
            limit
        }
    }

    /// Where a request belongs.
    pub fn leaf(&self, endpoint: usize, partition: usize) -> Bucket {
        let path = match self.others {
            Others::Each(_) if endpoint > OTHER => 1,
            _ => 0,
        };
        Bucket {
            scope: endpoint.min(OTHER),
            partition: if self.partitions { partition } else { 0 },
            path,
        }
    }

    pub fn parent(&self, bucket: Bucket) -> Option<Bucket> {
        let scope = match bucket.scope {
            0 | 1 if self.group.is_some() => GROUP,
            ..=GROUP => OVERALL,
            OVERALL if self.across.is_some() => ACROSS,
            _ => return None,
        };
        let partition = if scope == ACROSS { 0 } else { bucket.partition };
        Some(Bucket {
            scope,
            partition,
            path: 0,
        })
    }

    /// The buckets that are there from the start, and stay.
    pub fn fixed(&self) -> Vec<Bucket> {
        let is_fixed = |scope: &usize| match *scope {
            ACROSS => self.across.is_some(),
            _ if self.partitions => false,
            GROUP => self.group.is_some(),
            OTHER => matches!(self.others, Others::All(_)),
            _ => true,
        };
        (0..SCOPES)
            .filter(is_fixed)
            .map(|scope| Bucket {
                scope,
                partition: 0,
                path: 0,
            })
            .collect()
    }

    /// What the layer calls a scope, for its handle; `None` if there is no such scope here.
    pub fn scope_name(&self, scope: usize) -> Option<&'static str> {
        Some(match scope {
            NAMED => "flash",
            OTHER => match self.others {
                Others::Unmatched => Endpoints::UNMATCHED,
                Others::Each(_) => Endpoints::EACH_OTHER_PATH,
                Others::All(_) => Endpoints::ALL_OTHER_PATHS,
            },
            GROUP => self.group.as_ref().map(|_| "group")?,
            OVERALL => Endpoints::OVERALL,
            ACROSS => self.across.as_ref().map(|_| Endpoints::ACROSS_PARTITIONS)?,
            route => ROUTES[route],
        })
    }

    /// What the layer calls a bucket.
    pub fn name(&self, bucket: Bucket) -> &'static str {
        match (bucket.scope, &self.others) {
            (OTHER, Others::Each(_)) => OTHER_PATHS[bucket.path],
            (scope, _) => self.scope_name(scope).expect("the bucket exists"),
        }
    }
}

const OTHER_PATHS: [&str; 2] = ["/x", "/y"];

/// A request to an endpoint, on behalf of a partition.
pub fn request(endpoint: usize, partition: usize, connect: bool) -> http::Request<()> {
    let path = match endpoint {
        NAMED => "/named",
        OTHER.. => OTHER_PATHS[endpoint - OTHER],
        route => ROUTES[route],
    };
    let mut request = http::Request::get(path).body(()).unwrap();
    if connect {
        *request.method_mut() = http::Method::CONNECT;
    }
    if endpoint == NAMED {
        request.extensions_mut().insert(EndpointName::new("flash"));
    }
    if let Some(key) = KEYS[partition] {
        request.headers_mut().insert(HEADER, key.parse().unwrap());
    }
    request
}

pub fn config() -> impl Strategy<Value = Config> {
    let face = prop_oneof![
        1 => Just(Face::Rps),
        1 => Just(Face::Concurrency),
        3 => Just(Face::Throttle),
    ];
    layer(false, face, limit, option::weighted(0.3, 0u64..20))
}

/// A layer whose limits are like these.
pub fn layer<L: Strategy<Value = Limit>>(
    costs: bool,
    face: impl Strategy<Value = Face>,
    limit: impl Fn() -> L,
    max_wait: impl Strategy<Value = Option<Millis>>,
) -> impl Strategy<Value = Config> {
    let others = prop_oneof![
        1 => Just(Others::Unmatched),
        2 => limit().prop_map(Others::Each),
        1 => limit().prop_map(Others::All),
    ];
    (
        face,
        vec(limit(), NAMED + 1),
        others,
        option::of(limit()),
        option::of(limit()),
        proptest::bool::weighted(0.3),
        option::weighted(0.3, limit()),
        option::weighted(0.3, 0usize..5),
        max_wait,
    )
        .prop_map(
            move |(
                face,
                leaves,
                others,
                group,
                overall,
                partitions,
                across,
                max_waiting,
                max_wait,
            )| {
                Config {
                    face,
                    costs,
                    orders: false,
                    floor: Some(8),
                    leaves,
                    others,
                    group,
                    overall,
                    partitions,
                    across,
                    max_waiting,
                    max_wait,
                }
            },
        )
}

pub fn millis(time: Duration) -> Millis {
    assert_eq!(time.subsec_nanos() % 1_000_000, 0, "not whole: {time:?}");
    u64::try_from(time.as_millis()).unwrap()
}
