//! Lengths of time and dates that [sentences](super::words) name.

use std::time::Duration;

use super::{answer::Answer, phrases::FILLERS, time, word::Word};

/// A delay: numbers, each with its unit; or a number of seconds, if no word follows that could be what
/// it counts.
pub(super) fn span(words: &[Word<'_>], answer: &Answer<'_>) -> Option<Duration> {
    let is_filler = |word: &&Word<'_>| word.is_any(&FILLERS);
    let words = &words[words.iter().take_while(is_filler).count()..];
    if let Some((total, _)) = with_units(words).or_else(|| clock(words)) {
        return time::wait(total);
    }
    let word = words.first().filter(|word| word.ends_a_part())?;
    let number = word.number()?;
    // A year is no delay.
    let is_year = (1_900.0..2_200.0).contains(&number) && word.text.len() == 4;
    (!is_year).then(|| time::seconds(number, answer)).flatten()
}

/// `00:12:34`.
fn clock<'s, 'a>(words: &'s [Word<'a>]) -> Option<(Duration, &'s [Word<'a>])> {
    let [hours, minutes, seconds, rest @ ..] = words else {
        return None;
    };
    if hours.after != ":" || minutes.after != ":" {
        return None;
    }
    let (hours, minutes) = (time::number(hours.text)?, time::number(minutes.text)?);
    let total = (hours * 60.0 + minutes) * 60.0 + time::number(seconds.text)?;
    Some((time::from_seconds(total), rest))
}

/// One or more numbers, each with its unit, and what follows them: `1h2m3s`, `1 min 30 s`, `1 minute and
/// 30 seconds`, `5-10 minutes`.
pub(super) fn with_units<'s, 'a>(words: &'s [Word<'a>]) -> Option<(Duration, &'s [Word<'a>])> {
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
    if first.is_signed() {
        return None;
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
        _ if first.leads_on() || first.after == "-" => (number, rest),
        _ => return None,
    };
    let (unit, rest) = match rest {
        [more, unit, rest @ ..] if more.is("more") => (unit, rest),
        [unit, rest @ ..] => (unit, rest),
        [] => return None,
    };
    Some((count(number, unit)?, rest))
}

/// A date with which a text begins, and which words may follow.
pub(super) fn date(text: &str, answer: &Answer<'_>) -> Option<Duration> {
    let ends = ['"', '\'', '<', ';', '\n', '\\'];
    let text = text.split(ends).next()?;
    let spaces = text.match_indices(' ').map(|(at, _)| at).take(9);
    let longest_first =
        std::iter::once(text.len()).chain(spaces.collect::<Vec<_>>().into_iter().rev());
    let epoch = || {
        let number = text.split([' ', ')', ',']).next().and_then(time::number)?;
        (number >= 1e9)
            .then(|| time::seconds(number, answer))
            .flatten()
    };
    longest_first
        .map(|end| text[..end].trim_end_matches(['.', ',', ')', ':']))
        .find_map(|part| time::date(part, answer))
        .or_else(epoch)
}
