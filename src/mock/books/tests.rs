//! The books against a naive count of everything that ever happened.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::mock::limit::Window;

const POOLS: [&str; 2] = ["flash", "multilingual"];
const ENDPOINTS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// At an endpoint, perhaps in a pool, for which the hook names this limit.
    Arrive(usize, Option<(usize, Limit)>),
    /// The request that has been open for the so-manieth longest time is over.
    Close(prop::sample::Index),
    SetLimit(usize, Limit),
    SetPoolLimit(usize, Limit),
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limits() -> impl Strategy<Value = Limit> {
    let windows = vec((1_usize..5, 1_u64..30), 0..3);
    (windows, option::of(1_usize..4)).prop_map(|(windows, concurrency)| {
        let mut limit = Limit::unlimited();
        for (n, period) in windows {
            limit = limit.and_per(n, ms(period));
        }
        match concurrency {
            Some(n) => limit.concurrency(n),
            None => limit,
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few limits, so that hooks agree with themselves more often than not.
    let hook = prop_oneof![
        Just(Limit::concurrent(2)),
        Just(Limit::concurrent(3)),
        Just(Limit::per(4, ms(20)).concurrency(2)),
    ];
    let step = prop_oneof![
        4 => (1_u64..20).prop_map(Step::Wait),
        10 => (0..ENDPOINTS, option::of((0..POOLS.len(), hook)))
            .prop_map(|(endpoint, pool)| Step::Arrive(endpoint, pool)),
        5 => any::<prop::sample::Index>().prop_map(Step::Close),
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

    fn fits(&self, endpoint: usize, pool: Option<usize>, at: Duration) -> bool {
        self.scopes(endpoint, pool).iter().all(|(limit, seen)| {
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
                Step::Close(which) => {
                    let open = tickets.iter_mut().enumerate();
                    let mut open: Vec<_> = open.filter(|(_, ticket)| ticket.is_some()).collect();
                    if open.is_empty() {
                        continue;
                    }
                    let which = which.index(open.len());
                    let (at, ticket) = &mut open[which];
                    let at = *at;
                    books.close(start + now, &ticket.take().unwrap());
                    model.requests[at].state = State::Over;
                    model.admit_waiting()
                }
                Step::Arrive(endpoint, pool) => {
                    let heard = match &pool {
                        Some((at, limit)) => model.hear_of(*at, limit),
                        None => Vec::new(),
                    };
                    let named = pool.as_ref().map(|(at, limit)| Pool::new(POOLS[*at], limit.clone()));
                    let pool = pool.map(|(at, _)| at);
                    let (ticket, decision) = books.arrive(arrival(start, now), endpoint, named);
                    let (slot, fits) = (model.has_slot(endpoint, pool), model.fits(endpoint, pool, now));
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
                            // Not an instant too late, and not one too early.
                            let room_at = *room_at - start;
                            prop_assert!(model.fits(endpoint, pool, room_at));
                            let just_before = room_at.saturating_sub(Duration::from_nanos(1));
                            prop_assert!(room_at == now || !model.fits(endpoint, pool, just_before));
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
                        books.close(start + now, &ticket);
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
            let (ticket, decision) = books.arrive(arrival(start, now), 0, None);
            if matches!(decision, Decision::Accepted(_)) {
                accepted.push(now);
            }
            books.close(start + now, &ticket);
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
        let _open = books.arrive(arrival(start, ms(0)), 0, None);
    }
    books.set_limit(start, 0, Limit::concurrent(1));
    let _open = books.arrive(arrival(start, ms(1)), 0, None);
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
    let (first, _) = books.arrive(arrival(start, ms(0)), 0, pool());
    let (second, queued) = books.arrive(arrival(start, ms(0)), 0, pool());
    assert_eq!(queued, Decision::Queued);
    let (third, decision) = books.arrive(arrival(start, ms(0)), 1, pool());
    assert!(matches!(
        decision,
        Decision::Accepted(Slot { in_flight: 2, .. })
    ));

    // The slot that comes free is one of the pool, and the endpoint is still full.
    books.close(start, &third);
    assert_eq!(books.admitted(), []);
    books.close(start, &first);
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
    let (old, _) = all.arrive(arrival(start, ms(0)), 0, None);
    let (waiting, _) = all.arrive(arrival(start, ms(0)), 0, None);
    all.restart(start, books(&limits, 1));
    assert_eq!(all.admitted().len(), 1);
    assert_eq!(
        all.endpoint(0).report(),
        EndpointReport::new("/0", limits[0].clone())
    );

    let (new, decision) = all.arrive(arrival(start, ms(0)), 0, None);
    assert!(matches!(decision, Decision::Accepted(_)));
    for ticket in [&old, &waiting] {
        all.close(start, ticket);
    }
    assert_eq!(all.endpoint(0).in_flight(), 1);
    all.close(start, &new);
    assert_eq!(all.endpoint(0).in_flight(), 0);
}
