//! The judge: its routes, its clock, and the books that it keeps.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::{sync::oneshot, time::Instant};

use super::{
    books::{Books, Slot, Ticket},
    faults::{Fault, Schedule},
    ledger::Arrival,
    limit::Limit,
    path::Params,
    report::Report,
    retry_after::retry_after,
    state::{EndpointDraws, Judge, Route, Settings, Shared, State},
    unit_report::WindowUse,
    units::Costs,
    work::{Draws, check, check_time},
};

pub(crate) enum Found {
    Route(usize, Params),
    OtherMethod,
    Nothing,
}

impl Judge {
    pub(crate) fn open(routes: Vec<Route>, settings: Settings) -> Self {
        let mut search: Vec<_> = (0..routes.len()).collect();
        search.sort_by_key(|route| routes[*route].template.rank());
        let start = Instant::now();
        let state = State {
            start,
            unmatched: 0,
            books: books(&routes, &settings),
            draws: draws(&routes, &settings),
            latency: settings.latency,
            faults: Schedule::default(),
            turns: HashMap::new(),
        };
        let notice = settings.notice.unwrap_or_default();
        let shared = Shared {
            routes,
            search,
            settings,
            epoch: (start, SystemTime::now()),
            state: Mutex::new(state),
        };
        Self {
            shared: Arc::new(shared),
            notice,
            settle: Duration::ZERO,
        }
    }

    /// The score card as it is now.
    pub fn report(&self) -> Report {
        let state = self.shared.state();
        let (endpoints, pools) = state.books.report();
        Report {
            endpoints,
            pools,
            unmatched: state.unmatched,
        }
    }

    /// Starts a new score card, on which times count from now.
    ///
    /// Only the score is forgotten. What was accepted before still counts against the limits, a
    /// `Retry-After` still holds, scheduled faults still come, and the draws go on where they were.
    pub fn reset(&self) {
        let mut state = self.shared.state();
        state.start = Instant::now();
        state.unmatched = 0;
        state.books.reset();
    }

    /// Makes everything as it was when the judge was built: score, windows, limits, pools, latency,
    /// jitter and draws; no fault is scheduled, and no `Retry-After` holds.
    ///
    /// Requests that are in flight go on and get their answers, but count nowhere any more. Those that
    /// wait for a slot need wait no longer. What the hooks keep is theirs, and stays.
    pub fn reset_all(&self) {
        let Shared {
            routes, settings, ..
        } = &*self.shared;
        self.shared.change(|state, now| {
            state.start = now;
            state.unmatched = 0;
            state.books.restart(now, books(routes, settings));
            state.draws = draws(routes, settings);
            state.latency = settings.latency;
            state.faults.clear();
        });
    }

    /// Changes what an endpoint allows, from the next arrival on.
    ///
    /// What was accepted before counts under the new limit: the last 1 024 requests, as many costs of each
    /// unit, and any that were in the old limit's windows. Requests in flight stay, even if they are now too many. Those that
    /// wait for a slot get it at once if there are more now.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn set_limit(&self, template: &str, limit: Limit) {
        let route = self.shared.named(template);
        let change = |state: &mut State, now| state.books.set_limit(now, route, limit);
        self.shared.change(change);
    }

    /// What an endpoint allows now, its pools apart.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn limit(&self, template: &str) -> Limit {
        let route = self.shared.named(template);
        self.shared.state().books.endpoint(route).limit().clone()
    }

    /// Changes what a pool allows, as [`Judge::set_limit`] does for an endpoint. From then on, what the
    /// hook of [`JudgeBuilder::pool_by`] says about this pool's limit makes no difference.
    ///
    /// [`JudgeBuilder::pool_by`]: super::JudgeBuilder::pool_by
    pub fn set_pool_limit(&self, name: &str, limit: Limit) {
        let change = |state: &mut State, now| state.books.set_pool_limit(now, name, limit);
        self.shared.change(change);
    }

    /// Lets every request that is sent from now on arrive so much later: see
    /// [`JudgeBuilder::latency`](super::JudgeBuilder::latency).
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn set_latency(&self, inbound: Duration) {
        check_time(inbound);
        self.shared.state().latency = inbound;
    }

    /// Changes the range of what [`JudgeBuilder::jitter`] adds to the latency, for requests that are sent
    /// from now on.
    ///
    /// [`JudgeBuilder::jitter`]: super::JudgeBuilder::jitter
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn set_jitter(&self, inbound: Range<Duration>) {
        check(&inbound);
        for draws in &mut self.shared.state().draws {
            draws.jitter.set_range(inbound.clone());
        }
    }

    /// Schedules a fault, behind those that are scheduled already.
    ///
    /// # Panics
    ///
    /// If it is [for an endpoint](Fault::on) that there is not: see [`Judge::endpoints`].
    #[track_caller]
    pub fn fault(&self, fault: Fault) {
        let endpoint = fault.endpoint().map(|template| self.shared.named(template));
        self.shared.state().faults.add(fault, endpoint);
    }

    /// The faults that have not struck as often as they will, in the order in which they were scheduled;
    /// their numbers are of what is still to come.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.state().faults.remaining()
    }

    /// Lets no scheduled fault strike any more. What has been struck already stays so.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// The templates of the endpoints, in the order in which they were given to the builder.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.shared.routes.iter().map(|route| &*route.name)
    }

    /// The working times of an endpoint's accepted requests, from the first on, whatever has been
    /// drawn already: see [`Work::draws`](super::Work::draws).
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn draws(&self, template: &str) -> Draws {
        let route = self.shared.named(template);
        self.shared.routes[route]
            .work
            .draws(self.shared.settings.seed, template)
    }
}

impl Shared {
    /// Locks the books. No hook runs, and nothing is awaited, while they are locked.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something in the books, and tells those who have got a slot by it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.state();
        // The time is read under the lock, so that the order of the books is the order of the times.
        let result = change(&mut state, Instant::now());
        let admitted = state.books.admitted().into_iter();
        let turns: Vec<_> = admitted
            .filter_map(|(ticket, slot)| Some((state.turns.remove(&ticket)?, slot)))
            .collect();
        // Whoever is woken may look into the books.
        drop(state);
        for (turn, slot) in turns {
            // Who has gone away since will give the slot back.
            let _ = turn.send(slot);
        }
        result
    }

    fn close(&self, ticket: &Ticket) {
        self.change(|state, now| {
            state.turns.remove(&ticket.id());
            let at = now.saturating_duration_since(state.start);
            state.books.close(now, at, ticket);
        });
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        let mut found = Found::Nothing;
        for index in &self.search {
            let template = &self.routes[*index].template;
            let Some(params) = template.matches(path) else {
                continue;
            };
            if template.takes(method) {
                return Found::Route(*index, params);
            }
            found = Found::OtherMethod;
        }
        found
    }

    #[track_caller]
    fn named(&self, template: &str) -> usize {
        let mut names = self.routes.iter().map(|route| &*route.name);
        names.position(|name| name == template).unwrap_or_else(|| {
            let known: Vec<_> = self.routes.iter().map(|route| &route.name).collect();
            panic!("the judge has no endpoint {template:?}: it has {known:?}")
        })
    }

    /// How full the windows are of an endpoint, and of a pool if there is one.
    pub(crate) fn windows(&self, route: usize, pool: Option<&str>) -> Vec<WindowUse> {
        let state = self.state();
        state.books.windows(Instant::now(), route, pool)
    }

    /// A request sets out: how long it takes to arrive, and what its client knows.
    pub(crate) fn sent(&self, route: usize) -> Departure {
        let mut state = self.state();
        let now = Instant::now();
        Departure {
            sent: now,
            way: state.latency + state.draws[route].jitter.draw(),
            not_before: state.books.endpoint(route).not_before(now),
        }
    }

    /// An answer is about to be handed out: dates it, and takes note of its `Retry-After`.
    ///
    /// Must be the last step before the answer is returned, or clients would be held to what they
    /// have not heard.
    pub(crate) fn hand_out(&self, route: usize, notice: Duration, headers: &mut HeaderMap) {
        let now = Instant::now();
        self.date(now, headers);
        let Some(wait) = retry_after(headers, self.wall_clock(now)) else {
            return;
        };
        if let Some(until) = now.checked_add(wait) {
            let mut state = self.state();
            state.books.endpoint(route).hinted(now, notice, until);
        }
    }

    pub(crate) fn date(&self, now: Instant, headers: &mut HeaderMap) {
        headers.entry(header::DATE).or_insert_with(|| {
            let date = httpdate::fmt_http_date(self.wall_clock(now));
            HeaderValue::try_from(date).expect("a date is ASCII")
        });
    }

    pub(crate) fn wall_clock(&self, now: Instant) -> SystemTime {
        let (instant, wall) = self.epoch;
        wall + now.saturating_duration_since(instant)
    }
}

pub(crate) struct Departure {
    pub(crate) sent: Instant,
    pub(crate) way: Duration,
    pub(crate) not_before: Option<Instant>,
}

impl Departure {
    /// Of a request that comes to no endpoint, and so has nowhere to be late.
    pub(crate) fn now() -> Self {
        Self {
            sent: Instant::now(),
            way: Duration::ZERO,
            not_before: None,
        }
    }
}

impl State {
    pub(crate) fn arrival(&self, now: Instant, not_before: Option<Instant>) -> Arrival {
        Arrival {
            now,
            at: now.saturating_duration_since(self.start),
            not_before,
        }
    }

    pub(crate) fn count_unmatched(&mut self) {
        self.unmatched += 1;
    }

    /// Where a request that was queued just now hears of its slot.
    pub(crate) fn wait_for_turn(&mut self, ticket: &Ticket) -> oneshot::Receiver<Slot> {
        let (turn, later) = oneshot::channel();
        self.turns.insert(ticket.id(), turn);
        later
    }

    /// How long a request is worked on that has been accepted just now.
    pub(crate) fn draw_work(&mut self, route: usize) -> Duration {
        self.draws[route].work.draw()
    }
}

/// A request that the client has open. Dropping it tells the judge that it is over.
#[must_use = "a place that is not held is given back"]
pub(crate) struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Place {
    pub(crate) fn new(shared: &Arc<Shared>, ticket: Ticket) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, ticket }
    }
}

impl Place {
    /// The answer says what it costs.
    pub(crate) fn answered(&mut self, costs: &Costs) {
        self.ticket.answered(costs);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.close(&self.ticket);
    }
}

fn books(routes: &[Route], settings: &Settings) -> Books {
    let endpoints = routes.iter().map(|route| {
        let name = Arc::clone(&route.name);
        (name, route.limit.clone())
    });
    let depth = settings.queue.map_or(0, |queue| queue.depth);
    Books::new(endpoints, depth, settings.kept_records)
}

fn draws(routes: &[Route], settings: &Settings) -> Vec<EndpointDraws> {
    let seed = settings.seed;
    let draws = routes.iter().map(|route| EndpointDraws {
        work: route.work.draws(seed, &route.name),
        jitter: Draws::new(settings.jitter.clone(), seed, "jitter", &route.name),
    });
    draws.collect()
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("routes", &self.shared.routes)
            .finish_non_exhaustive()
    }
}
