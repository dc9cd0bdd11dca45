//! Against a matcher that is slow and obviously right: of all templates that match, the best.

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(&'static str),
    Parameter,
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    method: Option<&'static str>,
    host: Option<(&'static str, Option<u16>)>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    https: bool,
    host: &'static str,
    port: Option<u16>,
    path: Vec<&'static str>,
}

impl Pattern {
    fn written(&self) -> String {
        let mut written = String::new();
        if let Some(method) = self.method {
            written.extend([method, " "]);
        }
        if let Some((host, port)) = self.host {
            written += host;
            if let Some(port) = port {
                written.extend([":", &port.to_string()]);
            }
        }
        for part in &self.parts {
            written += match part {
                Part::Literal(text) => text,
                Part::Parameter => "/{x}",
                Part::Rest => "/{*x}",
            };
        }
        if self.parts.is_empty() {
            written += "/";
        }
        written
    }

    fn matches(&self, asked: &Asked) -> bool {
        let default = if asked.https { 443 } else { 80 };
        let asked_port = asked.port.unwrap_or(default);
        self.method.is_none_or(|method| method == asked.method)
            && self.host.is_none_or(|(host, port)| {
                host == asked.host && port.is_none_or(|port| port == asked_port)
            })
            && match self.parts.split_last() {
                Some((Part::Rest, parts)) => {
                    asked.path.len() > parts.len() && Self::agree(parts, &asked.path)
                }
                _ => asked.path.len() == self.parts.len() && Self::agree(&self.parts, &asked.path),
            }
    }

    fn agree(parts: &[Part], path: &[&'static str]) -> bool {
        parts.iter().zip(path).all(|(part, segment)| match part {
            Part::Literal(text) => text == segment,
            _ => true,
        })
    }

    /// Less is better.
    fn rank(&self) -> impl Ord + use<> {
        let host = match self.host {
            Some((_, Some(_))) => 0,
            Some((_, None)) => 1,
            None => 2,
        };
        let path: Vec<_> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Literal(_) => 0,
                Part::Parameter => 1,
                Part::Rest => 2,
            })
            .collect();
        (host, path, self.method.is_none())
    }
}

impl Asked {
    /// One of the many ways to write it; `noise` chooses.
    fn request(&self, noise: &[u8]) -> Request<()> {
        let mut noise = noise.iter().copied().chain(std::iter::repeat(0));
        let mut pick = move |ways: u8| noise.next().unwrap_or_default() % ways;
        let host = match pick(3) {
            0 => self.host.to_owned(),
            1 => self.host.to_uppercase(),
            _ => format!("me@{}.", self.host),
        };
        let scheme = if self.https { "https" } else { "http" };
        let mut uri = format!("{scheme}://{host}");
        if let Some(port) = self.port {
            uri.extend([":", &port.to_string()]);
        }
        for segment in &self.path {
            // Mostly none: a path with much noise has little else that could go wrong.
            uri += ["/", "/.", "/x/..", "/x/%2e%2E"]
                .get(usize::from(pick(24)))
                .unwrap_or(&"");
            uri += match (pick(4), *segment) {
                (0, "/at") => "/%61t",
                (1, "/at") => "/a%74",
                (0, "/by") => "/%62y",
                (1, "/by") => "/b%79",
                (_, segment) => segment,
            };
        }
        uri += ["/", "//", "/.", "/b/.."]
            .get(usize::from(pick(12)))
            .unwrap_or(&"");
        if pick(2) == 1 {
            // A query needs a path before it, or it would be one.
            uri += if uri.matches('/').count() > 2 {
                "?a/b"
            } else {
                "/?a/b"
            };
        }
        Request::builder()
            .method(self.method)
            .uri(uri)
            .body(())
            .unwrap()
    }
}

const LITERALS: [&str; 2] = ["/at", "/by"];
const METHODS: [&str; 2] = ["GET", "POST"];
const HOSTS: [&str; 2] = ["h", "i"];
const PORTS: [Option<u16>; 4] = [None, Some(80), Some(443), Some(8080)];

fn patterns() -> impl Strategy<Value = BTreeSet<Pattern>> {
    // Where no template names a host, none is looked at.
    let nowhere = pattern().prop_map(|pattern| Pattern {
        host: None,
        ..pattern
    });
    let some = |pattern| proptest::collection::btree_set(pattern, 0..24);
    prop_oneof![some(pattern().boxed()), some(nowhere.boxed())]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let part = prop_oneof![
        2 => select(&LITERALS).prop_map(Part::Literal),
        1 => Just(Part::Parameter),
    ];
    (
        proptest::option::of(select(&METHODS)),
        proptest::option::of((select(&HOSTS), select(&PORTS))),
        proptest::collection::vec(part, 0..4),
        any::<bool>(),
    )
        .prop_map(|(method, host, mut parts, rest)| {
            if rest {
                parts.push(Part::Rest);
            }
            Pattern {
                method,
                host,
                parts,
            }
        })
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        select(&METHODS),
        any::<bool>(),
        select(&HOSTS),
        select(&PORTS),
        proptest::collection::vec(select(&LITERALS), 0..5),
    )
        .prop_map(|(method, https, host, port, path)| Asked {
            method,
            https,
            host,
            port,
            path,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn agrees(
        patterns in patterns(),
        requests in proptest::collection::vec((asked(), proptest::collection::vec(any::<u8>(), 16)), 16),
    ) {
        let written: Vec<_> = patterns.iter().map(Pattern::written).collect();
        let written: Vec<_> = written.iter().map(String::as_str).collect();
        let routes = routes(&written);
        for (asked, noise) in &requests {
            let best = patterns
                .iter()
                .filter(|pattern| pattern.matches(asked))
                .min_by_key(|pattern| pattern.rank())
                .map_or(Endpoints::UNMATCHED.to_owned(), Pattern::written);
            let request = asked.request(noise);
            prop_assert_eq!(found(&routes, &request), best, "{:?}", request.uri());
        }
    }
}
