//! From the endpoint to the wider scopes.

use super::*;

#[test]
fn parents_lead_from_the_endpoint_to_the_total() {
    let routes = Endpoints::new()
        .route("/v1/{id}", Quota::per_second(5))
        .group("tts", Quota::concurrent(4), ["/v1/{voice}", "/v2"])
        .overall(Quota::per_second(50))
        .across_partitions(Quota::per_minute(1000))
        .compile();
    let wider = [
        ("tts".to_owned(), Quota::concurrent(4), SpecKind::Group),
        (
            "overall".to_owned(),
            Quota::per_second(50),
            SpecKind::Overall,
        ),
        (
            "across partitions".to_owned(),
            Quota::per_minute(1000),
            SpecKind::AcrossPartitions,
        ),
    ];
    let all = super::scopes(&routes, &ask("/v1/x"));
    assert_eq!(
        all[0],
        ("/v1/{id}".to_owned(), Quota::per_second(5), SpecKind::Route)
    );
    assert_eq!(all[1..], wider);
    let all = super::scopes(&routes, &ask("/v2"));
    assert_eq!(
        all[0],
        ("/v2".to_owned(), Quota::unlimited(), SpecKind::Route)
    );
    assert_eq!(all[1..], wider);
}

#[test]
fn a_template_is_called_as_its_route_calls_it() {
    let group = |endpoints: Endpoints| endpoints.group("g", Quota::concurrent(1), ["/{x}/"]);
    let route = |endpoints: Endpoints| endpoints.route("/{id}", Quota::per_second(1));
    for endpoints in [
        route(group(Endpoints::new())),
        group(route(Endpoints::new())),
    ] {
        let routes = endpoints.compile();
        let scopes = super::scopes(&routes, &ask("/1"));
        assert_eq!(
            scopes[0],
            ("/{id}".to_owned(), Quota::per_second(1), SpecKind::Route)
        );
        assert_eq!(scopes[1].0, "g");
    }
}
