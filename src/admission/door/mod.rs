//! The engine without tower, for what is no service.
//!
//! - [`admission`]: an [`Acquire`] that its caller polls.
//! - [`permit`]: an [`InFlight`](super::permit::InFlight) whose caller says what came of it.
//!
//! What they do is done by the same steps as for a request of a service.

mod admission;
mod permit;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use http::Request;
use tower::BoxError;

pub use self::{admission::Admission, permit::Permit};
use super::{
    acquire::Acquire,
    arrival::Arrival,
    core::{Core, Effects, NodeId},
    handle::Handle,
    home::Home,
    setbacks::Setbacks,
    shared::Shared,
    timer::{NoTimer, has_timers},
};
use crate::{bucket::Tick, endpoints::UnknownEndpoint};

impl Handle {
    /// Waits until the layer's limits admit something that is no request of its services: a call of an SDK, a message
    /// of a websocket, a command.
    ///
    /// `head` says what it is. Its method, URI, headers and extensions count as those of a request: they choose its
    /// endpoint, group and partition, and its [`Terms`](crate::Terms) state its cost, class, flow and deadline. The
    /// layer's `cost_by` sees the head, and no body. What is admitted so counts in the same windows and holds the same
    /// permits as the requests of the layer's services, and waits in the same queues, in the same order. It enters its
    /// queue when the future is polled for the first time. The layer's `max_wait`, `max_waiting`, `cost_by`,
    /// `priority_by`, `flow_by` and `count_throttled` apply, as they were set when the handle was made. A
    /// [`ThrottleLayer`](crate::ThrottleLayer) retries nothing of this: see [`admit_again`](Self::admit_again).
    ///
    /// # Errors
    ///
    /// A [`Refused`](crate::Refused), as from a service; an [`UnknownEndpoint`], if the head chooses a name that does
    /// not exist; and an error without a public type, if it has to wait for a time and no runtime has timers.
    ///
    /// # Panics
    ///
    /// If `cost_by`, `priority_by`, `flow_by` or an [`Observer`](crate::Observer) panics.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the queue, or gives back what it was admitted to. It costs no place.
    ///
    /// ```
    /// use http::Request;
    /// use tower_throttle::{BoxError, Endpoints, Quota, ThrottleLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let quota = Quota::per_second(5).concurrency(4);
    /// let handle = ThrottleLayer::new(Endpoints::new().route("POST /v1/images", quota)).handle();
    ///
    /// let head = Request::post("/v1/images").body(())?;
    /// let permit = handle.admit(&head).await?.dispatched().await?;
    /// // Send it now, and keep the permit for as long as the server works on it.
    /// drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn admit(&self, head: &Request<()>) -> Result<Admission, BoxError> {
        let asked = Asked::new(head);
        Admission::enter(&self.shared, asked).await
    }

    /// Waits until the limits admit the same thing again: a retry, which keeps its age and so goes before all that
    /// came later.
    ///
    /// The permit of the attempt before ends first, so nothing is held during the wait. If the trouble is this
    /// request's own (see [`Permit::throttled`]), this waits for as long as only this request has to. The attempt is
    /// charged anew. As with every retry, `max_waiting` does not apply, and `max_wait` applies to each attempt.
    ///
    /// An attempt that was told neither [`throttled`](Permit::throttled) nor [`failed`](Permit::failed) counts as
    /// failed. How often to try, and how long to wait after a failure that is no throttling, is the caller's to decide.
    ///
    /// # Errors
    ///
    /// As from [`admit`](Self::admit).
    ///
    /// # Panics
    ///
    /// As [`admit`](Self::admit) does.
    ///
    /// # Cancellation
    ///
    /// As with [`admit`](Self::admit). The permit has ended as soon as the future was polled or dropped.
    pub async fn admit_again(&self, permit: Permit) -> Result<Admission, BoxError> {
        let (asked, not_before) = permit.end_for_retry();
        if let Some(not_before) = not_before {
            // The engine holds nobody else back, and so does not know of it.
            if !has_timers() {
                return Err(NoTimer.into());
            }
            // Or until the layer is closed: then it is refused on its way into the queue.
            let mut away = Home::new(&self.shared.engine).leave();
            let mut sleep = pin!(tokio::time::sleep_until(not_before));
            poll_fn(|cx| match away.poll_closed(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => sleep.as_mut().poll(cx),
            })
            .await;
        }
        Admission::enter(&self.shared, asked).await
    }

    /// How long a request would wait that came now, as far as windows and pauses tell; zero if it would go at once.
    ///
    /// The head counts as with [`admit`](Self::admit). The wait is exact, up to a tick of the timer (1 ms), if one
    /// window of requests decides, one class without flows waits, and nothing changes meanwhile. Otherwise it is a
    /// lower bound: the end of requests that are in flight is taken to come at once, several windows are each taken by
    /// themselves, of other classes and flows as few as possible go before, and in windows of other units those that
    /// wait are taken to cost nothing; what is under way counts as estimated. Of a server that asks to be left alone for longer than `max_pause` it is the
    /// server's own time. `max_wait`, `max_waiting` and deadlines are not looked at. A path or a partition that is asked
    /// about gets a bucket, which counts towards `max_keys` until it is swept.
    ///
    /// `None` if it could never go: it states to cost more than its quota ever allows
    /// ([`NeverFits`](crate::RefusedReason::NeverFits)), a pause has no end that time could reach, or the layer is
    /// [closed](Self::close).
    ///
    /// # Errors
    ///
    /// An [`UnknownEndpoint`], if the head chooses a name that does not exist.
    ///
    /// # Panics
    ///
    /// If `cost_by`, `priority_by`, `flow_by` or an [`Observer`](crate::Observer) panics.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Request;
    /// use tower_throttle::{Endpoints, Quota, RpsLayer};
    ///
    /// let handle = RpsLayer::new(Endpoints::new().route("/a", Quota::per_second(5))).handle();
    /// let head = Request::get("/a").body(())?;
    /// assert_eq!(handle.wait_for(&head)?, Some(Duration::ZERO));
    /// # Ok::<(), tower_throttle::BoxError>(())
    /// ```
    pub fn wait_for(&self, head: &Request<()>) -> Result<Option<Duration>, BoxError> {
        let Shared {
            engine, pricing, ..
        } = &*self.shared;
        let head = without_body(head);
        let asks = pricing.asks_of(&head).unwrap_or_default();
        let (target, mut locked) = engine.resolve_anew(&head)?;
        if target.key.is_none() && locked.core.tree.epoch == 0 {
            engine.attach(&mut locked, NodeId::new(target.spec.0 as usize));
        }
        Ok(engine.step(locked, |core, now, fx| {
            if core.tree.closed {
                return None;
            }
            core.run(now, fx);
            core.tree.sweep_a_little(now, fx);
            let leaf = core.tree.locate(&target);
            core.wait_of_newcomer(leaf, &asks, Arrival::next(), now)
        }))
    }
}

/// What asks to be admitted. It is kept for a retry.
struct Asked {
    head: Request<NoBody>,
    /// Its age.
    arrival: Arrival,
}

/// There is no body. A body of the type `()` would be known to be empty, and `cost_by` would see that.
#[derive(Clone, Copy)]
struct NoBody;

fn without_body(head: &Request<()>) -> Request<NoBody> {
    head.clone().map(|()| NoBody)
}

impl Asked {
    fn new(head: &Request<()>) -> Box<Self> {
        Box::new(Self {
            head: without_body(head),
            arrival: Arrival::next(),
        })
    }

    /// As the retrying layer does: see `Progress::mark`.
    fn mark_as_retry(&mut self, setbacks: Setbacks) {
        let extensions = self.head.extensions_mut();
        extensions.insert(setbacks);
        // What carries the age of another request keeps that.
        if extensions.get::<Arrival>().is_none() {
            extensions.insert(self.arrival);
        }
    }
}

impl Shared {
    /// The wait of something that takes its own time to go out, so it is a waiter even where it need not wait.
    fn stand(self: &Arc<Self>, head: &Request<NoBody>) -> Result<Acquire, UnknownEndpoint> {
        let asks = self.pricing.asks_of(head);
        let (target, locked) = self.engine.resolve_anew(head)?;
        // Made under the lock: if an observer panics, its drop takes the pin away.
        let mut acquire = None;
        self.engine
            .step(locked, |core: &mut Core, now: Tick, fx: &mut Effects| {
                let leaf = core.tree.locate(&target);
                core.pin(leaf);
                let found = (leaf, core.tree.epoch);
                acquire = Some(Acquire::new(Arc::clone(self), found, asks));
                core.tree.sweep_a_little(now, fx);
            });
        Ok(acquire.expect("it was made under the lock"))
    }
}
