//! Where a provider is.

use std::{fmt, str::FromStr};

use http::{Uri, uri};

/// The beginning of a provider's addresses: `http` or `https`, a host, and perhaps a path.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: uri::Scheme,
    authority: uri::Authority,
    /// Without a slash at its end.
    path: String,
}

/// This is no [`BaseUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBaseUrl {
    text: String,
    why: &'static str,
}

impl BaseUrl {
    /// Whether it takes TLS to get there.
    pub fn is_https(&self) -> bool {
        self.scheme == uri::Scheme::HTTPS
    }

    /// The address of a path that begins with a slash.
    ///
    /// # Panics
    ///
    /// If what this makes is too long for an address, or if the path has something in it that no path may
    /// have.
    pub fn join(&self, path: &str) -> Uri {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.path))
            .build()
            .expect("both parts of the path were checked")
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let invalid = |why| InvalidBaseUrl {
            // Whatever stands before an @ may be a password.
            text: match text.rsplit_once('@') {
                Some((_, host)) => format!("...@{host}"),
                None => text.to_owned(),
            },
            why,
        };
        let uri: Uri = text.trim().parse().map_err(|_| invalid("it is no URL"))?;
        let parts = uri.into_parts();
        let scheme = match parts.scheme {
            Some(scheme) if [uri::Scheme::HTTP, uri::Scheme::HTTPS].contains(&scheme) => scheme,
            Some(_) => return Err(invalid("only http and https can be served")),
            None => return Err(invalid("it has to begin with http:// or https://")),
        };
        let authority = parts
            .authority
            .filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("a name and a password in it are not supported"));
        }
        let path = parts
            .path_and_query
            .ok_or_else(|| invalid("it has no host"))?;
        if path.query().is_some() {
            return Err(invalid("it must not have a query"));
        }
        Ok(Self {
            scheme,
            authority,
            path: path.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme,
            authority,
            path,
        } = self;
        write!(f, "{scheme}://{authority}{path}")
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for InvalidBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot be a base URL: {}", self.text, self.why)
    }
}

impl std::error::Error for InvalidBaseUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_with_one_slash() {
        for (base, joined) in [
            ("http://localhost:80", "http://localhost:80/v1/x"),
            ("https://[::1]/", "https://[::1]/v1/x"),
            ("HTTP://host/a/b//", "http://host/a/b/v1/x"),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.join("/v1/x").to_string(), joined);
        }
    }

    #[test]
    fn what_cannot_be_served_is_an_error_that_names_it() {
        for (text, why) in [
            ("", "it is no URL"),
            ("localhost", "it has to begin with http:// or https://"),
            ("/v1", "it has to begin with http:// or https://"),
            ("ftp://host", "only http and https can be served"),
            ("http://host/?a=b", "it must not have a query"),
        ] {
            let error = text.parse::<BaseUrl>().unwrap_err().to_string();
            assert_eq!(error, format!("{text:?} cannot be a base URL: {why}"));
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = "http://user:secret@host".parse::<BaseUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
