//! The names of all metrics, and what they mean. `docs/operating.md` has the same table.

use metrics::Unit;

/// One metric.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) help: &'static str,
}

/// How a metric is counted.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:ident, $unit:ident, $help:literal;)*) => {
        $(pub(super) const $const: &str = concat!("tower_throttle_", $name);)*

        /// All of them.
        pub(super) const ALL: &[Metric] = &[
            $(Metric { name: $const, kind: Kind::$kind, unit: Unit::$unit, help: $help },)*
        ];
    };
}

metrics! {
    QUEUED = "queued_total", Counter, Count, "Requests that had to wait.";
    DISPATCHED = "dispatched_total", Counter, Count, "Requests that were sent, retries included.";
    ANSWERED = "answered_total", Counter, Count, "Answers, by status.";
    FAILED = "failed_total", Counter, Count, "Requests that failed without an answer.";
    THROTTLED = "throttled_total", Counter, Count, "Answers with which the server throttled a request, or said that credits are used up.";
    REFUSED = "refused_total", Counter, Count, "Requests that the layer refused.";
    PAUSES = "pauses_total", Counter, Count, "Pauses that began or became longer.";
    LESSONS = "lessons_total", Counter, Count, "Lessons that answers taught, and lessons that were given back.";
    GIVEN_BACK = "given_back_total", Counter, Count, "Requests that were admitted and not sent then.";
    ABSENT = "absent_total", Counter, Count, "Requests that did not take their turn: their futures are not polled in time.";
    UNSETTLED = "unsettled_total", Counter, Count, "Answers that did not say what their requests cost.";
    BODIES_KEPT = "bodies_kept_open_total", Counter, Count, "Response bodies that were open for 30 s while others waited for them.";
    STORE_AWAY = "store_away_total", Counter, Count, "Times that the layer's store ceased to answer.";
    DISAGREEMENTS = "disagreements_total", Counter, Count, "Differences between this layer's quotas and those of another member of its fleet.";
    RETRIES = "retries_total", Counter, Count, "Retries that were scheduled.";
    GIVEN_UP = "given_up_total", Counter, Count, "Failed requests that could have been retried and were handed up.";
    QUEUE_TIME = "queue_duration_seconds", Histogram, Seconds, "How long requests were queued before they were sent; 0 for those that did not wait.";
    PAUSE_TIME = "pause_wait_duration_seconds", Histogram, Seconds, "For how much of that they waited for pauses.";
    ANSWER_TIME = "answer_duration_seconds", Histogram, Seconds, "From the sending of a request to the head of its answer, or to its failure.";
    IN_FLIGHT_TIME = "in_flight_duration_seconds", Histogram, Seconds, "From the sending of a request until its permit ended.";
    WAITING = "waiting", Gauge, Count, "Requests that wait.";
    IN_FLIGHT = "in_flight", Gauge, Count, "Permits that are held.";
    LIMIT = "concurrency_limit", Gauge, Count, "How many permits there are, as configured and learned; +Inf without a limit.";
    OPEN_BODIES = "open_bodies", Gauge, Count, "Response bodies that are open.";
    OLDEST_BODY = "oldest_body_seconds", Gauge, Seconds, "For how long the oldest of them has been open.";
    HEAD_WAIT = "head_wait_seconds", Gauge, Seconds, "For how long the request has waited that is next.";
    PAUSED = "paused_seconds", Gauge, Seconds, "How long the present pause goes on.";
    LEARNED = "learned", Gauge, Count, "How many buckets keep lessons.";
    WINDOW_USE = "window_used_ratio", Gauge, Count, "What part of a window is used, from 0 to 1.";
    BACKING_OFF = "backing_off", Gauge, Count, "Requests between two attempts, outside of any queue.";
    BUCKETS = "buckets", Gauge, Count, "Buckets in memory.";
}
