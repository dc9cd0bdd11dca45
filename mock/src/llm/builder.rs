//! What the mock is told before it opens.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{
    MockLlm,
    api::Api,
    chat::Chat,
    output::{Output, Rule},
    service::Service,
    times::Clock,
    usage::{INPUT_TOKENS, OUTPUT_TOKENS, TOKENS},
};
use crate::{Judge, JudgeBuilder, Limit, Pool, Received, Work, work::check_time};

/// Says what a [`MockLlm`] allows, and how it behaves.
///
/// The order of the calls makes no difference. The last call of each method counts, and of
/// [`model`](MockLlmBuilder::model) the last one for each name.
///
/// ```
/// use std::time::Duration;
///
/// use tower_throttle_mock::{
///     Limit, Work,
///     llm::{CHAT_COMPLETIONS, INPUT_TOKENS, MockLlm, OUTPUT_TOKENS, TOKENS},
/// };
///
/// let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
/// let api = MockLlm::builder()
///     .openai(Limit::per(500, minute).units(TOKENS, 200_000, minute))
///     .anthropic(
///         Limit::per(50, minute)
///             .units(INPUT_TOKENS, 30_000, minute)
///             .units_at_end(OUTPUT_TOKENS, 8_000, minute),
///     )
///     // Models named so have this limit as well.
///     .model("gpt-4", Limit::unlimited().units(TOKENS, 10_000, minute))
///     // An answer begins after half a second or so, and a hundred tokens take a second.
///     .work(Work::uniform(second / 4..second))
///     .per_token(second / 100)
///     .output(|chat| chat.max_tokens().unwrap_or(100) / 2)
///     // A request is on its way for 20 to 60 ms.
///     .latency(Duration::from_millis(20))
///     .jitter(Duration::ZERO..Duration::from_millis(40))
///     .notice(Duration::from_millis(100))
///     .bare_refusals()
///     .kept_records(100)
///     .seed(7)
///     .build();
/// api.judge().fault(api.overloaded(CHAT_COMPLETIONS));
/// ```
pub struct MockLlmBuilder {
    judge: JudgeBuilder,
    openai: Limit,
    anthropic: Limit,
    models: Vec<(String, Limit)>,
    work: Work,
    per_token: Duration,
    rule: Option<Rule>,
    bare_refusals: bool,
    seed: u64,
}

impl MockLlmBuilder {
    pub(super) fn new() -> Self {
        Self {
            judge: Judge::builder(),
            openai: Limit::unlimited(),
            anthropic: Limit::unlimited(),
            models: Vec::new(),
            work: Work::none(),
            per_token: Duration::ZERO,
            rule: None,
            bare_refusals: false,
            seed: 0,
        }
    }

    /// What OpenAI's endpoint allows, in requests, in [`TOKENS`], and in requests at once.
    ///
    /// # Panics
    ///
    /// If it limits a unit that requests do not cost: see the [module](super).
    #[track_caller]
    pub fn openai(mut self, limit: Limit) -> Self {
        check_units(&limit);
        self.openai = limit;
        self
    }

    /// What Anthropic's endpoint allows, in requests, in [`INPUT_TOKENS`], in [`OUTPUT_TOKENS`] (the real one
    /// counts them [at the end](Limit::units_at_end)), and in requests at once.
    ///
    /// # Panics
    ///
    /// If it limits a unit that requests do not cost: see the [module](super).
    #[track_caller]
    pub fn anthropic(mut self, limit: Limit) -> Self {
        check_units(&limit);
        self.anthropic = limit;
        self
    }

    /// What is allowed to requests for this model, at both endpoints together, and in addition to what those
    /// allow. It is a [pool](super::super::Report::pool) of the model's name.
    ///
    /// # Panics
    ///
    /// If it limits a unit that requests do not cost: see the [module](super).
    #[track_caller]
    pub fn model(mut self, name: impl Into<String>, limit: Limit) -> Self {
        check_units(&limit);
        let name = name.into();
        self.models.retain(|(known, _)| *known != name);
        self.models.push((name, limit));
        self
    }

    /// How long it takes until an answer begins. By default no time.
    ///
    /// A stream's head comes then. An answer that is no stream comes as a whole, when all its
    /// [tokens](MockLlmBuilder::per_token) have been made.
    pub fn work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// How long it takes to make each token, on top of the [work](MockLlmBuilder::work). By default no time.
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn per_token(mut self, time: Duration) -> Self {
        check_time(time);
        self.per_token = time;
        self
    }

    /// How many tokens come out, in place of a draw. At least 1, and at most what the request asks for, whatever
    /// the rule says.
    ///
    /// It is asked several times for each request, and has to say the same each time.
    pub fn output<F>(mut self, tokens: F) -> Self
    where
        F: Fn(&Chat) -> u64 + Send + Sync + 'static,
    {
        self.rule = Some(Box::new(tokens));
        self
    }

    /// Lets OpenAI's refusals say in nothing but their message what is limited and when there is room, as some
    /// of the real ones do: no `retry-after`, and no `x-ratelimit-` headers
    /// ([openai-node#1477](https://github.com/openai/openai-node/issues/1477)). The judge reads no messages, so
    /// nobody is [early](super::super::EndpointReport::early) then.
    pub fn bare_refusals(mut self) -> Self {
        self.bare_refusals = true;
        self
    }

    /// The seed of all draws: what is said, how much, working times and jitter.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.judge = self.judge.seed(seed);
        self
    }

    /// Lets every request arrive later than it was sent: see [`JudgeBuilder::latency`].
    ///
    /// # Panics
    ///
    /// If that is longer than a century.
    #[track_caller]
    pub fn latency(mut self, inbound: Duration) -> Self {
        self.judge = self.judge.latency(inbound);
        self
    }

    /// Lets every request arrive later by a time drawn from this range: see [`JudgeBuilder::jitter`].
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn jitter(mut self, inbound: Range<Duration>) -> Self {
        self.judge = self.judge.jitter(inbound);
        self
    }

    /// For how long requests may still come after a `Retry-After` that were sent without knowing of it: see
    /// [`JudgeBuilder::notice`].
    pub fn notice(mut self, time: Duration) -> Self {
        self.judge = self.judge.notice(time);
        self
    }

    /// How many requests each endpoint's report lists: see [`JudgeBuilder::kept_records`].
    pub fn kept_records(mut self, n: usize) -> Self {
        self.judge = self.judge.kept_records(n);
        self
    }

    /// Opens the API: times on the score card count from now.
    pub fn build(self) -> MockLlm {
        let Self {
            openai,
            anthropic,
            models,
            work,
            per_token,
            rule,
            bare_refusals,
            seed,
            ..
        } = self;
        let service = Arc::new(Service {
            output: Output { rule, seed },
            clock: Clock::new(),
            seed,
            bare_refusals,
            ids: AtomicU64::new(0),
        });
        let models: Arc<[_]> = models
            .into_iter()
            .map(|(name, limit)| Pool::new(name, limit))
            .collect();
        let mut judge = self.judge;
        for (api, limit) in [(Api::OpenAi, openai), (Api::Anthropic, anthropic)] {
            judge = judge.route(api.endpoint(), limit, work.clone());
            judge = connect(judge, api, &service, per_token, &models);
        }
        let own = Arc::clone(&service);
        let judge = judge.cost_of(move |head, body| {
            let usage = own.usage(Api::of(head), body);
            usage.map_or_else(Vec::new, |usage| {
                vec![
                    (INPUT_TOKENS, usage.input_tokens),
                    (OUTPUT_TOKENS, usage.output_tokens),
                    (TOKENS, usage.total()),
                ]
            })
        });
        let own = Arc::clone(&service);
        let judge = judge.refusal(move |refusal| own.refusal(refusal)).build();
        MockLlm { judge, service }
    }
}

#[track_caller]
fn check_units(limit: &Limit) {
    const KNOWN: [&str; 3] = [TOKENS, INPUT_TOKENS, OUTPUT_TOKENS];
    for window in limit.unit_windows() {
        let unit = window.unit;
        assert!(
            KNOWN.contains(&unit),
            "no request costs {unit} here: expected one of {KNOWN:?}"
        );
    }
}

/// Lets an endpoint ask the service what to say.
fn connect(
    judge: JudgeBuilder,
    api: Api,
    service: &Arc<Service>,
    per_token: Duration,
    models: &Arc<[Pool]>,
) -> JudgeBuilder {
    let endpoint = api.endpoint();
    let own = Arc::clone(service);
    let judge = judge.check(endpoint, move |received| own.check(received));
    let own = Arc::clone(service);
    let judge = judge.accepted(endpoint, move |received| {
        Some(received.work() + own.time(received, per_token))
    });
    let own = Arc::clone(service);
    let judge = judge.answer(endpoint, move |received| own.answer(received, per_token));
    if models.is_empty() {
        return judge;
    }
    let models = Arc::clone(models);
    judge.pool_by(endpoint, move |received: &Received<'_>| {
        let chat = Chat::read(api, received.body()).ok()?;
        let mut models = models.iter();
        models.find(|pool| pool.name() == chat.model()).cloned()
    })
}

impl fmt::Debug for MockLlmBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockLlmBuilder")
            .field("openai", &self.openai)
            .field("anthropic", &self.anthropic)
            .field("models", &self.models)
            .field("work", &self.work)
            .field("per_token", &self.per_token)
            .field("bare_refusals", &self.bare_refusals)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
