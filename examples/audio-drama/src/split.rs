//! A text becomes segments: what a character says, and what the narrator does. Pure.
//!
//! 1. *Dialogue* is what stands between quotation marks: `“…”`, `"…"`, `「…」`, `『…』`, `«…»`, and `‘…’`
//!    where it cannot be anything else. All the rest is *narration*.
//! 2. Only the outermost marks count. Marks of another kind inside a quote are part of it, and so is a
//!    quote of the same kind in it, if its marks differ: `“He said “no” to me”` is one segment.
//! 3. A closing mark where nothing is open means nothing. Neither does a `"` that follows a digit (it
//!    means inches), or a word or sentence with nothing but space after it (it is a closing one).
//! 4. A quote that is still open at the end of a line goes on if the next mark of its kind in the text is
//!    a closing one; otherwise somebody forgot to close it, and it ends there. (A speech of several
//!    paragraphs, each of which begins with the mark, is so many quotes.) Whether a `"` on a later line is
//!    a closing one is told by its neighbours: it follows a word or a sentence.
//! 5. `’` is an apostrophe more often than not. So `‘` opens a quote only where a word could begin, and only
//!    if a `’` follows on the same line that stands after punctuation and not before a letter: that one
//!    closes it. `‘Come in,’` is dialogue; `the ‘expert’` and `the dogs’ food` are not.
//! 6. Longer segments than a provider takes are cut at the end of a sentence; if there is none, at a comma
//!    or the like; if there is none either, between words; and inside a word only where nothing else helps.
//! 7. What has no letter and no digit is not spoken: a segment has one at least. It begins and ends with
//!    something that is not white space.
//!
//! So the segments are in order and do not overlap; together with what is between them (marks, white
//! space, punctuation) they are the text; and every letter and digit is in exactly one.

use std::{iter::FusedIterator, num::NonZeroUsize, ops::Range};

use serde::Serialize;

/// Who speaks a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What a character says.
    Dialogue,
    /// The rest.
    Narration,
}

impl Kind {
    /// `dialogue` or `narration`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dialogue => "dialogue",
            Self::Narration => "narration",
        }
    }
}

/// A piece of a text that is spoken in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who speaks it.
    pub kind: Kind,
    /// Where in the text it is, in bytes.
    pub range: Range<usize>,
}

/// Splits a text into segments of at most so many characters, as the [module](self) says.
///
/// Takes time in proportion to the text, whatever is in it, and no memory.
pub fn split(text: &str, max_chars: NonZeroUsize) -> Segments<'_> {
    Segments {
        runs: Runs::new(text),
        run: (Kind::Narration, 0..0),
        max_chars,
    }
}

/// The segments of a text: see [`split`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    runs: Runs<'a>,
    /// What is left of the latest one.
    run: (Kind, Range<usize>),
    max_chars: NonZeroUsize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        loop {
            while self.run.1.is_empty() {
                self.run = self.runs.next()?;
            }
            let (kind, run) = &mut self.run;
            let rest = &self.runs.text[run.clone()];
            let lead = rest.len() - rest.trim_start().len();
            if lead > 0 {
                run.start += lead;
                continue;
            }
            let piece = &rest[..cut(rest, self.max_chars)];
            let start = run.start;
            run.start += piece.len();
            if piece.contains(char::is_alphanumeric) {
                return Some(Segment {
                    kind: *kind,
                    range: start..start + piece.trim_end().len(),
                });
            }
        }
    }
}

impl FusedIterator for Segments<'_> {}

/// What the marks make of a text: dialogue and narration without the marks, neither trimmed nor cut.
#[derive(Clone, Debug)]
struct Runs<'a> {
    text: &'a str,
    at: usize,
    open: Option<Open>,
    /// For each kind of mark, what was last found ahead. Positions only grow, so no part of the text is
    /// searched twice.
    ahead: [Ahead; Quote::COUNT],
}

/// A quote that has begun, and how many of its kind are open in it, itself included.
#[derive(Clone, Copy, Debug)]
struct Open {
    quote: Quote,
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Curly,
    Straight,
    Corner,
    WhiteCorner,
    Guillemets,
    Single,
}

/// From `from` on, the first mark that decides is at `at`, and closes a quote or does not.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    from: usize,
    at: usize,
    closes: bool,
}

/// A character of a text, with its neighbours.
#[derive(Clone, Copy)]
struct Place<'a> {
    text: &'a str,
    at: usize,
    char: char,
}

impl<'a> Runs<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            open: None,
            ahead: [Ahead::default(); Quote::COUNT],
        }
    }

    /// The first place from which on a run does not go on, and what is open behind it.
    fn end(&mut self) -> Option<(Place<'a>, Option<Open>)> {
        let text = self.text;
        for (offset, char) in text[self.at..].char_indices() {
            let place = Place {
                text,
                at: self.at + offset,
                char,
            };
            let Some(open) = &mut self.open else {
                let opened = Quote::begun_by(char).filter(|quote| quote.opens(place));
                // A single mark opens only what is closed on the same line.
                let opened = opened.filter(|quote| {
                    *quote != Quote::Single || self.is_closed_ahead(*quote, place.next())
                });
                if let Some(quote) = opened {
                    return Some((place, Some(Open { quote, depth: 1 })));
                }
                continue;
            };
            let quote = open.quote;
            if quote.closes(place) {
                open.depth -= 1;
                if open.depth == 0 {
                    return Some((place, None));
                }
            } else if quote.nests(place) {
                open.depth += 1;
            } else if char == '\n' && !self.is_closed_ahead(quote, place.next()) {
                return Some((place, None));
            }
        }
        None
    }

    /// Whether the next mark of this kind closes.
    fn is_closed_ahead(&mut self, quote: Quote, from: usize) -> bool {
        let known = self.ahead[quote as usize];
        if (known.from..=known.at).contains(&from) && known.at > 0 {
            return known.closes;
        }
        let text = self.text;
        let mut places = text[from..].char_indices().map(|(offset, char)| Place {
            text,
            at: from + offset,
            char,
        });
        let mark = places.find(|place| quote.decides(*place));
        let ahead = Ahead {
            from,
            at: mark.map_or(text.len(), |place| place.at),
            closes: mark.is_some_and(|place| quote.closes_later(place)),
        };
        self.ahead[quote as usize] = ahead;
        ahead.closes
    }
}

impl Iterator for Runs<'_> {
    type Item = (Kind, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.text.len() {
            return None;
        }
        let kind = match self.open {
            Some(_) => Kind::Dialogue,
            None => Kind::Narration,
        };
        let start = self.at;
        let Some((place, open)) = self.end() else {
            self.at = self.text.len();
            return Some((kind, start..self.at));
        };
        self.at = place.next();
        self.open = open;
        Some((kind, start..place.at))
    }
}

impl Quote {
    /// How many kinds there are.
    const COUNT: usize = Self::Single as usize + 1;

    /// Which quote this may be the beginning of.
    const fn begun_by(char: char) -> Option<Self> {
        match char {
            '“' => Some(Self::Curly),
            '"' => Some(Self::Straight),
            '「' => Some(Self::Corner),
            '『' => Some(Self::WhiteCorner),
            '«' => Some(Self::Guillemets),
            '‘' => Some(Self::Single),
            _ => None,
        }
    }

    const fn marks(self) -> (char, char) {
        match self {
            Self::Curly => ('“', '”'),
            Self::Straight => ('"', '"'),
            Self::Corner => ('「', '」'),
            Self::WhiteCorner => ('『', '』'),
            Self::Guillemets => ('«', '»'),
            Self::Single => ('‘', '’'),
        }
    }

    /// Whether a quote begins at its opening mark here, where none is open.
    fn opens(self, place: Place<'_>) -> bool {
        match self {
            Self::Straight => {
                let inches = place.before().is_some_and(|c| c.is_ascii_digit());
                let ends = place.before().is_some_and(is_word_or_sentence_end)
                    && place.after().is_none_or(char::is_whitespace);
                !inches && !ends
            }
            Self::Single => !place.before().is_some_and(char::is_alphanumeric),
            _ => true,
        }
    }

    /// Whether a quote of this kind begins here, inside another one of it.
    fn nests(self, place: Place<'_>) -> bool {
        let (open, _) = self.marks();
        !matches!(self, Self::Straight | Self::Single) && place.char == open
    }

    /// Whether a quote of this kind ends here, if one is open.
    fn closes(self, place: Place<'_>) -> bool {
        if place.char != self.marks().1 {
            return false;
        }
        self != Self::Single
            || place.before().is_some_and(is_punctuation)
                && !place.after().is_some_and(char::is_alphanumeric)
    }

    /// Whether what is here says if a quote of this kind will be closed.
    fn decides(self, place: Place<'_>) -> bool {
        match self {
            Self::Single => place.char == '\n' || self.closes(place),
            _ => place.char == self.marks().0 || place.char == self.marks().1,
        }
    }

    /// Whether a quote that was begun on an earlier line ends here.
    fn closes_later(self, place: Place<'_>) -> bool {
        if self != Self::Straight {
            return self.closes(place);
        }
        // It might just as well open the next quote.
        place.char == '"'
            && place.before().is_some_and(|before| {
                is_sentence_end(before)
                    || !before.is_whitespace() && !place.after().is_some_and(char::is_alphanumeric)
            })
    }
}

impl Place<'_> {
    fn next(self) -> usize {
        self.at + self.char.len_utf8()
    }

    fn before(self) -> Option<char> {
        self.text[..self.at].chars().next_back()
    }

    fn after(self) -> Option<char> {
        self.text[self.next()..].chars().next()
    }
}

fn is_word_or_sentence_end(c: char) -> bool {
    c.is_alphanumeric() || is_sentence_end(c)
}

/// What ends a sentence if space follows.
fn is_narrow_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…')
}

/// What ends a sentence whatever follows, as in Chinese.
fn is_wide_end(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '．' | '｡')
}

fn is_sentence_end(c: char) -> bool {
    is_narrow_end(c) || is_wide_end(c)
}

/// What separates parts of a sentence if space follows.
fn is_narrow_pause(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | '–' | '—')
}

/// What separates parts of a sentence whatever follows.
fn is_wide_pause(c: char) -> bool {
    matches!(c, '，' | '；' | '：' | '、')
}

fn is_punctuation(c: char) -> bool {
    is_sentence_end(c) || is_narrow_pause(c) || is_wide_pause(c)
}

/// What may stand behind the end of a sentence and belongs to it.
fn is_closing(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '”' | '’' | '」' | '』' | '»' | ')' | ']' | '）' | '》' | '】'
    )
}

/// How much of a text is one segment: all of it, or at most so many characters up to a good place. In
/// bytes; not 0, unless the text is empty.
fn cut(text: &str, max_chars: NonZeroUsize) -> usize {
    /// What precedes, closing marks left out.
    enum Last {
        Other,
        NarrowEnd,
        WideEnd,
        NarrowPause,
        WidePause,
    }
    // No text has more characters than bytes.
    if text.len() <= max_chars.get() {
        return text.len();
    }
    let (mut sentence, mut pause, mut word) = (None, None, None);
    let mut last = Last::Other;
    for (count, (at, c)) in text.char_indices().enumerate() {
        if c.is_whitespace() {
            match last {
                _ if c == '\n' => sentence = Some(at),
                Last::NarrowEnd | Last::WideEnd => sentence = Some(at),
                Last::NarrowPause | Last::WidePause => pause = Some(at),
                Last::Other => word = Some(at),
            }
        } else if !is_closing(c) && !is_punctuation(c) {
            match last {
                Last::WideEnd => sentence = Some(at),
                Last::WidePause => pause = Some(at),
                _ => {}
            }
        }
        if count == max_chars.get() {
            return sentence.or(pause).or(word).unwrap_or(at);
        }
        last = match c {
            _ if is_narrow_end(c) => Last::NarrowEnd,
            _ if is_wide_end(c) => Last::WideEnd,
            _ if is_narrow_pause(c) => Last::NarrowPause,
            _ if is_wide_pause(c) => Last::WidePause,
            _ if is_closing(c) => last,
            _ => Last::Other,
        };
    }
    text.len()
}
