//! What a limiting layer does with an answer.

use http::Response;
use tokio::time::Instant;

use crate::{
    admission::{InFlight, RetryHint, Setbacks, Shared},
    body::Body,
    late::Unfinished,
    peek::Peek,
    signal::Signal,
};

impl Shared {
    /// Reports an answer that may have been a refusal, once its meaning is known: a refusal has a [`Signal`]
    /// among its extensions by now. The engine learns from it, and the body takes what is left of the permit.
    pub(super) fn answered<B>(
        mut response: Response<Body<B>>,
        mut permit: InFlight,
    ) -> Response<Body<B>>
    where
        B: http_body::Body,
    {
        if let Some(unfinished) = response.extensions_mut().get_mut::<Unfinished>() {
            unfinished.add(permit.listener());
        }
        if response.extensions().get::<Signal>().is_some() {
            // First, as the way back is computed without it.
            if permit.is_charged() {
                let is_over = response.body().is_over();
                permit.settle_throttled(&mut response, is_over);
            }
            Self::throttled(&mut response, &permit);
        } else {
            let is_over = response.body().is_over();
            Self::understood(&mut response, &mut permit, is_over);
        }
        response.map(|body| body.and_hold(permit))
    }

    /// Takes in an answer that is no refusal, as its status tells.
    #[inline]
    pub(super) fn understood<B>(response: &mut Response<B>, permit: &mut InFlight, is_over: bool) {
        if response.status().as_u16() < 400 {
            Self::accepted(response, permit);
        } else {
            Self::failed(response, permit);
        }
        if permit.is_charged() {
            permit.settle_answer(response, is_over);
        }
    }

    #[cold]
    fn failed<B>(response: &mut Response<B>, permit: &InFlight) {
        // A server that has failed says nothing about its limits. One that says that the
        // request was wrong has let it through.
        if !response.status().is_server_error() {
            Self::accepted(response, permit);
        }
        permit.shared().forbid_retry_if_closed(response);
    }

    /// Whatever an answer says: once the layer is closed, a retry would be refused.
    #[cold]
    fn forbid_retry_if_closed<B>(&self, response: &mut Response<B>) {
        if self.engine.is_closed() {
            response.extensions_mut().insert(RetryHint::Forbidden);
        }
    }

    /// Reports every other answer.
    #[inline]
    fn accepted<B>(response: &Response<B>, permit: &InFlight) {
        let quota = permit.shared().classifier.quota(response);
        permit.accepted(quota.as_ref());
    }

    fn throttled<B>(response: &mut Response<B>, permit: &InFlight) {
        let Some(signal) = response.extensions().get::<Signal>() else {
            return;
        };
        let now = Instant::now();
        let below = response.extensions().get::<RetryHint>().copied();
        let asked = signal.retry_after().and(below);
        if let Some(RetryHint::NotBefore(below)) = asked {
            // Each layer draws its own jitter for the same delay. A request that goes through here while the
            // layer below still pauses would hold a permit meanwhile.
            let delay = below.saturating_duration_since(now);
            if !delay.is_zero() {
                permit.asked_to_wait(delay);
            }
        }
        let mut setbacks = (response.extensions().get::<Setbacks>().cloned()).unwrap_or_default();
        let hint = permit.throttled(signal, &mut setbacks);
        response.extensions_mut().insert(setbacks);
        if let Some(hint) = hint {
            // In a stack, the layer that holds the retry longest decides.
            let hint = below.map_or(hint, |below| hint.stricter(below));
            response.extensions_mut().insert(hint);
        }
    }

    /// The head of an answer is there, and what it means will be known when its body has been peeked.
    /// A delay that it names is news already.
    pub(super) fn peeking<B: http_body::Body>(peek: &Peek<B>, permit: &InFlight) {
        let classifier = &permit.shared().classifier;
        let delay = peek.head().and_then(|head| classifier.delay(head));
        if let Some(delay) = delay {
            permit.asked_to_wait(delay);
        }
    }
}
