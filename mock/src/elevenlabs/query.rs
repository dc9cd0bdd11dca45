//! The parameters of a request's query.

use http::Uri;
use serde_json::Value;

use super::schema::{Errors, Loc};

/// The parameters, in their order, decoded.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The value of a parameter; of several, the last.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is an integer within bounds.
    pub(super) fn integer(
        &self,
        errors: &mut Errors,
        name: &str,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        let value = Value::from(self.get(name)?);
        errors.integer_within(&Loc::query(name), &value, least, most)
    }

    /// A parameter that is true or false.
    pub(super) fn boolean(&self, errors: &mut Errors, name: &str) -> Option<bool> {
        let value = Value::from(self.get(name)?);
        errors.boolean(&Loc::query(name), &value)
    }

    /// A parameter that is one of these words.
    pub(super) fn word(&self, errors: &mut Errors, name: &str, words: &[&str]) -> Option<&str> {
        let word = self.get(name)?;
        errors.word(&Loc::query(name), &word.into(), words);
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_one_counts() {
        let uri = Uri::from_static("/v1/history?search=a%20b+c&page_size=5&page_size=6");
        let query = Query::of(&uri);
        assert_eq!(query.get("search"), Some("a b c"));
        assert_eq!(query.get("source"), None);
        assert!(query.all("page_size").eq(["5", "6"]));
        let mut errors = Errors::default();
        assert_eq!(query.integer(&mut errors, "page_size", 1, 10), Some(6));
        assert_eq!(query.integer(&mut errors, "search", 1, 10), None);
        assert!(errors.none().is_err());
    }
}
