//! What is retried.

use std::time::Duration;

use http::StatusCode;

use super::{
    error::InvalidConfig,
    value::{At, Value},
};
use crate::retry::{Backoff, Budget, RetryLayer};

/// The settings that differ from the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Retry {
    pub(super) max_attempts: Option<u32>,
    pub(super) max_total: Option<Duration>,
    pub(super) max_retry_after: Option<Duration>,
    pub(super) backoff: Option<Waits>,
    pub(super) budget: Option<Load>,
    pub(super) statuses: Option<Vec<u16>>,
    pub(super) trust_retry_after: Option<bool>,
}

/// A back-off.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waits {
    pub(super) kind: &'static str,
    pub(super) base: Duration,
    pub(super) cap: Duration,
}

/// A budget.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Load {
    Any,
    Bounded { capacity: u32, per_success: f64 },
}

/// The kinds of back-off.
const KINDS: [&str; 3] = ["full", "equal", "decorrelated"];

impl Retry {
    pub(super) fn read(at: Option<At>) -> Result<Option<Self>, InvalidConfig> {
        let Some(at) = at else {
            return Ok(Some(Self::default()));
        };
        if at.value == Value::Bool(false) {
            return Ok(None);
        }
        let mut section = at.section("false, or a table of settings")?;
        let retry = Self {
            max_attempts: section.take("max_attempts").map(attempts).transpose()?,
            max_total: section.take("max_total").map(At::time).transpose()?,
            max_retry_after: section.take("max_retry_after").map(At::time).transpose()?,
            backoff: section.take("backoff").map(waits).transpose()?,
            budget: section.take("budget").map(load).transpose()?,
            statuses: section.take("statuses").map(statuses).transpose()?,
            trust_retry_after: (section.take("trust_retry_after").map(At::bool)).transpose()?,
        };
        section.end()?;
        Ok(Some(retry))
    }

    pub(super) fn layer(&self) -> RetryLayer {
        let mut layer = RetryLayer::new();
        if let Some(n) = self.max_attempts {
            layer = layer.max_attempts(n);
        }
        if let Some(time) = self.max_total {
            layer = layer.max_total(time);
        }
        if let Some(time) = self.max_retry_after {
            layer = layer.max_retry_after(time);
        }
        if let Some(Waits { kind, base, cap }) = self.backoff {
            layer = layer.backoff(match kind {
                "full" => Backoff::full(base, cap),
                "equal" => Backoff::equal(base, cap),
                _ => Backoff::decorrelated(base, cap),
            });
        }
        match self.budget {
            Some(Load::Any) => layer = layer.without_budget(),
            Some(Load::Bounded {
                capacity,
                per_success,
            }) => layer = layer.budget(Budget::new(capacity, per_success)),
            None => {}
        }
        if let Some(statuses) = &self.statuses {
            let statuses = statuses
                .iter()
                .filter_map(|&n| StatusCode::from_u16(n).ok());
            layer = layer.statuses(statuses);
        }
        if let Some(trust) = self.trust_retry_after {
            layer = layer.trust_retry_after(trust);
        }
        layer
    }
}

fn attempts(at: At) -> Result<u32, InvalidConfig> {
    let path = at.path.clone();
    match at.whole("a whole number, at least 1")? {
        0 => Err(path.is("expected a whole number, at least 1, found the number 0")),
        n => Ok(n),
    }
}

fn waits(at: At) -> Result<Waits, InvalidConfig> {
    let mut section = at.section("a table with `kind`, `base` and `cap`")?;
    let kinds = KINDS.map(|kind| format!("{kind:?}")).join(", ");
    let (path, kind) = section.need("kind", &kinds)?.text(&kinds)?;
    let known = KINDS.into_iter().find(|known| *known == kind);
    let unknown = || path.is(format_args!("expected one of {kinds}, found {kind:?}"));
    let waits = Waits {
        kind: known.ok_or_else(unknown)?,
        base: section.need("base", "a time such as \"500ms\"")?.time()?,
        cap: section.need("cap", "a time such as \"20s\"")?.time()?,
    };
    if waits.base.is_zero() || waits.base > waits.cap {
        let problem = "expected a `base` above zero, and a `cap` that is not less";
        return Err(section.path.is(problem));
    }
    section.end()?;
    Ok(waits)
}

fn load(at: At) -> Result<Load, InvalidConfig> {
    if at.value == Value::Bool(false) {
        return Ok(Load::Any);
    }
    let mut section = at.section("false, or a table with `capacity` and `per_success`")?;
    let capacity = section.need("capacity", "a number of retries")?;
    let capacity = capacity.whole("a number of retries")?;
    let part = section.need("per_success", "a number")?;
    let path = part.path.clone();
    let per_success = part.number("a number")?;
    if per_success.is_nan() || per_success < 0.0 {
        return Err(path.is(format_args!("expected 0 or more, found {per_success}")));
    }
    section.end()?;
    Ok(Load::Bounded {
        capacity,
        per_success,
    })
}

fn statuses(at: At) -> Result<Vec<u16>, InvalidConfig> {
    const STATUS: &str = "a status code from 100 to 999";
    let all = at.list("a list of status codes")?.into_iter();
    all.map(|at| {
        let path = at.path.clone();
        let code = at.whole(STATUS)?;
        match StatusCode::from_u16(code) {
            Ok(_) => Ok(code),
            Err(_) => Err(path.is(format_args!("expected {STATUS}, found {code}"))),
        }
    })
    .collect()
}
