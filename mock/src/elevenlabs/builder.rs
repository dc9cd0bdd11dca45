//! What the mock is told before it opens.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    CONTROL, MockElevenLabs, TTS,
    account::{Account, Keys},
    api::Api,
    audio::Audio,
    control,
    endpoints::{self, Endpoint, Kind},
    ids::Ids,
    limits::Limits,
    problem::{Dialect, Problem},
    response::Responder,
    speech::{self, Pace},
    state::{Own, State},
    times,
    voice::Voice,
};
use crate::{Judge, JudgeBuilder, Limit, RefusedBy, Work};
use tower_throttle_plans::elevenlabs::Plan;

/// When the first byte of a stream comes by default: within the demo's working times.
const FIRST_BYTE: Duration = Duration::from_millis(100);

/// Says what a [`MockElevenLabs`] allows, and how it behaves.
///
/// The order of the calls makes no difference, unless said otherwise.
#[derive(Debug)]
pub struct MockBuilder {
    judge: JudgeBuilder,
    limit: Option<Limit>,
    work: Work,
    realistic_times: bool,
    cloning: (Option<Limit>, Work),
    concurrency_headers: bool,
    keys: Keys,
    own: Own,
    voices: Vec<Voice>,
    any_voice: bool,
    dialect: Dialect,
    audio: Audio,
    seed: u64,
}

impl MockBuilder {
    pub(super) fn new() -> Self {
        let millis = Duration::from_millis;
        Self {
            judge: Judge::builder(),
            limit: None,
            work: Work::uniform(millis(200)..millis(400)),
            realistic_times: false,
            cloning: (None, Work::uniform(millis(800)..millis(10_200))),
            concurrency_headers: false,
            keys: Keys::default(),
            own: Own::default(),
            voices: Voice::all_premade(),
            any_voice: true,
            dialect: Dialect::default(),
            audio: Audio::default(),
            seed: 0,
        }
    }

    /// Changes what speech is limited to, and how long it takes, on all four endpoints together.
    ///
    /// Without [keys](Self::key) it is the limit of [`TTS`], with which the other three share it; with
    /// keys, each workspace has such a limit of its own. It takes the place of what a plan allows.
    pub fn tts(mut self, limit: Limit, work: Work) -> Self {
        self.limit = Some(limit);
        self.work(work)
    }

    /// Changes how long speech takes, and leaves its limits alone.
    pub fn work(mut self, work: Work) -> Self {
        self.work = work;
        self.realistic_times = false;
        self
    }

    /// Lets speech take as long as the real API was seen to take in 2026: 1.1 s for 40 characters with
    /// Multilingual and 0.3 s with Flash, 5.6 s and 1.2 s for 600, and in proportion between and
    /// beyond; the first byte of a stream comes after 0.2 s. Of this and [`work`](Self::work), the one
    /// that is called last counts.
    pub fn realistic_times(mut self) -> Self {
        self.realistic_times = true;
        self
    }

    /// Changes what [`CLONE_VOICE`](super::CLONE_VOICE) allows, and how long it works on each request.
    pub fn clone_voice(mut self, limit: Limit, work: Work) -> Self {
        self.cloning = (Some(limit), work);
        self
    }

    /// Changes how long cloning a voice takes, and leaves its limits alone.
    pub fn clone_work(mut self, work: Work) -> Self {
        self.cloning.1 = work;
        self
    }

    /// Gives the account this plan, with its concurrency for each family of models
    /// ([`Plan::concurrency`]), its credits and its voices, rather than the demo's limits. Cloning is
    /// then not limited. The headers that show the concurrency are switched on.
    ///
    /// It is the plan of requests that need no key; [keys](Self::key) have their own.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.own.plan = Some(plan);
        self
    }

    /// How many credits there are, rather than the plan's monthly ones; without a plan, a thousand
    /// million. For requests that need no key; [keys](Self::key) have their own.
    pub fn credits(mut self, credits: u64) -> Self {
        self.own.credits = Some(credits);
        self
    }

    /// Lets a key in, and nobody without a key that was let in.
    ///
    /// # Panics
    ///
    /// If the key is empty or was let in before, or if its workspace has another plan already.
    #[track_caller]
    pub fn key(mut self, key: impl Into<String>, account: Account) -> Self {
        self.keys.add(key.into(), account);
        self
    }

    /// Lets nobody in without a key. Any will do, unless [some](Self::key) are known.
    pub fn require_key(mut self) -> Self {
        self.keys.required = true;
        self
    }

    /// Adds a voice, in all workspaces, to those that come with the API.
    pub fn voice(mut self, voice: Voice) -> Self {
        self.voices.retain(|known| known.id != voice.id);
        self.voices.push(voice);
        self
    }

    /// Lets only voices speak that there are, as in the real API. By default any id is a voice, unless
    /// one that was deleted had it.
    pub fn known_voices_only(mut self) -> Self {
        self.any_voice = false;
        self
    }

    /// How refusals are worded.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// What speech consists of.
    pub fn audio(mut self, audio: Audio) -> Self {
        self.audio = audio;
        self
    }

    /// The seed of all draws: see [`JudgeBuilder::seed`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.judge = self.judge.seed(seed);
        self
    }

    /// Lets every request arrive so much later than it was sent: see [`JudgeBuilder::latency`].
    pub fn latency(mut self, inbound: Duration) -> Self {
        self.judge = self.judge.latency(inbound);
        self
    }

    /// Lets every request arrive later by a time from this range: see [`JudgeBuilder::jitter`].
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    #[track_caller]
    pub fn jitter(mut self, inbound: Range<Duration>) -> Self {
        self.judge = self.judge.jitter(inbound);
        self
    }

    /// Lets requests above the concurrency wait, at most `depth` of them, and takes `delay` longer for
    /// those that had to: see [`JudgeBuilder::queue`].
    ///
    /// The documentation promises such a queue, with a delay of about 50 ms. Whoever measured the real
    /// API found none.
    ///
    /// # Panics
    ///
    /// If `depth` is 0.
    #[track_caller]
    pub fn queue(mut self, delay: Duration, depth: usize) -> Self {
        self.judge = self.judge.queue(delay, depth);
        self
    }

    /// Lets every refusal take so long to be answered: see [`JudgeBuilder::refusal_after`].
    ///
    /// The real API was seen to take about a quarter of a second.
    pub fn refusal_after(mut self, time: Duration) -> Self {
        self.judge = self.judge.refusal_after(time);
        self
    }

    /// Puts this `Retry-After` on every refusal, unlike the real API: see [`JudgeBuilder::retry_after`].
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.judge = self.judge.retry_after(time);
        self
    }

    /// Puts a `Retry-After` on refusals by rate, unlike the real API: see
    /// [`JudgeBuilder::truthful_retry_after`].
    pub fn truthful_retry_after(mut self) -> Self {
        self.judge = self.judge.truthful_retry_after();
        self
    }

    /// How much notice a client gets of a `Retry-After`: see [`JudgeBuilder::notice`].
    pub fn notice(mut self, time: Duration) -> Self {
        self.judge = self.judge.notice(time);
        self
    }

    /// How many requests each endpoint's report lists: see [`JudgeBuilder::kept_records`].
    pub fn kept_records(mut self, n: usize) -> Self {
        self.judge = self.judge.kept_records(n);
        self
    }

    /// Puts `current-concurrent-requests` and `maximum-concurrent-requests` on the successes of speech,
    /// as the real API does: how many are running, the request itself included, and how many may be.
    pub fn concurrency_headers(mut self) -> Self {
        self.concurrency_headers = true;
        self
    }

    /// Opens the API: times on the score card count from now.
    pub fn build(self) -> MockElevenLabs {
        let several = self.keys.accounts().next().is_some();
        let planned = several || self.own.plan.is_some();
        let limits = Arc::new(Limits::new(self.limit.clone(), planned, several));
        let api = Arc::new(Api {
            state: State::new(&self.keys, self.own, &self.voices),
            keys: self.keys,
            responder: Responder {
                ids: Ids::new(self.seed),
                dialect: self.dialect,
            },
            audio: self.audio,
            any_voice: self.any_voice,
            concurrency_headers: self.concurrency_headers || planned,
            epoch: (Instant::now(), SystemTime::now()),
        });
        let (cloning, cloning_work) = self.cloning;
        let cloning = cloning.unwrap_or_else(|| {
            if planned {
                Limit::unlimited()
            } else {
                Limit::rps(1).concurrency(1)
            }
        });
        let speech = self.limit.unwrap_or_else(|| Limit::rps(5).concurrency(4));
        let wiring = Wiring {
            speech: (limits.of_endpoint(speech), self.work),
            cloning: (cloning, cloning_work),
            realistic_times: self.realistic_times,
            api: Arc::clone(&api),
            limits: Arc::clone(&limits),
        };
        let judge = wiring.connect(self.judge).build();
        MockElevenLabs { judge, api, limits }
    }
}

/// What connects the API to the judge in front of it.
struct Wiring {
    speech: (Limit, Work),
    cloning: (Limit, Work),
    realistic_times: bool,
    api: Arc<Api>,
    limits: Arc<Limits>,
}

impl Wiring {
    fn connect(&self, judge: JudgeBuilder) -> JudgeBuilder {
        let endpoints = endpoints::all();
        let judge = endpoints
            .iter()
            .fold(judge, |judge, endpoint| self.endpoint(judge, endpoint));
        let api = Arc::clone(&self.api);
        let judge = judge.refusal(move |refusal| {
            let problem = match refusal.by() {
                RefusedBy::Concurrency { limit } => Problem::too_many_at_once(limit),
                RefusedBy::Rate { .. } | RefusedBy::Units { .. } => Problem::too_fast(),
            };
            let headers = &refusal.head().headers;
            api.responder.chunked_problem(headers, &problem)
        });
        let (api, limits) = (Arc::clone(&self.api), Arc::clone(&self.limits));
        judge.intercept(&format!("{CONTROL}{{*resource}}"), move |request| {
            Some(control::answer(&api, &limits, request))
        })
    }

    fn endpoint(&self, judge: JudgeBuilder, endpoint: &Endpoint) -> JudgeBuilder {
        let &Endpoint {
            template,
            kind,
            check,
            answer,
        } = endpoint;
        let (limit, work) = match kind {
            Kind::Speech(_) if template == TTS => self.speech.clone(),
            Kind::Speech(_) => (Limit::unlimited(), self.speech.1.clone()),
            Kind::Cloning => self.cloning.clone(),
            Kind::Other => (Limit::unlimited(), Work::none()),
        };
        let (checking, answering) = (Arc::clone(&self.api), Arc::clone(&self.api));
        let judge = judge
            .route(template, limit, work)
            .check(template, move |request| {
                let stop = check(&checking, request).err()?;
                Some(checking.stopped(&request.head().headers, stop))
            })
            .answer(template, move |request| {
                let headers = &request.head().headers;
                let answer = answer(&answering, request);
                answer.unwrap_or_else(|stop| answering.stopped(headers, stop).into())
            });
        match kind {
            Kind::Speech(pace) => self.speech(judge, template, pace),
            Kind::Cloning | Kind::Other => judge,
        }
    }

    /// What the endpoints of speech have in common.
    fn speech(&self, judge: JudgeBuilder, template: &str, pace: Pace) -> JudgeBuilder {
        let (api, limits) = (Arc::clone(&self.api), Arc::clone(&self.limits));
        let judge = judge.pool_by(template, move |request| limits.pool(&api, request));
        let (api, realistic) = (Arc::clone(&self.api), self.realistic_times);
        let judge = judge.accepted(template, move |request| {
            speech::accepted(&api, request);
            realistic.then(|| speech::time(request))
        });
        match pace {
            Pace::AtOnce => judge,
            Pace::Streamed if realistic => judge.streaming(template, times::FIRST_BYTE),
            Pace::Streamed => judge.streaming(template, FIRST_BYTE),
        }
    }
}
