use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep};

use super::{Grant, Patience, Setup, age::Age, ids::WaiterId, state::Look, waiter::Limit};
use crate::{BoxError, bucket::Tick};

/// A request extension: the instant after which an answer is of no use.
///
/// A request that cannot be dispatched by then is refused as soon as that is known: at once where the
/// wait can be computed, at this instant otherwise. It limits the wait for a turn, not the work that
/// follows.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_throttle::Deadline;
///
/// let mut request = http::Request::new(());
/// request
///     .extensions_mut()
///     .insert(Deadline(Instant::now() + Duration::from_secs(2)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// A request on its way to being admitted: the future's half.
///
/// Entered into its queue by the first poll. Dropping it leaves the queue, or gives back what was
/// granted meanwhile.
///
/// Only one future per bucket has a timer running for the bucket: that of the request at the head,
/// because whoever is behind cannot go earlier. Others have one only if their wait is limited.
#[derive(Debug)]
pub(crate) struct Waiting {
    setup: Arc<Setup>,
    /// Once it has been in a queue: where it belongs if it has to come back.
    age: Option<Age>,
    /// When it began to wait; [`Tick::NONE`] before that.
    since: Tick,
    /// Its entry in the engine, from the first poll until the answer has been fetched.
    waiter: Option<WaiterId>,
    /// Boxed since few of those who wait ever need one.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    pub(crate) fn new(setup: Arc<Setup>) -> Self {
        Self {
            setup,
            age: None,
            since: Tick::NONE,
            waiter: None,
            timer: None,
        }
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Ready once the request holds its places, or has been refused.
    pub(crate) fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &http::Request<B>,
        patience: Patience,
    ) -> Poll<Result<Grant, BoxError>> {
        loop {
            let until = match self.look(cx, request, patience) {
                Ok(Look::Granted(taken, age)) => {
                    self.waiter = None;
                    self.age = Some(age);
                    return Poll::Ready(Ok(Grant::new(Arc::clone(&self.setup), taken)));
                }
                Ok(Look::Refused(refused)) => {
                    self.waiter = None;
                    return Poll::Ready(Err(refused.into()));
                }
                Ok(Look::Wait(id, until)) => {
                    self.waiter = Some(id);
                    until
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            // Either the timer is pending and will wake us, or its time has come and we look again;
            // or there is nothing to wait for but a wake.
            let Some(instant) = self.setup.engine.clock.instant(until) else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
            if timer.deadline() != instant {
                timer.as_mut().reset(instant);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn look<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &http::Request<B>,
        patience: Patience,
    ) -> Result<Look, BoxError> {
        // Cloned before the lock is taken, as cloning is foreign code.
        let waker = cx.waker().clone();
        let Some(id) = self.waiter else {
            return self.enter(waker, request, patience);
        };
        Ok(self.setup.engine.with(|state, now, wakes| {
            let look = state.check(id, now, wakes);
            if let Look::Wait(id, _) = look {
                state.register(id, waker);
            } else {
                wakes.discard(Some(waker));
            }
            look
        }))
    }

    fn enter<B>(
        &mut self,
        waker: std::task::Waker,
        request: &http::Request<B>,
        patience: Patience,
    ) -> Result<Look, BoxError> {
        let engine = &self.setup.engine;
        let target = engine.routes.resolve(request)?;
        let age = self.age.or(request.extensions().get().copied());
        let deadline = request.extensions().get::<Deadline>();
        let deadline = deadline.map(|&Deadline(instant)| engine.clock.tick(instant));
        Ok(engine.with(|state, now, wakes| {
            if self.since == Tick::NONE {
                self.since = now;
            }
            let since = self.since;
            let max_wait = patience.max_wait.map(|wait| since.after(wait.into()));
            let limit = Limit::new(max_wait, deadline);
            let leaf = state.tree.locate(&target, now);
            // A retry has waited in this queue before, and has gone through it: it comes back to its
            // place, not as one more.
            let max_waiting = patience.max_waiting.filter(|_| age.is_none());
            let age = age.unwrap_or_else(Age::next);
            let look = state.enter(leaf, age, limit, max_waiting, now, wakes);
            if let Look::Wait(id, _) = look {
                state.register(id, waker);
            } else {
                wakes.discard(Some(waker));
            }
            look
        }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(id) = self.waiter.take() {
            let engine = &self.setup.engine;
            engine.with(|state, now, wakes| state.cancel(id, now, wakes));
        }
    }
}
