//! What [`Endpoints`] refuses, shares and shows.

use super::*;

fn new() -> Endpoints {
    Endpoints::new()
}

fn one() -> Quota {
    Quota::per_second(1)
}

#[test]
fn a_bad_template_is_named() {
    let error =
        "template \"v1\": no path: expected \"[METHOD ][host]/path\", such as \"GET /v1/models\"";
    panics_with(|| new().route("v1", one()), error);
    panics_with(|| new().group("g", one(), ["v1"]), error);
    assert_eq!(new().try_route("v1", one()).unwrap_err().to_string(), error);
}

#[test]
fn a_shape_has_one_quota() {
    panics_with(
        || new().route("/a/{x}", one()).route("/a/{y}/", one()),
        "template \"/a/{y}/\": it has a quota already, as \"/a/{x}\" (parameter names do not matter)",
    );
    let _ = new()
        .route("/a", one())
        .route("GET /a", one())
        .route("h/a", one())
        .route("h:1/a", one());
}

#[test]
fn a_shape_is_in_one_group() {
    panics_with(
        || {
            new()
                .group("g", one(), ["/a/{x}"])
                .group("h", one(), ["/b", "/a/{y}"])
        },
        "template \"/a/{y}\": it is in the group \"g\" already, as \"/a/{x}\" (parameter names do not matter)",
    );
    panics_with(
        || new().group("g", one(), ["/a", "/a"]),
        "template \"/a\": it is in the group \"g\" already, as \"/a\" (parameter names do not matter)",
    );
}

#[test]
fn a_name_is_used_once() {
    let taken =
        "name \"n\": there is a group or named endpoint of this name already: each needs its own";
    panics_with(|| new().named("n", one()).named("n", one()), taken);
    panics_with(|| new().named("n", one()).group("n", one(), []), taken);
    panics_with(|| new().group("n", one(), []).named("n", one()), taken);
    panics_with(|| new().group("n", one(), []).group("n", one(), []), taken);
}

#[test]
fn some_names_are_refused() {
    panics_with(|| new().named("", one()), "name \"\": it is empty");
    panics_with(
        || new().group("a/b", one(), []),
        "name \"a/b\": only templates contain \"/\": expected a name without",
    );
    for name in [
        Endpoints::OVERALL,
        Endpoints::ACROSS_PARTITIONS,
        Endpoints::EACH_OTHER_PATH,
        Endpoints::ALL_OTHER_PATHS,
        Endpoints::UNMATCHED,
    ] {
        panics_with(
            || new().named(name, one()),
            &format!("name {name:?}: it is reserved for a scope of that name"),
        );
    }
}

#[test]
fn what_there_is_one_of_is_set_once() {
    panics_with(
        || new().overall(one()).overall(one()),
        "`overall` was called twice: it is Quota(1 per 1s) already",
    );
    panics_with(
        || new().across_partitions(one()).across_partitions(one()),
        "`across_partitions` was called twice: it is Quota(1 per 1s) already",
    );
    panics_with(
        || new().each_other_path(one()).all_other_paths(one()),
        "`each_other_path` was called before, with Quota(1 per 1s): expected one `each_other_path` or `all_other_paths`",
    );
    panics_with(
        || new().all_other_paths(one()).all_other_paths(one()),
        "`all_other_paths` was called before, with Quota(1 per 1s): expected one `each_other_path` or `all_other_paths`",
    );
    let message = |panic: Box<dyn std::any::Any + Send>| *panic.downcast::<&str>().unwrap();
    let twice = catch_unwind(|| {
        new()
            .name_by(|_| None::<String>)
            .name_by(|_| None::<String>)
    });
    assert_eq!(
        message(twice.unwrap_err()),
        "`name_by` was called twice: expected one closure"
    );
    let twice = catch_unwind(|| {
        new()
            .partition_by_header("a")
            .partition_by(|_| None::<String>)
    });
    assert_eq!(
        message(twice.unwrap_err()),
        "there is a rule for partitions already: expected one `partition_by_header` or `partition_by`"
    );
}

#[test]
fn a_bad_header_is_named() {
    panics_with(
        || new().partition_by_header("x key"),
        "header \"x key\": expected the name of an HTTP header, such as \"authorization\"",
    );
}

#[test]
fn a_panic_points_at_the_caller() {
    // The hook is everybody's, and other tests panic meanwhile.
    let (sender, receiver) = std::sync::mpsc::channel();
    let (this, others) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == this {
            let _ = sender.send(info.location().unwrap().file().to_owned());
        } else {
            others(info);
        }
    }));
    let calls: [fn() -> Endpoints; 5] = [
        || new().route("", one()),
        || new().group("g", one(), [""]),
        || new().named("", one()),
        || new().overall(one()).overall(one()),
        || new().partition_by_header(""),
    ];
    for call in calls {
        assert!(catch_unwind(call).is_err());
    }
    drop(std::panic::take_hook());
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [file!(); 5]);
}

#[test]
fn cloning_shares_and_changing_does_not() {
    let first = new().route("/a", one());
    let second = first.clone().route("/b", one());
    assert!(first.compile().lookup("/b").is_err());
    assert!(second.compile().lookup("/a").is_ok());
}

#[test]
fn debug_says_what_is_configured() {
    let endpoints = new()
        .route("/a", one())
        .route("/b", one())
        .named("flash", Quota::concurrent(8))
        .group("g", Quota::concurrent(2), ["/b", "/c"])
        .overall(Quota::per(7, Duration::from_secs(2)))
        .each_other_path(one())
        .partition_by(|_| Some("secret"))
        .across_partitions(Quota::concurrent(9))
        .name_by(|_| None::<String>);
    assert_eq!(
        format!("{endpoints:?}"),
        "Endpoints { \
         routes: {\"/a\": Quota(1 per 1s), \
         \"/b\": (Quota(1 per 1s), Some(\"g\")), \"/c\": (Quota(unlimited), Some(\"g\"))}, \
         named: {\"flash\": Quota(8 at once)}, groups: {\"g\": Quota(2 at once)}, \
         overall: Quota(7 per 2s), each_other_path: Quota(1 per 1s), \
         partition_by: Closure(..), across_partitions: Quota(9 at once), name_by: .. }"
    );
    assert_eq!(format!("{:?}", new()), "Endpoints { routes: {} }");
}

#[test]
fn all_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Endpoints>();
    shared::<Routes>();
    shared::<InvalidEndpoint>();
    shared::<UnknownEndpoint>();
}
