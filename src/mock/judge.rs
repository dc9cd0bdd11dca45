//! The judge: its routes, its clock, and the books that it keeps.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use tokio::time::Instant;

use super::{
    answers::{self, Received, Refusal, RetryAfter},
    ledger::{Arrival, Ledger},
    limit::Limit,
    path::{Params, Template},
    report::Report,
    work::{Draws, Work, check},
};

/// How many requests each endpoint's report lists, unless the builder says otherwise.
const KEPT_RECORDS: usize = 4_096;

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

/// Says what a [`Judge`] allows, and how it answers.
///
/// The order of the calls makes no difference.
#[derive(Debug)]
pub struct JudgeBuilder {
    routes: Vec<Route>,
    hooks: Vec<(String, Hook)>,
    settings: Settings,
    latency: Duration,
    jitter: Range<Duration>,
    seed: u64,
    kept_records: usize,
}

type AnswerHook = Box<dyn Fn(&Received<'_>) -> Response<Bytes> + Send + Sync>;
type CheckHook = Box<dyn Fn(&Received<'_>) -> Result<(), Response<Bytes>> + Send + Sync>;
type RefusalHook = Box<dyn Fn(&Refusal) -> Response<Bytes> + Send + Sync>;

enum Hook {
    Answer(AnswerHook),
    Check(CheckHook),
}

pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    template: Template,
    limit: Limit,
    work: Work,
    pub(crate) answer: AnswerHook,
    pub(crate) check: Option<CheckHook>,
}

pub(crate) struct Settings {
    pub(crate) refusal: RefusalHook,
    pub(crate) refusal_after: Duration,
    pub(crate) retry_after: Option<RetryAfter>,
}

pub(crate) struct Shared {
    pub(crate) routes: Vec<Route>,
    /// The routes' indices, the most specific first.
    search: Vec<usize>,
    pub(crate) settings: Settings,
    latency: Duration,
    seed: u64,
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
        JudgeBuilder {
            routes: Vec::new(),
            hooks: Vec::new(),
            settings: Settings {
                refusal: Box::new(answers::refusal),
                refusal_after: Duration::ZERO,
                retry_after: None,
            },
            latency: Duration::ZERO,
            jitter: Duration::ZERO..Duration::ZERO,
            seed: 0,
            kept_records: KEPT_RECORDS,
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
    /// drawn already: see [`Work::draws`].
    ///
    /// # Panics
    ///
    /// If there is no such endpoint. The template has to be written as it was for the builder.
    #[track_caller]
    pub fn draws(&self, template: &str) -> Draws {
        let route = self.shared.named(template);
        self.shared.routes[route]
            .work
            .draws(self.shared.seed, template)
    }
}

impl JudgeBuilder {
    /// Adds an endpoint: what it allows, and how long it works on each request.
    ///
    /// A template is `[METHOD ]/path`. In the path `{name}` stands for one segment that is not empty
    /// and `{*rest}` for one or more characters up to the end. Where several templates match, the path
    /// decides segment by segment from the left (text before parameter before rest), then a method
    /// comes before none; a template of another method does not stand in the way. Query strings make
    /// no difference.
    ///
    /// # Panics
    ///
    /// If this is no template, or if a template of the same shape was added before.
    #[track_caller]
    pub fn route(mut self, template: &str, limit: Limit, work: Work) -> Self {
        let parsed = Template::parse(template)
            .unwrap_or_else(|error| panic!("{template:?} is no template: {error}"));
        if let Some(twin) = self
            .routes
            .iter()
            .find(|known| known.template.same_shape(&parsed))
        {
            panic!(
                "{template:?} matches the same requests as {:?}, which was added before",
                twin.name
            );
        }
        self.routes.push(Route {
            name: template.into(),
            template: parsed,
            limit,
            work,
            answer: Box::new(answers::success),
            check: None,
        });
        self
    }

    /// Decides what an endpoint answers to the requests that it accepts, once the work is done.
    ///
    /// By default a small JSON object, so that there is a body to be read to its end.
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn answer<F>(mut self, template: &str, answer: F) -> Self
    where
        F: Fn(&Received<'_>) -> Response<Bytes> + Send + Sync + 'static,
    {
        let hook = Hook::Answer(Box::new(answer));
        self.hooks.push((template.to_owned(), hook));
        self
    }

    /// Lets an endpoint turn down requests that make no sense: those are answered as `check` says, at
    /// once, and not judged.
    ///
    /// To be checked a request has to be complete, so on such an endpoint it *arrives* when its last
    /// byte does; elsewhere, when its head does. (For a body in memory that is the same.)
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn check<F>(mut self, template: &str, check: F) -> Self
    where
        F: Fn(&Received<'_>) -> Result<(), Response<Bytes>> + Send + Sync + 'static,
    {
        let hook = Hook::Check(Box::new(check));
        self.hooks.push((template.to_owned(), hook));
        self
    }

    /// Decides what a refusal looks like. By default: status 429, and a small JSON object.
    pub fn refusal<F>(mut self, refusal: F) -> Self
    where
        F: Fn(&Refusal) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.settings.refusal = Box::new(refusal);
        self
    }

    /// Lets every refusal take so long to be answered. By default they are answered at once.
    pub fn refusal_after(mut self, time: Duration) -> Self {
        self.settings.refusal_after = time;
        self
    }

    /// Puts this `Retry-After` on every refusal that has none.
    ///
    /// In whole seconds, rounded up. If that is not exact, a `retry-after-ms` says it in milliseconds.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.settings.retry_after = Some(RetryAfter::Fixed(time));
        self
    }

    /// Puts a `Retry-After` on every refusal by rate that has none: how long until the window has
    /// room, in whole seconds, rounded up.
    ///
    /// A refusal by concurrency gets none, since nobody knows when a slot becomes free.
    pub fn truthful_retry_after(mut self) -> Self {
        self.settings.retry_after = Some(RetryAfter::Truthful);
        self
    }

    /// The seed of all draws: working times and jitter. With the same seed, a run is the same again.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Lets every request arrive so much later than it was sent. The answer's way takes no time.
    pub fn latency(mut self, inbound: Duration) -> Self {
        self.latency = inbound;
        self
    }

    /// Lets every request arrive later by a time drawn from this range, on top of the latency. Requests
    /// can overtake each other on the way; they are judged in the order in which they arrive.
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn jitter(mut self, inbound: Range<Duration>) -> Self {
        check(&inbound);
        self.jitter = inbound;
        self
    }

    /// How many requests each endpoint's report lists one by one: by default the first 4 096.
    ///
    /// The numbers on the score card count all of them.
    pub fn kept_records(mut self, n: usize) -> Self {
        self.kept_records = n;
        self
    }

    /// Opens the API: times on the score card count from now.
    ///
    /// # Panics
    ///
    /// If an answer or a check was given for a template that no endpoint has.
    #[track_caller]
    pub fn build(mut self) -> Judge {
        for (template, hook) in self.hooks {
            let known = self.routes.iter().map(|route| &*route.name);
            let found = known.clone().position(|name| name == template);
            let Some(route) = found else {
                let known: Vec<_> = known.collect();
                panic!("no endpoint {template:?} was added, only {known:?}");
            };
            match hook {
                Hook::Answer(answer) => self.routes[route].answer = answer,
                Hook::Check(check) => self.routes[route].check = Some(check),
            }
        }
        let mut search: Vec<_> = (0..self.routes.len()).collect();
        search.sort_by_key(|route| self.routes[*route].template.rank());
        let endpoints = self.routes.iter().map(|route| Endpoint {
            ledger: Ledger::new(&route.name, route.limit.clone(), self.kept_records),
            work: route.work.draws(self.seed, &route.name),
            jitter: Draws::new(self.jitter.clone(), self.seed, "jitter", &route.name),
        });
        let start = Instant::now();
        let state = State {
            start,
            unmatched: 0,
            endpoints: endpoints.collect(),
        };
        Judge {
            shared: Arc::new(Shared {
                routes: self.routes,
                search,
                settings: self.settings,
                latency: self.latency,
                seed: self.seed,
                epoch: (start, SystemTime::now()),
                state: Mutex::new(state),
            }),
            notice: Duration::ZERO,
        }
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
            way: self.latency + endpoint.jitter.draw(),
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
        let Some(wait) = answers::retry_after(headers, self.wall_clock(now)) else {
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

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("template", &self.name)
            .field("limit", &self.limit)
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer(_) => "Answer(..)",
            Self::Check(_) => "Check(..)",
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("refusal_after", &self.refusal_after)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}
