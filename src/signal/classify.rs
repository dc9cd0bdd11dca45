//! [`Classify`], and the [`Answer`] that it looks at.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode, header};

use super::{Profile, QuotaReport, Signal, SignalKind, date, retry};

/// A response, as far as it is needed to tell what it means.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
    /// `None`: whatever the clock says when somebody asks.
    now: Option<SystemTime>,
}

impl<'a> Answer<'a> {
    /// The head of a response that arrived at `now`, by the client's clock.
    pub fn new(status: StatusCode, headers: &'a HeaderMap, now: SystemTime) -> Self {
        Self {
            status,
            headers,
            body: &[],
            now: Some(now),
        }
    }

    /// The head of a response that arrives now. The clock is read only if the time is asked for,
    /// since hardly any answer needs it, and every answer would pay.
    pub(crate) fn arriving(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self {
            status,
            headers,
            body: &[],
            now: None,
        }
    }

    /// With the beginning of the body, or all of it.
    pub fn with_body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What was peeked of the body: empty if [`Classify::wants_body`] did not ask for it, and
    /// perhaps cut short.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What the clock shows that times in the answer are of: its `Date` and, if a cache has kept it, its
    /// `Age`; or else when it arrived.
    ///
    /// Absolute times mean something only on the clock that made them, which is not the client's.
    pub fn time(&self) -> SystemTime {
        let date =
            retry::texts(self.headers, &header::DATE).find_map(|date| date::parse(date.trim()));
        let date = date.and_then(|date| {
            let age = retry::age(self.headers).unwrap_or_default();
            UNIX_EPOCH.checked_add(date)?.checked_add(age)
        });
        date.or(self.now).unwrap_or_else(SystemTime::now)
    }

    /// The delay that the headers name, whatever the status: `Retry-After` and the like, but no
    /// quota headers.
    ///
    /// An answer that is no signal, such as a 500, can name one too.
    pub fn retry_after(&self) -> Option<Duration> {
        retry::after(self)
    }

    /// What the headers say about a retry (`x-should-retry` and the like), whatever the status.
    pub fn should_retry(&self) -> Option<bool> {
        retry::wanted(self.headers)
    }
}

/// Without the values of headers and the body, which may be secret.
impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .field("now", &self.now)
            .finish()
    }
}

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
