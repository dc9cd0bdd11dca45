//! The order of the builder calls is irrelevant.

use super::*;

#[derive(Clone, Copy, Debug)]
enum Call {
    Route(&'static str, u32),
    Group(&'static str, &'static [&'static str]),
    Named(&'static str),
    Overall,
    Others,
    Header,
    Across,
    NameBy,
}

const CALLS: [Call; 14] = [
    Call::Route("/a", 1),
    Call::Route("POST /a", 2),
    Call::Route("/{x}/b", 3),
    Call::Route("/a/{y}", 4),
    Call::Route("h/{*rest}", 5),
    Call::Route("h:80/a", 6),
    Call::Group("g", &["/{z}/b", "POST /a/"]),
    Call::Group("k", &["GET /c", "H/{*r}"]),
    Call::Named("flash"),
    Call::Overall,
    Call::Others,
    Call::Header,
    Call::Across,
    Call::NameBy,
];

fn build(calls: &[Call]) -> Routes {
    let build = |endpoints: Endpoints, call: &Call| match *call {
        Call::Route(template, n) => endpoints.route(template, Quota::per_second(n)),
        Call::Group(name, templates) => {
            endpoints.group(name, Quota::concurrent(1), templates.iter().copied())
        }
        Call::Named(name) => endpoints.named(name, Quota::concurrent(2)),
        Call::Overall => endpoints.overall(Quota::per_second(50)),
        Call::Others => endpoints.each_other_path(Quota::per_second(10)),
        Call::Header => endpoints.partition_by_header("k"),
        Call::Across => endpoints.across_partitions(Quota::per_second(100)),
        Call::NameBy => {
            endpoints.name_by(|head| (head.uri().path() == "/flash").then_some("flash"))
        }
    };
    calls.iter().fold(Endpoints::new(), build).compile()
}

proptest! {
    #[test]
    fn of_calls_is_irrelevant(calls in Just(CALLS.to_vec()).prop_shuffle()) {
        let (usual, shuffled) = (build(&CALLS), build(&calls));
        for method in ["GET", "POST"] {
            for host in ["h", "i", "h:80", "h:81"] {
                for path in ["", "/a", "/a/b", "/b/b", "/a/c", "/c", "/d", "/flash"] {
                    let request = ask(&format!("{method} http://{host}{path}"));
                    prop_assert_eq!(scopes(&usual, &request), scopes(&shuffled, &request));
                    let key = |routes: &Routes| routes.resolve(&request).unwrap().key.is_some();
                    prop_assert_eq!(key(&usual), key(&shuffled));
                }
            }
        }
    }
}
