//! Which route a request belongs to. Written for the judge alone: sharing the limiter's matching would hide its faults.

use http::Method;

/// A route's `[METHOD ]/path`, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    method: Option<Method>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Static(String),
    Param(String),
    Rest(String),
}

/// The values of a template's parameters, percent-decoded, in the order of the template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Template {
    /// Reads a template; the error says what is wrong, without naming the template.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let (method, path) = match template.split_once(' ') {
            Some((method, path)) if !method.starts_with('/') => (Some(parse_method(method)?), path),
            _ => (None, template),
        };
        let Some(path) = path.strip_prefix('/') else {
            return Err("the path has to start with a slash".into());
        };
        if path.contains(['?', '#', ' ']) {
            return Err("a path holds no query, no fragment and no space".into());
        }
        let segments: Vec<_> = path
            .split('/')
            .map(Segment::parse)
            .collect::<Result<_, _>>()?;
        for (at, segment) in segments.iter().enumerate() {
            if matches!(segment, Segment::Rest(_)) && at + 1 < segments.len() {
                return Err("a `{*rest}` has to be the last segment".into());
            }
            let Some(name) = segment.name() else {
                continue;
            };
            let mut earlier = segments[..at].iter().filter_map(Segment::name);
            if earlier.any(|other| other == name) {
                return Err(format!("the parameter {name:?} occurs twice"));
            }
        }
        Ok(Self { method, segments })
    }

    /// Whether the path fits, whatever the method.
    pub(crate) fn matches(&self, path: &str) -> Option<Params> {
        let mut rest = path.strip_prefix('/')?;
        let mut params = Params::default();
        let last = self.segments.len() - 1;
        for (at, segment) in self.segments.iter().enumerate() {
            if let Segment::Rest(name) = segment {
                if rest.is_empty() {
                    return None;
                }
                params.0.push((name.clone(), percent_decode(rest)));
                return Some(params);
            }
            let value = match rest.split_once('/') {
                Some((value, after)) if at < last => {
                    rest = after;
                    value
                }
                None if at == last => rest,
                _ => return None,
            };
            // Decoded after splitting, so that an escaped slash stays inside its segment.
            let value = percent_decode(value);
            match segment {
                Segment::Static(text) if *text == value => {}
                Segment::Param(name) if !value.is_empty() => {
                    params.0.push((name.clone(), value));
                }
                _ => return None,
            }
        }
        Some(params)
    }

    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.method.as_ref().is_none_or(|own| own == method)
    }

    /// Sorts the most specific template first: segment by segment from the left, then by method.
    ///
    /// Of the templates that match a request, the first in this order is the right one.
    pub(crate) fn rank(&self) -> (Vec<u8>, bool) {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Static(_) => 0,
            Segment::Param(_) => 1,
            Segment::Rest(_) => 2,
        });
        (segments.collect(), self.method.is_none())
    }

    /// Whether both match the same requests: parameter names make no difference.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Static(a), Segment::Static(b)) => a == b,
            (Segment::Param(_), Segment::Param(_)) | (Segment::Rest(_), Segment::Rest(_)) => true,
            _ => false,
        };
        self.method == other.method
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(format!(
                    "a parameter has to be a whole segment, unlike {text:?}"
                ));
            }
            return Ok(Self::Static(percent_decode(text)));
        };
        let (name, segment): (&str, fn(String) -> Self) = match inner.strip_prefix('*') {
            Some(name) => (name, Self::Rest),
            None => (inner, Self::Param),
        };
        if name.is_empty() || name.contains(['{', '}', '*']) {
            return Err(format!("{text:?} is no parameter: expected a name"));
        }
        Ok(segment(name.to_owned()))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Static(_) => None,
            Self::Param(name) | Self::Rest(name) => Some(name),
        }
    }
}

fn parse_method(text: &str) -> Result<Method, String> {
    // Methods are case-sensitive: a route for `post` would never be asked for.
    if text.chars().any(|c| c.is_ascii_lowercase()) {
        return Err(format!("methods are written in capitals, unlike {text:?}"));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is no method"))
}

/// Undoes percent-encoding. What is no escape stays as it is; what is no UTF-8 becomes U+FFFD.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        let byte = bytes.get(at).copied()?;
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let (b'%', Some(high), Some(low)) = (bytes[at], digit(at + 1), digit(at + 2)) {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Encodes one path segment: everything but RFC 3986's unreserved characters is escaped.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(template: &str, path: &str) -> Option<Vec<String>> {
        let found = Template::parse(template).unwrap().matches(path)?;
        Some(found.0.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn segments_match_one_by_one() {
        assert_eq!(params("/a/b", "/a/b"), Some(vec![]));
        assert_eq!(params("/a/{x}", "/a/b"), Some(vec!["b".into()]));
        assert_eq!(params("/{x}/b", "/a/b"), Some(vec!["a".into()]));
        assert_eq!(params("/a/{*x}", "/a/b/c/"), Some(vec!["b/c/".into()]));
        assert_eq!(params("/", "/"), Some(vec![]));
        for (template, path) in [
            ("/a/b", "/a"),
            ("/a/b", "/a/b/"),
            ("/a", "/a/b"),
            ("/a/{x}", "/a/"),
            ("/a/{x}", "/a/b/c"),
            ("/a/{*x}", "/a/"),
            ("/a/{*x}", "/a"),
            ("/{x}", "/"),
        ] {
            assert_eq!(params(template, path), None, "{template} and {path}");
        }
    }

    #[test]
    fn values_are_percent_decoded_within_their_segment() {
        assert_eq!(params("/{x}", "/a%2Fb"), Some(vec!["a/b".into()]));
        assert_eq!(params("/{x}", "/%C3%A4%zz%"), Some(vec!["ä%zz%".into()]));
        assert_eq!(params("/tts", "/%74ts"), Some(vec![]));
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["plain", "ä/ö?%20", "語", ""] {
            let encoded = percent_encode(text);
            assert!(encoded.is_ascii() && !encoded.contains('/'));
            assert_eq!(percent_decode(&encoded), text);
        }
    }

    #[test]
    fn static_comes_before_parameter_before_rest_and_method_before_none() {
        let mut templates = [
            "/{*rest}",
            "/{a}/x",
            "/v1/{*rest}",
            "/v1/{id}",
            "POST /v1/{id}",
            "/v1/x",
        ];
        templates.sort_by_key(|template| Template::parse(template).unwrap().rank());
        assert_eq!(
            templates,
            [
                "/v1/x",
                "POST /v1/{id}",
                "/v1/{id}",
                "/v1/{*rest}",
                "/{a}/x",
                "/{*rest}"
            ]
        );
    }

    #[test]
    fn parameter_names_do_not_make_a_shape() {
        let same = |a, b| {
            let [a, b] = [a, b].map(|template| Template::parse(template).unwrap());
            a.same_shape(&b)
        };
        assert!(same("POST /a/{x}", "POST /a/{y}"));
        assert!(!same("POST /a/{x}", "/a/{x}"));
        assert!(!same("/a/{x}", "/a/{*x}"));
        assert!(!same("/a/{x}", "/b/{x}"));
    }

    #[test]
    fn what_is_no_template_is_said() {
        for (template, why) in [
            ("a/b", "slash"),
            ("", "slash"),
            ("post /a", "capitals"),
            ("P@ST /a", "no method"),
            ("/a?b", "query"),
            ("/a b", "no space"),
            ("/{*x}/a", "last"),
            ("/{x}/{x}", "twice"),
            ("/a{x}", "whole segment"),
            ("/{}", "name"),
            ("/{*}", "name"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(why), "{template:?}: {error}");
        }
    }
}
