//! The score card, as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{EndpointReport, Report, Verdict};

/// All of it; each request by itself only where `records` are asked for.
pub(super) fn json(report: &Report, records: bool) -> Value {
    let part = |part: &EndpointReport| endpoint(part, records);
    json!({
        "accepted": report.accepted(),
        "refused_by_rate": report.refused_by_rate(),
        "refused_by_concurrency": report.refused_by_concurrency(),
        "early": report.early(),
        "faulted": report.faulted(),
        "unmatched": report.unmatched(),
        "endpoints": report.endpoints().map(part).collect::<Value>(),
        "pools": report.pools().map(part).collect::<Value>(),
    })
}

fn endpoint(part: &EndpointReport, records: bool) -> Value {
    let mut json = json!({
        "name": part.endpoint,
        "limit": part.limit.to_string(),
        "accepted": part.accepted,
        "queued": part.queued,
        "refused_by_rate": part.refused_by_rate,
        "refused_by_units": part.refused_by_units,
        "refused_by_concurrency": part.refused_by_concurrency,
        "invalid": part.invalid,
        "faulted": part.faulted,
        "worst_window": part.worst_window,
        "most_in_flight": part.most_in_flight,
        "early": part.early,
        "slowest_refusal_ms": millis(part.slowest_refusal),
        "in_flight": part.in_flight,
        "waiting": part.waiting,
        "violations": part.violations.iter().map(ToString::to_string).collect::<Value>(),
    });
    if records {
        let records = part.records.iter().map(|record| {
            json!({
                "at_ms": millis(record.at),
                "verdict": verdict(record.verdict),
            })
        });
        json["records"] = records.collect();
    }
    json
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::RefusedByRate => "refused_by_rate",
        Verdict::RefusedByUnits { .. } => "refused_by_units",
        Verdict::RefusedByConcurrency => "refused_by_concurrency",
        Verdict::Invalid => "invalid",
        Verdict::Faulted => "faulted",
    }
}
