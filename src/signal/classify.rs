//! [`Classify`]: who tells what answers mean.

use std::time::Duration;

use http::StatusCode;

use super::{
    answer::Answer,
    meaning::{Signal, SignalKind},
    profile::Profile,
    report::QuotaReport,
};

/// Tells what answers mean: a [`Profile`], or what a client knows better about its API.
///
/// A closure over the answer is enough to replace [`classify`](Self::classify) alone:
///
/// ```
/// use tower_throttle::signal::{Answer, Classify, Profile, Signal, SignalKind};
///
/// // This API answers 420 when it wants peace and quiet.
/// let classifier = |answer: &Answer<'_>| match answer.status().as_u16() {
///     420 => Some(Signal::new(SignalKind::Rate)),
///     _ => Profile::Standard.classify(answer),
/// };
/// # fn takes(_: impl Classify) {}
/// # takes(classifier);
/// ```
pub trait Classify: Send + Sync + 'static {
    /// Whether [`classify`](Self::classify) should see the beginning of the body. Asked of every
    /// answer, before its body is touched.
    ///
    /// By default what [`Profile::Standard`] would: of 401, 402, 429 and 503, unless compressed.
    fn wants_body(&self, answer: &Answer<'_>) -> bool {
        Profile::Standard.wants_body(answer)
    }

    /// What a refusal means; `None` for an answer that says nothing about limits.
    fn classify(&self, answer: &Answer<'_>) -> Option<Signal>;

    /// The same with a delay of at least this after each 429, whatever it names: for APIs with a fixed
    /// penalty, such as Airtable's 30 seconds. Used-up credits keep what they name.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_throttle::{Endpoints, ThrottleLayer, signal::{Classify, Profile}};
    ///
    /// let airtable = Profile::Standard.with_penalty(Duration::from_secs(30));
    /// let layer = ThrottleLayer::new(Endpoints::new()).classify(airtable);
    /// # let _ = layer;
    /// ```
    fn with_penalty(self, delay: Duration) -> WithPenalty<Self>
    where
        Self: Sized,
    {
        WithPenalty {
            classify: self,
            delay,
        }
    }

    /// What an answer says about what is left. Asked of every success, so it should cost next to
    /// nothing where there is no such header.
    ///
    /// By default what [`Profile::Standard`] understands.
    fn quota(&self, answer: &Answer<'_>) -> Option<QuotaReport> {
        Profile::Standard.quota(answer)
    }
}

impl Classify for Profile {
    fn wants_body(&self, answer: &Answer<'_>) -> bool {
        (*self).wants_body(answer)
    }

    fn classify(&self, answer: &Answer<'_>) -> Option<Signal> {
        (*self).classify(answer)
    }

    fn quota(&self, answer: &Answer<'_>) -> Option<QuotaReport> {
        (*self).quota(answer)
    }
}

/// What [`Classify::with_penalty`] makes.
#[derive(Clone, Copy, Debug)]
pub struct WithPenalty<C> {
    classify: C,
    delay: Duration,
}

impl<C: Classify> Classify for WithPenalty<C> {
    fn wants_body(&self, answer: &Answer<'_>) -> bool {
        self.classify.wants_body(answer)
    }

    fn classify(&self, answer: &Answer<'_>) -> Option<Signal> {
        let signal = self.classify.classify(answer)?;
        let is_penalized = answer.status() == StatusCode::TOO_MANY_REQUESTS
            && signal.kind() != SignalKind::QuotaExhausted;
        Some(if is_penalized {
            let named = signal.retry_after().unwrap_or_default();
            signal.with_retry_after(named.max(self.delay))
        } else {
            signal
        })
    }

    fn quota(&self, answer: &Answer<'_>) -> Option<QuotaReport> {
        self.classify.quota(answer)
    }
}

impl<F> Classify for F
where
    F: Fn(&Answer<'_>) -> Option<Signal> + Send + Sync + 'static,
{
    fn classify(&self, answer: &Answer<'_>) -> Option<Signal> {
        self(answer)
    }
}
