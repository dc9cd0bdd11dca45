use crate::endpoints::Key;

/// The host and path that a node stands for; empty if it stands for more than one path.
///
/// A short one is kept in place, where it is at hand when the node is: most look-ups end with a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// The longest text that is kept in place, in bytes. Those of most APIs fit; and with it a node takes three
/// lines of the processor's cache.
const SHORT: usize = 46;

impl Text {
    pub(super) const EMPTY: Self = Self::Short {
        len: 0,
        bytes: [0; SHORT],
    };

    pub(super) fn new(key: &Key<'_>) -> Self {
        let (host, path) = (key.host.as_bytes(), key.path.as_bytes());
        let len = host.len() + path.len();
        if len > SHORT {
            return Self::Long([host, path].concat().into_boxed_slice());
        }
        let mut bytes = [0; SHORT];
        bytes[..host.len()].copy_from_slice(host);
        bytes[host.len()..len].copy_from_slice(path);
        #[expect(clippy::cast_possible_truncation, reason = "it is at most `SHORT`")]
        let len = len as u8;
        Self::Short { len, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("it was made of two strings")
    }

    /// The key of which it was made.
    pub(super) fn key(&self) -> Key<'_> {
        let text = self.as_str();
        let whole = text.len() - usize::from(text.ends_with('*'));
        let (host, path) = text.split_at(text.find('/').unwrap_or(whole));
        Key {
            host: host.into(),
            path: path.into(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Whether this is the key's host followed by its path. A host has no slash and a path begins with one,
    /// if it is not empty or `*`, so no two keys have one text.
    pub(super) fn spells(&self, key: &Key<'_>) -> bool {
        let text = self.as_bytes();
        let is_as_long = text.len() == key.host.len() + key.path.len();
        is_as_long
            && (text.is_empty()
                || text.starts_with(key.host.as_bytes()) && text.ends_with(key.path.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(host: &'a str, path: &'a str) -> Key<'a> {
        Key {
            host: host.into(),
            path: path.into(),
        }
    }

    #[test]
    fn a_text_of_any_length_spells_its_own_key_alone() {
        let long = format!("/{}", "é".repeat(40));
        for length in [1, 50, SHORT - 6, SHORT - 5, SHORT, 71, 81] {
            let Some(path) = long.get(..length) else {
                continue;
            };
            let of = key("a.test", path);
            let text = Text::new(&of);
            assert_eq!(text.as_str(), format!("a.test{path}"));
            assert_eq!(
                matches!(text, Text::Short { .. }),
                length + "a.test".len() <= SHORT
            );
            assert!(text.spells(&of) && !text.is_empty());
            for (host, path) in [
                ("b.test", path),
                ("a.test", &*format!("{path}/")),
                ("", path),
            ] {
                assert!(!text.spells(&key(host, path)), "{host}{path}");
            }
            assert!(!Text::EMPTY.spells(&of));
        }
        assert!(Text::EMPTY.spells(&key("", "")) && Text::EMPTY.is_empty());
    }
}
