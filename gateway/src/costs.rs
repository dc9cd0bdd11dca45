//! What requests cost, for limits in tokens or credits.

use std::{collections::BTreeMap, fmt, str::FromStr};

use http::Request;
use toml::Value;
use tower_throttle::{Cost, Quota, RequestHead, Unit, Usage, estimate_chat};

/// An API whose answers say what requests took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
    Gemini,
    ElevenLabs,
}

impl Api {
    const ALL: [(&str, Self); 4] = [
        ("openai", Self::OpenAi),
        ("anthropic", Self::Anthropic),
        ("gemini", Self::Gemini),
        ("elevenlabs", Self::ElevenLabs),
    ];

    /// How its answers say it.
    pub(crate) fn usage(self) -> Usage {
        match self {
            Self::OpenAi => Usage::OPENAI,
            Self::Anthropic => Usage::ANTHROPIC,
            Self::Gemini => Usage::GEMINI,
            Self::ElevenLabs => Usage::ELEVENLABS,
        }
    }

    /// What a request can take at most, by its body: `None` where that does not say it.
    fn estimate(self, head: &RequestHead<'_>, body: &[u8]) -> Option<Cost> {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Gemini => estimate_chat(head, Some(body)),
            Self::ElevenLabs => {
                let body: serde_json::Value = serde_json::from_slice(body).ok()?;
                let characters = body.get("text")?.as_str()?.chars().count();
                Some(Cost::new().of(Unit::CREDITS, characters as u64))
            }
        }
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, api)| api).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("expected one of {names}, not {text:?}")
        })
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.into_iter().find(|(_, api)| api == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// The smallest window of each unit that a configuration has.
///
/// An estimate is an upper bound, and may be far above what a request takes in the end. No estimate is larger than
/// the smallest window, so none makes a request that the API would take one that never fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Smallest(BTreeMap<String, u64>);

impl Smallest {
    /// Of all quotas in the table of limits, whatever they are of.
    pub(crate) fn of(limits: &Value) -> Self {
        let mut smallest = Self::default();
        smallest.look(limits);
        smallest
    }

    fn look(&mut self, value: &Value) {
        match value {
            Value::Table(table) => table.values().for_each(|value| self.look(value)),
            Value::String(text) => {
                // Other texts are templates, names of headers and times.
                if let Ok(quota) = text.parse::<Quota>() {
                    for window in quota.windows() {
                        let n = self.0.entry(window.unit().name().to_owned());
                        let n = n.or_insert(u64::MAX);
                        *n = window.n().min(*n);
                    }
                }
            }
            _ => {}
        }
    }

    /// What the request can take at most, but no more than a whole window.
    pub(crate) fn estimate<B>(&self, api: Api, request: &Request<B>, body: &[u8]) -> Option<Cost> {
        let estimate = api.estimate(&request.into(), body)?;
        let units = estimate.units();
        Some(units.fold(Cost::new(), |cost, (unit, n)| {
            let most = self.0.get(unit.name()).copied().unwrap_or(u64::MAX);
            cost.of(unit, n.min(most))
        }))
    }
}
