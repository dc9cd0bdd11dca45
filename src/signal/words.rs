//! What the sentences of a refusal say: a delay, a limit, or which kind of limit it is.
//!
//! Sentences are for people, and every API has its own. So only fixed phrases are read, whole words in a
//! fixed order, and a number counts only right behind such a phrase and with a unit behind it that fits.

use std::time::Duration;

use super::{
    answer::Answer,
    chinese,
    phrases::{
        AT_ONCE, BEFORE_A_SPAN, BEFORE_A_TIME, CREDITS, EXHAUSTED, LIMITS, LINKS, LONG, QUOTAS,
        RATES, REQUESTS, TOKENS, TOO_MANY, TOO_MUCH, USAGE,
    },
    spans::{date, span, with_units},
    time,
    word::{Word, end_of_word, start_of_word},
};
use crate::costs::Unit;

/// A text as its words. Addresses, such as that of some documentation, have none.
pub(super) struct Sentence<'a>(Vec<Word<'a>>);

impl<'a> Sentence<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let gap = |text: &'a str| text.split_at(start_of_word(text));
        let mut words = Vec::new();
        let (mut before, mut rest) = gap(text);
        while !rest.is_empty() {
            let chunk = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
            if chunk.contains("://") {
                (before, rest) = gap(&rest[chunk.len()..]);
                continue;
            }
            let (text, tail) = rest.split_at(end_of_word(rest));
            let (after, next) = gap(tail);
            words.push(Word {
                text,
                before,
                after,
                rest,
            });
            (before, rest) = (after, next);
        }
        Self(words)
    }

    /// All of it, but for what stands before its first word.
    fn text(&self) -> &'a str {
        self.0.first().map_or("", |word| word.rest)
    }

    /// Whether the words of a phrase follow each other somewhere.
    pub(super) fn says(&self, phrase: &str) -> bool {
        says(&self.0, phrase)
    }

    fn says_any(&self, phrases: &[&str]) -> bool {
        says_one(&self.0, phrases)
    }

    /// The delay that it names, in the phrases of the large APIs: "Please retry after 33 seconds", "try
    /// again in 6m0s", "Expected available in 120 seconds".
    pub(super) fn delay(&self, answer: &Answer<'_>) -> Option<Duration> {
        (0..self.0.len()).find_map(|at| {
            let words = &self.0[at..];
            let span = |phrase: &&str| span(behind(words, phrase)?, answer);
            let time = |phrase: &&str| date(behind(words, phrase)?.first()?.rest, answer);
            (BEFORE_A_SPAN.iter().find_map(span)).or_else(|| BEFORE_A_TIME.iter().find_map(time))
        })
    }

    /// A length of time, if it holds nothing else: `58s`, `33 seconds`, `1 min 30 s`.
    pub(super) fn as_span(&self) -> Option<Duration> {
        let (total, rest) = with_units(&self.0)?;
        rest.is_empty().then_some(total).and_then(time::wait)
    }

    /// Whether it says that there were too many requests at the same time.
    ///
    /// Beside a limit of rate it has to say so in plain words: such a refusal may advise less concurrency, or
    /// describe what else is limited.
    pub(super) fn is_about_concurrency(&self) -> bool {
        let names = |words: &[Word<'_>]| {
            words.iter().any(Word::is_at_once) || AT_ONCE.iter().any(|of| says(words, of))
        };
        let is_too_much = |words: &[Word<'_>]| {
            words.iter().any(|word| word.is_any(&TOO_MUCH)) || says(words, "too many")
        };
        let is_of_rate = self.says_any(&RATES);
        let mut parts = self.0.split_inclusive(Word::ends_a_part);
        let in_english = parts.any(|words| {
            let denied = words.iter().any(|word| word.is("not"));
            names(words) && !denied && (!is_of_rate || is_too_much(words))
        });
        in_english || chinese::is_about_concurrency(self.text())
    }

    /// How many requests at the same time it allows: "a maximum of 4 concurrent requests", "Concurrency
    /// limit is 25".
    pub(super) fn concurrency_limit(&self) -> Option<usize> {
        let counts = |at: &usize| self.counts_requests(*at);
        let behind_a_limit = |at: &usize| {
            let before = self.0[..*at].iter().rev();
            let mut linked = before.take_while(|word| word.is_any(&LIMITS) || word.is_any(&LINKS));
            linked.any(|word| word.is_any(&LIMITS))
        };
        // `11/10`, "11 of 10": the second is the limit.
        let of_a_pair = |at: &usize| match &self.0[..*at] {
            [.., first, of] if of.is("of") => first.number().is_some(),
            [.., first] => matches!(first.after.trim(), "/" | ">") && first.number().is_some(),
            [] => false,
        };
        let before_the_word = |at: &usize| {
            let mut near = self.0[*at + 1..].iter().take(4);
            near.any(|word| word.is_at_once() || word.is("parallel"))
        };
        let behind_the_word = |at: &usize| {
            let mut near = self.0[..*at].iter().rev().take(2);
            self.0[*at].before.contains([':', '(']) && near.any(Word::is_at_once)
        };
        let numbers = || (0..self.0.len()).filter(counts);
        let at = (numbers().find(of_a_pair))
            .or_else(|| numbers().find(behind_a_limit))
            .or_else(|| numbers().find(before_the_word))
            .or_else(|| numbers().find(behind_the_word))?;
        let limit = self.0[at].text.replace(',', "");
        limit.parse().ok().filter(|&limit| limit > 0)
    }

    /// Whether a number can be one of requests at the same time: it is none of a time, nor per time.
    fn counts_requests(&self, at: usize) -> bool {
        let word = &self.0[at];
        let behind = &self.0[at + 1..];
        word.number().is_some()
            && behind.first().is_none_or(|word| word.unit().is_none())
            && !behind.iter().take(2).any(|word| word.is("per"))
            && word.after.trim() != "/"
    }

    /// Whether it says that what was paid for, or what a day or a month has, is used up.
    ///
    /// Of a day or a month it has to say so in plain words, and name no shorter time: a refusal may describe
    /// what else is limited.
    pub(super) fn is_used_up(&self) -> bool {
        let mut sentences = self.0.split_inclusive(Word::ends_a_sentence);
        let of_a_long_time = |words: &[Word<'_>]| {
            let named = (0..words.len()).any(|at| is_of_a_long_time(words, at));
            let is_exhausted = (named || says_one(words, &USAGE)) && is_exhausted(words);
            is_exhausted || says_one(words, &TOO_MANY)
        };
        self.names_no_credits() || !names_a_short_time(&self.0) && sentences.any(of_a_long_time)
    }

    /// Whether it says that there is nothing left of what was paid for.
    pub(super) fn names_no_credits(&self) -> bool {
        self.says_any(&CREDITS) || chinese::names_no_credits(self.text())
    }

    /// Of a sentence about tokens: which ones, as far as it tells them apart.
    pub(super) fn unit_of_tokens(&self) -> Unit {
        let names = |words: &[&str]| self.says_any(words);
        match (
            names(&["input tokens", "input token", "ITPM", "prompt tokens"]),
            names(&["output tokens", "output token", "OTPM", "completion tokens"]),
        ) {
            (true, false) => Unit::INPUT_TOKENS,
            (false, true) => Unit::OUTPUT_TOKENS,
            _ => Unit::TOKENS,
        }
    }

    /// Whether it says that it is tokens of which there were too many, and not requests.
    pub(super) fn is_about_tokens(&self) -> bool {
        self.says_any(&TOKENS) && !self.says_any(&["requests per", "RPM", "RPD"])
    }
}

/// Whether words name a time that is waited for.
fn names_a_short_time(words: &[Word<'_>]) -> bool {
    let mut before = None::<&Word<'_>>;
    words.iter().any(|word| {
        let of_a_day = before.replace(word).is_some_and(|word| word.is("24"));
        let per = word.before.trim() == "/" && word.is_any(&["s", "sec", "m", "h"]);
        word.is_any(&["second", "minute", "min"]) || word.is("hour") && !of_a_day || per
    })
}

/// Whether a word names what is counted by the day, the week or the month.
fn is_of_a_long_time(words: &[Word<'_>], at: usize) -> bool {
    let word = &words[at];
    let is_path = word.before.ends_with('/') && word.after.starts_with(['_', '-', '/']);
    let mut behind = words[at + 1..].iter().take(4);
    let is_long = word.is_any(&LONG) || word.is("24") && words.get(at + 1).is_some_and(is_hour);
    let long = is_long && behind.any(|word| word.is_any(&QUOTAS));
    let ends = word.is_any(&["day", "week", "month"]);
    let per = at > 0 && words[at - 1].is_any(&["per", "the", "this", "current"]);
    let of_a_limit = words
        .get(at + 1)
        .is_some_and(|word| word.is_any(&["limit", "quota"]));
    !is_path && (long || ends && (per || of_a_limit || word.before.trim() == "/"))
}

fn is_hour(word: &Word<'_>) -> bool {
    word.is_any(&["hour", "hours", "h"])
}

/// Whether words say that something is used up.
fn is_exhausted(words: &[Word<'_>]) -> bool {
    let denied = words.iter().any(|word| word.is_any(&["not", "unused"]));
    let exhausted = words.iter().any(|word| word.is_any(&EXHAUSTED));
    let phrases = [
        "used up",
        "used all",
        "used 100",
        "been used",
        "run out",
        // What a refusal names so is what refused (Cohere).
        "which is limited to",
    ];
    (exhausted || phrases.iter().any(|of| says(words, of))) && !denied
}

/// Whether the words of a phrase follow each other somewhere.
fn says(words: &[Word<'_>], phrase: &str) -> bool {
    (0..words.len()).any(|at| behind(&words[at..], phrase).is_some())
}

fn says_one(words: &[Word<'_>], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| says(words, phrase))
}

/// What follows a phrase with which words begin. A tilde stands for up to three words that name what is to
/// be sent again.
fn behind<'s, 'a>(words: &'s [Word<'a>], phrase: &str) -> Option<&'s [Word<'a>]> {
    let mut rest = words;
    for of in phrase.split(' ') {
        if of == "~" {
            let skipped = rest
                .iter()
                .take(3)
                .take_while(|word| word.is_any(&REQUESTS));
            rest = &rest[skipped.count()..];
            continue;
        }
        // A phrase ends with its sentence.
        let at = words.len() - rest.len();
        let ended = at > 0 && words[at - 1].ends_a_part();
        let (_, behind) = rest
            .split_first()
            .filter(|(word, _)| word.is(of) && !ended)?;
        rest = behind;
    }
    Some(rest)
}
