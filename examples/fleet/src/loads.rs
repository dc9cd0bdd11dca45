//! What fleets have to do, what they may do, and what happens to them meanwhile: the table of all loads.

use std::{ops::Range, time::Duration};

use tower_throttle::{Endpoints, Quota, Unit, mock::Limit};

/// How much earlier than its window says a request may arrive: what the way takes at times.
pub(crate) const MARGIN: Duration = Duration::from_millis(10);

/// What costs are counted in.
pub(crate) const UNIT: Unit = Unit::new("credits");

const SECOND: Duration = Duration::from_secs(1);

/// So many of a unit in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) n: u32,
    pub(crate) period: Duration,
}

/// What one endpoint allows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leaf {
    pub(crate) rate: Option<Rate>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) costs: Option<Rate>,
}

/// What each worker has to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Demand {
    /// As many requests at each endpoint as are said are ready at any time.
    Backlog(usize),
    /// The first worker has a backlog. All others together send so many per second, at random.
    OneBacklog(usize, f64),
    /// Halves of the fleet have a backlog in turn, for two seconds each. What has not gone by then is called off.
    Turns(usize),
    /// All together send so many per second, at random.
    Random(f64),
}

/// What happens while they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The worker that has most permits is killed.
    WorkerKilled,
    /// A worker stands still for three seconds.
    WorkerStopped,
    /// The server stands still for three seconds.
    ServerStopped,
    /// The server is killed, and started again after 0.7 s. It has forgotten everything.
    ServerRestarted,
    /// The server forgets everything.
    Flushed,
    /// The server forgets its scripts.
    ScriptsFlushed,
}

/// How they keep the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Store,
    /// Each worker has its part of the limits to itself.
    Divided,
    /// All send through a gateway that has the limits.
    Gateway,
}

#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) leaves: Vec<Leaf>,
    /// What all endpoints allow together, in a second.
    pub(crate) overall: Option<u32>,
    /// For how long the API works on each request.
    pub(crate) work: Range<Duration>,
    pub(crate) workers: usize,
    pub(crate) demand: Demand,
    /// For how long they send; what comes of the first of it is not counted ([`Load::warm`]).
    pub(crate) time: Duration,
    pub(crate) reservation: Duration,
    pub(crate) event: Option<Event>,
    pub(crate) way: Way,
}

impl Load {
    /// As long as a new store settles, and a second and a half to start all workers.
    pub(crate) fn warm(&self) -> Duration {
        let settles = self.longest_period().clamp(2 * SECOND, 5 * SECOND);
        settles + Duration::from_millis(1500)
    }

    fn longest_period(&self) -> Duration {
        let periods = self.windows().map(|(_, rate, _)| rate.period);
        periods.max().unwrap_or_default()
    }

    /// Each window: of which endpoint, if not of all; what it allows; and whether it counts costs.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (Option<u64>, Rate, bool)> {
        let overall = self.overall.map(|n| Rate { n, period: SECOND });
        let leaves = self.leaves.iter().zip(0..).flat_map(|(leaf, index)| {
            let rate = leaf.rate.map(|rate| (Some(index), rate, false));
            let costs = leaf.costs.map(|rate| (Some(index), rate, true));
            rate.into_iter().chain(costs)
        });
        leaves.chain(overall.map(|rate| (None, rate, false)))
    }

    /// What a layer is told. `parts` is how many divide the limits among themselves.
    pub(crate) fn endpoints(&self, parts: usize) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for (leaf, index) in self.leaves.iter().zip(0..) {
            if let Some(quota) = leaf.quota(parts) {
                endpoints = endpoints.route(&template(index), quota);
            }
        }
        match self.overall {
            Some(n) => endpoints.overall(Quota::per_second(part(n, parts)).margin(MARGIN)),
            None => endpoints,
        }
    }
}

/// The template of an endpoint.
pub(crate) fn template(leaf: u64) -> String {
    format!("GET {}", path(leaf))
}

pub(crate) fn path(leaf: u64) -> String {
    format!("/jobs/{leaf}")
}

fn part(n: u32, parts: usize) -> u32 {
    (n / u32::try_from(parts).unwrap_or(1)).max(1)
}

impl Leaf {
    pub(crate) fn quota(&self, parts: usize) -> Option<Quota> {
        if self.rate.is_none() && self.concurrency.is_none() && self.costs.is_none() {
            return None;
        }
        let mut quota = self.rate.map_or(Quota::unlimited(), |rate| {
            Quota::per(part(rate.n, parts), rate.period)
        });
        if let Some(costs) = self.costs {
            quota = quota.units(UNIT, part(costs.n, parts).into(), costs.period);
        }
        if let Some(n) = self.concurrency {
            quota = quota.concurrency((n / parts).max(1));
        }
        Some(quota.margin(MARGIN))
    }

    /// What the API is told.
    pub(crate) fn limit(&self) -> Limit {
        let mut limit = self.rate.map_or_else(Limit::unlimited, |rate| {
            Limit::per(rate.n as usize, rate.period)
        });
        if let Some(costs) = self.costs {
            limit = limit.units("credits", costs.n.into(), costs.period);
        }
        match self.concurrency {
            Some(n) => limit.concurrency(n),
            None => limit,
        }
    }
}

const fn per_second(n: u32) -> Leaf {
    Leaf {
        rate: Some(Rate { n, period: SECOND }),
        concurrency: None,
        costs: None,
    }
}

const fn ms(from: u64, to: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

fn at_once(leaf: Leaf, n: usize) -> Leaf {
    Leaf {
        concurrency: Some(n),
        ..leaf
    }
}

/// What is run if nothing else is said; `--help` names what can be changed of it.
pub(crate) fn demo() -> Load {
    Load {
        work: ms(100, 100),
        workers: 4,
        demand: Demand::Backlog(20),
        time: Duration::from_secs(20),
        ..load("demo", at_once(per_second(40), 8))
    }
}

/// Eight workers, each with thirty requests ready at any time.
fn load(name: &'static str, leaf: Leaf) -> Load {
    Load {
        name,
        leaves: vec![leaf],
        overall: None,
        work: ms(20, 60),
        workers: 8,
        demand: Demand::Backlog(30),
        time: Duration::from_secs(14),
        reservation: Duration::from_millis(10),
        event: None,
        way: Way::Store,
    }
}

fn workers(load: Load, workers: usize, reservation: u64) -> Load {
    Load {
        workers,
        reservation: Duration::from_millis(reservation),
        ..load
    }
}

fn demand(load: Load, demand: Demand) -> Load {
    Load { demand, ..load }
}

fn work(load: Load, work: Range<Duration>) -> Load {
    Load { work, ..load }
}

fn way(load: Load, way: Way) -> Load {
    Load { way, ..load }
}

fn event(name: &'static str, event: Event) -> Load {
    let leaf = at_once(per_second(100), 30);
    Load {
        event: Some(event),
        ..work(load(name, leaf), ms(200, 240))
    }
}

/// All loads with a name.
pub(crate) fn all() -> Vec<Load> {
    let (five, many) = (|| per_second(5), || per_second(200));
    let both = || at_once(many(), 50);
    // As many as go in a few seconds, so that all have their turns while it is measured.
    let few = Demand::Backlog;
    let only = |n| at_once(Leaf::default(), n);
    let seconds = |n| Duration::from_secs(n);
    let alone = |name| Load {
        workers: 1,
        demand: Demand::Random(20.0),
        ..load(name, per_second(50))
    };
    let compared = |name, how| Load {
        way: how,
        ..work(load(name, both()), ms(200, 240))
    };
    let uneven = |name, how| demand(compared(name, how), Demand::OneBacklog(100, 100.0));
    vec![
        demand(workers(load("r5-2", five()), 2, 10), few(12)),
        demand(load("r5-8", five()), few(3)),
        Load {
            time: seconds(20),
            ..demand(workers(load("r5-50", five()), 50, 20), few(1))
        },
        demand(workers(load("r200-2", many()), 2, 10), Demand::Backlog(120)),
        load("r200-8", many()),
        demand(workers(load("r200-50", many()), 50, 20), few(8)),
        work(load("c4", only(4)), ms(190, 210)),
        work(load("c50", only(50)), ms(190, 210)),
        demand(
            work(load("r5-c4", at_once(five(), 4)), ms(600, 700)),
            few(3),
        ),
        work(load("r200-c50", both()), ms(200, 240)),
        demand(load("uneven-r5", five()), Demand::OneBacklog(30, 2.5)),
        demand(load("uneven-r200", many()), Demand::OneBacklog(200, 100.0)),
        Load {
            time: seconds(20),
            ..demand(load("turns-r5", five()), Demand::Turns(30))
        },
        Load {
            time: seconds(20),
            ..demand(load("turns-r200", many()), Demand::Turns(60))
        },
        demand(
            workers(load("random-r200", many()), 8, 20),
            Demand::Random(216.0),
        ),
        demand(load("random-r5", five()), Demand::Random(6.5)),
        Load {
            time: seconds(18),
            demand: few(4),
            ..load(
                "costs",
                Leaf {
                    costs: Some(Rate {
                        n: 10_000,
                        period: seconds(2),
                    }),
                    ..Leaf::default()
                },
            )
        },
        Load {
            leaves: vec![
                Leaf {
                    rate: Some(Rate {
                        n: 1,
                        period: seconds(8),
                    }),
                    ..Leaf::default()
                },
                per_second(20),
                only(2),
                Leaf::default(),
            ],
            overall: Some(50),
            demand: few(5),
            time: seconds(24),
            ..load("leaves", Leaf::default())
        },
        alone("alone"),
        way(alone("alone-without"), Way::Divided),
        Load {
            time: seconds(16),
            event: Some(Event::WorkerKilled),
            ..work(load("worker-killed", only(20)), ms(200, 240))
        },
        event("worker-stopped", Event::WorkerStopped),
        event("server-stopped", Event::ServerStopped),
        event("server-restarted", Event::ServerRestarted),
        event("flushed", Event::Flushed),
        event("scripts-flushed", Event::ScriptsFlushed),
        compared("all-divided", Way::Divided),
        compared("all-gateway", Way::Gateway),
        compared("all-store", Way::Store),
        uneven("one-divided", Way::Divided),
        uneven("one-gateway", Way::Gateway),
        uneven("one-store", Way::Store),
    ]
}
