//! [`Word`]: what sentences are made of.

use super::time;

/// A run of letters and digits. A point or a comma between digits belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// What stands before it, and what stands between it and the next word.
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    /// The text from here on.
    pub(super) rest: &'a str,
}

impl Word<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }

    pub(super) fn is_any(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.is(text))
    }

    /// Whether a sentence ends behind it, or a part of one that stands by itself.
    pub(super) fn ends_a_part(&self) -> bool {
        let ends = ['.', ',', ';', '!', ')', '"', '\'', '\n', '\\', '<'];
        self.after.is_empty() || self.after.starts_with(ends)
    }

    pub(super) fn ends_a_sentence(&self) -> bool {
        self.after.starts_with([';', '!', '?', '\n', '\\']) || self.after.starts_with(". ")
    }

    /// Whether it is one for several at the same time, or has one in it, as identifiers do.
    pub(super) fn is_at_once(&self) -> bool {
        let has = |part: &str| {
            let mut windows = self.text.as_bytes().windows(part.len());
            windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
        };
        (has("concurren") && !has("concurrence")) || has("simultaneous")
    }

    /// Whether there is a sign before it, and not a hyphen.
    pub(super) fn is_signed(&self) -> bool {
        let before = self.before.as_bytes();
        matches!(
            before,
            [.., b' ' | b':' | b'"' | b'=', b'-' | b'+'] | [b'-' | b'+']
        )
    }

    /// A number without a sign. A comma separates thousands, or else a fraction; so does a point before it.
    pub(super) fn number(&self) -> Option<f64> {
        if !self.text.starts_with(|c: char| c.is_ascii_digit()) || self.is_signed() {
            return None;
        }
        let number = match self.text.split_once(',') {
            None => time::number(self.text),
            Some((_, rest)) if rest.len() == 3 => time::number(&self.text.replace(',', "")),
            Some(_) if self.text.matches(',').count() > 1 => {
                time::number(&self.text.replace(',', ""))
            }
            Some(_) => time::number(&self.text.replace(',', ".")),
        };
        let is_fraction = self.before == "." || self.before.ends_with(" .");
        let digits = i32::try_from(self.text.len()).ok()?;
        number.map(|number| {
            if is_fraction {
                number / 10_f64.powi(digits)
            } else {
                number
            }
        })
    }

    /// Whether no more than blanks, quotes and brackets stand between it and the next word.
    pub(super) fn leads_on(&self) -> bool {
        let between = |c: char| c.is_whitespace() || "'\"`)]\\*".contains(c);
        let mut after = self.after;
        while let Some(escape) = escape(after) {
            after = &after[escape..];
        }
        !self.after.is_empty() && after.chars().all(between)
    }

    /// How many seconds it has as a unit.
    pub(super) fn unit(&self) -> Option<f64> {
        time::unit(self.text)
    }
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric()
}

/// How long the escape is with which a text of JSON begins, if it stands for no letter: `\n`, `\u0027`. Texts
/// are looked at as they came.
fn escape(text: &str) -> Option<usize> {
    let escaped = text.strip_prefix('\\')?;
    match escaped.as_bytes() {
        [b'n' | b'r' | b't', ..] => Some(2),
        [b'u', b'0', b'0', digits @ ..] => {
            let is_hex = |digit: &u8| digit.is_ascii_hexdigit();
            digits.get(..2)?.iter().all(is_hex).then_some(6)
        }
        _ => None,
    }
}

pub(super) fn start_of_word(text: &str) -> usize {
    let mut at = 0;
    while let Some(char) = text[at..].chars().next() {
        if let Some(escape) = escape(&text[at..]) {
            at += escape;
        } else if is_in_word(char) {
            return at;
        } else {
            at += char.len_utf8();
        }
    }
    text.len()
}

pub(super) fn end_of_word(text: &str) -> usize {
    let mut last = ' ';
    for (at, char) in text.char_indices() {
        let next_is_digit = text[at + char.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        let is_point = matches!(char, '.' | ',') && last.is_ascii_digit() && next_is_digit;
        if !is_in_word(char) && !is_point {
            return at;
        }
        last = char;
    }
    text.len()
}
