use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::BoxError;
use tower_service::Service;

use crate::{
    admission::{Acquire, InFlight, Shared, Turn},
    body::Body,
    peek::Peek,
};

pin_project! {
    /// The response of a limiting layer's service.
    ///
    /// Named by the inner service, the request, the inner service's future and the peeking of its
    /// answer, and bound by none of them, so that a task that holds it is `Send` whenever they are.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R, F, P> {
        #[pin]
        state: State<S, R, F, P>,
    }
}

pin_project! {
    /// By what is awaited.
    #[project = StateProj]
    #[project_replace = StateOwned]
    enum State<S, R, F, P> {
        /// Its turn.
        Queued { waiting: Waiting<S, R> },
        /// The inner service's readiness. It has its places, unless it takes too long: then it waits for its
        /// turn as well.
        Readying { waiting: Waiting<S, R> },
        /// The inner service's answer.
        Calling { #[pin] future: F, permit: InFlight, is_connect: bool },
        /// The beginning of the answer's body.
        Peeking { peek: P, permit: InFlight },
        /// Nothing: it was clear from the start.
        Failed { error: BoxError },
        /// Nothing any more.
        Done,
    }
}

/// What a request needs for as long as it has not gone out.
struct Waiting<S, R> {
    acquire: Acquire,
    service: S,
    request: R,
}

impl<S, R> Waiting<S, R> {
    /// Makes the inner service ready. An error is the service's, or a refusal of a request that lost its
    /// places meanwhile.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>
    where
        S: Service<R>,
        S::Error: Into<BoxError>,
    {
        match self.service.poll_ready(cx) {
            Poll::Ready(readied) => Poll::Ready(readied.map_err(Into::into)),
            Poll::Pending => self.acquire.poll_refused(cx).map(Err),
        }
    }
}

impl<S, R, F, P> ResponseFuture<S, R, F, P> {
    pub(super) fn queued(acquire: Acquire, service: S, request: R) -> Self {
        Self {
            state: State::Queued {
                waiting: Waiting {
                    acquire,
                    service,
                    request,
                },
            },
        }
    }

    #[inline]
    pub(super) fn calling(future: F, permit: InFlight, is_connect: bool) -> Self {
        Self {
            state: State::Calling {
                future,
                permit,
                is_connect,
            },
        }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        Self {
            state: State::Failed { error },
        }
    }
}

impl<S, B, ResB> Future for ResponseFuture<S, Request<B>, S::Future, Peek<ResB>>
where
    S: Service<Request<B>, Response = Response<ResB>> + Clone,
    S::Error: Into<BoxError>,
    ResB: http_body::Body,
{
    type Output = Result<Response<Body<ResB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Queued { waiting } => {
                    let turn = ready!(waiting.acquire.poll(cx, &waiting.request));
                    let StateOwned::Queued { waiting } =
                        state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    turn?;
                    state.set(State::Readying { waiting });
                }
                StateProj::Readying { waiting } => {
                    let readied = ready!(waiting.poll_ready(cx));
                    let StateOwned::Readying { mut waiting } =
                        state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    // On an error the next in line takes its places.
                    readied?;
                    let dispatch = match waiting.acquire.take()? {
                        Turn::Dispatch(dispatch) => dispatch,
                        Turn::CalledBack => {
                            // Back into its place, with an instance that has reserved nothing.
                            waiting.service = waiting.service.clone();
                            state.set(State::Queued { waiting });
                            continue;
                        }
                        Turn::Lost => {
                            state.set(State::Queued { waiting });
                            continue;
                        }
                    };
                    let Waiting {
                        mut service,
                        request,
                        ..
                    } = waiting;
                    dispatch.tally(request.extensions());
                    let is_connect = request.method() == Method::CONNECT;
                    let future = service.call(request);
                    state.set(State::Calling {
                        future,
                        permit: dispatch.done(),
                        is_connect,
                    });
                }
                StateProj::Calling { future, .. } => {
                    let result = ready!(future.poll(cx));
                    // Ends the inner future, and on an error the permit, before anyone hears of it.
                    let StateOwned::Calling {
                        mut permit,
                        is_connect,
                        ..
                    } = state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    permit.observe(&result);
                    let mut response = match result {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Err(permit.end_with(error))),
                    };
                    permit.report_waited(&mut response);
                    if opens_a_tunnel(is_connect, response.status()) {
                        permit.until_head();
                    }
                    let classifier = &permit.shared().classifier;
                    if !classifier.may_refuse(&response) {
                        let is_over = response.body().is_end_stream();
                        Shared::understood(&mut response, &mut permit, is_over);
                        let response = response.map(|body| Body::holding(body, permit));
                        return Poll::Ready(Ok(response));
                    }
                    match classifier.look(response.map(Body::new)) {
                        Ok(response) => return Poll::Ready(Ok(Shared::answered(response, permit))),
                        Err(peek) => {
                            Shared::peeking(&peek, &permit);
                            state.set(State::Peeking { peek, permit });
                        }
                    }
                }
                StateProj::Peeking { peek, permit } => {
                    let response = ready!(peek.poll(cx, &permit.shared().classifier));
                    let StateOwned::Peeking { permit, .. } =
                        state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    return Poll::Ready(Ok(Shared::answered(response, permit)));
                }
                StateProj::Failed { .. } => {
                    let StateOwned::Failed { error } = state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    return Poll::Ready(Err(error));
                }
                StateProj::Done => panic!("polled after it was ready"),
            }
        }
    }
}

/// Whether what follows the head is no answer any more, and may never end.
#[inline]
fn opens_a_tunnel(is_connect: bool, status: StatusCode) -> bool {
    is_connect && status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

impl<S, R, F, P> fmt::Debug for ResponseFuture<S, R, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Queued { .. } => "Queued",
            State::Readying { .. } => "Readying",
            State::Calling { .. } => "Calling",
            State::Peeking { .. } => "Peeking",
            State::Failed { .. } => "Failed",
            State::Done => "Done",
        };
        f.debug_tuple("ResponseFuture")
            .field(&format_args!("{state}"))
            .finish()
    }
}
