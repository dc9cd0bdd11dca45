//! Buckets of one's own for each value of a header.

use super::*;

fn with_key(key: Option<&str>) -> Request<()> {
    let mut request = ask("/a");
    if let Some(key) = key {
        let key = HeaderValue::from_str(key).unwrap();
        request.headers_mut().insert("xi-api-key", key);
    }
    request
}

fn partition(routes: &Routes, request: &Request<()>) -> u64 {
    routes.resolve(request).unwrap().partition
}

#[test]
fn without_a_rule_there_is_one() {
    let routes = Endpoints::new().compile();
    assert!(!routes.partitioned());
    assert_eq!(partition(&routes, &with_key(Some("a"))), 0);
}

#[test]
fn each_value_has_one_and_so_has_its_absence() {
    let by_header = Endpoints::new().partition_by_header("XI-Api-Key");
    let by_closure =
        Endpoints::new().partition_by(|head| head.headers().get("xi-api-key").cloned());
    for endpoints in [by_header, by_closure] {
        let routes = endpoints.compile();
        assert!(routes.partitioned());
        let of = |key| partition(&routes, &with_key(key));
        let all = [of(None), of(Some("")), of(Some("a")), of(Some("b"))];
        assert_eq!(BTreeSet::from(all).len(), all.len());
        assert_eq!(of(Some("a")), all[2]);
        assert_eq!(of(None), all[0]);
    }
}

#[test]
fn the_hash_is_the_same_in_one_stack_and_unknown_elsewhere() {
    let endpoints = Endpoints::new().partition_by_header("xi-api-key");
    let request = with_key(Some("a"));
    let here = partition(&endpoints.compile(), &request);
    assert_eq!(here, partition(&endpoints.clone().compile(), &request));
    let other = Endpoints::new().partition_by_header("xi-api-key");
    assert_ne!(here, partition(&other.compile(), &request));
}

#[test]
fn a_value_is_shown_nowhere() {
    let routes = Endpoints::new().partition_by_header("xi-api-key").compile();
    let mut request = with_key(Some("secret"));
    let shown = format!("{:?} {routes:?}", routes.resolve(&request));
    assert!(!shown.contains("secret"), "{shown}");
    request.extensions_mut().insert(EndpointName::new("x"));
    let shown = format!("{:?}", routes.resolve(&request));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn of_several_values_the_first_counts_among_however_many_headers() {
    let routes = Endpoints::new().partition_by_header("xi-api-key").compile();
    let alone = partition(&routes, &with_key(Some("a")));
    for others in [0, 6, 7, 30] {
        let mut request = with_key(Some("a"));
        let headers = request.headers_mut();
        headers.append("xi-api-key", HeaderValue::from_static("b"));
        for n in 0..others {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            headers.insert(name, HeaderValue::from_static("a"));
        }
        assert_eq!(partition(&routes, &request), alone, "{others} others");
    }
}
