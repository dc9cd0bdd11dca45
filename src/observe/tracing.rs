use std::{borrow::Cow, fmt};

use tracing::{Id, Level, event};

use super::labels;
use crate::{
    bucket::Learned,
    error::Refused,
    event::{Event, EventKind, Observer},
};

/// The target of all events.
const TARGET: &str = "tower_throttle";

/// Logs a layer's decisions with `tracing`: one `tracing` event for each [`Event`].
///
/// [`_operating`](crate::_operating) has the table of messages, levels and fields. In short: a body that keeps others
/// waiting is a warning; what throttles, pauses, teaches, refuses and retries is told at `INFO`; each step of each
/// request at `DEBUG`. All have the target `tower_throttle` and the fields `layer` and `endpoint`.
///
/// # Spans
///
/// What a request's own call, poll or drop decides is logged in the span in which it is called, polled or dropped. No
/// span is kept while a request waits, and none is entered: the inner service is called within the caller's span,
/// after a wait too. What another request, a handle or the timer decides about a request (its turn comes, its time is
/// over) is logged outside of any span, as [`Event::elsewhere`] says. So make the call within the span, too:
/// `async { client.call(request).await }.instrument(span)`, or a layer above that enters its span around `call`, as
/// tower-http's `TraceLayer` does.
///
/// # What is not logged
///
/// Headers, queries, bodies, the values of partitions, and what answers say in words. Endpoints are logged as they were
/// configured. The host and path of a bucket that a path has to itself is a field of `DEBUG` events only.
///
/// ```
/// use tower_throttle::{Endpoints, Quota, ThrottleLayer, Tracing};
///
/// let layer = ThrottleLayer::new(Endpoints::new().overall(Quota::per_second(5)))
///     .observe(Tracing::new("weather"));
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct Tracing {
    layer: Cow<'static, str>,
}

impl Tracing {
    /// For the layer of this name, which tells it from others in the log: the API that it is for.
    pub fn new(layer: impl Into<Cow<'static, str>>) -> Self {
        Self {
            layer: layer.into(),
        }
    }
}

/// One event, in the current span if it belongs there.
macro_rules! log {
    ($self:ident, $told:ident, $level:ident, { $($fields:tt)* } $message:literal) => {
        if $told.elsewhere {
            event!(
                target: TARGET, parent: None::<Id>, Level::$level,
                layer = &*$self.layer, endpoint = $told.endpoint, $($fields)* $message
            );
        } else {
            event!(
                target: TARGET, Level::$level,
                layer = &*$self.layer, endpoint = $told.endpoint, $($fields)* $message
            );
        }
    };
}

/// One event of a request's way, with the bucket.
macro_rules! detail {
    ($self:ident, $told:ident, { $($fields:tt)* } $message:literal) => {
        log!($self, $told, DEBUG, {
            bucket = (!is_configured($told)).then_some($told.bucket),
            partition = $told.partition,
            $($fields)*
        } $message)
    };
}

impl Observer for Tracing {
    fn on_event(&self, told: &Event<'_>) {
        match &told.kind {
            EventKind::BodyOpen { time } => log!(self, told, WARN, {
                open_seconds = time.as_secs_f64(),
            } "an open response body keeps others waiting: read it, or drop it"),
            EventKind::StoreAway(error) => log!(self, told, WARN, {
                error = %error,
            } "the store does not answer"),
            EventKind::Disagrees(warning) => log!(self, told, WARN, {
                what = warning.what.as_str(),
                unit = warning.unit.as_str(),
                rank = warning.rank,
                mine = warning.mine,
                theirs = warning.theirs,
                member = warning.member.as_str(),
            } "another member of the fleet is configured otherwise: the stricter counts for all"),
            EventKind::StoreBack { time } => log!(self, told, INFO, {
                away_seconds = time.as_secs_f64(),
            } "the store answers again"),
            EventKind::Throttled(signal) => log!(self, told, INFO, {
                kind = labels::kind(signal.kind()),
                retry_after_seconds = signal.retry_after().map(|time| time.as_secs_f64()),
            } "the server throttled a request"),
            EventKind::Paused { time, cause } => log!(self, told, INFO, {
                cause = labels::cause(*cause),
                pause_seconds = time.as_secs_f64(),
            } "paused"),
            EventKind::Resumed => log!(self, told, INFO, {} "resumed"),
            EventKind::Learned(learned) => log!(self, told, INFO, {
                learned = %learned,
            } "learned from answers"),
            EventKind::Eased(learned) => log!(self, told, INFO, {
                learned = %left(learned.as_ref()),
            } "gave a lesson back"),
            EventKind::Refused(refused) => log!(self, told, INFO, {
                error.type = labels::reason(refused.reason()),
                scope = scope(told, refused),
                retry_after_seconds = refused.retry_after().map(|time| time.as_secs_f64()),
            } "refused a request"),
            EventKind::RetryScheduled { attempt, delay } => log!(self, told, INFO, {
                http.request.resend_count = attempt.saturating_sub(1),
                delay_seconds = delay.as_secs_f64(),
            } "a request failed and is sent again"),
            EventKind::GivenUp { attempts } => log!(self, told, INFO, {
                attempts,
            } "a request failed and is not sent again"),
            EventKind::Closed => log!(self, told, INFO, {} "closed"),
            _ => self.log_step(told),
        }
    }
}

impl Tracing {
    /// What each request does.
    fn log_step(&self, told: &Event<'_>) {
        match &told.kind {
            EventKind::Queued { waiting } => detail!(self, told, { waiting, } "queued"),
            EventKind::Admitted { waited } => detail!(self, told, {
                waited_seconds = waited.as_secs_f64(),
            } "admitted"),
            EventKind::Dispatched { queued, paused } => detail!(self, told, {
                queued_seconds = queued.as_secs_f64(),
                paused_seconds = paused.as_secs_f64(),
            } "dispatched"),
            EventKind::Answered { status, time } => detail!(self, told, {
                http.response.status_code = status.map(|status| status.as_u16()),
                answer_seconds = time.as_secs_f64(),
            } "answered"),
            EventKind::Ended { in_flight } => detail!(self, told, {
                in_flight_seconds = in_flight.as_secs_f64(),
            } "ended"),
            EventKind::Settled(cost) => detail!(self, told, { cost = ?cost, } "settled"),
            EventKind::NotSettled => {
                detail!(self, told, {} "not settled: the answer does not say what it cost");
            }
            EventKind::GivenBack => detail!(self, told, {} "gave its places back"),
            EventKind::Absent => detail!(self, told, {} "did not take its turn"),
            EventKind::Swept => detail!(self, told, {} "forgot an idle key"),
            kind => detail!(self, told, { kind = ?kind, } "told"),
        }
    }
}

/// Whether the bucket's name is its endpoint's.
fn is_configured(told: &Event<'_>) -> bool {
    told.bucket == told.endpoint
}

/// What is left of lessons.
fn left(learned: Option<&Learned>) -> &dyn fmt::Display {
    learned.map_or(&"nothing", |learned| learned)
}

/// The scope that refused a request, as it was configured.
fn scope<'a>(told: &Event<'a>, refused: &'a Refused) -> &'a str {
    if refused.scope() == refused.endpoint() {
        told.endpoint
    } else {
        refused.scope()
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("layer", &self.layer)
            .finish()
    }
}
