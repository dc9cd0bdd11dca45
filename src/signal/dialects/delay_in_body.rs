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
    delay,
    ..Dialect::NONE
};

/// How deep a member may stand: `error.details[].retryDelay` and one more.
const DEEPEST: usize = 3;

fn delay(reading: &Reading<'_>) -> Option<Duration> {
    let (mut retry, mut reset) = (None, None);
    for scalar in reading.text.scalars().filter(|of| of.depth <= DEEPEST) {
        let Some(name) = DelayName::of(scalar.name) else {
            continue;
        };
        let named = name.read(scalar.text, &reading.answer);
        match name {
            DelayName::Retry(_) => retry = retry.max(named),
            DelayName::Reset(_) => reset = reset.max(named),
        }
    }
    let in_words = || {
        let mut texts = reading.text.texts();
        texts.find_map(|text| Sentence::new(text).delay(&reading.answer))
    };
    retry.or_else(in_words).or(reset)
}
