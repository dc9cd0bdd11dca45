//! The judge as a tower service: one request's visit, from `call` to the end of the answer's body.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future;
use http::{Request, Response, request};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tower::BoxError;
use tower_service::Service;

use super::{
    answer,
    hooks::{Received, Refusal},
    judge::{Departure, Found, Judge, Shared},
    ledger::Decision,
    path::Params,
    report::RefusedBy,
};

impl<B> Service<Request<B>> for Judge
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// Judges the request now, if nothing holds it up on the way.
    ///
    /// Errors come only from the request's own body.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let (head, body) = request.into_parts();
        let (route, params) = match self.shared.find(&head.method, head.uri.path()) {
            Found::Route(route, params) => (route, params),
            Found::OtherMethod => return self.unmatched(answer::method_not_allowed()),
            Found::Nothing => return self.unmatched(answer::not_found()),
        };
        let mut visit = Visit {
            departure: self.shared.sent(route),
            shared: Arc::clone(&self.shared),
            notice: self.notice,
            route,
            head,
            params,
            upload: Upload::new(body),
            stage: Stage::OnTheWay,
        };
        visit.arrive_now_if_possible();
        ResponseFuture(Box::pin(visit.run()))
    }
}

impl Judge {
    fn unmatched(&self, mut response: Response<Bytes>) -> ResponseFuture {
        self.shared.state().count_unmatched();
        self.shared.date(Instant::now(), response.headers_mut());
        let response = response.map(|data| Body::new(data, None));
        ResponseFuture(Box::pin(future::ready(Ok(response))))
    }
}

/// The future of a [`Judge`]'s answer.
///
/// Dropping it means that the client went away: what it had in flight ends, and if it had not arrived
/// yet it never will.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// One request, from `call` to the head of its answer.
struct Visit<B> {
    shared: Arc<Shared>,
    notice: Duration,
    route: usize,
    head: request::Parts,
    params: Params,
    upload: Upload<B>,
    departure: Departure,
    stage: Stage,
}

enum Stage {
    OnTheWay,
    Accepted {
        place: Place,
        done_at: Instant,
        in_flight: usize,
        concurrency: Option<usize>,
    },
    Refused {
        place: Place,
        by: RefusedBy,
        room_at: Instant,
        answer_at: Instant,
    },
    Invalid(Response<Bytes>),
    Failed(BoxError),
}

impl<B> Visit<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    /// With nothing in the way, the order of arrival is the order of `call`, and not that in which
    /// the futures happen to be polled.
    fn arrive_now_if_possible(&mut self) {
        if !self.departure.way.is_zero() {
            return;
        }
        if self.shared.routes[self.route].check.is_some() {
            // A body in memory is complete without anybody being woken. Any other is asked again by
            // the future, with the waker of whoever polls that.
            let mut cx = Context::from_waker(Waker::noop());
            match self.upload.poll_complete(&mut cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.stage = Stage::Failed(error);
                    return;
                }
                Poll::Pending => return,
            }
        }
        self.arrive();
    }

    fn arrive(&mut self) {
        if let Some(response) = self.check() {
            let mut state = self.shared.state();
            let arrival = state.arrival(self.departure.not_before);
            state.endpoints[self.route].ledger.invalid(arrival);
            drop(state);
            self.stage = Stage::Invalid(response);
            return;
        }
        // The time is read under the lock, so that the order of the books is the order of the times.
        let mut state = self.shared.state();
        let arrival = state.arrival(self.departure.not_before);
        let endpoint = &mut state.endpoints[self.route];
        let decision = endpoint.ledger.arrive(arrival);
        let accepted = matches!(decision, Decision::Accepted { .. });
        let work = if accepted {
            endpoint.work.draw()
        } else {
            Duration::ZERO
        };
        let concurrency = endpoint.ledger.limit().at_once();
        // Unlocked before there is a place, since dropping that locks the books.
        drop(state);
        let place = Place {
            shared: Arc::clone(&self.shared),
            route: self.route,
            accepted,
        };
        self.stage = match decision {
            Decision::Accepted { in_flight } => Stage::Accepted {
                place,
                done_at: arrival.now + work,
                in_flight,
                concurrency,
            },
            Decision::Refused { by, room_at } => Stage::Refused {
                place,
                by,
                room_at,
                answer_at: arrival.now + self.shared.settings.refusal_after,
            },
        };
    }

    fn check(&self) -> Option<Response<Bytes>> {
        let check = self.shared.routes[self.route].check.as_ref()?;
        let state = self.shared.state();
        let ledger = &state.endpoints[self.route].ledger;
        let (in_flight, concurrency) = (ledger.in_flight(), ledger.limit().at_once());
        drop(state);
        check(&Received {
            head: &self.head,
            body: &self.upload.data,
            params: &self.params,
            in_flight,
            concurrency,
        })
    }

    async fn run(mut self) -> Result<Response<Body>, BoxError> {
        if matches!(self.stage, Stage::OnTheWay) {
            let Departure { sent, way, .. } = self.departure;
            wait_until(sent + way).await;
            if self.shared.routes[self.route].check.is_some() {
                self.upload.complete().await?;
            }
            self.arrive();
        }
        // What is refused is read to its end too: over HTTP/1 an answer in the middle of an upload
        // costs the connection, and some clients never get to see it.
        if !matches!(self.stage, Stage::Failed(_)) {
            self.upload.complete().await?;
        }
        let (mut response, place) = match self.stage {
            Stage::OnTheWay => unreachable!("it has arrived above"),
            Stage::Failed(error) => return Err(error),
            Stage::Invalid(response) => (response, None),
            Stage::Accepted {
                place,
                done_at,
                in_flight,
                concurrency,
            } => {
                wait_until(done_at).await;
                let response = (self.shared.routes[self.route].answer)(&Received {
                    head: &self.head,
                    body: &self.upload.data,
                    params: &self.params,
                    in_flight,
                    concurrency,
                });
                (response, Some(place))
            }
            Stage::Refused {
                place,
                by,
                room_at,
                answer_at,
            } => {
                wait_until(answer_at).await;
                let refusal = Refusal {
                    endpoint: Arc::clone(&self.shared.routes[self.route].name),
                    by,
                    room_in: room_at.saturating_duration_since(Instant::now()),
                };
                let mut response = (self.shared.settings.refusal)(&refusal);
                if let Some(retry_after) = self.shared.settings.retry_after {
                    retry_after.add_to(response.headers_mut(), &refusal);
                }
                drop(place);
                (response, None)
            }
        };
        self.shared
            .hand_out(self.route, self.notice, response.headers_mut());
        Ok(response.map(|data| Body::new(data, place)))
    }
}

/// Without a timer where there is nothing to wait for: those need a runtime, and tick in milliseconds.
async fn wait_until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    }
}

/// A request's body on its way into memory.
struct Upload<B> {
    /// `None` once it is complete. Boxed, so that it need not be `Unpin`.
    body: Option<Pin<Box<B>>>,
    received: BytesMut,
    /// All of it, once it is complete.
    data: Bytes,
}

impl<B> Upload<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    fn new(body: B) -> Self {
        Self {
            body: Some(Box::pin(body)),
            received: BytesMut::new(),
            data: Bytes::new(),
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while let Some(body) = &mut self.body {
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received.put(data);
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Err(error.into()));
                }
                None => {
                    self.body = None;
                    self.data = self.received.split().freeze();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    async fn complete(&mut self) -> Result<(), BoxError> {
        std::future::poll_fn(|cx| self.poll_complete(cx)).await
    }
}

/// A request that the client has open. Dropping it tells the judge that it is over.
#[must_use = "a place that is not held is given back"]
struct Place {
    shared: Arc<Shared>,
    route: usize,
    accepted: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let ledger = &mut self.shared.state().endpoints[self.route].ledger;
        if self.accepted {
            ledger.finished();
        } else {
            ledger.refused();
        }
    }
}

/// The body of the mock's answers. While it has not ended, its request is in flight.
///
/// It ends with its last byte, so before whoever reads it can know; and when it is dropped.
#[derive(Default)]
pub struct Body {
    data: Option<Bytes>,
    /// Given back with the last byte.
    place: Option<Place>,
}

impl Body {
    fn new(data: Bytes, place: Option<Place>) -> Self {
        // An empty body has ended already: nobody need read it.
        let data = Some(data).filter(|data| !data.is_empty());
        let place = place.filter(|_| data.is_some());
        Self { data, place }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Before the frame is returned: its reader may send the next request at once.
        self.place = None;
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}
