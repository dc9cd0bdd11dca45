//! The values that metrics have as labels and logs as fields: the same words in both.

use crate::{error::RefusedReason, event::PauseCause, signal::SignalKind};

pub(super) fn reason(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::QueueFull => "queue_full",
        RefusedReason::WouldWaitTooLong => "would_wait_too_long",
        RefusedReason::DeadlineWouldPass => "deadline_would_pass",
        RefusedReason::WaitedTooLong => "waited_too_long",
        RefusedReason::ServerClosed => "server_closed",
        RefusedReason::NeverFits => "never_fits",
        RefusedReason::Closed => "closed",
    }
}

pub(super) fn kind(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Rate => "rate",
        SignalKind::Concurrency => "concurrency",
        SignalKind::Overload => "overload",
        SignalKind::QuotaExhausted => "quota_exhausted",
    }
}

pub(super) fn cause(cause: PauseCause) -> &'static str {
    match cause {
        PauseCause::Asked => "asked",
        PauseCause::BackOff => "back_off",
        PauseCause::QuotaHeaders => "quota_headers",
        PauseCause::Handle => "handle",
        PauseCause::Store => "store",
    }
}
