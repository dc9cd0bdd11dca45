//! Delays that stand in the body, under a name that says so (Telegram, Google, Discord) or in words
//! (OpenAI, Azure, Groq, Django).
//!
//! The names are those of members of the outermost object or of one a few levels down. Of names for a
//! retry and names for a reset, those for a retry count; of several, the longest.

use std::time::Duration;

use crate::signal::{
    answer::Answer,
    dialect::{Dialect, Reading},
    json::Scalar,
    names::DelayName,
    time,
    words::Sentence,
};

pub(super) const DELAY_IN_BODY: Dialect = Dialect {
    delay: |reading| named(reading).retry,
    ..Dialect::NONE
};

/// How deep a member may stand: `error.details[].retryDelay` and one more.
const DEEPEST: usize = 3;

fn named(reading: &Reading<'_>) -> Named {
    let (mut retry, mut reset) = (None, None);
    let mut parts = Parts::default();
    let scalars = reading.text.scalars();
    for scalar in scalars.filter(|of| of.depth <= DEEPEST && !of.is_echo()) {
        let is_part = matches!(scalar.name, "seconds" | "nanos");
        let name = if is_part { scalar.parent } else { scalar.name };
        let Some(name) = DelayName::of(name) else {
            continue;
        };
        let named = if is_part {
            parts.add(scalar, &reading.answer)
        } else {
            name.read(scalar.text, &reading.answer)
        };
        match name {
            DelayName::Retry(_) => retry = retry.max(named),
            DelayName::Reset(_) => reset = reset.max(named),
        }
    }
    Named { retry, reset }
}

/// A duration or a time whose seconds and nanoseconds are members of their own (`google.protobuf.Duration`,
/// `Timestamp`).
#[derive(Default)]
struct Parts<'a> {
    of: &'a str,
    seconds: Option<&'a str>,
    nanos: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// The wait as far as it is known with this part, which may be the first of the next one.
    fn add(&mut self, scalar: Scalar<'a>, answer: &Answer<'_>) -> Option<Duration> {
        let is_seconds = scalar.name == "seconds";
        let known = if is_seconds { self.seconds } else { self.nanos };
        if scalar.parent != self.of || known.is_some() {
            *self = Self::default();
        }
        self.of = scalar.parent;
        if is_seconds {
            self.seconds = Some(scalar.text);
        } else {
            self.nanos = Some(scalar.text);
        }
        let number = |part: Option<&str>| part.map_or(Some(0.0), time::number);
        time::seconds(number(self.seconds)? + number(self.nanos)? / 1e9, answer)
    }
}

/// The delays that members name.
struct Named {
    retry: Option<Duration>,
    reset: Option<Duration>,
}

/// The delay of a body whose members name none for a retry: in words, or of a reset.
pub(in crate::signal) fn less_exact(reading: &Reading<'_>) -> Option<Duration> {
    let mut texts = reading.text.texts();
    let in_words = texts.find_map(|text| Sentence::new(text).delay(&reading.answer));
    in_words.or_else(|| named(reading).reset)
}
