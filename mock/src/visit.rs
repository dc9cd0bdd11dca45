//! One request's visit, from `call` to the head of its answer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tower::BoxError;

use super::{
    answer::{self, Answer},
    body::{self, Body},
    books::{Decision, Slot},
    faults::{Effect, Instead, Spoilt},
    judge::{Departure, Found, Place},
    path::Params,
    pool::Pool,
    refusal::Refusal,
    refused_by::RefusedBy,
    state::{Judge, Received, Route, Shared, Standing},
    units::Costs,
    upload::Upload,
};

pub(crate) struct Visit<B> {
    call: Call,
    upload: Upload<B>,
    /// Known in `call`, where nothing holds the request up.
    outcome: Option<Outcome>,
}

/// A request, but for the part of its body that has not come yet.
struct Call {
    judge: Judge,
    head: Arc<request::Parts>,
    /// All of it, once it is complete.
    body: Bytes,
    /// Who may answer the request without its being judged, and has not been asked yet.
    offers: Vec<(usize, Params)>,
    /// The endpoint; or what is answered where there is none.
    route: Result<usize, fn() -> Response<Bytes>>,
    params: Params,
    departure: Departure,
}

/// What is decided when a request arrives.
enum Outcome {
    Accepted(Accepted),
    Refused(Refused),
    /// A fault has struck it before it could be judged.
    Struck {
        place: Place,
        instead: Instead,
        due: Instant,
    },
    /// The endpoint's check has turned it down.
    Invalid(Answer),
    /// It concerns no endpoint.
    Aside(Answer),
    /// Its body failed.
    Failed(BoxError),
}

struct Accepted {
    route: usize,
    place: Place,
    pool: Option<Arc<str>>,
    turn: Turn,
    work: Duration,
    strike: Option<(Effect, Duration)>,
}

enum Turn {
    Now(Slot),
    /// It waits for a slot.
    Later(oneshot::Receiver<Slot>),
}

struct Refused {
    route: usize,
    place: Place,
    /// The pool that it comes under.
    own_pool: Option<Arc<str>>,
    /// The pool that refuses it, if it is not its endpoint.
    pool: Option<Arc<str>>,
    by: RefusedBy,
    room_at: Option<Instant>,
    answer_at: Instant,
}

impl<B> Visit<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(judge: Judge, request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let (route, params) = match judge.shared.find(&head.method, path) {
            Found::Route(route, params) => (Ok(route), params),
            Found::OtherMethod => (Err(answer::method_not_allowed as _), Params::default()),
            Found::Nothing => (Err(answer::not_found as _), Params::default()),
        };
        let departure = match route {
            Ok(route) => judge.shared.sent(route),
            Err(_) => Departure::now(),
        };
        let intercepts = judge.shared.settings.intercepts.iter().enumerate();
        let offers = intercepts.filter_map(|(index, intercept)| {
            let params = intercept.matches(&head.method, path)?;
            Some((index, params))
        });
        let call = Call {
            offers: offers.collect(),
            judge,
            head: Arc::new(head),
            body: Bytes::new(),
            route,
            params,
            departure,
        };
        Self {
            call,
            upload: Upload::new(body),
            outcome: None,
        }
    }

    /// With nothing in the way, the order of arrival is the order of `call`, and not that in which
    /// the futures happen to be polled.
    pub(crate) fn arrive_now_if_possible(&mut self) {
        if !self.call.offers.is_empty() {
            if !self.is_complete_now() {
                return;
            }
            self.outcome = self.call.offer();
        }
        if self.outcome.is_none()
            && self.call.departure.way.is_zero()
            && (!self.call.needs_body() || self.is_complete_now())
        {
            self.outcome = Some(self.call.arrive());
        }
    }

    /// A body in memory is complete without anybody being woken. Any other is asked again by the future,
    /// with the waker of whoever polls that.
    fn is_complete_now(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_complete(&mut cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.outcome = Some(Outcome::Failed(error));
                false
            }
            Poll::Pending => false,
        }
    }

    pub(crate) async fn run(mut self) -> Result<Response<Body>, BoxError> {
        let outcome = self.outcome().await?;
        let reads_no_further = match &outcome {
            Outcome::Failed(_) => true,
            Outcome::Struck { instead, .. } => matches!(instead, Instead::Reset),
            _ => false,
        };
        // What is refused is read to its end too: over HTTP/1 an answer in the middle of an upload
        // costs the connection, and some clients never get to see it.
        if !reads_no_further {
            self.complete().await?;
        }
        match outcome {
            Outcome::Accepted(accepted) => self.call.work(accepted).await,
            Outcome::Refused(refused) => Ok(self.call.refuse(refused).await),
            Outcome::Struck {
                place,
                instead,
                due,
            } => {
                wait_until(due).await;
                drop(place);
                self.call.instead(instead, None)
            }
            Outcome::Invalid(answer) => Ok(self.call.hand_out(answer, None, None)),
            Outcome::Aside(mut answer) => {
                let headers = answer.head_mut().headers_mut();
                self.call.judge.shared.date(Instant::now(), headers);
                Ok(Body::of(answer, None, Duration::ZERO, None))
            }
            Outcome::Failed(error) => Err(error),
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(body) = ready!(self.upload.poll_complete(cx))? {
            self.call.body = body;
        }
        Poll::Ready(Ok(()))
    }

    async fn complete(&mut self) -> Result<(), BoxError> {
        poll_fn(|cx| self.poll_complete(cx)).await
    }

    async fn outcome(&mut self) -> Result<Outcome, BoxError> {
        if let Some(outcome) = self.outcome.take() {
            return Ok(outcome);
        }
        if !self.call.offers.is_empty() {
            self.complete().await?;
            if let Some(outcome) = self.call.offer() {
                return Ok(outcome);
            }
        }
        wait_until(self.call.departure.sent + self.call.departure.way).await;
        if self.call.needs_body() {
            self.complete().await?;
        }
        Ok(self.call.arrive())
    }
}

impl Call {
    fn needs_body(&self) -> bool {
        self.route
            .is_ok_and(|route| self.judge.shared.needs_body(route))
    }

    /// Offers the request to those who may answer it without its being judged.
    fn offer(&mut self) -> Option<Outcome> {
        let offers = std::mem::take(&mut self.offers);
        offers.iter().find_map(|(index, params)| {
            let intercept = &self.judge.shared.settings.intercepts[*index];
            let answer = (intercept.answer)(&self.received(params, Standing::default()))?;
            Some(Outcome::Aside(answer))
        })
    }

    fn arrive(&self) -> Outcome {
        let shared = &self.judge.shared;
        let route = match self.route {
            Ok(route) => route,
            Err(answer) => {
                shared.state().count_unmatched();
                return Outcome::Aside(answer().into());
            }
        };
        if let Some(outcome) = self.strike(route) {
            return outcome;
        }
        let Route { check, pool, .. } = &shared.routes[route];
        let standing = if self.needs_body() {
            Standing::now(shared, route)
        } else {
            Standing::default()
        };
        let received = self.received(&self.params, standing);
        if let Some(answer) = check.as_ref().and_then(|check| check(&received)) {
            shared.change(|state, now| {
                let arrival = state.arrival(now, self.departure.not_before);
                state.books.endpoint(route).invalid(arrival);
            });
            return Outcome::Invalid(answer.into());
        }
        let pool = pool.as_ref().and_then(|pool| pool(&received));
        let cost_of = shared.settings.cost_of.as_ref();
        let costs = cost_of.map_or_else(Vec::new, |cost_of| cost_of(&self.head, &self.body));
        self.judge_it(route, pool, Costs::new(costs))
    }

    /// What a fault does to it before it can be judged, if any does.
    fn strike(&self, route: usize) -> Option<Outcome> {
        let shared = &self.judge.shared;
        let (ticket, instead, due) = shared.change(|state, now| {
            let (instead, delay) = state.faults.arrived(route)?;
            let arrival = state.arrival(now, self.departure.not_before);
            let ticket = state.books.strike(arrival, route);
            Some((ticket, instead, now + delay))
        })?;
        Some(Outcome::Struck {
            place: Place::new(shared, ticket),
            instead,
            due,
        })
    }

    fn judge_it(&self, route: usize, pool: Option<Pool>, costs: Costs) -> Outcome {
        let shared = &self.judge.shared;
        let name = pool.as_ref().map(|pool| Arc::clone(&pool.name));
        // No place is made in here, since dropping one locks the books.
        let (ticket, judged) = shared.change(|state, now| {
            let arrival = state.arrival(now, self.departure.not_before);
            let (ticket, decision) = state.books.arrive(arrival, route, pool, costs);
            let turn = match decision {
                Decision::Accepted(slot) => Turn::Now(slot),
                Decision::Queued => Turn::Later(state.wait_for_turn(&ticket)),
                Decision::Refused { by, pool, room_at } => {
                    return (ticket, Err((pool, by, room_at)));
                }
            };
            let work = state.draw_work(route);
            let strike = state.faults.accepted(route);
            if strike.is_some() {
                state.books.strike_accepted(&ticket);
            }
            (ticket, Ok((turn, work, strike)))
        });
        match judged {
            Ok((turn, work, strike)) => {
                // Before the hook is asked, so that nothing stays open if that panics.
                let place = Place::new(shared, ticket);
                let told = shared.routes[route].accepted.as_ref().and_then(|told| {
                    let standing = Standing {
                        work,
                        ..Standing::now(shared, route)
                    };
                    told(&self.received(&self.params, standing))
                });
                Outcome::Accepted(Accepted {
                    route,
                    place,
                    pool: name,
                    turn,
                    work: told.unwrap_or(work),
                    strike,
                })
            }
            Err((pool, by, room_at)) => Outcome::Refused(Refused {
                route,
                answer_at: ticket.arrived() + shared.settings.refusal_after,
                place: Place::new(shared, ticket),
                own_pool: name,
                pool,
                by,
                room_at,
            }),
        }
    }

    fn received<'a>(&'a self, params: &'a Params, standing: Standing<'a>) -> Received<'a> {
        Received {
            judge: &self.judge,
            head: &self.head,
            body: &self.body,
            params,
            standing,
        }
    }

    async fn work(&self, accepted: Accepted) -> Result<Response<Body>, BoxError> {
        let Accepted {
            route,
            place,
            pool,
            turn,
            work,
            strike,
        } = accepted;
        let Shared {
            routes, settings, ..
        } = &*self.judge.shared;
        let Route {
            answer, first_byte, ..
        } = &routes[route];
        let (slot, queued) = match turn {
            Turn::Now(slot) => (slot, Duration::ZERO),
            Turn::Later(turn) => (
                turn.await.expect("who waits is told of the slot"),
                settings.queue_delay(),
            ),
        };
        let (effect, delay) = strike.unwrap_or((Effect::Late, Duration::ZERO));
        let head_after = first_byte.unwrap_or(work).min(work);
        wait_until(slot.at + queued + delay + head_after).await;
        let spoilt = match effect {
            Effect::Instead(instead) => return self.instead(instead, Some(place)),
            Effect::Spoilt(spoilt) => Some(spoilt),
            Effect::Late => None,
        };
        let remaining = work.saturating_sub(head_after);
        let standing = Standing {
            route: Some(route),
            pool: pool.as_deref(),
            in_flight: slot.in_flight,
            concurrency: slot.concurrency,
            work,
            remaining,
        };
        let mut answer = answer(&self.received(&self.params, standing));
        answer.whole_after(remaining);
        Ok(self.hand_out(answer, spoilt, Some(place)))
    }

    async fn refuse(&self, refused: Refused) -> Response<Body> {
        let Refused {
            route,
            place,
            own_pool,
            pool,
            by,
            room_at,
            answer_at,
        } = refused;
        let Shared {
            routes, settings, ..
        } = &*self.judge.shared;
        wait_until(answer_at).await;
        let now = Instant::now();
        // The pool whose windows matter is the request's, whichever limit it was refused by.
        let windows = self.judge.shared.windows(route, own_pool.as_deref());
        let refusal = Refusal {
            head: Arc::clone(&self.head),
            body: self.body.clone(),
            endpoint: Arc::clone(&routes[route].name),
            pool,
            by,
            room_in: room_at.map(|at| at.saturating_duration_since(now)),
            windows,
        };
        let mut answer = (settings.refusal)(&refusal);
        if let Some(retry_after) = settings.retry_after {
            let headers = answer.head_mut().headers_mut();
            retry_after.add_to(headers, by, refusal.room_in);
        }
        drop(place);
        self.hand_out(answer, None, None)
    }

    fn instead(&self, instead: Instead, place: Option<Place>) -> Result<Response<Body>, BoxError> {
        match instead {
            Instead::Answer(mut answer, hint) => {
                if let Some(hint) = hint {
                    let now = self.judge.shared.wall_clock(Instant::now());
                    hint.add_to(answer.head_mut().headers_mut(), now);
                }
                Ok(self.hand_out(answer, None, place))
            }
            Instead::Reset => Err(body::reset()),
        }
    }

    /// The last step: from now on the client knows what the head says.
    fn hand_out(
        &self,
        mut answer: Answer,
        spoilt: Option<Spoilt>,
        mut place: Option<Place>,
    ) -> Response<Body> {
        if let Some(place) = &mut place {
            place.answered(&answer.costs);
        }
        let Judge {
            shared,
            notice,
            settle,
        } = &self.judge;
        if let Ok(route) = self.route {
            let headers = answer.head_mut().headers_mut();
            shared.hand_out(route, *notice, headers);
        }
        Body::of(answer, spoilt, *settle, place)
    }
}

/// Without a timer where there is nothing to wait for: those need a runtime, and tick in milliseconds.
async fn wait_until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    }
}
