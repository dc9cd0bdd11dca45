use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// What a window counts: requests, tokens, credits, points, or whatever else a server limits.
///
/// A unit is known by its name, in which the case of letters counts. It also says when its server counts: at dispatch
/// (the default), or [at the answer's end](Self::at_end). Two units with one name and different times are not equal,
/// but a [`Cost`](crate::Cost) in one is a cost in the other.
///
/// ```
/// use std::time::Duration;
/// use tower_throttle::{Quota, Unit};
///
/// const POINTS: Unit = Unit::new("points");
/// const GITHUB: Quota = Quota::unlimited().units(POINTS, 900, Duration::from_secs(60));
/// # let _ = GITHUB;
///
/// // This server bills seconds of its processor when it has answered.
/// const SECONDS: Unit = Unit::new("cpu-seconds").at_end();
/// assert!(SECONDS.is_at_end() && !POINTS.is_at_end());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    name: [u8; MAX_NAME],
    /// The length of the name, and [`AT_END`].
    kind: u8,
}

/// How long the name of a unit can be, in bytes.
const MAX_NAME: usize = 23;

const AT_END: u8 = 1 << 7;

impl Unit {
    /// Requests, which every endpoint counts.
    pub const REQUESTS: Self = Self::new("requests");
    /// Tokens of a language model, in and out together.
    pub const TOKENS: Self = Self::new("tokens");
    /// Tokens that go into a language model.
    pub const INPUT_TOKENS: Self = Self::new("input_tokens");
    /// Tokens that a language model makes. Servers count them at the answer's end.
    pub const OUTPUT_TOKENS: Self = Self::new("output_tokens").at_end();
    /// Credits, such as those of ElevenLabs.
    pub const CREDITS: Self = Self::new("credits");

    /// The unit of this name, counted at dispatch.
    ///
    /// # Panics
    ///
    /// If `name` is not as [`Quota`](crate::Quota)'s text can say it: a letter, followed by letters, digits, `_`,
    /// `-` and `.`, of ASCII, and at most 23 bytes in all. In a `const` that is a compile error.
    #[track_caller]
    pub const fn new(name: &str) -> Self {
        match Self::try_new(name) {
            Some(unit) => unit,
            None => panic!(
                "a unit's name is a letter, followed by letters, digits, `_`, `-` and `.`, and has at most 23 bytes"
            ),
        }
    }

    pub(crate) const fn try_new(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > MAX_NAME || !bytes[0].is_ascii_alphabetic() {
            return None;
        }
        let mut inline = [0; MAX_NAME];
        let mut i = 0;
        while i < bytes.len() {
            let byte = bytes[i];
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
                return None;
            }
            inline[i] = byte;
            i += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 23")]
        let kind = bytes.len() as u8;
        Some(Self { name: inline, kind })
    }

    /// The same unit, of which the server knows how much a request takes when it has answered, and counts it
    /// then.
    ///
    /// A request takes what it is estimated to from its dispatch until the answer has ended, however long that is, and
    /// what was settled (or else the estimate) for the period of the window from then on. Requests cannot be counted
    /// so.
    pub const fn at_end(self) -> Self {
        Self {
            kind: self.kind | AT_END,
            ..self
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        let len = usize::from(self.kind & !AT_END);
        // Only ASCII goes in.
        std::str::from_utf8(&self.name[..len]).unwrap_or_default()
    }

    /// Whether the server counts at the answer's end.
    pub const fn is_at_end(&self) -> bool {
        self.kind & AT_END != 0
    }

    /// Whether both have one name but for case and whether words are joined by `_` or `-`: headers join theirs in
    /// their own way.
    pub(crate) fn is_spelled_like(&self, other: &Self) -> bool {
        let letter = |byte: u8| {
            if byte == b'-' {
                b'_'
            } else {
                byte.to_ascii_lowercase()
            }
        };
        let (one, other) = (self.name.map(letter), other.name.map(letter));
        one == other
    }

    /// Whether both have one name, whenever they are counted.
    pub(crate) const fn is_called_as(&self, other: &Self) -> bool {
        let mut i = 0;
        while i < MAX_NAME {
            if self.name[i] != other.name[i] {
                return false;
            }
            i += 1;
        }
        true
    }

    pub(crate) const fn is_requests(&self) -> bool {
        self.is_called_as(&Self::REQUESTS)
    }
}

impl Hash for Unit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// Says the name: `Unit(tokens)`, or `Unit(output_tokens counted at end)`.
impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_at_end() {
            " counted at end"
        } else {
            ""
        };
        write!(f, "Unit({}{end})", self.name())
    }
}

/// The name.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_text_can_say() {
        for name in [
            "t",
            "input_tokens",
            "gpt-4.1-TPM",
            "abcdefghijklmnopqrstuvw",
        ] {
            assert_eq!(Unit::new(name).name(), name);
        }
        for name in [
            "",
            "1st",
            "two words",
            "a,b",
            "a/b",
            "ümlaut",
            "abcdefghijklmnopqrstuvwx",
            "_x",
        ] {
            assert!(Unit::try_new(name).is_none(), "{name}");
            assert!(std::panic::catch_unwind(|| Unit::new(name)).is_err());
        }
    }

    #[test]
    fn when_it_is_counted_is_part_of_a_unit_and_not_of_its_name() {
        let (early, late) = (Unit::new("output_tokens"), Unit::OUTPUT_TOKENS);
        assert_ne!(early, late);
        assert_eq!(early.at_end(), late);
        assert!(early.is_called_as(&late) && late.is_at_end());
        assert_eq!(
            format!("{late:?} {early:?} {late}"),
            "Unit(output_tokens counted at end) Unit(output_tokens) output_tokens"
        );
    }
}
