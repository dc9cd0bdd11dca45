//! Delays that stand in the body, under a name that says so (Telegram, Google, Discord) or in words
//! (OpenAI, Azure, Groq, Django).
//!
//! The names are those of members of the outermost object or of one a few levels down. Of names for a
//! retry and names for a reset, those for a retry count; of several, the longest.

use std::time::Duration;

use crate::signal::{
    dialect::{Dialect, Reading},
    names::DelayName,
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
    let scalars = reading.text.scalars();
    for scalar in scalars.filter(|of| of.depth <= DEEPEST && !of.is_echo()) {
        // The seconds of a duration may be a member of their own (`google.protobuf.Duration`).
        let name = if scalar.name == "seconds" {
            scalar.parent
        } else {
            scalar.name
        };
        let Some(name) = DelayName::of(name) else {
            continue;
        };
        let named = name.read(scalar.text, &reading.answer);
        match name {
            DelayName::Retry(_) => retry = retry.max(named),
            DelayName::Reset(_) => reset = reset.max(named),
        }
    }
    Named { retry, reset }
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
