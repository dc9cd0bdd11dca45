//! The books against a naive count of everything that ever happened.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::limit::{Counted, UnitWindow, Window};

const POOLS: [&str; 2] = ["flash", "multilingual"];
const ENDPOINTS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// At an endpoint, perhaps in a pool, for which the hook names this limit, at this cost.
    Arrive(usize, Option<(usize, Limit)>, Cost),
    /// The request that has been open for the so-manieth longest time is over; its answer may say what it
    /// costs at the end.
    Close(prop::sample::Index, Option<u64>),
    SetLimit(usize, Limit),
    SetPoolLimit(usize, Limit),
}

/// What a request costs of the unit that is counted at arrival, and of the one that is counted at the end.
#[derive(Clone, Copy, Debug)]
struct Cost {
    arrival: u64,
    end: u64,
}

const ARRIVAL: &str = "input_tokens";
const END: &str = "output_tokens";

impl From<Cost> for Costs {
    fn from(cost: Cost) -> Self {
        Costs::new(vec![(ARRIVAL, cost.arrival), (END, cost.end)])
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limits() -> impl Strategy<Value = Limit> {
    let windows = vec((1_usize..5, 1_u64..30), 0..3);
    let units = vec((any::<bool>(), 1_u64..20, 1_u64..30), 0..3);
    (windows, units, option::of(1_usize..4)).prop_map(|(windows, units, concurrency)| {
        let mut limit = Limit::unlimited();
        for (n, period) in windows {
            limit = limit.and_per(n, ms(period));
        }
        for (at_end, n, period) in units {
            limit = if at_end {
                limit.units_at_end(END, n, ms(period))
            } else {
                limit.units(ARRIVAL, n, ms(period))
            };
        }
        match concurrency {
            Some(n) => limit.concurrency(n),
            None => limit,
        }
    })
}

fn costs() -> impl Strategy<Value = Cost> {
    (0_u64..10, 0_u64..10).prop_map(|(arrival, end)| Cost { arrival, end })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few limits, so that hooks agree with themselves more often than not.
    let hook = prop_oneof![
        Just(Limit::concurrent(2)),
        Just(Limit::concurrent(3)),
        Just(Limit::per(4, ms(20)).concurrency(2)),
        Just(
            Limit::concurrent(3)
                .units(ARRIVAL, 9, ms(20))
                .units_at_end(END, 9, ms(20))
        ),
    ];
    let step = prop_oneof![
        4 => (1_u64..20).prop_map(Step::Wait),
        10 => (0..ENDPOINTS, option::of((0..POOLS.len(), hook)), costs())
            .prop_map(|(endpoint, pool, cost)| Step::Arrive(endpoint, pool, cost)),
        5 => (any::<prop::sample::Index>(), option::of(0_u64..10))
            .prop_map(|(which, answered)| Step::Close(which, answered)),
        1 => (0..ENDPOINTS, limits()).prop_map(|(at, limit)| Step::SetLimit(at, limit)),
        1 => (0..POOLS.len(), limits()).prop_map(|(at, limit)| Step::SetPoolLimit(at, limit)),
    ];
    vec(step, 0..100)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    InFlight,
    Waiting,
    Refused,
    Over,
}

/// What the model remembers of a request: everything.
#[derive(Clone, Copy, Debug)]
struct Seen {
    endpoint: usize,
    pool: Option<usize>,
    at: Duration,
    cost: Cost,
    /// When its answer ended, if it ever had a slot.
    ended: Option<Duration>,
    accepted: bool,
    state: State,
    /// How many were open at its endpoint, and in its pool, when it had arrived.
    open: [usize; 2],
}

struct Model {
    depth: usize,
    limits: Vec<Limit>,
    pool_limits: Vec<Option<Limit>>,
    fixed: Vec<bool>,
    requests: Vec<Seen>,
}

impl Model {
    fn new(limits: &[Limit], depth: usize) -> Self {
        Self {
            depth,
            limits: limits.to_vec(),
            pool_limits: vec![None; POOLS.len()],
            fixed: vec![false; POOLS.len()],
            requests: Vec::new(),
        }
    }

    /// The scopes of a request: a limit each, and what else is in it.
    fn scopes(&self, endpoint: usize, pool: Option<usize>) -> Vec<(&Limit, Vec<Seen>)> {
        let at_endpoint = self
            .requests
            .iter()
            .filter(|seen| seen.endpoint == endpoint);
        let mut scopes = vec![(&self.limits[endpoint], at_endpoint.copied().collect())];
        if let Some(pool) = pool {
            let limit = self.pool_limits[pool].as_ref().unwrap();
            let inside = self.requests.iter().filter(|seen| seen.pool == Some(pool));
            scopes.push((limit, inside.copied().collect()));
        }
        scopes
    }

    fn has_slot(&self, endpoint: usize, pool: Option<usize>) -> bool {
        self.scopes(endpoint, pool).iter().all(|(limit, seen)| {
            limit
                .at_once()
                .is_none_or(|slots| in_state(seen, State::InFlight) < slots)
        })
    }

    fn fits(&self, endpoint: usize, pool: Option<usize>, at: Duration, cost: Cost) -> bool {
        self.scopes(endpoint, pool).iter().all(|(limit, seen)| {
            let units_fit = |window: &UnitWindow| match window.counted {
                Counted::AtArrival => {
                    cost.arrival == 0 || held(seen, at, window) + cost.arrival <= window.n
                }
                Counted::AtEnd => held(seen, at, window) < window.n,
            };
            if !limit.unit_windows().iter().all(units_fit) {
                return false;
            }
            let accepted = seen.iter().filter(|seen| seen.accepted);
            let accepted: Vec<_> = accepted.map(|seen| seen.at).collect();
            let has_room = |window: &Window| count(&accepted, at, window.period) < window.n;
            limit.windows().iter().all(has_room)
        })
    }

    fn may_wait(&self, endpoint: usize, pool: Option<usize>) -> bool {
        let (_, line) = self.scopes(endpoint, pool).pop().unwrap();
        in_state(&line, State::Waiting) < self.depth
    }

    /// Gives slots to those who wait, the longest first, and says to whom.
    fn admit_waiting(&mut self) -> Vec<usize> {
        let mut admitted = Vec::new();
        for at in 0..self.requests.len() {
            let Seen {
                endpoint,
                pool,
                state,
                ..
            } = self.requests[at];
            if state == State::Waiting && self.has_slot(endpoint, pool) {
                self.requests[at].state = State::InFlight;
                admitted.push(at);
            }
        }
        admitted
    }

    fn hear_of(&mut self, pool: usize, limit: &Limit) -> Vec<usize> {
        if !self.fixed[pool] {
            self.pool_limits[pool] = Some(limit.clone());
        }
        self.admit_waiting()
    }
}

fn in_state(seen: &[Seen], state: State) -> usize {
    seen.iter().filter(|seen| seen.state == state).count()
}

/// What these requests have put into the window that ends with `end`.
fn held(seen: &[Seen], end: Duration, window: &UnitWindow) -> u64 {
    let counted = seen.iter().filter_map(|seen| match window.counted {
        Counted::AtArrival => seen.accepted.then_some((seen.at, seen.cost.arrival)),
        Counted::AtEnd => Some((seen.ended?, seen.cost.end)),
    });
    let inside = counted.filter(|(at, _)| *at <= end && *at + window.period > end);
    inside.map(|(_, n)| n).sum()
}

/// How many of these times are in the half-open interval of this length that ends with `end`.
fn count(times: &[Duration], end: Duration, period: Duration) -> usize {
    let inside = |time: &&Duration| **time <= end && **time + period > end;
    times.iter().filter(inside).count()
}

fn books(limits: &[Limit], depth: usize) -> Books {
    let names = (0..).map(|at| format!("/{at}").into());
    Books::new(names.zip(limits.iter().cloned()), depth, usize::MAX)
}

fn arrival(start: Instant, at: Duration) -> Arrival {
    Arrival {
        now: start + at,
        at,
        not_before: None,
    }
}

proptest! {
    #[test]
    fn decides_as_a_naive_count_of_everything_does(
        first in vec(limits(), ENDPOINTS),
        depth in 0_usize..4,
        steps in steps(),
    ) {
        let start = Instant::now();
        let mut books = books(&first, depth);
        let mut model = Model::new(&first, depth);
        let mut tickets: Vec<Option<Ticket>> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            let admitted = match step {
                Step::Wait(millis) => {
                    now += ms(millis);
                    Vec::new()
                }
                Step::SetLimit(at, limit) => {
                    books.set_limit(start + now, at, limit.clone());
                    model.limits[at] = limit;
                    model.admit_waiting()
                }
                Step::SetPoolLimit(at, limit) => {
                    books.set_pool_limit(start + now, POOLS[at], limit.clone());
                    model.pool_limits[at] = Some(limit);
                    model.fixed[at] = true;
                    model.admit_waiting()
                }
                Step::Close(which, answered) => {
                    let open = tickets.iter_mut().enumerate();
                    let mut open: Vec<_> = open.filter(|(_, ticket)| ticket.is_some()).collect();
                    if open.is_empty() {
                        continue;
                    }
                    let which = which.index(open.len());
                    let (at, ticket) = &mut open[which];
                    let at = *at;
                    let mut ticket = ticket.take().unwrap();
                    let seen = &mut model.requests[at];
                    if let Some(answered) = answered {
                        ticket.answered(&Costs::new(vec![(END, answered)]));
                        seen.cost.end = answered;
                    }
                    books.close(start + now, now, &ticket);
                    seen.ended = (seen.state == State::InFlight).then_some(now);
                    seen.state = State::Over;
                    model.admit_waiting()
                }
                Step::Arrive(endpoint, pool, cost) => {
                    let heard = match &pool {
                        Some((at, limit)) => model.hear_of(*at, limit),
                        None => Vec::new(),
                    };
                    let named = pool.as_ref().map(|(at, limit)| Pool::new(POOLS[*at], limit.clone()));
                    let pool = pool.map(|(at, _)| at);
                    let arrived = arrival(start, now);
                    let (ticket, decision) = books.arrive(arrived, endpoint, named, cost.into());
                    let slot = model.has_slot(endpoint, pool);
                    let fits = model.fits(endpoint, pool, now, cost);
                    let may_wait = model.may_wait(endpoint, pool);
                    let accepted = fits && (slot || may_wait);
                    match &decision {
                        Decision::Accepted(_) => prop_assert!(accepted && slot, "accepted at {now:?}"),
                        Decision::Queued => prop_assert!(accepted && !slot, "queued at {now:?}"),
                        Decision::Refused { by, pool: by_pool, room_at } => {
                            prop_assert!(!accepted, "refused at {now:?}");
                            let by_concurrency = matches!(by, RefusedBy::Concurrency { .. });
                            prop_assert_eq!(by_concurrency, !slot && !may_wait);
                            let own = pool.map(|at| POOLS[at]);
                            prop_assert!(by_pool.is_none() || by_pool.as_deref() == own);
                            let larger = |(limit, _): &(&Limit, _)| {
                                let mut windows = limit.unit_windows().iter();
                                windows.any(|window| window.unit == ARRIVAL && window.n < cost.arrival)
                            };
                            let never = model.scopes(endpoint, pool).iter().any(larger);
                            prop_assert_eq!(room_at.is_none(), never);
                            if let Some(room_at) = room_at {
                                // Not an instant too late, and not one too early.
                                let room_at = *room_at - start;
                                prop_assert!(model.fits(endpoint, pool, room_at, cost));
                                let just_before = room_at.saturating_sub(Duration::from_nanos(1));
                                let before = model.fits(endpoint, pool, just_before, cost);
                                prop_assert!(room_at == now || !before);
                            }
                        }
                    }
                    let open = |scope: &[Seen]| {
                        1 + in_state(scope, State::InFlight) + in_state(scope, State::Waiting)
                    };
                    let scopes = model.scopes(endpoint, pool);
                    let open = [open(&scopes[0].1), scopes.get(1).map_or(0, |scope| open(&scope.1))];
                    model.requests.push(Seen {
                        endpoint,
                        pool,
                        at: now,
                        cost,
                        ended: None,
                        accepted,
                        state: match (accepted, slot) {
                            (true, true) => State::InFlight,
                            (true, false) => State::Waiting,
                            (false, _) => State::Refused,
                        },
                        open,
                    });
                    if let Decision::Accepted(taken) = decision {
                        let (limit, line) = model.scopes(endpoint, pool).pop().unwrap();
                        prop_assert_eq!(taken.in_flight, in_state(&line, State::InFlight));
                        prop_assert_eq!(taken.concurrency, limit.at_once());
                    }
                    if accepted {
                        tickets.push(Some(ticket));
                    } else {
                        books.close(start + now, now, &ticket);
                        tickets.push(None);
                    }
                    heard
                }
            };
            let told = books.admitted();
            let told: Vec<_> = told.iter().map(|(ticket, _)| ticket.number).collect();
            // Tickets are numbered from 1 on.
            let admitted: Vec<_> = admitted.iter().map(|at| *at as u64 + 1).collect();
            prop_assert_eq!(told, admitted);

            let (endpoints, pools) = books.report();
            for (at, report) in endpoints.iter().enumerate() {
                let (limit, seen) = model.scopes(at, None).pop().unwrap();
                compare(report, limit, &seen)?;
                let most = seen.iter().map(|seen| seen.open[0]).max();
                prop_assert_eq!(report.most_in_flight, most.unwrap_or(0));
            }
            for report in &pools {
                let at = POOLS.iter().position(|name| *name == report.endpoint);
                let (limit, seen) = model.scopes(0, at).pop().unwrap();
                compare(report, limit, &seen)?;
                let most = seen.iter().map(|seen| seen.open[1]).max();
                prop_assert_eq!(report.most_in_flight, most.unwrap_or(0));
            }
        }
    }

    #[test]
    fn no_half_open_window_holds_more_than_the_limit(limit in limits(), gaps in vec(0_u64..10, 0..200)) {
        let start = Instant::now();
        let mut books = books(std::slice::from_ref(&limit), 0);
        let (mut now, mut arrived, mut accepted) = (Duration::ZERO, Vec::new(), Vec::new());
        for gap in gaps {
            now += ms(gap);
            arrived.push(now);
            let (ticket, decision) = books.arrive(arrival(start, now), 0, None, Costs::default());
            if matches!(decision, Decision::Accepted(_)) {
                accepted.push(now);
            }
            books.close(start + now, now, &ticket);
        }
        for window in limit.windows() {
            for end in &accepted {
                prop_assert!(count(&accepted, *end, window.period) <= window.n);
            }
        }
        let period = limit.scored_period();
        let worst = arrived.iter().map(|end| count(&arrived, *end, period)).max();
        let report = books.endpoint(0).report();
        prop_assert_eq!(report.worst_window, worst.unwrap_or(0));
        prop_assert_eq!(report.accepted, accepted.len());
    }

    /// What the score card says about units is what a naive count says.
    #[test]
    fn units_are_scored_as_a_naive_count_does(
        (at_arrival, at_end) in ((5_u64..20, 1_u64..30), (5_u64..20, 1_u64..30)),
        calls in vec((0_u64..10, costs(), 1_u64..20), 0..80),
    ) {
        let limit = Limit::unlimited()
            .units(ARRIVAL, at_arrival.0, ms(at_arrival.1))
            .units_at_end(END, at_end.0, ms(at_end.1));
        let start = Instant::now();
        let mut books = books(std::slice::from_ref(&limit), 0);
        // Arrivals and ends in the order of their times; of two at the same time, the end comes first.
        let mut events = Vec::new();
        let mut now = 0;
        for (at, (gap, cost, work)) in calls.iter().enumerate() {
            now += gap;
            events.push((now, true, at, *cost));
            events.push((now + work, false, at, *cost));
        }
        events.sort_by_key(|(time, arrives, ..)| (*time, *arrives));
        let mut tickets = HashMap::new();
        let (mut arrived, mut accepted, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        let (mut refused, mut exceeded) = ([0, 0], 0);
        let mut sums = [0, 0];
        for (time, arrives, at, cost) in events {
            let now = ms(time);
            let sum = |amounts: &[(Duration, u64)], period| -> u64 {
                let inside = amounts.iter().filter(|(at, _)| *at + ms(period) > now);
                inside.map(|(_, n)| n).sum()
            };
            if arrives {
                arrived.push((now, cost.arrival));
                sums[0] = sums[0].max(sum(&arrived, at_arrival.1));
                let (ticket, decision) = books.arrive(arrival(start, now), 0, None, cost.into());
                match decision {
                    Decision::Refused { by: RefusedBy::Units { unit, used, requested, .. }, .. } => {
                        refused[usize::from(unit == END)] += 1;
                        let expected = if unit == END {
                            (sum(&ended, at_end.1), 0)
                        } else {
                            (sum(&accepted, at_arrival.1), cost.arrival)
                        };
                        prop_assert_eq!((used, requested), expected);
                        books.close(start + now, now, &ticket);
                    }
                    decision => {
                        prop_assert!(matches!(decision, Decision::Accepted(_)));
                        accepted.push((now, cost.arrival));
                        prop_assert!(sum(&accepted, at_arrival.1) <= at_arrival.0);
                        tickets.insert(at, ticket);
                    }
                }
            } else if let Some(ticket) = tickets.remove(&at) {
                ended.push((now, cost.end));
                let sum = sum(&ended, at_end.1);
                sums[1] = sums[1].max(sum);
                exceeded += usize::from(cost.end > 0 && sum > at_end.0);
                books.close(start + now, now, &ticket);
            }
        }
        let report = books.endpoint(0).report();
        let total = |amounts: &[(Duration, u64)]| amounts.iter().map(|(_, n)| n).sum::<u64>();
        let (first, second) = (report.unit(ARRIVAL), report.unit(END));
        prop_assert_eq!([first.refused, second.refused], refused);
        prop_assert_eq!(report.refused_by_units, refused[0] + refused[1]);
        prop_assert_eq!([first.accepted, second.accepted], [total(&accepted), total(&ended)]);
        prop_assert_eq!([first.worst_window, second.worst_window], sums);
        prop_assert_eq!([first.exceeded, second.exceeded], [0, exceeded]);
        prop_assert_eq!(report.exceeded, exceeded);
    }
}

fn compare(report: &EndpointReport, limit: &Limit, seen: &[Seen]) -> Result<(), TestCaseError> {
    let accepted = seen.iter().filter(|seen| seen.accepted).count();
    prop_assert_eq!(&report.limit, limit);
    prop_assert_eq!(report.accepted, accepted);
    prop_assert_eq!(report.refused(), seen.len() - accepted);
    prop_assert_eq!(report.records.len(), seen.len());
    prop_assert_eq!(report.in_flight, in_state(seen, State::InFlight));
    prop_assert_eq!(report.waiting, in_state(seen, State::Waiting));
    Ok(())
}

#[test]
fn violations_are_kept_for_each_kind() {
    let mut books = books(&[Limit::rps(1)], 0);
    let start = Instant::now();
    for _ in 0..100 {
        let _open = books.arrive(arrival(start, ms(0)), 0, None, Costs::default());
    }
    books.set_limit(start, 0, Limit::concurrent(1));
    let _open = books.arrive(arrival(start, ms(1)), 0, None, Costs::default());
    let report = books.endpoint(0).report();
    assert_eq!(report.refused_by_rate, 99);
    assert_eq!(report.violations.len(), 16 + 1);
    assert_eq!(report.violations[16].at(), ms(1));
}

#[test]
fn a_request_whose_endpoint_is_full_stands_in_nobodys_way() {
    let mut books = books(&[Limit::concurrent(1), Limit::unlimited()], 2);
    let start = Instant::now();
    let pool = || Some(Pool::new("flash", Limit::concurrent(2)));
    let (first, _) = books.arrive(arrival(start, ms(0)), 0, pool(), Costs::default());
    let (second, queued) = books.arrive(arrival(start, ms(0)), 0, pool(), Costs::default());
    assert_eq!(queued, Decision::Queued);
    let (third, decision) = books.arrive(arrival(start, ms(0)), 1, pool(), Costs::default());
    assert!(matches!(
        decision,
        Decision::Accepted(Slot { in_flight: 2, .. })
    ));

    // The slot that comes free is one of the pool, and the endpoint is still full.
    books.close(start, ms(0), &third);
    assert_eq!(books.admitted(), []);
    books.close(start, ms(0), &first);
    let slot = Slot {
        at: start,
        in_flight: 1,
        concurrency: Some(2),
    };
    assert_eq!(books.admitted(), [(second.id(), slot)]);
}

#[test]
fn what_was_open_before_a_restart_counts_no_more() {
    let limits = [Limit::concurrent(1)];
    let mut all = books(&limits, 1);
    let start = Instant::now();
    let (old, _) = all.arrive(arrival(start, ms(0)), 0, None, Costs::default());
    let (waiting, _) = all.arrive(arrival(start, ms(0)), 0, None, Costs::default());
    all.restart(start, books(&limits, 1));
    assert_eq!(all.admitted().len(), 1);
    assert_eq!(
        all.endpoint(0).report(),
        EndpointReport::new("/0", limits[0].clone())
    );

    let (new, decision) = all.arrive(arrival(start, ms(0)), 0, None, Costs::default());
    assert!(matches!(decision, Decision::Accepted(_)));
    for ticket in [&old, &waiting] {
        all.close(start, ms(0), ticket);
    }
    assert_eq!(all.endpoint(0).in_flight(), 1);
    all.close(start, ms(0), &new);
    assert_eq!(all.endpoint(0).in_flight(), 0);
}
