//! How servers say it: statuses, delays, quota headers and words, as public APIs have them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::servers::By;

/// How a server answers.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Of refusals; of outages it is 503.
    pub(crate) status: u16,
    /// How refusals name a delay, if they do.
    pub(crate) form: Option<Form>,
    pub(crate) amount: Amount,
    /// Of quota headers.
    pub(crate) dialect: Dialect,
    /// In the body of a refusal.
    pub(crate) words: Words,
    /// Whether refusals name the limit.
    pub(crate) names_limit: bool,
    /// Whether successes name the limit and what is left of it.
    pub(crate) on_success: bool,
    pub(crate) refuses_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `Retry-After: 7`
    Seconds,
    /// `Retry-After: Fri, 31 Dec 1999 23:59:59 GMT`
    Date,
    /// `retry-after-ms: 6500`
    Millis,
    /// The reset of quota headers of which nothing is left.
    QuotaHeaders,
    /// `{"retry_after": 7}`
    BodyNumber,
    /// "Please try again in 6.5s."
    BodyWords,
    /// Google's `RetryInfo`.
    BodyRetryInfo,
}

/// Which delay is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Until one more is allowed; a second where nobody knows. Rounded up to what the form can say.
    UntilThereIsRoom,
    /// The limit's whole period, wherever in it the request comes; a second where there is none.
    ThePeriod,
    /// This, whatever the limit is.
    Always(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`, which is a time since 1970 (GitHub).
    XEpoch,
    /// The same, and the reset is in so many seconds (Reddit).
    XDelta,
    /// `RateLimit-Limit`, `-Remaining`, `-Reset` of the IETF's earlier drafts.
    Numbers,
    /// `RateLimit` and `RateLimit-Policy` of its later ones.
    Draft,
    /// `x-ratelimit-limit-requests` and its kin, with resets such as `6m0s` (`OpenAI`).
    Durations,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    None,
    Text,
    Json,
    /// That there are too many at once.
    AtOnce,
}

/// What quota headers say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) limit: u32,
    pub(crate) left: u32,
    pub(crate) resets_in: Duration,
    pub(crate) period: Option<Duration>,
}

/// What a server knows of a request that it refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) by: By,
    /// How long it would be refused, if that is known.
    pub(crate) wait: Option<Duration>,
    pub(crate) period: Option<Duration>,
    pub(crate) at_once: Option<usize>,
    pub(crate) quota: Option<Quota>,
}

impl Manner {
    /// A refusal that leaves at `now`.
    pub(crate) fn refuse(&self, refusal: &Refusal, now: Duration) -> Response<Paced> {
        let mut answer = Builder::new(now);
        answer.status(if refusal.by == By::Outage {
            503
        } else {
            self.status
        });
        // The delay counts from where the client hears of it.
        let delay = self.delay(refusal);
        let quota = refusal.quota.filter(|_| refusal.by == By::Window);
        match (self.form, quota) {
            (Some(Form::QuotaHeaders), _) => {
                let limit = quota.filter(|_| self.names_limit);
                answer.quota(
                    self.dialect,
                    limit.map(|quota| (quota.limit, quota.period)),
                    0,
                    Some(delay),
                );
            }
            (_, Some(quota)) if self.names_limit => {
                answer.quota(self.dialect, Some((quota.limit, quota.period)), 0, None);
            }
            _ => {}
        }
        if refusal.by == By::AtOnce && self.names_limit {
            let at_once = refusal.at_once.unwrap_or(0);
            answer.header("maximum-concurrent-requests", at_once);
        }
        match self.form {
            Some(Form::Seconds) => answer.header("retry-after", ceil_seconds(delay)),
            Some(Form::Date) => answer.header("retry-after", date(now + delay)),
            Some(Form::Millis) => answer.header("retry-after-ms", delay.as_millis().to_string()),
            Some(Form::BodyNumber) => answer.json(&format!(
                r#"{{"message":"You are being rate limited.","retry_after":{}}}"#,
                ceil_seconds(delay)
            )),
            Some(Form::BodyWords) => answer.json(&format!(
                r#"{{"error":{{"message":"Rate limit reached. Please try again in {}s.","type":"requests"}}}}"#,
                delay.as_secs_f64()
            )),
            Some(Form::BodyRetryInfo) => answer.json(&format!(
                r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{}s"}}]}}}}"#,
                ceil_seconds(delay)
            )),
            Some(Form::QuotaHeaders) | None => {}
        }
        answer.words(match self.words {
            Words::AtOnce if refusal.by != By::AtOnce => Words::Json,
            words => words,
        });
        answer.end(None)
    }

    /// A success whose head leaves at `now`.
    pub(crate) fn serve(
        &self,
        quota: Option<Quota>,
        at_once: Option<(usize, usize)>,
        now: Duration,
        end: Option<Instant>,
    ) -> Response<Paced> {
        let mut answer = Builder::new(now);
        if let Some(quota) = quota {
            let limit = Some((quota.limit, quota.period));
            answer.quota(self.dialect, limit, quota.left, Some(quota.resets_in));
        }
        if let Some((current, maximum)) = at_once {
            answer.header("current-concurrent-requests", current);
            answer.header("maximum-concurrent-requests", maximum);
        }
        answer.json(r#"{"ok":true}"#);
        answer.end(end)
    }

    fn delay(&self, refusal: &Refusal) -> Duration {
        let unknown = Duration::from_secs(1);
        match self.amount {
            Amount::UntilThereIsRoom => refusal.wait.unwrap_or(unknown),
            // Who bans or is out of order knows for how long, and it is not the limit that refuses.
            Amount::ThePeriod => match refusal.by {
                By::Outage | By::Ban => refusal.wait.unwrap_or(unknown),
                _ => refusal.period.unwrap_or(unknown),
            },
            Amount::Always(time) => time,
        }
    }
}

/// When the clocks of all servers say that a run begins.
const BEGIN: Duration = Duration::from_secs(1_760_000_000);

struct Builder {
    now: Duration,
    answer: Response<Paced>,
}

impl Builder {
    fn new(now: Duration) -> Self {
        let mut new = Self {
            now,
            answer: Response::new(Paced::default()),
        };
        new.header("date", date_now(now));
        new
    }

    fn status(&mut self, status: u16) {
        *self.answer.status_mut() = StatusCode::from_u16(status).expect("it is one");
    }

    fn header<V: TryInto<HeaderValue>>(&mut self, name: &'static str, value: V) {
        let value = value.try_into().ok().expect("plain text");
        self.answer
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }

    fn quota(
        &mut self,
        dialect: Dialect,
        limit: Option<(u32, Option<Duration>)>,
        left: u32,
        resets_in: Option<Duration>,
    ) {
        let names = match dialect {
            Dialect::XEpoch | Dialect::XDelta => [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
            ],
            Dialect::Numbers => ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
            Dialect::Durations => [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ],
            Dialect::Draft => {
                let reset = resets_in.map_or(String::new(), |resets_in| {
                    format!(";t={}", ceil_seconds(resets_in))
                });
                self.header("ratelimit", format!("\"default\";r={left}{reset}"));
                if let Some((limit, period)) = limit {
                    let period = period.map_or(String::new(), |period| {
                        format!(";w={}", ceil_seconds(period))
                    });
                    self.header("ratelimit-policy", format!("\"default\";q={limit}{period}"));
                }
                return;
            }
        };
        if let Some((limit, _)) = limit {
            self.header(names[0], limit);
        }
        self.header(names[1], left);
        if let Some(resets_in) = resets_in {
            match dialect {
                Dialect::XEpoch => {
                    self.header(names[2], ceil_seconds(BEGIN + self.now + resets_in));
                }
                Dialect::Durations => self.header(names[2], go_duration(resets_in)),
                _ => self.header(names[2], ceil_seconds(resets_in)),
            }
        }
    }

    fn words(&mut self, words: Words) {
        if !self.answer.body().data.is_empty() {
            return;
        }
        match words {
            Words::None => {}
            Words::Text => {
                self.header("content-type", "text/plain");
                self.answer.body_mut().data = Bytes::from_static(b"Too Many Requests");
            }
            Words::Json => self.json(r#"{"error":"rate limit exceeded"}"#),
            Words::AtOnce => self.json(r#"{"error":"Too many concurrent requests"}"#),
        }
    }

    fn json(&mut self, text: &str) {
        self.header("content-type", "application/json");
        self.answer.body_mut().data = Bytes::copy_from_slice(text.as_bytes());
    }

    fn end(mut self, end: Option<Instant>) -> Response<Paced> {
        self.answer.body_mut().until = end;
        self.answer
    }
}

fn ceil_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A date has whole seconds: that of a delay is rounded up, so that nobody comes too early.
fn date(since_begin: Duration) -> String {
    let seconds = Duration::from_secs(ceil_seconds(BEGIN + since_begin));
    httpdate::fmt_http_date(UNIX_EPOCH + seconds)
}

fn date_now(since_begin: Duration) -> String {
    let now: SystemTime = UNIX_EPOCH + BEGIN + since_begin;
    httpdate::fmt_http_date(now)
}

fn go_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, time.subsec_millis()) {
        (0, 0) => format!("{seconds}s"),
        (0, millis) if seconds == 0 => format!("{millis}ms"),
        (0, millis) => format!("{seconds}.{millis:03}s"),
        (minutes, _) => format!("{minutes}m{}s", seconds % 60 + 1),
    }
}

/// A body whose data comes at once, or at an instant.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    data: Bytes,
    until: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(until) = this.until {
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            ready!(sleep.as_mut().poll(cx));
            this.until = None;
        }
        let data = std::mem::take(&mut this.data);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}
