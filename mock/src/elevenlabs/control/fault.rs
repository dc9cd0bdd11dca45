//! Faults, as JSON describes them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::fields::{Fields, Result, Times};
use crate::{
    Fault, answer,
    elevenlabs::{problem::Problem, response::Responder},
};

/// The `kind`s, and which fields of their own they have.
const KINDS: &str =
    r#""status", "system_busy", "delay", "reset", "reset_after", "cut_short" or "slow_body""#;

/// Reads one fault or a list of them. All are right, or none is scheduled.
pub(super) fn read_all(
    body: Value,
    responder: &Responder,
    endpoints: &[&str],
) -> Result<Vec<Fault>> {
    match body {
        Value::Array(faults) => faults
            .into_iter()
            .map(|fault| read(fault, responder, endpoints))
            .collect(),
        fault => Ok(vec![read(fault, responder, endpoints)?]),
    }
}

fn read(fault: Value, responder: &Responder, endpoints: &[&str]) -> Result<Fault> {
    let mut fields = Fields::of(fault)?;
    let Some(kind) = fields.text("kind")? else {
        return Err(format!(r#"there is no "kind": expected {KINDS}"#));
    };
    let mut fault = match kind.as_str() {
        "status" => with_status(&mut fields, responder)?,
        "system_busy" => with_hints(&mut fields, system_busy(responder))?,
        "delay" => {
            let time = needed(fields.millis("delay_ms")?, "delay_ms", &kind)?;
            Fault::delay(time)
        }
        "reset" => Fault::reset(),
        "reset_after" => Fault::reset_after(byte_count(&mut fields, &kind, 0)?),
        "cut_short" => Fault::cut_short(byte_count(&mut fields, &kind, 0)?),
        "slow_body" => {
            let bytes = byte_count(&mut fields, &kind, 1)?;
            let every = needed(fields.millis("every_ms")?, "every_ms", &kind)?;
            Fault::slow_body(bytes, every)
        }
        _ => return Err(format!(r#""kind" is {kind:?}: expected {KINDS}"#)),
    };
    if kind != "delay" {
        if let Some(time) = fields.millis("delay_ms")? {
            fault = fault.delayed(time);
        }
    }
    if fields.flag("accepted")? {
        fault = fault.accepted();
    }
    if let Some(endpoint) = fields.text("on")? {
        if !endpoints.contains(&&*endpoint) {
            return Err(format!(
                r#""on" is {endpoint:?}: expected one of {endpoints:?}"#
            ));
        }
        fault = fault.on(endpoint);
    }
    if let Some(after) = fields.count("after", 0)? {
        fault = fault.after(after);
    }
    match fields.times("times")? {
        Some(Times::Count(times)) => fault = fault.times(times),
        Some(Times::Always) => fault = fault.always(),
        None => {}
    }
    fields.finish()?;
    Ok(fault)
}

pub(in crate::elevenlabs) fn system_busy(responder: &Responder) -> Fault {
    Fault::answer(responder.plain_problem(&Problem::system_busy()))
}

/// An answer with any status; the body is the API's own unless there is one.
fn with_status(fields: &mut Fields, responder: &Responder) -> Result<Fault> {
    let status = needed(fields.count("status", 0)?, "status", "status")?;
    let known = u16::try_from(status)
        .ok()
        .filter(|code| (200..600).contains(code));
    let Some(Ok(status)) = known.map(StatusCode::from_u16) else {
        return Err(format!(r#""status" is {status}: expected 200 to 599"#));
    };
    let response = match (fields.text("body")?, status) {
        (Some(body), status) => with_body(responder, status, body),
        (None, StatusCode::TOO_MANY_REQUESTS) => responder.plain_problem(&Problem::too_fast()),
        (None, status) => responder.plain_problem(&Problem::failure(status)),
    };
    let mut fault = Fault::answer(response);
    for (name, value) in fields.texts("headers")? {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(&name), HeaderValue::try_from(&value))
        else {
            return Err(format!(
                r#""headers" has {name:?}: {value:?}, which is no header"#
            ));
        };
        fault = fault.header(name, value);
    }
    with_hints(fields, fault)
}

/// The API's answer with another body: JSON, unless it looks like a page.
fn with_body(responder: &Responder, status: StatusCode, body: String) -> Response<Bytes> {
    let page = body.trim_start().starts_with('<');
    let mut response = answer::json(status, body);
    let headers = response.headers_mut();
    responder.put_common(headers);
    if page {
        let html = HeaderValue::from_static("text/html");
        headers.insert(header::CONTENT_TYPE, html);
    }
    response
}

fn with_hints(fields: &mut Fields, mut fault: Fault) -> Result<Fault> {
    if let Some(time) = fields.seconds("retry_after")? {
        fault = fault.retry_after(time);
    }
    if let Some(time) = fields.seconds("retry_after_date")? {
        fault = fault.retry_after_date(time);
    }
    if fields.flag("gzip")? {
        fault = fault.gzip();
    }
    Ok(fault)
}

fn byte_count(fields: &mut Fields, kind: &str, least: usize) -> Result<usize> {
    needed(fields.count("bytes", least)?, "bytes", kind)
}

fn needed<T>(value: Option<T>, name: &str, kind: &str) -> Result<T> {
    value.ok_or_else(|| format!("there is no {name:?}, which a fault of the kind {kind:?} needs"))
}
