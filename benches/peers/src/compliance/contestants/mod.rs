//! Who takes part: everyone puts limits in front of a server, in the way its documentation suggests.

mod backon;
mod governor;
mod leaky_bucket;
mod none;
mod ours;
mod polling;
mod reqwest_retry;
mod resilience;
mod semaphore;
mod throttle_net;
mod tower;

use std::{sync::Arc, time::Duration};

use ::tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

pub use self::{
    backon::Backon,
    governor::{Governor, GovernorOfTokens},
    leaky_bucket::LeakyBucket,
    none::NoLimiter,
    ours::{ToldTheMean, ToldWho, TowerThrottle},
    polling::PollingLoop,
    reqwest_retry::ReqwestRetry,
    resilience::{Adaptive, Resilience, ResilienceRetry},
    semaphore::{Semaphore, TokenGate},
    throttle_net::{ThrottleNet, ThrottleNetQueue},
    tower::{Tower, TowerRetry},
};

/// What everyone is asked to send. Its `usize` among the extensions is its place in the order of entry.
pub type Req = Request<Full<Bytes>>;

/// What everyone hands back. A body that is held is an answer that has not ended.
pub type Res = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The API behind the limits: a recorder, or a judge.
pub type Server = BoxCloneSyncService<Req, Res, BoxError>;

/// A contestant in front of a server.
pub type Client = BoxCloneSyncService<Req, Res, BoxError>;

/// What a client is to keep to. By default, nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub rate: Option<Rate>,
    pub at_once: Option<usize>,
}

/// At most `n` per period.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub n: u32,
    pub period: Duration,
    /// By how much a period is to be widened, for the jitter on the way to the server.
    pub margin: Duration,
}

impl Limits {
    pub fn per_second(n: u32) -> Self {
        Self::per(n, Duration::from_secs(1))
    }

    pub const fn per(n: u32, period: Duration) -> Self {
        let margin = Duration::ZERO;
        Self {
            rate: Some(Rate { n, period, margin }),
            at_once: None,
        }
    }

    pub fn at_once(self, n: usize) -> Self {
        Self {
            at_once: Some(n),
            ..self
        }
    }

    pub fn margin(self, margin: Duration) -> Self {
        let rate = self.rate.map(|rate| Rate { margin, ..rate });
        Self { rate, ..self }
    }
}

impl Rate {
    /// For those who know no margin: a period that is longer by it.
    pub fn widened(self) -> Duration {
        self.period + self.margin
    }
}

/// Somebody who keeps requests from leaving too early, or sends them again.
///
/// Everyone gets the same requests, at the same times, through the same kind of service.
pub trait Contestant: Sync {
    /// As the tables call it.
    fn name(&self) -> String;

    /// Puts the limits in front of the server. Runs inside a runtime.
    fn client(&self, limits: Limits, server: Server) -> Client;
}

/// Whose request it is, and how urgent: an extension of the request. Most contestants do not look at it.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub class: Class,
    pub tenant: usize,
    /// What the tenant is to get beside the others.
    pub weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Interactive,
    Batch,
}

impl Caller {
    pub fn of(request: &Req) -> Self {
        let caller = request.extensions().get();
        *caller.expect("every request has one")
    }
}

/// So many tokens per period, which calls take different numbers of.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub tokens: u32,
    pub period: Duration,
    /// Whether the server counts what a call has taken when its answer ends, and not when it arrives.
    pub at_end: bool,
    /// The most that a call is expected to take: a bucket cannot be smaller.
    pub largest: u32,
}

/// What a call takes of a budget: an extension of the request.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// What is known before it is sent.
    pub estimate: Option<u32>,
    /// What to take it for if nothing is: the mean of all, which in truth nobody knows either.
    pub guess: u32,
    /// What its answer says when it has ended. Nobody looks at this before.
    pub taken: u32,
}

impl Tokens {
    /// For a caller that needs a figure.
    pub fn counted(self) -> u32 {
        self.estimate.unwrap_or(self.guess)
    }

    pub fn of(request: &Req) -> Self {
        let tokens = request.extensions().get();
        *tokens.expect("every call takes some")
    }
}

/// Somebody who keeps calls within a budget, and sends again what is refused, no sooner than the server says.
pub trait Budgeter: Sync {
    /// As the tables call it.
    fn name(&self) -> String;

    /// Puts the budget in front of the server. Runs inside a runtime.
    fn client(&self, budget: Budget, server: Server) -> Client;
}

/// How often a call is sent at most. Nobody gives up before.
pub const ATTEMPTS: u32 = 50;

impl<C: Contestant + Send> Contestant for Arc<C> {
    fn name(&self) -> String {
        C::name(self)
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        C::client(self, limits, server)
    }
}

/// An answer that has been read to its end.
async fn read<B>(answer: Response<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}

/// How long the server says to wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
    let exact = number("retry-after-ms").map(Duration::from_millis);
    exact.or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Gives every service the same type.
pub fn boxed<S, B>(service: S) -> BoxCloneSyncService<Req, Res, BoxError>
where
    S: Service<Req, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: std::fmt::Debug,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // By their `Debug`, since not all errors here are `Error`s. Nobody looks into them.
    let service = service
        .map_err(|error| BoxError::from(format!("{error:?}")))
        .map_response(|response| response.map(|body| body.map_err(Into::into).boxed_unsync()));
    BoxCloneSyncService::new(service)
}
