//! The API behind the gateway.

use std::{fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

/// Where the API is: `https://api.elevenlabs.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    scheme: Scheme,
    authority: Authority,
}

impl Upstream {
    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Its name, without a port.
    pub(crate) fn host(&self) -> &str {
        self.authority.host()
    }

    /// The same path and query there.
    pub(crate) fn uri(&self, path: &PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.clone())
            .build()
    }

    /// What follows the upstream's own origin in an absolute URL, if it is one of the upstream's.
    pub(crate) fn path_of<'a>(&self, url: &'a str) -> Option<&'a str> {
        let rest = url.strip_prefix(self.scheme.as_str())?;
        let rest = rest.strip_prefix("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        authority
            .eq_ignore_ascii_case(self.authority.as_str())
            .then_some(path)
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("expected http://HOST[:PORT] or https://HOST[:PORT], not {text:?}{what}")
        };
        let uri: Uri = text.parse().map_err(|error| wrong(&format!(": {error}")))?;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if path != "/" {
            return Err(wrong(
                ": a path belongs into the base URL that programs use",
            ));
        }
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if (scheme == Scheme::HTTP || scheme == Scheme::HTTPS)
                    && !authority.as_str().contains('@')
                    && !authority.host().is_empty() =>
            {
                Ok(Self { scheme, authority })
            }
            _ => Err(wrong("")),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}
