//! A configuration from a file: what is read, and what is said of what is wrong.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_throttle::{
    BoxError, Endpoints, Learning, Quota, RefusedReason, ThrottleLayer, config::Config,
};

const WHOLE: &str = r#"
overall = "50/s"
each_other_path = "10/s"
across_partitions = "100/s"
partition_by_header = "xi-api-key"
max_wait = "30s"
max_pause = "1min"
max_waiting = 1000
max_keys = 50

[learning]
margin = false
discover = true

[retry]
max_attempts = 5
max_total = "2min"
max_retry_after = "45s"
statuses = [429, 503]
trust_retry_after = true
backoff = { kind = "equal", base = "100ms", cap = "5s" }
budget = { capacity = 10, per_success = 0.5 }

[routes]
"POST /v1/speech/{voice}" = "5/s, 4 at once, margin 50ms"
"GET /v1/voices" = "2/s"

[named]
flash = "8 at once"

[groups.paid]
quota = "100/min"
routes = ["POST /v1/speech/{voice}", "POST /v1/sounds"]
"#;

fn toml(text: &str) -> Config {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The same endpoints by hand.
fn by_hand() -> Endpoints {
    let quota = |text: &str| text.parse::<Quota>().unwrap();
    Endpoints::new()
        .route("GET /v1/voices", quota("2/s"))
        .route(
            "POST /v1/speech/{voice}",
            quota("5/s, 4 at once, margin 50ms"),
        )
        .named("flash", quota("8 at once"))
        .group(
            "paid",
            quota("100/min"),
            ["POST /v1/speech/{voice}", "POST /v1/sounds"],
        )
        .overall(quota("50/s"))
        .each_other_path(quota("10/s"))
        .across_partitions(quota("100/s"))
        .partition_by_header("xi-api-key")
}

/// What a file says is what the builder makes.
#[test]
fn endpoints_are_those_that_are_written() {
    let config = toml(WHOLE);
    assert_eq!(
        format!("{:?}", config.endpoints()),
        format!("{:?}", by_hand())
    );
    assert_eq!(config.learning(), Learning::all().margin(false).discover());
    assert!(config.retry().is_some());
    let shared = WHOLE.replace("partition_by_header", "# ");
    let snapshot = toml(&shared).layer().handle().snapshot();
    assert_eq!(
        snapshot.bucket("paid").unwrap().quota(),
        &"100/min".parse().unwrap()
    );
}

/// All formats say the same, and what is written is read again.
#[test]
fn toml_json_and_yaml_are_the_same() {
    let config = toml(WHOLE);
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml(&text), config, "{text}");
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<Config>(&json).unwrap(),
        config,
        "{json}"
    );
    let yaml = yaml_serde::to_string(&config).unwrap();
    assert_eq!(
        yaml_serde::from_str::<Config>(&yaml).unwrap(),
        config,
        "{yaml}"
    );
    // Switched off is not the same as left out.
    let off = toml("learning = false\nretry = false\nall_other_paths = '4 at once'");
    assert_eq!(off.learning(), Learning::none());
    assert!(off.retry().is_none());
    let text = toml::to_string(&off).unwrap();
    assert_eq!(toml(&text), off, "{text}");
    assert_ne!(off, Config::default());
    assert_eq!(toml(""), Config::default());
    assert_eq!(toml::to_string(&Config::default()).unwrap(), "");
    assert_eq!(
        yaml_serde::from_str::<Config>("routes:\noverall: 5/s\n").unwrap(),
        toml("overall = '5/s'")
    );
}

/// A quota by itself is a text in any format.
#[test]
fn a_quota_is_its_text() {
    let quota: Quota = "5/s, 30_000 input_tokens/min, 4 at once".parse().unwrap();
    let json = serde_json::to_string(&quota).unwrap();
    assert_eq!(json, format!("\"{quota}\""));
    assert_eq!(serde_json::from_str::<Quota>(&json).unwrap(), quota);
    let error = serde_json::from_str::<Quota>("5").unwrap_err().to_string();
    assert_eq!(
        error,
        r#"expected a quota such as "5/s, 4 at once", found the number 5"#
    );
}

/// What is wrong, and how its error begins.
const WRONG: &[(&str, &str)] = &[
    (
        r#"{"rotes": {}}"#,
        "rotes: there is no such key: expected one of `routes`, `named`, `groups`,",
    ),
    (
        r#"{"overall": 5}"#,
        r#"overall: expected a quota such as "5/s, 4 at once", found the number 5"#,
    ),
    (
        r#"{"routes": {"GET /a": "5/fortnight"}}"#,
        r#"routes."GET /a": quota part "5/fortnight": "fortnight" is not a unit of time"#,
    ),
    (
        r#"{"routes": {"get /a": "5/s"}}"#,
        r#"routes."get /a": template "get /a": methods are case-sensitive: did you mean "GET"?"#,
    ),
    (
        r#"{"routes": {"/a/{x}": "5/s", "/a/{y}": "5/s"}}"#,
        r#"routes."/a/{y}": template "/a/{y}""#,
    ),
    (
        r#"{"routes": ["/a"]}"#,
        "routes: expected a table of quotas, found a list",
    ),
    (r#"{"named": {"a/b": "5/s"}}"#, r#"named."a/b": name "a/b""#),
    (
        r#"{"named": {"x": "5/s"}, "groups": {"x": {"quota": "5/s", "routes": []}}}"#,
        r#"groups.x: name "x""#,
    ),
    (
        r#"{"groups": {"x": {"routes": ["/a"]}}}"#,
        r#"groups.x.quota: it is missing: expected a quota such as "5/s, 4 at once""#,
    ),
    (
        r#"{"groups": {"x": {"quota": "5/s", "routes": ["/a", 7]}}}"#,
        r#"groups.x.routes[1]: expected a template such as "GET /v1/{id}", found the number 7"#,
    ),
    (
        r#"{"groups": {"x": {"quota": "5/s", "routes": [], "route": []}}}"#,
        "groups.x.route: there is no such key: expected one of `quota`, `routes`",
    ),
    (
        r#"{"each_other_path": "5/s", "all_other_paths": "5/s"}"#,
        "all_other_paths: there is `each_other_path` already: expected one of the two",
    ),
    (
        r#"{"partition_by_header": "a b"}"#,
        r#"partition_by_header: expected the name of an HTTP header, such as "authorization", found the text "a b""#,
    ),
    (
        r#"{"max_wait": 30}"#,
        r#"max_wait: expected a time such as "500ms", found the number 30"#,
    ),
    (r#"{"max_wait": "30"}"#, "max_wait: "),
    (
        r#"{"max_waiting": -1}"#,
        "max_waiting: expected a whole number, found the number -1",
    ),
    (
        r#"{"learning": {"margins": true}}"#,
        "learning.margins: there is no such key: expected one of `concurrency`, `margin`, `rate`, `quota_headers`, `discover`",
    ),
    (
        r#"{"learning": {"rate": "yes"}}"#,
        r#"learning.rate: expected true or false, found the text "yes""#,
    ),
    (
        r#"{"retry": {"max_attempts": 0}}"#,
        "retry.max_attempts: expected a whole number, at least 1, found the number 0",
    ),
    (
        r#"{"retry": {"backoff": {"kind": "none", "base": "1s", "cap": "2s"}}}"#,
        r#"retry.backoff.kind: expected one of "full", "equal", "decorrelated", found "none""#,
    ),
    (
        r#"{"retry": {"backoff": {"kind": "full", "base": "3s", "cap": "2s"}}}"#,
        "retry.backoff: expected a `base` above zero, and a `cap` that is not less",
    ),
    (
        r#"{"retry": {"budget": {"capacity": 4, "per_success": -0.5}}}"#,
        "retry.budget.per_success: expected 0 or more, found -0.5",
    ),
    (
        r#"{"retry": {"statuses": [429, 42]}}"#,
        "retry.statuses[1]: expected a status code from 100 to 999, found 42",
    ),
    (
        r#"{"overall": "5/s", "overall": "6/s"}"#,
        "overall: it is there twice",
    ),
    (r#""5/s""#, r#"expected a table, found the text "5/s""#),
];

/// Each error names the key and says what was expected there; in all formats in the same words.
#[test]
fn errors_name_the_key_and_what_was_expected() {
    for &(json, expected) in WRONG {
        let error = serde_json::from_str::<Config>(json)
            .expect_err(json)
            .to_string();
        assert!(error.starts_with(expected), "{json}:\n{error}\n{expected}");
        // YAML is a superset of JSON; what is there twice it finds itself.
        let error = yaml_serde::from_str::<Config>(json)
            .expect_err(json)
            .to_string();
        assert!(
            error.contains(expected) || error.contains("duplicate"),
            "{json}:\n{error}"
        );
    }
    let error = toml::from_str::<Config>("[routes]\n'GET /a' = '5/fortnight'\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains(r#"routes."GET /a": quota part "5/fortnight""#),
        "{error}"
    );
}

type Req = Request<&'static str>;

async fn after(layer: &ThrottleLayer, n: usize) -> Vec<Result<Duration, RefusedReason>> {
    let serve = |_: Req| async { Ok::<_, BoxError>(Response::new(String::new())) };
    let client = layer.layer(service_fn(serve));
    let start = tokio::time::Instant::now();
    let sent: Vec<_> = (0..n)
        .map(|_| tokio::spawn(client.clone().oneshot(Request::get("/a").body("").unwrap())))
        .collect();
    let mut all = Vec::new();
    for sent in sent {
        let end = tokio::time::Instant::now();
        all.push(match sent.await.unwrap() {
            Ok(_) => Ok(tokio::time::Instant::now().max(end) - start),
            Err(error) => Err(tower_throttle::Refused::in_error(&error).unwrap().reason()),
        });
    }
    all
}

/// The layer does what the file says.
#[tokio::test(start_paused = true)]
async fn the_layer_keeps_to_the_file() {
    let layer = toml("routes.'/a' = '1/s'\nmax_wait = '1s'").layer();
    let late = RefusedReason::WouldWaitTooLong;
    let ms = Duration::from_millis;
    assert_eq!(after(&layer, 3).await, [Ok(ms(0)), Ok(ms(1000)), Err(late)]);
}

/// Another file for a layer that runs takes effect at once.
#[tokio::test(start_paused = true)]
async fn a_layer_that_runs_is_given_another_file() {
    let ms = Duration::from_millis;
    let layer = toml("routes.'/a' = '1/s'").layer();
    let handle = layer.handle();
    assert_eq!(after(&layer, 2).await, [Ok(ms(0)), Ok(ms(1000))]);
    tokio::time::sleep(ms(1000)).await;
    toml("routes.'/a' = '3/s'").reload(&handle).unwrap();
    // The two seconds before are over, and three go at once.
    assert_eq!(
        after(&layer, 4).await,
        [Ok(ms(0)), Ok(ms(0)), Ok(ms(0)), Ok(ms(1000))]
    );
    handle.close();
    toml("").reload(&handle).unwrap_err();
}

/// A reload takes the endpoints of the file alone. A closure that code has added stays only if it is added again.
#[tokio::test(start_paused = true)]
async fn a_closure_of_the_endpoints_has_to_be_added_to_those_of_a_reload() {
    let config = toml("routes.'/a' = '100/s'\nnamed.b = '100/s'");
    let endpoints = || config.endpoints().name_by(|_| Some("b"));
    let layer = ThrottleLayer::new(endpoints());
    let handle = layer.handle();
    let admitted = || {
        let snapshot = handle.snapshot();
        ["/a", "b"].map(|name| snapshot.bucket(name).unwrap().admitted())
    };
    after(&layer, 1).await;
    assert_eq!(admitted(), [0, 1]);
    handle.reload(endpoints()).unwrap();
    after(&layer, 1).await;
    assert_eq!(admitted(), [0, 2]);
    config.reload(&handle).unwrap();
    after(&layer, 1).await;
    assert_eq!(admitted(), [1, 2]);
}

/// What is retried is what the file says.
#[tokio::test(start_paused = true)]
async fn retries_keep_to_the_file() {
    for (text, expected) in [
        ("", 3),
        ("retry = false", 1),
        ("retry.max_attempts = 2", 2),
        ("[retry]\nstatuses = [502]", 1),
    ] {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&calls);
        let serve = service_fn(move |_: Req| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async {
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Ok::<_, BoxError>(response)
            }
        });
        let client = toml(text).layer().layer(serve);
        let response = client.oneshot(Request::get("/a").body("").unwrap()).await;
        assert_eq!(
            response.unwrap().status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
        let calls = calls.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(calls, expected, "{text}");
    }
}
