//! throttle-net. Its clock is tokio's here, as its documentation has it for tests, and so can be paused.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use throttle_net::{
    Backoff, Bulkhead, Limiter, MultiLimiter, Queue, Retry, RetryAction, SlidingWindowLog,
    Throttle, TokioClock, tower::ThrottleLayer,
};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::{
    ATTEMPTS, Budget, Budgeter, Caller, Class, Client, Contestant, Limits, Rate, Req, Server,
    Tokens, boxed, read, retry_after,
};

/// Its bulkhead over its layer.
pub enum ThrottleNet {
    /// A bucket of n tokens, as `Throttle::per_second(n)` has it.
    Bucket,
    /// A bucket of one.
    Smooth,
    /// Its exact window.
    SlidingLog,
}

impl ThrottleNet {
    fn limiter(&self, rate: Rate) -> Arc<dyn Limiter> {
        let (n, period) = (rate.n, rate.widened());
        let clock = TokioClock::new();
        match self {
            Self::Bucket => Arc::new(Throttle::per_duration(n, period).with_clock(clock)),
            Self::Smooth => Arc::new(Throttle::smooth(n, period).with_clock(clock)),
            Self::SlidingLog => Arc::new(SlidingWindowLog::new(n, period).with_clock(clock)),
        }
    }
}

impl Contestant for ThrottleNet {
    fn name(&self) -> String {
        match self {
            Self::Bucket => "throttle-net: n per second",
            Self::Smooth => "throttle-net: smooth",
            Self::SlidingLog => "throttle-net: sliding log",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        let mut client = server;
        if let Some(rate) = limits.rate {
            client = boxed(ThrottleLayer::shared(self.limiter(rate)).layer(client));
        }
        if let Some(n) = limits.at_once {
            let n = u32::try_from(n).expect("a small number");
            let (bulkhead, below) = (Arc::new(Bulkhead::new(n)), client);
            client = boxed(service_fn(move |request: Req| {
                let (bulkhead, below) = (Arc::clone(&bulkhead), below.clone());
                async move { bulkhead.call(|| below.oneshot(request)).await? }
            }));
        }
        client
    }
}

/// Its queue over a limiter, with room for everyone: it goes by priority, then by the key that was served least
/// recently, then by age.
pub struct ThrottleNetQueue(pub ThrottleNet);

impl Contestant for ThrottleNetQueue {
    fn name(&self) -> String {
        match self.0 {
            ThrottleNet::Bucket => "throttle-net: queue, n per period",
            ThrottleNet::Smooth => "throttle-net: queue, smooth",
            ThrottleNet::SlidingLog => "throttle-net: queue, sliding log",
        }
        .to_owned()
    }

    fn client(&self, limits: Limits, server: Server) -> Client {
        assert!(limits.at_once.is_none(), "it queues for rates only");
        let limiter = self.0.limiter(limits.rate.expect("it queues for a rate"));
        let queue: Queue<_, usize> = Queue::builder().capacity(1 << 15).build(limiter);
        let queue = Arc::new(queue.with_clock(TokioClock::new()));
        boxed(service_fn(move |request: Req| {
            let (queue, server) = (Arc::clone(&queue), server.clone());
            async move {
                let caller = Caller::of(&request);
                let priority = match caller.class {
                    Class::Interactive => 1,
                    Class::Batch => 0,
                };
                queue.acquire(caller.tenant, priority, None).await?;
                server.oneshot(request).await
            }
        }))
    }
}

/// As its documentation has it for language models: a dimension of a `MultiLimiter`, which is settled when the
/// answer has ended. What is refused is given back, pauses all for as long as the server says, and is sent
/// again by its own retry.
impl Budgeter for ThrottleNet {
    fn name(&self) -> String {
        match self {
            Self::Bucket => "throttle-net: n per minute",
            Self::Smooth => "throttle-net: burst of the largest",
            Self::SlidingLog => "throttle-net: sliding log",
        }
        .to_owned()
    }

    fn client(&self, budget: Budget, server: Server) -> Client {
        let (n, period) = (budget.tokens, budget.period);
        let clock = TokioClock::new();
        let limiter: Arc<dyn Limiter> = match self {
            Self::Bucket => Arc::new(Throttle::per_duration(n, period).with_clock(clock)),
            Self::Smooth => {
                let smooth = Throttle::builder().rate(n, period).burst(budget.largest);
                Arc::new(smooth.initial(budget.largest).build().with_clock(clock))
            }
            Self::SlidingLog => Arc::new(SlidingWindowLog::new(n, period).with_clock(clock)),
        };
        let limiter = MultiLimiter::builder().shared(TOKENS, limiter).build();
        let retry = Retry::new(Backoff::default()).max_attempts(ATTEMPTS);
        boxed(service_fn(move |request: Req| {
            let (limiter, retry, server) = (limiter.clone(), retry.clone(), server.clone());
            async move {
                let send = || attempt(&limiter, server.clone(), request.clone());
                match retry.run(send, Failure::action).await {
                    Ok(answer) | Err(Failure::Refused(answer, _)) => Ok(answer),
                    Err(Failure::NoAnswer(error)) => Err(error),
                }
            }
        }))
    }
}

const TOKENS: &str = "tokens";

type Answer = Response<Full<Bytes>>;

enum Failure {
    Refused(Answer, Duration),
    NoAnswer(BoxError),
}

impl Failure {
    fn action(&self) -> RetryAction {
        match self {
            Self::Refused(_, after) => RetryAction::RetryAfter(*after),
            Self::NoAnswer(_) => RetryAction::GiveUp,
        }
    }
}

async fn attempt(limiter: &MultiLimiter, server: Server, request: Req) -> Result<Answer, Failure> {
    let tokens = Tokens::of(&request);
    let estimate = [(TOKENS, tokens.counted())];
    let acquired = limiter.acquire_costs(&estimate).await;
    acquired.map_err(|error| Failure::NoAnswer(error.into()))?;
    let answer = server.oneshot(request).await.map_err(Failure::NoAnswer)?;
    let answer = read(answer).await.map_err(Failure::NoAnswer)?;
    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        let after = retry_after(answer.headers()).unwrap_or_default();
        limiter.refund_costs(&estimate);
        limiter.pause_for(after);
        return Err(Failure::Refused(answer, after));
    }
    limiter.settle_costs(&estimate, &[(TOKENS, tokens.taken)]);
    Ok(answer)
}
