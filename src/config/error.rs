//! What is wrong with a configuration: the key, and what was expected there.

use std::fmt;

/// What a quota is.
pub(super) const QUOTA: &str = "a quota such as \"5/s, 4 at once\"";

/// Where a value stands: `groups.tts.routes[1]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let key = if !key.is_empty() && key.chars().all(is_bare) {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        let Self(above) = self;
        Self(if above.is_empty() {
            key
        } else {
            format!("{above}.{key}")
        })
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(super) fn is(&self, problem: impl fmt::Display) -> InvalidConfig {
        let Self(path) = self;
        InvalidConfig(if path.is_empty() {
            problem.to_string()
        } else {
            format!("{path}: {problem}")
        })
    }
}

/// What is wrong, and where. Formats make their own errors of it.
#[derive(Debug)]
pub(super) struct InvalidConfig(String);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
