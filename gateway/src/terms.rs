//! What a caller asks of the gateway, in headers that are not for the upstream.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tower_throttle::{Flow, Priority, Terms};

use super::limits;

/// All headers that begin like this are for the gateway.
const PREFIX: &str = "x-gateway-";

const MAX_WAIT: &str = "x-gateway-max-wait";
const PRIORITY: &str = "x-gateway-priority";
const FLOW: &str = "x-gateway-flow";
const FLOW_WEIGHT: &str = "x-gateway-flow-weight";
pub(crate) const ENDPOINT: &str = "x-gateway-endpoint";

const ALL: [&str; 5] = [MAX_WAIT, PRIORITY, FLOW, FLOW_WEIGHT, ENDPOINT];

/// The longest value: a name, a number or a time.
const LONGEST: usize = 256;

/// The heaviest flow. Enough for any share, and far from what sums of weights could overflow.
const HEAVIEST: u32 = 1000;

/// Takes the gateway's headers out, and reads them.
///
/// # Errors
///
/// If one of them is unknown, is there twice, or has a bad value: it is named, and so is what was expected.
pub(crate) fn take(headers: &mut HeaderMap) -> Result<Terms, String> {
    let ours = headers.keys().filter(|name| is_ours(name));
    let ours: Vec<HeaderName> = ours.cloned().collect();
    let mut terms = Terms::new();
    let mut flow = None;
    let mut weight = None;
    for name in ours {
        let name = name.as_str();
        let value = only(headers, name)?;
        let wrong = |what: &str| format!("{name}: expected {what}, not {value:?}");
        match name {
            MAX_WAIT => {
                let wait = limits::time(&value).map_err(|error| format!("{name}: {error}"))?;
                terms = terms.deadline(Instant::now() + wait);
            }
            PRIORITY => {
                let priority = match value.as_str() {
                    "high" => Priority::HIGH,
                    "normal" => Priority::NORMAL,
                    "low" => Priority::LOW,
                    _ => return Err(wrong("high, normal or low")),
                };
                terms = terms.priority(priority);
            }
            FLOW => flow = Some(Flow::new(&value)),
            FLOW_WEIGHT => {
                let number = value.parse().ok();
                let number = number.filter(|n| (1..=HEAVIEST).contains(n));
                let expected = || wrong(&format!("a whole number from 1 to {HEAVIEST}"));
                weight = Some(number.ok_or_else(expected)?);
            }
            ENDPOINT => terms = terms.endpoint(&value),
            _ => {
                let known = ALL.join(", ");
                return Err(format!(
                    "{name}: there is no such header: expected one of {known}"
                ));
            }
        }
        headers.remove(name);
    }
    match (flow, weight) {
        (Some(flow), weight) => Ok(terms.flow(flow.weight(weight.unwrap_or(1)))),
        (None, None) => Ok(terms),
        (None, Some(_)) => Err(format!("{FLOW_WEIGHT}: expected {FLOW} beside it")),
    }
}

fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
}

/// The only value of a header, as a text that is not empty.
fn only(headers: &HeaderMap, name: &str) -> Result<String, String> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
    if values.next().is_some() {
        return Err(format!("{name}: expected only once"));
    }
    if value.is_empty() || value.len() > LONGEST {
        let n = value.len();
        return Err(format!("{name}: expected 1 to {LONGEST} bytes, found {n}"));
    }
    let text = std::str::from_utf8(value).map(str::to_owned);
    text.map_err(|_| format!("{name}: expected text in UTF-8"))
}
