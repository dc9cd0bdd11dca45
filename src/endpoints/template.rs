//! What `"POST api.example/v1/{id}"` means.

use std::hash::{Hash, Hasher};

use http::Method;

use super::{authority, error::InvalidEndpoint, error::Reason, normalize};

/// A parsed template. Two are equal if they have the same shape, which is when they match the same
/// requests: the names of parameters are not kept.
#[derive(Clone, Debug, Eq)]
pub(super) struct Template {
    pub(super) method: Option<Method>,
    pub(super) host: Option<Host>,
    pub(super) segments: Vec<Segment>,
}

/// By hand, so that a test can count the comparisons.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        super::tests::steps::count(1);
        self.method == other.method && self.host == other.host && self.segments == other.segments
    }
}

impl Hash for Template {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.method.hash(state);
        self.host.hash(state);
        self.segments.hash(state);
    }
}

/// In normal form, as [`authority`] has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: Box<str>,
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// In normal form, as [`normalize`] has it.
    Literal(Box<str>),
    Parameter,
    /// Only as the last one.
    CatchAll,
}

impl Template {
    pub(super) fn parse(template: &str) -> Result<Self, InvalidEndpoint> {
        parse(template).map_err(|reason| InvalidEndpoint::template(template, reason))
    }
}

fn parse(template: &str) -> Result<Template, Reason> {
    if template.is_empty() {
        return Err(Reason::Empty);
    }
    let (method, target) = match template.split_once(' ') {
        // A space within the path is not the one after the method.
        Some((method, target)) if !method.contains('/') => (Some(method), target),
        _ => (None, template),
    };
    if target.contains(|c: char| c.is_whitespace() || c.is_control()) || method == Some("") {
        return Err(Reason::WhiteSpace);
    }
    let method = method.map(parse_method).transpose()?;
    let Some(slash) = target.find('/') else {
        return Err(Reason::NoPath);
    };
    let (host, path) = target.split_at(slash);
    if host.ends_with(':') && path.starts_with("//") {
        return Err(Reason::Scheme(host.into()));
    }
    Ok(Template {
        method,
        host: match host {
            "" => None,
            host => Some(parse_host(host)?),
        },
        segments: parse_path(path)?,
    })
}

fn parse_method(method: &str) -> Result<Method, Reason> {
    let parsed =
        Method::from_bytes(method.as_bytes()).map_err(|_| Reason::Method(method.into()))?;
    // No method in use is written with small letters, and "get" would match nothing.
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Reason::LowerCaseMethod(method.into()));
    }
    Ok(parsed)
}

fn parse_host(text: &str) -> Result<Host, Reason> {
    let (name, port) = match authority::split_port(text) {
        (_, Some(0)) => return Err(Reason::Port("0".into())),
        (name, port @ Some(_)) => (name, port),
        (_, None) => (text, None),
    };
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(allowed)
    };
    let is_name = |name: &str| {
        name.strip_suffix('.')
            .unwrap_or(name)
            .split('.')
            .all(is_label)
    };
    let is_address = |name: &str| {
        name.strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if is_name(name) || is_address(name) {
        return Ok(Host {
            name: authority::normal_host(name).into(),
            port,
        });
    }
    // Whose fault it is: a good name with something after the colon has a bad port.
    match name.rsplit_once(':') {
        Some((name, port)) if is_name(name) || is_address(name) => Err(Reason::Port(port.into())),
        _ => Err(Reason::Host(text.into())),
    }
}

fn parse_path(path: &str) -> Result<Vec<Segment>, Reason> {
    if path.contains('?') {
        return Err(Reason::Query);
    }
    if path.contains('#') {
        return Err(Reason::Fragment);
    }
    let mut segments = Vec::new();
    let mut catch_all = None;
    for text in path.split('/') {
        let segment = match parse_segment(text)? {
            // The same as for a request's path.
            Segment::Literal(literal) if matches!(&*literal, "" | ".") => continue,
            segment => segment,
        };
        if let Some(catch_all) = catch_all {
            return Err(Reason::NotLast(catch_all));
        }
        match segment {
            Segment::Literal(literal) if &*literal == ".." => {
                segments.pop();
            }
            segment => {
                if segment == Segment::CatchAll {
                    catch_all = Some(text.into());
                }
                segments.push(segment);
            }
        }
    }
    Ok(segments)
}

fn parse_segment(text: &str) -> Result<Segment, Reason> {
    // What other routers call a parameter would be a literal that never matches.
    let other_syntax = |meant: String| Reason::OtherSyntax {
        segment: text.into(),
        meant: meant.into(),
    };
    if let Some(name) = text
        .strip_prefix(':')
        .filter(|name| is_parameter_name(name))
    {
        return Err(other_syntax(format!("{{{name}}}")));
    }
    match text.strip_prefix('*') {
        Some("" | "*") => return Err(other_syntax("{*rest}".to_owned())),
        Some(name) if is_parameter_name(name) => {
            return Err(other_syntax(format!("{{*{name}}}")));
        }
        _ => {}
    }
    if !text.contains(['{', '}']) {
        let mut literal = String::with_capacity(text.len());
        normalize::push_segment(&mut literal, text);
        return Ok(Segment::Literal(literal.into()));
    }
    if !is_balanced(text) {
        return Err(Reason::Unbalanced(text.into()));
    }
    let Some(name) = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .filter(|name| is_balanced(name))
    else {
        return Err(Reason::Mixed(text.into()));
    };
    let (name, segment) = match name.strip_prefix('*') {
        Some(name) => (name, Segment::CatchAll),
        None => (name, Segment::Parameter),
    };
    if is_parameter_name(name) {
        Ok(segment)
    } else {
        Err(Reason::ParameterName(text.into()))
    }
}

/// Names mean nothing here; but what looks like a pattern (`{id:[0-9]+}`) would not do what it says.
fn is_parameter_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

fn is_balanced(text: &str) -> bool {
    let mut open = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return false,
            b'}' => open -= 1,
            _ => {}
        }
    }
    open == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt;

    /// The template in its normal form, with parameters named by what they are.
    impl fmt::Display for Template {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if let Some(method) = &self.method {
                write!(f, "{method} ")?;
            }
            if let Some(Host { name, port }) = &self.host {
                f.write_str(name)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
            }
            for segment in &self.segments {
                match segment {
                    Segment::Literal(literal) => write!(f, "/{literal}")?,
                    Segment::Parameter => f.write_str("/{_}")?,
                    Segment::CatchAll => f.write_str("/{*_}")?,
                }
            }
            if self.segments.is_empty() {
                f.write_str("/")?;
            }
            Ok(())
        }
    }

    #[track_caller]
    fn normal(template: &str, expected: &str) {
        assert_eq!(Template::parse(template).unwrap().to_string(), expected);
    }

    #[track_caller]
    fn refused(template: &str, expected: &str) {
        let error = Template::parse(template).unwrap_err().to_string();
        assert_eq!(error, format!("template {template:?}: {expected}"));
    }

    #[test]
    fn method_and_host_may_be_left_out() {
        normal("/", "/");
        normal("/v1/models", "/v1/models");
        normal("POST /v1/{id}/stream", "POST /v1/{_}/stream");
        normal("api.example/v2/{*rest}", "api.example/v2/{*_}");
        normal("GET api.example:8080/", "GET api.example:8080/");
        normal("M-SEARCH /{id}", "M-SEARCH /{_}");
        normal("[::1]:8000/generate", "[::1]:8000/generate");
    }

    #[test]
    fn spelling_does_not_make_a_shape() {
        let shape = |template| Template::parse(template).unwrap();
        assert_eq!(shape("/v1/{a}"), shape("/v1/{voice-id.x}"));
        assert_eq!(shape("API.Example./x"), shape("api.example/x"));
        assert_eq!(shape("api.example:080/x"), shape("api.example:80/x"));
        assert_eq!(shape("[0:0::1]/x"), shape("[::1]/x"));
        assert_eq!(shape("//a/./b/../c/"), shape("/a/c"));
        assert_eq!(shape("/a/{x}/../c"), shape("/a/c"));
        assert_eq!(shape("/caf\u{e9}/%7euser"), shape("/caf%c3%a9/~user"));
        assert_eq!(shape("/100%"), shape("/100%25"));
        assert_ne!(shape("/a%2Fb"), shape("/a/b"));
        assert_ne!(shape("/{a}"), shape("/{*a}"));
        assert_ne!(shape("/a"), shape("GET /a"));
        assert_ne!(shape("/a"), shape("h/a"));
        assert_ne!(shape("h/a"), shape("h:80/a"));
        assert_ne!(shape("/a"), shape("/A"));
    }

    #[test]
    fn colons_and_stars_within_a_segment_are_literal() {
        normal(
            "/v1beta/models:batch/a*b/::/*!",
            "/v1beta/models:batch/a*b/::/*!",
        );
    }

    #[test]
    fn what_has_no_path_is_refused() {
        refused("", "it is empty");
        for template in ["GET", "api.example", "GET api.example", "*", "OPTIONS *"] {
            refused(
                template,
                "no path: expected \"[METHOD ][host]/path\", such as \"GET /v1/models\"",
            );
        }
    }

    #[test]
    fn white_space_is_refused() {
        for template in [
            " /a",
            "GET  /a",
            "GET /a ",
            "/a b",
            "GET /a b",
            "GET\t/a",
            "/a\n",
            "GET GET /a",
            "/\0",
        ] {
            refused(
                template,
                "white space: expected one space after the method and none elsewhere (in a path, a space is \"%20\")",
            );
        }
    }

    #[test]
    fn bad_methods_are_refused() {
        refused(
            "get /a",
            "methods are case-sensitive: did you mean \"GET\"?",
        );
        refused(
            "Post h/a",
            "methods are case-sensitive: did you mean \"POST\"?",
        );
        refused("G(T /a", "\"G(T\" is not an HTTP method");
        refused("GÉT /a", "\"GÉT\" is not an HTTP method");
    }

    #[test]
    fn bad_hosts_are_refused() {
        refused(
            "https://api.example/a",
            "a template has no scheme: leave \"https://\" out",
        );
        for host in [
            "*.example",
            "{host}",
            "a..b",
            ".",
            ".a",
            "user@api.example",
            "b\u{fc}cher.example",
            "[::g]",
            "::1",
            "a%20b",
            "a?b",
        ] {
            refused(
                &format!("{host}/a"),
                &format!(
                    "{host:?} is not a host: expected a name of ASCII letters, digits, \"-\", \"_\" and \".\", or an address, and perhaps a port"
                ),
            );
        }
        for port in ["", "0", "65536", "http", "+80", "{port}"] {
            refused(
                &format!("api.example:{port}/a"),
                &format!("{port:?} is not a port: expected a number from 1 to 65535"),
            );
        }
    }

    #[test]
    fn queries_and_fragments_are_refused() {
        refused(
            "/a?b=c",
            "query strings never matter: leave out the \"?\" and what follows it",
        );
        refused(
            "/a#b",
            "fragments are never sent: leave out the \"#\" and what follows it",
        );
    }

    #[test]
    fn bad_parameters_are_refused() {
        for segment in ["a{b}", "{a}b", "{a}{b}", "{a}:generate", "a{*b}"] {
            refused(
                &format!("/v1/{segment}"),
                &format!(
                    "{segment:?} is a parameter only in part: expected \"{{name}}\" to be the whole segment"
                ),
            );
        }
        for segment in ["{", "}", "{a", "a}", "}{", "{a}}"] {
            refused(
                &format!("/{segment}/b"),
                &format!(
                    "unbalanced braces in {segment:?}: expected \"{{name}}\" (a brace itself is \"%7B\" or \"%7D\")"
                ),
            );
        }
        for segment in ["{}", "{*}", "{**a}", "{a*}", "{{a}}", "{id:[0-9]+}"] {
            refused(
                &format!("/{segment}"),
                &format!(
                    "{segment:?} is not a parameter: expected \"{{name}}\" or \"{{*name}}\", with a name of letters, digits, \"-\", \"_\" and \".\""
                ),
            );
        }
        for tail in ["b", "{b}", "{*b}", ".."] {
            refused(
                &format!("/{{*rest}}/{tail}"),
                "\"{*rest}\" takes all to the end: expected nothing after it",
            );
        }
    }

    #[test]
    fn the_parameters_of_other_routers_are_refused() {
        for (segment, meant) in [
            (":id", "{id}"),
            ("*", "{*rest}"),
            ("**", "{*rest}"),
            ("*path", "{*path}"),
        ] {
            refused(
                &format!("/v1/{segment}"),
                &format!("{segment:?} is no parameter here: did you mean {meant:?}?"),
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(template in ".*|[A-Za-z /{}*:.%?#\\[\\]@0-9]{0,16}") {
            let _ = Template::parse(&template);
        }

        #[test]
        fn the_normal_form_means_the_same(template in "(GET |)(h|H[.]:080|\\[::1\\]|)(/([a-b.%]{0,3}|[{]a[}]|:|é)){1,4}(/[{][*]a[}]|)") {
            if let Ok(parsed) = Template::parse(&template) {
                prop_assert_eq!(&Template::parse(&parsed.to_string()).unwrap(), &parsed);
            }
        }
    }
}
