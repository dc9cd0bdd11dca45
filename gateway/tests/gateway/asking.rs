//! What can be asked of the gateway, and what is said if it cannot.

use std::time::Duration;

use tower_throttle::{Quota, config::Config};

use crate::{
    costs::Api,
    limits,
    options::{Command, HELP, Options, Patience},
    support::{ms, options},
};

const UPSTREAM: [&str; 2] = ["--upstream", "https://api.elevenlabs.io"];

fn parse(args: &[&str]) -> Result<Command, String> {
    Options::parse(args).map_err(|error| error.to_string())
}

/// The quotas of the endpoints that these arguments make, by name.
fn quotas(args: &[&str]) -> Vec<(String, Quota)> {
    let options = options(&[&UPSTREAM, args].concat());
    let snapshot = options.limits.layer().handle().snapshot();
    let buckets = snapshot.buckets();
    buckets
        .map(|bucket| (bucket.name().to_owned(), bucket.quota().clone()))
        .collect()
}

fn quota(args: &[&str], endpoint: &str) -> Quota {
    let quotas = quotas(args);
    let mut found = quotas.iter().filter(|(name, _)| name == endpoint);
    let found = found.next().unwrap_or_else(|| panic!("{quotas:?}"));
    found.1.clone()
}

/// Limits as a file has them.
fn of_file(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn limits_are_understood() {
    let second = Duration::from_secs(1);
    for (text, quota) in [
        ("rps:5", Quota::per_second(5)),
        ("rpm:60", Quota::per_minute(60)),
        ("per:100/2m", Quota::per(100, second * 120)),
        ("concurrency:4,rps:5", Quota::per_second(5).concurrency(4)),
        ("5/s", Quota::per_second(5)),
        ("4 at once, 60/min", Quota::per_minute(60).concurrency(4)),
        ("unlimited", Quota::unlimited()),
        (
            "rps:20,per:100/2m,margin:100ms,head,concurrency:7",
            Quota::per_second(20)
                .and_per(100, second * 120)
                .margin(ms(100))
                .release_at_head()
                .concurrency(7),
        ),
    ] {
        assert_eq!(limits::quota(text), Ok(quota), "{text}");
    }
}

#[test]
fn a_bad_limit_is_refused_with_the_reason() {
    const KINDS: &str = "expected rps:N, rpm:N, per:N/TIME, concurrency:N, margin:TIME or head; or a list \
                         such as \"5/s, 4 at once\"";
    for (text, reason) in [
        ("", format!("\"\": {KINDS}")),
        ("rps:5,", format!("\"\": {KINDS}")),
        ("rps=5", format!("\"rps=5\": {KINDS}")),
        ("head:1", format!("\"head:1\": {KINDS}")),
        (
            "rps",
            "\"rps\": expected a whole number from 1 on, not \"\"".into(),
        ),
        (
            "rps:0",
            "\"rps:0\": expected a whole number from 1 on, not \"0\"".into(),
        ),
        (
            "concurrency:-1",
            "\"concurrency:-1\": expected a whole number from 1 on, not \"-1\"".into(),
        ),
        (
            "rps:1,concurrency:1,concurrency:2",
            "\"concurrency:2\": expected only once".into(),
        ),
        (
            "per:100",
            "\"per:100\": expected per:N/TIME, such as per:100/2m".into(),
        ),
        (
            "per:1/0s",
            "\"per:1/0s\": expected a time longer than 0, not \"0s\"".into(),
        ),
        (
            "margin:1",
            "\"margin:1\": expected a time such as 250ms, 1.5s or 2m, not \"1\"".into(),
        ),
        (
            "rps:1,rps:2,rps:3,rps:4,rps:5,rps:6,rps:7,rps:8,rps:9",
            "\"rps:1,rps:2,rps:3,rps:4,rps:5,rps:6,rps:7,rps:8,rps:9\": expected at most 8 windows"
                .into(),
        ),
    ] {
        assert_eq!(limits::quota(text), Err(reason));
    }
}

#[test]
fn times_are_understood() {
    for (text, time) in [
        ("0s", Duration::ZERO),
        ("250ms", ms(250)),
        ("1.5s", ms(1_500)),
        ("2m", ms(120_000)),
        ("1h", ms(3_600_000)),
    ] {
        assert_eq!(limits::time(text), Ok(time));
    }
    for text in [
        "", "5", "s", "-1s", "1e3s", "1 s", "1d", "1.2.3s", "99999h", "infs", "NaNs",
    ] {
        let reason = format!("expected a time such as 250ms, 1.5s or 2m, not {text:?}");
        assert_eq!(limits::time(text), Err(reason));
    }
}

#[test]
fn limits_become_endpoints() {
    let args = [
        "--limit",
        "POST /v1/text-to-speech/{voice_id}=concurrency:4,rps:5",
        "--limit=/v1/a=b/{*rest}=rps:1",
        "--others",
        "rpm:10",
        "--overall",
        "rps:50",
    ];
    let speech = quota(&args, "POST /v1/text-to-speech/{voice_id}");
    assert_eq!(speech, Quota::per_second(5).concurrency(4));
    assert_eq!(quota(&args, "/v1/a=b/{*rest}"), Quota::per_second(1));
    assert_eq!(quota(&args, "overall"), Quota::per_second(50));
    assert!(
        quotas(&args)
            .iter()
            .any(|(_, quota)| *quota == Quota::per_minute(10))
    );

    let args = ["--concurrency", "4", "--rps", "5"];
    assert_eq!(quota(&args, "overall"), Quota::per_second(5).concurrency(4));
    let args = ["--elevenlabs", "Pro", "--rps", "5"];
    assert_eq!(quota(&args, "flash"), Quota::concurrent(20));
    assert_eq!(quota(&args, "multilingual"), Quota::concurrent(10));
    assert_eq!(quota(&args, "overall"), Quota::per_second(5));
}

#[test]
fn the_rest_is_understood() {
    let default = options(&UPSTREAM);
    assert_eq!(default.upstream.to_string(), "https://api.elevenlabs.io");
    assert_eq!(default.listen.to_string(), "127.0.0.1:0");
    assert_eq!(default.limits, of_file("max_waiting = 1000"));
    assert!(!default.http2 && !default.forwarded);
    assert_eq!(default.name, "api.elevenlabs.io");
    assert!(default.usage.is_none() && default.estimate);
    let patience = Patience {
        header: ms(30_000),
        idle: ms(300_000),
        body: ms(60_000),
        read: ms(60_000),
    };
    assert_eq!(default.patience, patience);
    assert_eq!(
        (default.keep, default.plan, default.ca),
        (1 << 20, None, None)
    );
    assert_eq!((default.timeout, default.grace), (ms(600_000), ms(10_000)));

    let args = [
        "--host",
        "::1",
        "--port=8080",
        "--max-waiting",
        "0",
        "--max-wait",
        "30s",
        "--no-retry",
        "--keep",
        "0",
        "--http2",
        "--ca",
        "/a.pem",
        "--timeout",
        "1m",
        "--forwarded",
        "--grace",
        "0s",
        "--partition-by",
        "xi-api-key",
        "--name=speech",
        "--usage",
        "ElevenLabs",
        "--no-estimate",
        "--header-timeout=1s",
        "--idle-timeout=2s",
        "--body-timeout=3s",
        "--read-timeout=4s",
    ];
    let set = options(&[&UPSTREAM[..], &args].concat());
    assert_eq!(set.listen.to_string(), "[::1]:8080");
    let written =
        "max_waiting = 0\nmax_wait = '30s'\nretry = false\npartition_by_header = 'xi-api-key'";
    assert_eq!(set.limits, of_file(written));
    assert!(set.http2 && set.forwarded);
    assert_eq!((set.name.as_str(), set.estimate), ("speech", false));
    assert_eq!(set.usage, Some(Api::ElevenLabs));
    let patience = Patience {
        header: ms(1_000),
        idle: ms(2_000),
        body: ms(3_000),
        read: ms(4_000),
    };
    assert_eq!(set.patience, patience);
    assert_eq!(set.ca, Some("/a.pem".into()));
    assert_eq!(set.keep, 0);
    assert_eq!((set.timeout, set.grace), (ms(60_000), Duration::ZERO));
    for help in [&["-h"][..], &["--help", "--nonsense"]] {
        assert!(matches!(parse(help), Ok(Command::Help)));
    }
    assert!(args.iter().filter(|arg| arg.starts_with("--")).all(|arg| {
        let name = arg.split('=').next().unwrap();
        HELP.contains(name)
    }));
}

#[test]
fn a_bad_command_line_is_refused_with_the_reason() {
    let refused: [(&[&str], &str); 21] = [
        (&["--speed"], "invalid option '--speed'"),
        (&["-x"], "invalid option '-x'"),
        (&["fast"], "unexpected argument \"fast\""),
        (&["--port"], "missing argument for option '--port'"),
        (
            &["--http2=yes"],
            "unexpected argument for option '--http2': \"yes\"",
        ),
        (
            &["--port", "http"],
            "--port: expected a port from 0 to 65535, not \"http\": invalid digit found in string",
        ),
        (
            &["--host", "localhost"],
            "--host: expected an IP address, not \"localhost\": invalid IP address syntax",
        ),
        (
            &["--max-waiting", "-1"],
            "--max-waiting: expected a whole number, not \"-1\": invalid digit found in string",
        ),
        (
            &["--max-wait", "30"],
            "--max-wait: expected a time such as 250ms, 1.5s or 2m, not \"30\"",
        ),
        (
            &["--timeout", "0s"],
            "--timeout: expected a time longer than 0, not \"0s\"",
        ),
        (
            &["--limit", "POST /a"],
            "--limit: expected [METHOD ]PATH=LIMIT, such as \"POST /v1/speech=concurrency:4\", not \
             \"POST /a\"",
        ),
        (
            &["--limit", "POST v1/a=rps:1"],
            "--limit: expected a path that begins with a slash, such as \"POST /v1/speech\", not \
             \"POST v1/a\"",
        ),
        (
            &["--limit", "/a=rps:none"],
            "--limit: \"rps:none\": expected a whole number from 1 on, not \"none\"",
        ),
        (
            &["--rps", "0"],
            "--rps: \"rps:0\": expected a whole number from 1 on, not \"0\"",
        ),
        (
            &["--others", "rps:1", "--others", "rps:1"],
            "--others: expected only once",
        ),
        (
            &["--overall", "rps:1", "--rps", "1"],
            "--overall: expected alone, without --concurrency and --rps",
        ),
        (
            &["--concurrency", "1", "--concurrency", "2"],
            "--concurrency: expected only once",
        ),
        (
            &["--elevenlabs", "gold"],
            "--elevenlabs: \"gold\" is no known plan: expected one of free, starter, creator, pro, scale, \
             business",
        ),
        (
            &[
                "--elevenlabs",
                "free",
                "--limit",
                "POST /v1/text-to-speech/{id}=rps:1",
            ],
            "limits: \"POST /v1/text-to-speech/{id}\" has its limit from the plan (elevenlabs): expected \
             only one of the two",
        ),
        (
            &["--partition-by", "x y"],
            "--partition-by: expected the name of a header, not \"x y\": invalid HTTP header name",
        ),
        (
            &["--ca", "/a.pem", "--upstream", "http://x"],
            "--ca: expected an https upstream, not http://x",
        ),
    ];
    for (args, reason) in refused {
        let args = [&UPSTREAM, args].concat();
        let said = parse(&args).unwrap_err();
        assert!(said.starts_with(reason), "{args:?}: {said}");
    }
    // What the library has to say of a template, it says itself.
    let twice = ["--limit", "/a/{b}=rps:1", "--limit", "/a/{c}=rps:1"];
    let reason = parse(&[&UPSTREAM[..], &twice].concat()).unwrap_err();
    assert!(
        reason.starts_with("--limit: ") && reason.contains("/a/{c}"),
        "{reason}"
    );
}

#[test]
fn a_bad_limit_or_api_is_refused_with_the_reason() {
    let refused: [(&[&str], &str); 2] = [
        (
            &["--usage", "mistral"],
            "--usage: expected one of openai, anthropic, gemini, elevenlabs, not \"mistral\"",
        ),
        (
            &["--limit", "/a=5 tokens"],
            "--limit: \"5 tokens\": quota part \"5 tokens\"",
        ),
    ];
    for (args, reason) in refused {
        let said = parse(&[&UPSTREAM, args].concat()).unwrap_err();
        assert!(said.starts_with(reason), "{args:?}: {said}");
    }
}

#[test]
fn an_upstream_is_an_origin() {
    assert!(
        parse(&["--port", "1"])
            .unwrap_err()
            .starts_with("--upstream is missing")
    );
    for (url, what) in [
        ("", ": empty string"),
        ("api.example", ""),
        ("/", ""),
        ("ftp://api.example", ""),
        ("https://user:key@api.example", ""),
        (
            "https://api.example/v1",
            ": a path belongs into the base URL that programs use",
        ),
        (
            "https://api.example?a",
            ": a path belongs into the base URL that programs use",
        ),
        ("https://", ": empty string"),
    ] {
        assert_eq!(
            parse(&["--upstream", url]).unwrap_err(),
            format!(
                "--upstream: expected http://HOST[:PORT] or https://HOST[:PORT], not {url:?}{what}"
            )
        );
    }
    for url in [
        "http://127.0.0.1:1",
        "https://[::1]:443/",
        "http://LOCALHOST",
    ] {
        parse(&["--upstream", url]).unwrap();
    }
}
