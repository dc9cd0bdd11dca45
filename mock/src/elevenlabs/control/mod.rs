//! Control over HTTP, for tests in any language, under a path that the real API does not have.

mod fault;
mod fields;
mod report;

use http::{Method, StatusCode};
use serde_json::{Value, json};

pub(super) use self::fault::system_busy;
use self::fields::Fields;
use super::{CONTROL, api::Api, limits::Limits, query::Query};
use crate::{Answer, Limit, Received, answer as plain};

/// What there is, for those who ask for something else.
const RESOURCES: &str = "report (GET), faults (GET, POST, DELETE), limits (POST), network (POST) and \
                         reset (POST)";

type Result<T> = std::result::Result<T, Complaint>;

/// Why a request is not carried out.
struct Complaint {
    status: StatusCode,
    message: String,
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self { status, message }
    }
}

pub(super) fn answer(api: &Api, limits: &Limits, request: &Received<'_>) -> Answer {
    let (status, body) = match carry_out(api, limits, request) {
        Ok(body) => (StatusCode::OK, body),
        Err(Complaint { status, message }) => (status, json!({"error": message})),
    };
    plain::json(status, body.to_string()).into()
}

fn carry_out(api: &Api, limits: &Limits, request: &Received<'_>) -> Result<Value> {
    let judge = request.judge();
    let method = &request.head().method;
    let resource = request.param("resource").unwrap_or_default();
    match (resource, method) {
        ("report", &Method::GET) => {
            let query = Query::of(&request.head().uri);
            let records = query.get("records") == Some("true");
            Ok(report::json(&judge.report(), records))
        }
        ("faults", &Method::GET) => {
            let faults = judge.faults();
            let faults = faults.iter().map(|fault| format!("{fault:?}"));
            Ok(json!({"scheduled": faults.collect::<Value>()}))
        }
        ("faults", &Method::POST) => {
            let endpoints: Vec<_> = judge.endpoints().collect();
            let faults = fault::read_all(body(request)?, &api.responder, &endpoints)?;
            let count = faults.len();
            for fault in faults {
                judge.fault(fault);
            }
            Ok(json!({"scheduled": count}))
        }
        ("faults", &Method::DELETE) => {
            let count = judge.faults().len();
            judge.clear_faults();
            Ok(json!({"cleared": count}))
        }
        ("limits", &Method::POST) => set_limits(limits, request),
        ("network", &Method::POST) => set_network(request),
        ("reset", &Method::POST) => {
            let mut fields = optional_fields(request)?;
            let score_only = fields.flag("score_only")?;
            fields.finish()?;
            if score_only {
                judge.reset();
            } else {
                judge.reset_all();
                limits.reset();
                api.state.reset();
            }
            Ok(json!({"reset": if score_only { "score" } else { "everything" }}))
        }
        ("report" | "faults" | "limits" | "network" | "reset", _) => Err(Complaint {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: format!("{method} {resource} is not possible: there are {RESOURCES}"),
        }),
        _ => Err(Complaint {
            status: StatusCode::NOT_FOUND,
            message: format!("there is no {CONTROL}{resource}: there are {RESOURCES}"),
        }),
    }
}

/// Changes what an endpoint, a pool or, if neither is named, speech is limited to.
fn set_limits(limits: &Limits, request: &Received<'_>) -> Result<Value> {
    let judge = request.judge();
    let mut fields = Fields::of(body(request)?)?;
    let (endpoint, pool) = (fields.text("endpoint")?, fields.text("pool")?);
    let (rps, concurrency) = (fields.count("rps", 1)?, fields.count("concurrency", 1)?);
    fields.finish()?;
    let mut limit = rps.map_or_else(Limit::unlimited, Limit::rps);
    if let Some(n) = concurrency {
        limit = limit.concurrency(n);
    }
    let answer = json!({"limit": limit.to_string()});
    match (endpoint, pool) {
        (Some(_), Some(_)) => {
            let message = r#"there are "endpoint" and "pool": expected at most one of them"#;
            return Err(message.to_owned().into());
        }
        (Some(endpoint), None) => {
            let known: Vec<_> = judge.endpoints().collect();
            if !known.contains(&&*endpoint) {
                let message = format!(r#""endpoint" is {endpoint:?}: expected one of {known:?}"#);
                return Err(message.into());
            }
            judge.set_limit(&endpoint, limit);
        }
        (None, Some(pool)) => judge.set_pool_limit(&pool, limit),
        (None, None) => limits.set(judge, limit),
    }
    Ok(answer)
}

/// Changes how long requests are under way.
fn set_network(request: &Received<'_>) -> Result<Value> {
    let judge = request.judge();
    let mut fields = Fields::of(body(request)?)?;
    let latency = fields.millis("latency_ms")?;
    let jitter = fields.millis("jitter_ms")?;
    fields.finish()?;
    if let Some(latency) = latency {
        judge.set_latency(latency);
    }
    if let Some(jitter) = jitter {
        judge.set_jitter(std::time::Duration::ZERO..jitter);
    }
    Ok(json!({"changed": usize::from(latency.is_some()) + usize::from(jitter.is_some())}))
}

fn body(request: &Received<'_>) -> Result<Value> {
    let body = request.body();
    let parsed = serde_json::from_slice(body);
    Ok(parsed.map_err(|error| {
        let text = String::from_utf8_lossy(&body[..body.len().min(100)]);
        format!("the body is {text:?}: expected JSON ({error})")
    })?)
}

/// No body is an empty object.
fn optional_fields(request: &Received<'_>) -> Result<Fields> {
    if request.body().is_empty() {
        return Ok(Fields::of(json!({}))?);
    }
    Ok(Fields::of(body(request)?)?)
}
