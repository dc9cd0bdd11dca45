//! What a judge is made of: what it was told, its books, and what its hooks are told.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, request};
use tokio::{sync::oneshot, time::Instant};

use super::{
    answer::Answer,
    books::{Books, Slot, TicketId},
    faults::Schedule,
    limit::Limit,
    path::{Params, Template},
    pool::Pool,
    refusal::Refusal,
    retry_after::RetryAfter,
    work::{Draws, Work},
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
    /// How long what has been handed out needs to leave before its connection can break: no time within
    /// a process, a little over a socket.
    pub(crate) settle: Duration,
}

pub(crate) struct Shared {
    pub(crate) routes: Vec<Route>,
    /// The routes' indices, the most specific first.
    pub(super) search: Vec<usize>,
    pub(crate) settings: Settings,
    /// One moment on both clocks: the wall clock is read only here, so that a `Date` follows tokio's
    /// clock even where that is paused.
    pub(super) epoch: (Instant, SystemTime),
    pub(super) state: Mutex<State>,
}

pub(crate) struct State {
    pub(super) start: Instant,
    pub(super) unmatched: usize,
    pub(crate) books: Books,
    /// For each endpoint.
    pub(super) draws: Vec<EndpointDraws>,
    pub(super) latency: Duration,
    pub(crate) faults: Schedule,
    /// The channels that tell waiting requests that they have got a slot.
    pub(super) turns: HashMap<TicketId, oneshot::Sender<Slot>>,
}

pub(crate) struct EndpointDraws {
    /// Drawn from once for each request that is accepted, in that order.
    pub(super) work: Draws,
    /// Drawn from once for each request that is sent, in that order.
    pub(super) jitter: Draws,
}

/// Requests that are answered without being judged.
pub(crate) struct Intercept {
    pub(crate) template: Template,
    pub(crate) answer: InterceptHook,
}

pub(crate) struct Route {
    /// The template as it was given.
    pub(crate) name: Arc<str>,
    pub(crate) template: Template,
    pub(crate) limit: Limit,
    pub(crate) work: Work,
    pub(crate) answer: AnswerHook,
    pub(crate) check: Option<CheckHook>,
    pub(crate) pool: Option<PoolHook>,
    pub(crate) accepted: Option<AcceptedHook>,
    /// How long after the start of the work the head goes out, if not when it is done.
    pub(crate) first_byte: Option<Duration>,
}

/// Where requests wait that are above the concurrency limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) delay: Duration,
    pub(crate) depth: usize,
}

pub(crate) struct Settings {
    pub(crate) intercepts: Vec<Intercept>,
    pub(crate) queue: Option<Queue>,
    pub(crate) refusal: RefusalHook,
    pub(crate) refusal_after: Duration,
    pub(crate) retry_after: Option<RetryAfter>,
    pub(crate) latency: Duration,
    pub(crate) jitter: Range<Duration>,
    pub(crate) seed: u64,
    pub(crate) kept_records: usize,
    pub(crate) notice: Option<Duration>,
    pub(crate) cost_of: Option<CostHook>,
}

pub(crate) type AnswerHook = Box<dyn Fn(&Received<'_>) -> Answer + Send + Sync>;
pub(crate) type CheckHook = Box<dyn Fn(&Received<'_>) -> Option<Response<Bytes>> + Send + Sync>;
pub(crate) type InterceptHook = Box<dyn Fn(&Received<'_>) -> Option<Answer> + Send + Sync>;
pub(crate) type AcceptedHook = Box<dyn Fn(&Received<'_>) -> Option<Duration> + Send + Sync>;
pub(crate) type PoolHook = Box<dyn Fn(&Received<'_>) -> Option<Pool> + Send + Sync>;
pub(crate) type CostHook =
    Box<dyn Fn(&request::Parts, &[u8]) -> Vec<(&'static str, u64)> + Send + Sync>;
pub(crate) type RefusalHook = Box<dyn Fn(&Refusal) -> Answer + Send + Sync>;

/// A request that the mock has received completely, for the hooks that check and answer it.
#[derive(Debug)]
pub struct Received<'a> {
    pub(crate) judge: &'a Judge,
    pub(crate) head: &'a request::Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) params: &'a Params,
    pub(crate) standing: Standing<'a>,
}

/// What the books say about a request, as far as it has got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing<'a> {
    /// The endpoint.
    pub(crate) route: Option<usize>,
    pub(crate) pool: Option<&'a str>,
    pub(crate) in_flight: usize,
    pub(crate) concurrency: Option<usize>,
    pub(crate) work: Duration,
    pub(crate) remaining: Duration,
}
