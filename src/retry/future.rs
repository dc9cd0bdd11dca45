use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower::BoxError;
use tower_service::Service;

use super::{
    classified::{Classified, Classifying},
    collect::Collecting,
    head::Head,
    policy::Failure,
    progress::{Progress, Verdict, Wakeup, judge},
    replay::Replay,
    rules::Rules,
};
use crate::{body::Body, late::is_unfinished, peek::Peek, waited::Tally};

pin_project! {
    /// The response of [`Retry`](crate::Retry).
    ///
    /// Named by the inner service, the request's body, the inner service's future and the peeking of
    /// its answer, and bound by none of them, so that a task that holds it is `Send` whenever they are.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, F, P> {
        #[pin]
        retry: RetryFuture<Classified<S>, B, Classifying<F, P>, P>,
    }
}

impl<S, B, F, P> ResponseFuture<S, B, F, P> {
    pub(super) fn new(retry: RetryFuture<Classified<S>, B, Classifying<F, P>, P>) -> Self {
        Self { retry }
    }
}

impl<S, B, ResB> Future for ResponseFuture<S, B, S::Future, Peek<ResB>>
where
    S: Service<Request<B>, Response = Response<ResB>>,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Output = Result<Response<Body<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().retry.poll(cx)
    }
}

impl<S, B, F, P> fmt::Debug for ResponseFuture<S, B, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture").field(&self.retry).finish()
    }
}

pin_project! {
    /// One request and its attempts.
    pub(crate) struct RetryFuture<S, B, F, P> {
        #[pin]
        state: State<B, F, P>,
        // `None` if the request can be sent only once. Boxed, as it is large, and a request that waits in
        // a layer without retries would have to keep the space for it.
        resend: Option<Box<Resend<S, B>>>,
        rules: Arc<Rules>,
    }
}

pin_project! {
    /// By what is awaited.
    #[project = StateProj]
    enum State<B, F, P> {
        /// The request's body.
        Collecting { collecting: Collecting<B> },
        /// The answer.
        Calling { #[pin] future: F },
        /// The rest of what the answer says.
        Listening { peek: P },
        /// The time for a retry. The timer is made by the first poll.
        BackingOff { until: Instant, timer: Option<Pin<Box<Sleep>>> },
        /// The inner service's readiness; this is what will be sent.
        Readying { request: Option<Request<B>> },
        /// Nothing any more.
        Done,
    }
}

/// All that it takes to send a request again.
pub(crate) struct Resend<S, B> {
    /// Made the attempt before, or is a clone of what made the first one, and has not been made ready since.
    service: S,
    head: Head,
    replay: Option<Replay<B>>,
    progress: Progress,
}

impl<S, B> Resend<S, B> {
    #[inline]
    pub(super) fn boxed(service: S, head: Head, replay: Option<Replay<B>>) -> Box<Self> {
        Box::new(Self {
            service,
            head,
            replay,
            progress: Progress::new(),
        })
    }

    /// Leaves with the last answer for how long all attempts were held back.
    #[cold]
    fn report_waited(&self, response: &mut Extensions) {
        if let Some(tally) = self.head.extensions().get::<Tally>() {
            response.insert(tally.get().with_attempts(self.progress.attempts()));
        }
    }

    /// An attempt goes out.
    #[inline]
    pub(super) fn sent(&mut self) {
        self.progress.sent();
    }

    /// The request is in no queue of the layer to which its retries belong. Ready when that is closed: it is to come
    /// back, and is refused there.
    #[cold]
    #[inline(never)]
    fn poll_closed(&mut self, cx: &mut Context<'_>, rules: &Rules) -> Poll<()> {
        let Some(home) = &rules.home else {
            return Poll::Pending;
        };
        self.progress.away_from(home).poll_closed(cx)
    }

    /// Whether an answer is one after which the request is sent again, if it may be.
    #[cold]
    fn would_retry<ResB>(&self, response: &Response<ResB>, rules: &Rules) -> bool {
        let now = Instant::now();
        let failure = Failure::of_answer(response, now);
        let repeatable = self.head.facts(now).repeatable;
        self.replay.is_some() && rules.policy.is_retried(&failure, repeatable).is_some()
    }

    /// Whether and when to send the request again. `None` if another attempt would be wrong, or of no use.
    fn decide(&mut self, failure: &Failure, rules: &Rules, now: Instant) -> Option<Verdict> {
        if self.replay.is_none() && rules.observer.is_none() {
            // No caller asks what kind of failure it was.
            return None;
        }
        let facts = self.head.facts(now);
        match self.replay {
            Some(_) => self.progress.decide(failure, facts, rules, now),
            None => self.progress.decide_once(failure, facts, rules, now),
        }
    }

    /// The request once more.
    fn next(&mut self, rules: &Rules) -> Option<Request<B>>
    where
        B: 'static,
    {
        let body = match self.replay.take()? {
            Replay::Copy(body) => {
                self.replay = rules.bodies.copy(&body).map(Replay::Copy);
                body
            }
            Replay::Rebuild(rebuild) => {
                let body = rebuild();
                self.replay = Some(Replay::Rebuild(rebuild));
                body
            }
        };
        let mut request = self.head.with(body);
        self.progress.mark(request.extensions_mut());
        Some(request)
    }
}

impl<S, B, F, P> RetryFuture<S, B, F, P> {
    #[expect(clippy::inline_always, reason = "it spares a move of the future")]
    #[inline(always)]
    pub(super) fn calling(future: F, resend: Option<Box<Resend<S, B>>>, rules: Arc<Rules>) -> Self {
        Self {
            state: State::Calling { future },
            resend,
            rules,
        }
    }

    pub(super) fn collecting(
        collecting: Collecting<B>,
        resend: Box<Resend<S, B>>,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
            state: State::Collecting { collecting },
            resend: Some(resend),
            rules,
        }
    }
}

impl<S, B, ResB> Future for RetryFuture<S, B, S::Future, Peek<ResB>>
where
    S: Service<Request<B>, Response = Response<Body<ResB>>>,
    S::Error: Into<BoxError>,
    B: 'static,
    ResB: http_body::Body,
{
    type Output = Result<Response<Body<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let mut result = match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    if listens(&result, this.resend.as_deref(), this.rules) {
                        if let Ok(response) = result {
                            let peek = Peek::resume(response);
                            this.state.set(State::Listening { peek });
                        }
                        continue;
                    }
                    result
                }
                StateProj::Listening { peek } => Ok(ready!(peek.poll_rest(cx))),
                StateProj::BackingOff { until, timer } => {
                    let timer =
                        timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*until)));
                    let resend = this.resend.as_mut().expect(CAN_RESEND);
                    if resend.poll_closed(cx, this.rules).is_pending() {
                        ready!(timer.as_mut().poll(cx));
                    }
                    let next = readying(this.resend, this.rules);
                    this.state.set(next);
                    continue;
                }
                StateProj::Collecting { collecting } => {
                    let resend = this.resend.as_mut().expect(CAN_RESEND);
                    // It is sent on, and refused, when it is all there.
                    let _ = resend.poll_closed(cx, this.rules);
                    let (body, replay) = ready!(collecting.poll(cx));
                    let resend = this.resend.as_mut().expect(CAN_RESEND);
                    resend.replay = replay;
                    let request = resend.head.with(body);
                    this.state.set(State::Readying {
                        request: Some(request),
                    });
                    continue;
                }
                StateProj::Readying { request } => {
                    let resend = this.resend.as_mut().expect(CAN_RESEND);
                    let Poll::Ready(readied) = resend.service.poll_ready(cx) else {
                        // When the layer is closed: it can be refused once the service is ready.
                        let _ = resend.poll_closed(cx, this.rules);
                        return Poll::Pending;
                    };
                    if let Err(error) = readied {
                        // There is no answer to hand up any more, and no service to ask for one.
                        this.state.set(State::Done);
                        resend.progress.end();
                        return Poll::Ready(Err(error.into()));
                    }
                    let request = request.take().expect("a request that is to be sent");
                    resend.sent();
                    let future = resend.service.call(request);
                    this.state.set(State::Calling { future });
                    continue;
                }
                StateProj::Done => panic!("polled after it was ready"),
            };
            let verdict = match (judge(&result, this.rules), &mut *this.resend) {
                (Some((failure, now)), Some(resend)) => resend.decide(&failure, this.rules, now),
                _ => None,
            };
            let (event, wakeup) = match verdict {
                Some(Verdict {
                    wakeup: Some(wakeup),
                    event,
                }) => (event, wakeup),
                handed_up => {
                    this.state.set(State::Done);
                    if let Some(resend) = this.resend {
                        if let Ok(response) = &mut result {
                            resend.progress.tell(response.extensions_mut());
                            if this.rules.reports_waited {
                                resend.report_waited(response.extensions_mut());
                            }
                        }
                        resend.progress.end();
                    }
                    if let Some(Verdict { event, .. }) = handed_up {
                        this.rules.tell_observer(event);
                    }
                    return Poll::Ready(result);
                }
            };
            if let Some(resend) = &mut *this.resend {
                resend.progress.remember(&result);
            }
            // The inner future and the answer end here, before the wait: with them the permit that the
            // next attempt may need.
            this.state.set(match wakeup {
                Wakeup::Now => readying(this.resend, this.rules),
                Wakeup::At(until) => State::BackingOff { until, timer: None },
            });
            drop(result);
            // An observer may panic, or look at the limits through a handle: nothing is held now.
            this.rules.tell_observer(event);
        }
    }
}

/// Whether what has yet to come of an answer matters: it may say that no retry helps, or when one does.
#[inline]
fn listens<S, B, A>(
    result: &Result<Response<A>, BoxError>,
    resend: Option<&Resend<S, B>>,
    rules: &Rules,
) -> bool {
    let Ok(response) = result else { return false };
    // As nearly all answers can be told.
    response.status().as_u16() >= 400
        && !rules.is_closed()
        && is_unfinished(response)
        && resend.is_some_and(|resend| resend.would_retry(response, rules))
}

const CAN_RESEND: &str = "only a request that can be sent again gets here";

fn readying<S, B, F, P>(resend: &mut Option<Box<Resend<S, B>>>, rules: &Rules) -> State<B, F, P>
where
    B: 'static,
{
    let request = resend.as_mut().expect(CAN_RESEND).next(rules);
    State::Readying { request }
}

impl<S, B, F, P> fmt::Debug for RetryFuture<S, B, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Collecting { .. } => "Collecting",
            State::Calling { .. } => "Calling",
            State::Listening { .. } => "Listening",
            State::BackingOff { .. } => "BackingOff",
            State::Readying { .. } => "Readying",
            State::Done => "Done",
        };
        f.debug_struct("RetryFuture")
            .field("state", &format_args!("{state}"))
            .finish_non_exhaustive()
    }
}
