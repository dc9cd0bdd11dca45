//! The judge: its routes, its clock, and the books that it keeps.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::Instant;

use super::{
    builder::{JudgeBuilder, Route, Settings},
    ledger::{Arrival, Ledger},
    limit::Limit,
    path::Params,
    report::Report,
    retry_after::retry_after,
    work::Draws,
};

/// An API that allows its clients so much and no more, refuses the rest, and keeps score.
///
/// It is a [`tower::Service`](tower_service::Service) by itself, always ready, and a server with
/// [`Judge::serve`]. Clones share their state.
///
/// See the [module](super) for the rules that it judges by.
#[derive(Clone)]
pub struct Judge {
    pub(crate) shared: Arc<Shared>,
    /// For how long a request may be under way without its client knowing of a `Retry-After` that
    /// was handed out meanwhile: nothing within a process, a little over a socket.
    pub(crate) notice: Duration,
}

pub(crate) struct Shared {
    pub(crate) routes: Vec<Route>,
    /// The routes' indices, the most specific first.
    search: Vec<usize>,
    pub(crate) settings: Settings,
    /// One moment on both clocks: the wall clock is read only here, so that a `Date` follows tokio's
    /// clock even where that is paused.
    epoch: (Instant, SystemTime),
    state: Mutex<State>,
}

pub(crate) struct State {
    start: Instant,
    unmatched: usize,
    pub(crate) endpoints: Vec<Endpoint>,
}

pub(crate) struct Endpoint {
    pub(crate) ledger: Ledger,
    /// Drawn from once for each request that is accepted, in that order.
    pub(crate) work: Draws,
    /// Drawn from once for each request that is sent, in that order.
    jitter: Draws,
}

pub(crate) enum Found {
    Route(usize, Params),
    OtherMethod,
    Nothing,
}

impl Judge {
    /// Starts with no routes, no latency, and the seed 0.
    pub fn builder() -> JudgeBuilder {
        JudgeBuilder::new()
    }

    pub(crate) fn open(routes: Vec<Route>, settings: Settings) -> Self {
        let mut search: Vec<_> = (0..routes.len()).collect();
        search.sort_by_key(|route| routes[*route].template.rank());
        let seed = settings.seed;
        let endpoints = routes.iter().map(|route| Endpoint {
            ledger: Ledger::new(&route.name, route.limit.clone(), settings.kept_records),
            work: route.work.draws(seed, &route.name),
            jitter: Draws::new(settings.jitter.clone(), seed, "jitter", &route.name),
        });
        let notice = settings.notice.unwrap_or_default();
        let start = Instant::now();
        let state = Mutex::new(State {
            start,
            unmatched: 0,
            endpoints: endpoints.collect(),
        });
        let shared = Shared {
            routes,
            search,
            settings,
            epoch: (start, SystemTime::now()),
            state,
        };
        Self {
            shared: Arc::new(shared),
            notice,
        }
    }

    /// The score card as it is now.
    pub fn report(&self) -> Report {
        let state = self.shared.state();
        let endpoints = state.endpoints.iter();
        Report {
            endpoints: endpoints.map(|endpoint| endpoint.ledger.report()).collect(),
            unmatched: state.unmatched,
        }
    }

    /// Starts a new score card, on which times count from now.
    ///
    /// Only the score is forgotten. What was accepted before still counts against the limits, a
    /// `Retry-After` still holds, and the draws go on where they were.
    pub fn reset(&self) {
        let mut state = self.shared.state();
        state.start = Instant::now();
        state.unmatched = 0;
        for endpoint in &mut state.endpoints {
            endpoint.ledger.reset();
        }
    }

    /// Changes what an endpoint allows, from the next arrival on.
    ///
    /// What was accepted before counts under the new limit: the last 1 024 requests, and any that
    /// were in the old limit's windows. Requests in flight stay, even if they are now too many.
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn set_limit(&self, template: &str, limit: Limit) {
        let route = self.shared.named(template);
        let mut state = self.shared.state();
        state.endpoints[route].ledger.set_limit(limit);
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

    /// A request sets out: how long it takes to arrive, and what its client knows.
    pub(crate) fn sent(&self, route: usize) -> Departure {
        let mut state = self.state();
        let now = Instant::now();
        let endpoint = &mut state.endpoints[route];
        Departure {
            sent: now,
            way: self.settings.latency + endpoint.jitter.draw(),
            not_before: endpoint.ledger.not_before(now),
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
            let ledger = &mut self.state().endpoints[route].ledger;
            ledger.hinted(now, notice, until);
        }
    }

    pub(crate) fn date(&self, now: Instant, headers: &mut HeaderMap) {
        headers.entry(header::DATE).or_insert_with(|| {
            let date = httpdate::fmt_http_date(self.wall_clock(now));
            HeaderValue::try_from(date).expect("a date is ASCII")
        });
    }

    fn wall_clock(&self, now: Instant) -> SystemTime {
        let (instant, wall) = self.epoch;
        wall + now.saturating_duration_since(instant)
    }
}

pub(crate) struct Departure {
    pub(crate) sent: Instant,
    pub(crate) way: Duration,
    pub(crate) not_before: Option<Instant>,
}

impl State {
    pub(crate) fn arrival(&self, not_before: Option<Instant>) -> Arrival {
        let now = Instant::now();
        Arrival {
            now,
            at: now.saturating_duration_since(self.start),
            not_before,
        }
    }

    pub(crate) fn count_unmatched(&mut self) {
        self.unmatched += 1;
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("routes", &self.shared.routes)
            .finish_non_exhaustive()
    }
}
