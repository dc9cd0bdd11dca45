//! What a judge is told before it opens: its endpoints, and how they answer.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::{Method, Response, request};

use super::{
    answer::{self, Answer},
    limit::{Counted, Limit},
    path::{Params, Template},
    pool::Pool,
    refusal::Refusal,
    retry_after::RetryAfter,
    state::{
        AcceptedHook, AnswerHook, CheckHook, Intercept, Judge, PoolHook, Queue, Received, Route,
        Settings, Shared,
    },
    work::{Work, check, check_time},
};

/// How many requests each endpoint's report lists, unless the builder says otherwise.
const KEPT_RECORDS: usize = 4_096;

/// Says what a [`Judge`] allows, and how it answers.
///
/// The order of the calls makes no difference.
#[derive(Debug)]
pub struct JudgeBuilder {
    routes: Vec<Route>,
    hooks: Vec<(String, Hook)>,
    settings: Settings,
}

/// What is said about a route in a call of its own.
enum Hook {
    Answer(AnswerHook),
    Check(CheckHook),
    Accepted(AcceptedHook),
    Pool(PoolHook),
    Streaming(Duration),
}

impl Judge {
    /// Starts with no routes, no latency, and the seed 0.
    pub fn builder() -> JudgeBuilder {
        JudgeBuilder::new()
    }
}

impl JudgeBuilder {
    pub(crate) fn new() -> Self {
        Self {
            routes: Vec::new(),
            hooks: Vec::new(),
            settings: Settings {
                intercepts: Vec::new(),
                queue: None,
                refusal: Box::new(|refusal| answer::refusal(refusal).into()),
                refusal_after: Duration::ZERO,
                retry_after: None,
                latency: Duration::ZERO,
                jitter: Duration::ZERO..Duration::ZERO,
                seed: 0,
                kept_records: KEPT_RECORDS,
                notice: None,
                cost_of: None,
            },
        }
    }

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
        let parsed = parse(template);
        let mut known = self.routes.iter();
        if let Some(twin) = known.find(|known| known.template.same_shape(&parsed)) {
            let twin = &twin.name;
            panic!("{template:?} matches the same requests as {twin:?}, which was added before");
        }
        self.routes.push(Route {
            name: template.into(),
            template: parsed,
            limit,
            work,
            answer: Box::new(|_| answer::success().into()),
            check: None,
            pool: None,
            accepted: None,
            first_byte: None,
        });
        self
    }

    fn hook(mut self, template: &str, hook: Hook) -> Self {
        self.hooks.push((template.to_owned(), hook));
        self
    }

    /// Decides what an endpoint answers to the requests that it accepts, once the work is done.
    ///
    /// By default a small JSON object, so that there is a body to be read to its end. An [`Answer`] may
    /// come in chunks; a `Response` is an answer, too.
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn answer<F, A>(self, template: &str, answer: F) -> Self
    where
        F: Fn(&Received<'_>) -> A + Send + Sync + 'static,
        A: Into<Answer>,
    {
        let hook = Hook::Answer(Box::new(move |received| answer(received).into()));
        self.hook(template, hook)
    }

    /// Lets an endpoint send the head of its answers `first_byte` after the work has begun, and not when
    /// it is done, as APIs do that stream what they generate. (If the work is done earlier, the head does
    /// not wait.)
    ///
    /// The answer's hook is asked when the head goes out, and spreads the body's chunks over what
    /// [remains](Received::remaining) of the work. A body that it returns as a whole comes when the work
    /// is done.
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn streaming(self, template: &str, first_byte: Duration) -> Self {
        self.hook(template, Hook::Streaming(first_byte))
    }

    /// Lets an endpoint turn down requests that make no sense: those for which `check` has an answer
    /// get that, at once, and are not judged.
    ///
    /// To be checked a request has to be complete, so on such an endpoint it *arrives* when its last
    /// byte does; elsewhere, when its head does. (For a body in memory that is the same.)
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn check<F>(self, template: &str, check: F) -> Self
    where
        F: Fn(&Received<'_>) -> Option<Response<Bytes>> + Send + Sync + 'static,
    {
        let hook = Hook::Check(Box::new(check));
        self.hook(template, hook)
    }

    /// Tells of each request that an endpoint accepts, once, before it is worked on (or waits for its
    /// slot): to take what it costs. If the hook has a time, that is how long the work takes; otherwise
    /// it is as the endpoint's [`Work`] draws it. It is drawn from for every request all the same, and the
    /// hook is told [what was drawn](Received::work).
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn accepted<F>(self, template: &str, accepted: F) -> Self
    where
        F: Fn(&Received<'_>) -> Option<Duration> + Send + Sync + 'static,
    {
        self.hook(template, Hook::Accepted(Box::new(accepted)))
    }

    /// Puts requests to an endpoint under a limit that they share with others, to this endpoint or to
    /// any: the hook chooses the pool from the request, which may be of several families, or accounts.
    ///
    /// A request is accepted if its endpoint's limit and its pool's limit both admit it, in one decision,
    /// and counts in both. It is asked after the [check](JudgeBuilder::check), and the request has to be
    /// complete for it, too: it *arrives* when its last byte does. Pools come into being with their first
    /// request, and stay; so their names should not be made up by clients.
    ///
    /// # Panics
    ///
    /// [`JudgeBuilder::build`] panics if no endpoint has this template.
    pub fn pool_by<F>(self, template: &str, pool: F) -> Self
    where
        F: Fn(&Received<'_>) -> Option<Pool> + Send + Sync + 'static,
    {
        self.hook(template, Hook::Pool(Box::new(pool)))
    }

    /// Lets requests that are above a concurrency limit wait for a slot, in the order in which they
    /// came: at most `depth` of them in each pool, or at each endpoint where they have none. Those that
    /// had to wait are worked on for `delay` longer. By default, nobody waits.
    ///
    /// Windows are not waited for: a request is judged by them when it arrives, and refused, or counted
    /// from then on. A client that goes away leaves the queue.
    ///
    /// # Panics
    ///
    /// If `depth` is 0, or the delay longer than a century.
    #[track_caller]
    pub fn queue(mut self, delay: Duration, depth: usize) -> Self {
        assert!(depth > 0, "a queue of depth 0 is none");
        check_time(delay);
        self.settings.queue = Some(Queue { delay, depth });
        self
    }

    /// Answers requests without judging or counting them: those whose path matches the template, and for
    /// which the hook has an answer. Where it has none, the request goes on as if it had not been asked.
    ///
    /// Asked before anything else, routing included; the first that has an answer counts. It is for what
    /// the API itself does not have, such as a test's own controls. Neither latency nor faults concern
    /// such answers. A request that matches has to be complete before it goes on.
    ///
    /// # Panics
    ///
    /// If this is no template: see [`JudgeBuilder::route`].
    #[track_caller]
    pub fn intercept<F>(mut self, template: &str, answer: F) -> Self
    where
        F: Fn(&Received<'_>) -> Option<Answer> + Send + Sync + 'static,
    {
        let template = parse(template);
        let answer = Box::new(answer);
        let intercept = Intercept { template, answer };
        self.settings.intercepts.push(intercept);
        self
    }

    /// Says what a request truly costs, by unit, for limits in [units](Limit::units) other than requests: from
    /// its head, and its body.
    ///
    /// A request costs nothing of a unit that is not named, and the sum if a unit is named twice. The judge
    /// asks once for each request, after the [check](JudgeBuilder::check). To be asked about, a request has to
    /// be complete: on every endpoint it *arrives* when its last byte does.
    ///
    /// An answer may say what [it cost](Answer::cost), for units that are counted at its end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle_mock::{Judge, Limit, Work};
    ///
    /// let minute = Duration::from_secs(60);
    /// let api = Judge::builder()
    ///     .route("POST /tts", Limit::unlimited().units("characters", 2_500, minute), Work::none())
    ///     .cost_of(|_, body| vec![("characters", body.len() as u64)])
    ///     .build();
    /// ```
    pub fn cost_of<F>(mut self, cost_of: F) -> Self
    where
        F: Fn(&request::Parts, &[u8]) -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    {
        self.settings.cost_of = Some(Box::new(cost_of));
        self
    }

    /// Decides what a refusal looks like. By default: status 429, and a small JSON object. If a window of
    /// [units](Limit::units) refuses, the object names the `unit` and says in how many seconds there is room,
    /// exactly (`retry_after`). The headers `x-ratelimit-limit-{unit}`, `x-ratelimit-remaining-{unit}` and
    /// `x-ratelimit-reset-{unit}` say the same.
    pub fn refusal<F, A>(mut self, refusal: F) -> Self
    where
        F: Fn(&Refusal) -> A + Send + Sync + 'static,
        A: Into<Answer>,
    {
        self.settings.refusal = Box::new(move |refused| refusal(refused).into());
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
    /// room, in whole seconds, rounded up. On a refusal by units, if that is not exact, a `retry-after-ms`
    /// says it in milliseconds; a request that costs more than the window allows gets none.
    ///
    /// A refusal by concurrency gets none, since nobody knows when a slot becomes free.
    pub fn truthful_retry_after(mut self) -> Self {
        self.settings.retry_after = Some(RetryAfter::Truthful);
        self
    }

    /// For how long after a `Retry-After` was handed out requests may still come that were sent without
    /// knowing of it: they are not counted as [early](super::EndpointReport::early). Whoever is told again
    /// before the time is over gets no more notice.
    ///
    /// By default 50 ms over a socket, and none as a service: on one thread an answer that was handed
    /// out is known. A client on several threads needs a few milliseconds.
    pub fn notice(mut self, time: Duration) -> Self {
        self.settings.notice = Some(time);
        self
    }

    /// The seed of all draws: working times and jitter. With the same seed, a run is the same again.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Lets every request arrive so much later than it was sent. The answer's way takes no time.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn latency(mut self, inbound: Duration) -> Self {
        check_time(inbound);
        self.settings.latency = inbound;
        self
    }

    /// Lets every request arrive later by a time drawn from this range, on top of the latency: on each
    /// endpoint in the order in which requests are sent, whole milliseconds if both ends are. Requests
    /// can overtake each other on the way; they are judged in the order in which they arrive.
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn jitter(mut self, inbound: Range<Duration>) -> Self {
        check(&inbound);
        self.settings.jitter = inbound;
        self
    }

    /// How many requests each endpoint's report lists one by one: by default the first 4 096.
    ///
    /// The numbers on the score card count all of them.
    pub fn kept_records(mut self, n: usize) -> Self {
        self.settings.kept_records = n;
        self
    }

    #[track_caller]
    fn check_costs(&self) {
        if self.settings.cost_of.is_some() {
            return;
        }
        for route in &self.routes {
            let mut windows = route.limit.unit_windows().iter();
            if let Some(window) = windows.find(|window| window.counted == Counted::AtArrival) {
                let (name, unit) = (&route.name, window.unit);
                panic!(
                    "{name:?} limits {unit}, and nothing says how many a request costs: expected \
                     `JudgeBuilder::cost_of`"
                );
            }
        }
    }

    /// Opens the API: times on the score card count from now.
    ///
    /// # Panics
    ///
    /// If a hook was given for a template that no endpoint has, or if a limit counts units at arrival and
    /// nothing says what requests [cost](JudgeBuilder::cost_of).
    #[track_caller]
    pub fn build(mut self) -> Judge {
        self.check_costs();
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
                Hook::Accepted(accepted) => self.routes[route].accepted = Some(accepted),
                Hook::Pool(pool) => self.routes[route].pool = Some(pool),
                Hook::Streaming(first_byte) => self.routes[route].first_byte = Some(first_byte),
            }
        }
        Judge::open(self.routes, self.settings)
    }
}

#[track_caller]
fn parse(template: &str) -> Template {
    let parsed = Template::parse(template);
    parsed.unwrap_or_else(|error| panic!("{template:?} is no template: {error}"))
}

impl Settings {
    /// How much longer it takes to work on what has been in the queue.
    pub(crate) fn queue_delay(&self) -> Duration {
        self.queue.map_or(Duration::ZERO, |queue| queue.delay)
    }
}

impl Shared {
    /// Whether a request has to be complete to be judged.
    pub(crate) fn needs_body(&self, route: usize) -> bool {
        let Route {
            check,
            pool,
            accepted,
            ..
        } = &self.routes[route];
        let cost_of = &self.settings.cost_of;
        check.is_some() || pool.is_some() || accepted.is_some() || cost_of.is_some()
    }
}

impl Intercept {
    pub(crate) fn matches(&self, method: &Method, path: &str) -> Option<Params> {
        let params = self.template.matches(path)?;
        self.template.takes(method).then_some(params)
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
            Self::Accepted(_) => "Accepted(..)",
            Self::Pool(_) => "Pool(..)",
            Self::Streaming(_) => "Streaming(..)",
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("queue", &self.queue)
            .field("refusal_after", &self.refusal_after)
            .field("retry_after", &self.retry_after)
            .field("latency", &self.latency)
            .field("jitter", &self.jitter)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
