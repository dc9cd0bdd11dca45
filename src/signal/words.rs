//! What the sentences of a refusal say: a delay, a limit, or which kind of limit it is.
//!
//! Sentences are for people, and every API has its own. So only fixed phrases are read, whole words in a
//! fixed order, and a number counts only right behind such a phrase and with a unit behind it that fits.

use std::time::Duration;

use super::{answer::Answer, time};

/// A text as its words. Addresses, such as that of some documentation, have none.
pub(super) struct Sentence<'a>(Vec<Word<'a>>);

/// A run of letters and digits. A point between digits belongs to it.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    /// What stands before it, and what stands between it and the next word.
    before: &'a str,
    after: &'a str,
    /// The text from here on.
    rest: &'a str,
}

impl Word<'_> {
    fn is(&self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }

    fn is_any(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.is(text))
    }

    /// Whether a sentence ends behind it, or a part of one that stands by itself.
    fn ends_a_part(&self) -> bool {
        let ends = ['.', ',', ';', '!', ')', '"', '\'', '\n', '\\', '<'];
        self.after.is_empty() || self.after.starts_with(ends)
    }

    fn ends_a_sentence(&self) -> bool {
        self.after.starts_with([';', '!', '?', '\n', '\\']) || self.after.starts_with(". ")
    }

    /// Whether it is one for several at the same time, or has one in it, as identifiers do.
    fn is_at_once(&self) -> bool {
        ["concurren", "simultaneous"].iter().any(|part| {
            let mut windows = self.text.as_bytes().windows(part.len());
            windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
        })
    }

    /// A number without a sign.
    fn number(&self) -> Option<f64> {
        let is_signed = matches!(self.before.as_bytes(), [.., b' ' | b':', b'-'] | [b'-']);
        let starts = self.text.starts_with(|c: char| c.is_ascii_digit());
        (starts && !is_signed)
            .then(|| time::number(self.text))
            .flatten()
    }

    /// How many seconds it has as a unit.
    fn unit(&self) -> Option<f64> {
        time::unit(self.text)
    }
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric()
}

fn end_of_word(text: &str) -> usize {
    let mut last = ' ';
    for (at, char) in text.char_indices() {
        let next_is_digit = text[at + char.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        let is_point = char == '.' && last.is_ascii_digit() && next_is_digit;
        if !is_in_word(char) && !is_point {
            return at;
        }
        last = char;
    }
    text.len()
}

impl<'a> Sentence<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let gap = |text: &'a str| text.split_at(text.find(is_in_word).unwrap_or(text.len()));
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

    /// Whether the words of a phrase follow each other somewhere.
    pub(super) fn says(&self, phrase: &str) -> bool {
        says(&self.0, phrase)
    }

    fn says_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.says(phrase))
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
    pub(super) fn is_about_concurrency(&self) -> bool {
        let mut sentences = self.0.split_inclusive(Word::ends_a_sentence);
        sentences.any(|words| {
            (words.iter().any(Word::is_at_once) || AT_ONCE.iter().any(|of| says(words, of)))
                && !words.iter().any(|word| word.is_any(&ADVICE))
        })
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
        let before_the_word = |at: &usize| {
            let mut near = self.0[*at + 1..].iter().take(2);
            near.any(Word::is_at_once)
        };
        let numbers = || (0..self.0.len()).filter(counts);
        let at = (numbers().find(behind_a_limit)).or_else(|| numbers().find(before_the_word))?;
        self.0[at].text.parse().ok().filter(|&limit| limit > 0)
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

    /// Whether it says that what was paid for, or what a day or a month has, is used up. One that names a
    /// shorter time, too, describes the limits, and not the one that was reached.
    pub(super) fn is_used_up(&self) -> bool {
        let of_a_long_time = (0..self.0.len()).any(|at| {
            let mut behind = self.0[at + 1..].iter().take(3);
            self.0[at].is_any(&LONG) && behind.any(|word| word.is_any(&QUOTAS))
        });
        let shorter = ["per second", "per minute", "per min", "per hour"];
        self.says_any(&CREDITS)
            || (of_a_long_time || self.says_any(&PER_A_LONG_TIME)) && !self.says_any(&shorter)
    }

    /// Whether it says that it is tokens of which there were too many, and not requests.
    pub(super) fn is_about_tokens(&self) -> bool {
        self.says_any(&TOKENS) && !self.says_any(&["requests per", "RPM", "RPD"])
    }
}

/// The phrases behind which a delay is named.
const BEFORE_A_SPAN: [&str; 15] = [
    "retry after",
    "retry in",
    "retrying in",
    "again in",
    "again after",
    "available in",
    "available after",
    "reset in",
    "reset after",
    "resets in",
    "resets after",
    "wait for",
    "wait",
    "back off for",
    "retry delay",
];

/// The phrases behind which a time is named.
const BEFORE_A_TIME: [&str; 9] = [
    "retry after",
    "retry at",
    "again at",
    "again after",
    "reset at",
    "resets at",
    "reset on",
    "resets on",
    "until",
];

/// Words that change nothing about the number behind them.
const FILLERS: [&str; 8] = [
    "about",
    "approximately",
    "around",
    "another",
    "at",
    "least",
    "the",
    "next",
];

/// Words for several requests at the same time, besides [`Word::is_at_once`].
const AT_ONCE: [&str; 8] = [
    "in parallel",
    "parallel requests",
    "requests in flight",
    "inflight requests",
    "in flight requests",
    "at the same time",
    "requests at once",
    "too many connections",
];

/// Words of the advice to send fewer requests at the same time, which any refusal may give.
const ADVICE: [&str; 6] = [
    "reduce",
    "reducing",
    "lower",
    "lowering",
    "decrease",
    "decreasing",
];

const LIMITS: [&str; 9] = [
    "limit", "limits", "limited", "maximum", "max", "most", "allowed", "allows", "cap",
];

/// What may stand between a limit and its number.
const LINKS: [&str; 12] = [
    "is",
    "of",
    "to",
    "the",
    "your",
    "reached",
    "exceeded",
    "at",
    "are",
    "requests",
    "concurrent",
    "concurrency",
];

const LONG: [&str; 3] = ["daily", "weekly", "monthly"];
const QUOTAS: [&str; 5] = ["limit", "limits", "quota", "cap", "allowance"];
const PER_A_LONG_TIME: [&str; 3] = ["per day", "per week", "per month"];

const CREDITS: [&str; 8] = [
    "credit balance is too low",
    "out of credits",
    "insufficient credits",
    "insufficient balance",
    "insufficient funds",
    "not enough credits",
    "no credits left",
    "no credits remaining",
];

const TOKENS: [&str; 12] = [
    "tokens per",
    "token limit",
    "token rate limit",
    "token quota",
    "token count",
    "input tokens",
    "output tokens",
    "too many tokens",
    "TPM",
    "TPD",
    "ITPM",
    "OTPM",
];

/// Whether the words of a phrase follow each other somewhere.
fn says(words: &[Word<'_>], phrase: &str) -> bool {
    (0..words.len()).any(|at| behind(&words[at..], phrase).is_some())
}

/// What follows a phrase with which words begin.
fn behind<'s, 'a>(words: &'s [Word<'a>], phrase: &str) -> Option<&'s [Word<'a>]> {
    let mut words = words.iter();
    let same = |of: &str| words.next().is_some_and(|word| word.is(of));
    (phrase.split(' ').all(same)).then_some(words.as_slice())
}

/// A delay: numbers, each with its unit; or a number of seconds, if no word follows that could be what
/// it counts.
fn span(words: &[Word<'_>], answer: &Answer<'_>) -> Option<Duration> {
    let fillers = words
        .iter()
        .take_while(|word| word.is_any(&FILLERS))
        .count();
    let words = &words[fillers..];
    if let Some((total, _)) = with_units(words) {
        return time::wait(total);
    }
    let word = words.first().filter(|word| word.ends_a_part())?;
    time::seconds(word.number()?, answer)
}

/// One or more numbers, each with its unit, and what follows them: `1h2m3s`, `1 min 30 s`, `1 minute and
/// 30 seconds`, `5-10 minutes`.
fn with_units<'s, 'a>(words: &'s [Word<'a>]) -> Option<(Duration, &'s [Word<'a>])> {
    let mut rest = words;
    let mut total = None::<Duration>;
    while let Some((part, behind)) = one_with_unit(rest) {
        total = Some(total.unwrap_or_default().saturating_add(part));
        rest = match behind {
            [and, behind @ ..] if and.is("and") && one_with_unit(behind).is_some() => behind,
            behind => behind,
        };
    }
    total.map(|total| (total, rest))
}

fn one_with_unit<'s, 'a>(words: &'s [Word<'a>]) -> Option<(Duration, &'s [Word<'a>])> {
    let [first, rest @ ..] = words else {
        return None;
    };
    let count = |n: f64, unit: &Word<'_>| Some(time::from_seconds(n * unit.unit()?));
    if first.is_any(&["a", "an", "one"]) {
        let [unit, rest @ ..] = rest else { return None };
        return Some((count(1.0, unit)?, rest));
    }
    let Some(number) = first.number() else {
        return Some((time::with_units(first.text, time::unit)?, rest));
    };
    // Of a range the later end counts.
    let range = match rest {
        [to, end, ..] if to.is("to") => Some((time::number(end.text), &rest[2..])),
        [end, ..] if matches!(first.after, "-" | "\u{2013}") => {
            Some((time::number(end.text), &rest[1..]))
        }
        _ => None,
    };
    let (number, rest) = match range {
        Some((Some(end), rest)) => (end.max(number), rest),
        _ if first.after == " " => (number, rest),
        _ => return None,
    };
    let (unit, rest) = rest.split_first()?;
    Some((count(number, unit)?, rest))
}

/// A date with which a text begins, and which words may follow.
fn date(text: &str, answer: &Answer<'_>) -> Option<Duration> {
    let ends = ['"', '\'', '<', ';', '\n', '\\'];
    let text = text.split(ends).next()?;
    let spaces = text.match_indices(' ').map(|(at, _)| at).take(9);
    let longest_first =
        std::iter::once(text.len()).chain(spaces.collect::<Vec<_>>().into_iter().rev());
    longest_first
        .map(|end| text[..end].trim_end_matches(['.', ',', ')']))
        .find_map(|part| time::date(part, answer))
}
