//! What is wrong with a configuration, or with a name that somebody asks for.

use std::{error::Error, fmt, sync::Arc};

/// An endpoint that cannot be configured: a bad template, or one that is taken.
///
/// [`Endpoints::try_route`](crate::Endpoints::try_route) returns it; the other methods of
/// [`Endpoints`](crate::Endpoints) panic with its text, which names the template and says what was
/// expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint {
    /// What it is: "template", say.
    subject: &'static str,
    value: Box<str>,
    reason: Reason,
}

/// Each holds the part of the value that is wrong, or what it clashes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Empty,
    WhiteSpace,
    NoPath,
    Method(Box<str>),
    LowerCaseMethod(Box<str>),
    Scheme(Box<str>),
    Host(Box<str>),
    Port(Box<str>),
    Query,
    Fragment,
    Unbalanced(Box<str>),
    Mixed(Box<str>),
    ParameterName(Box<str>),
    NotLast(Box<str>),
    OtherSyntax {
        segment: Box<str>,
        meant: Box<str>,
    },
    Routed {
        as_template: Box<str>,
    },
    Grouped {
        as_template: Box<str>,
        group: Box<str>,
    },
    Taken,
    Reserved,
    Slash,
    TierTaken,
    NotInTier {
        endpoint: Box<str>,
    },
    TwiceInTier {
        endpoint: Box<str>,
    },
}

impl InvalidEndpoint {
    pub(super) fn template(value: &str, reason: Reason) -> Self {
        Self::new("template", value, reason)
    }

    pub(super) fn tier(value: &str, reason: Reason) -> Self {
        Self::new("tier", value, reason)
    }

    pub(super) fn name(value: &str, reason: Reason) -> Self {
        Self::new("name", value, reason)
    }

    fn new(subject: &'static str, value: &str, reason: Reason) -> Self {
        Self {
            subject,
            value: value.into(),
            reason,
        }
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.subject, self.value, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::WhiteSpace => f.write_str(
                "white space: expected one space after the method and none elsewhere (in a path, a space is \"%20\")",
            ),
            Self::NoPath => {
                f.write_str("no path: expected \"[METHOD ][host]/path\", such as \"GET /v1/models\"")
            }
            Self::Method(method) => write!(f, "{method:?} is not an HTTP method"),
            Self::LowerCaseMethod(method) => write!(
                f,
                "methods are case-sensitive: did you mean \"{}\"?",
                method.to_ascii_uppercase()
            ),
            Self::Scheme(scheme) => {
                write!(f, "a template has no scheme: leave \"{scheme}//\" out")
            }
            Self::Host(host) => write!(
                f,
                "{host:?} is not a host: expected a name of ASCII letters, digits, \"-\", \"_\" and \".\", or an address, and perhaps a port"
            ),
            Self::Port(port) => {
                write!(f, "{port:?} is not a port: expected a number from 1 to 65535")
            }
            Self::Query => {
                f.write_str("query strings never matter: leave out the \"?\" and what follows it")
            }
            Self::Fragment => {
                f.write_str("fragments are never sent: leave out the \"#\" and what follows it")
            }
            Self::Unbalanced(segment) => write!(
                f,
                "unbalanced braces in {segment:?}: expected \"{{name}}\" (a brace itself is \"%7B\" or \"%7D\")"
            ),
            Self::Mixed(segment) => write!(
                f,
                "{segment:?} is a parameter only in part: expected \"{{name}}\" to be the whole segment"
            ),
            Self::ParameterName(segment) => write!(
                f,
                "{segment:?} is not a parameter: expected \"{{name}}\" or \"{{*name}}\", with a name of letters, digits, \"-\", \"_\" and \".\""
            ),
            Self::NotLast(segment) => {
                write!(f, "{segment:?} takes all to the end: expected nothing after it")
            }
            Self::OtherSyntax { segment, meant } => {
                write!(f, "{segment:?} is no parameter here: did you mean {meant:?}?")
            }
            Self::Routed { as_template } => write!(
                f,
                "it has a quota already, as {as_template:?} (parameter names do not matter)"
            ),
            Self::Grouped { as_template, group } => write!(
                f,
                "it is in the group {group:?} already, as {as_template:?} (parameter names do not matter)"
            ),
            Self::Taken => f.write_str(
                "there is a group or named endpoint of this name already: each needs its own",
            ),
            Self::Reserved => f.write_str("it is reserved for a scope of that name"),
            Self::Slash => f.write_str("only templates contain \"/\": expected a name without"),
            Self::TierTaken => f.write_str("there is a tier of this name already"),
            Self::NotInTier { endpoint } => write!(
                f,
                "{endpoint:?} is nothing of which each partition has its own: expected a template, \"overall\", or the name of a group or an endpoint that was named before"
            ),
            Self::TwiceInTier { endpoint } => write!(
                f,
                "it has a quota for {endpoint:?} already (parameter names do not matter)"
            ),
        }
    }
}

impl Error for InvalidEndpoint {}

/// Nothing is configured under the name that was asked for.
///
/// Comes from the methods of [`Handle`](crate::Handle), and from every layer when a request asks
/// for a [named endpoint](crate::Endpoints::named), or is of a [tier](crate::Endpoints::tier), that does not exist. The text says the name and
/// which ones there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEndpoint(Box<Unknown>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Unknown {
    endpoint: Box<str>,
    /// Shared with the routes: there may be an error for each request, and each would copy all names.
    known: Arc<[Box<str>]>,
    /// What is said of it: "there is no endpoint", say.
    fault: &'static str,
}

impl UnknownEndpoint {
    /// Asked for by a caller of the handle.
    pub(super) fn in_lookup(endpoint: &str, known: Arc<[Box<str>]>) -> Self {
        Self::new(endpoint, known, "there is no endpoint")
    }

    /// Asked for by a request.
    pub(super) fn in_request(endpoint: &str, known: Arc<[Box<str>]>) -> Self {
        Self::new(endpoint, known, "the request asks for the endpoint")
    }

    /// A tier, asked for by a request or by a caller of the handle.
    pub(super) fn in_tier(tier: &str, known: Arc<[Box<str>]>) -> Self {
        Self::new(tier, known, "there is no tier")
    }

    fn new(endpoint: &str, known: Arc<[Box<str>]>, fault: &'static str) -> Self {
        Self(Box::new(Unknown {
            endpoint: endpoint.into(),
            known,
            fault,
        }))
    }

    /// The name, the template or the tier that was asked for.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

impl fmt::Display for UnknownEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unknown {
            endpoint,
            known,
            fault,
        } = &*self.0;
        write!(f, "{fault} {endpoint:?}")?;
        let Some((first, others)) = known.split_first() else {
            return f.write_str(", but none is named");
        };
        write!(f, ": expected {first:?}")?;
        let Some((last, others)) = others.split_last() else {
            return Ok(());
        };
        for name in others {
            write!(f, ", {name:?}")?;
        }
        write!(f, " or {last:?}")
    }
}

impl Error for UnknownEndpoint {}
