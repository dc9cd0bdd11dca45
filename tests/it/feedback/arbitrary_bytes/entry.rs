//! What takes bytes from outside, and what has to hold whatever they are.
//!
//! The tests here and the fuzz targets (`fuzz/`) call the same functions. Inputs are written as one
//! would write them down, so that a corpus can be read: a request, an answer, a list of templates.

use std::{
    io,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tokio::runtime::{Builder, Runtime};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_throttle::{
    ConcurrencyLayer, Endpoints, Quota, Refused, RefusedReason, RetryLayer, ThrottleLayer,
    mock::elevenlabs::MockElevenLabs,
    signal::{Answer, Classify, MAX_RETRY_AFTER, Profile, QuotaReport, Signal},
};

pub type Entry = fn(&[u8]);

pub const ALL: [(&str, Entry); 3] = [
    ("templates", templates),
    ("answers", answers),
    ("mock", mock),
];

/// Up to the next line's end; `\r\n` ends a line too.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (line, after) = match end {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &rest[rest.len()..]),
    };
    *rest = after;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Header lines up to an empty one. What is no header is left out.
fn headers(rest: &mut &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while let Some(line) = line(rest).filter(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// A request: a line with method and target, headers, an empty line, the body. Most bytes are none.
fn request(mut text: &[u8]) -> Option<Request<Full<Bytes>>> {
    let rest = &mut text;
    let first = line(rest)?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let method = Method::from_bytes(&first[..space]).ok()?;
    let uri = Uri::try_from(&first[space + 1..]).ok()?;
    let headers = headers(rest);
    let mut request = Request::new(Full::from(Bytes::copy_from_slice(rest)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some(request)
}

/// Runs it where time stands still unless everybody waits for it.
fn paused<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A request of two lines, the second its `Host`; and templates, one per line.
///
/// Each template is taken or refused with an error that names it; those that are taken can be asked for
/// by name; and a request goes to one endpoint, and always the same.
pub fn templates(mut text: &[u8]) {
    let rest = &mut text;
    let (target, host) = (line(rest).unwrap_or(b""), line(rest).unwrap_or(b""));
    let mut endpoints = Endpoints::new();
    let mut taken = Vec::new();
    while let Some(template) = line(rest) {
        let template = String::from_utf8_lossy(template).into_owned();
        match endpoints.clone().try_route(&template, Quota::concurrent(2)) {
            Ok(more) => {
                endpoints = more;
                taken.push(template);
            }
            Err(error) => {
                let text = error.to_string();
                let name = format!("{template:?}");
                assert!(
                    text.contains(&template) || text.contains(&name),
                    "which template is that? {text}"
                );
            }
        }
    }
    let layer = ConcurrencyLayer::new(endpoints.clone());
    let handle = layer.handle();
    for template in &taken {
        handle.set_quota(template, Quota::concurrent(3)).unwrap();
        let snapshot = handle.snapshot();
        let bucket = snapshot.bucket(template).expect("it was taken");
        assert_eq!(bucket.concurrency(), Some(3));
        // Taken once is taken.
        assert!(
            endpoints
                .clone()
                .try_route(template, Quota::unlimited())
                .is_err()
        );
    }
    let mut ask = target.to_vec();
    ask.extend_from_slice(b"\nhost: ");
    ask.extend_from_slice(host);
    let Some(asked) = request(&ask) else {
        return;
    };
    let idle = service_fn(|_| std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>());
    let mut service = layer.layer(idle);
    let mut first = None;
    let mut under_way = Vec::new();
    for sent in 1..=2 {
        // It waits for nothing: there is room for both.
        under_way.push(service.call(asked.clone()));
        let snapshot = handle.snapshot();
        let mut used = snapshot
            .buckets()
            .filter(|bucket| bucket.name() != Endpoints::OVERALL && bucket.in_flight() > 0);
        let bucket = used.next().expect("it belongs somewhere");
        assert!(used.next().is_none(), "and nowhere else");
        assert_eq!(bucket.in_flight(), sent);
        let name = first.get_or_insert_with(|| bucket.name().to_owned());
        assert_eq!(
            name,
            bucket.name(),
            "the same request goes to the same endpoint"
        );
    }
}

const PROFILES: [Profile; 12] = [
    Profile::Standard,
    Profile::Anthropic,
    Profile::OpenAi,
    Profile::GitHub,
    Profile::Discord,
    Profile::Riot,
    Profile::Shopify,
    Profile::Google,
    Profile::Aws,
    Profile::Grpc,
    Profile::Stripe,
    Profile::Salesforce,
];

/// An answer: a line with the status, headers, an empty line, the body.
///
/// No profile panics over it, and no time is out of bounds; nor does a layer that hears it pause for
/// longer than it may.
pub fn answers(mut text: &[u8]) {
    let rest = &mut text;
    let status = line(rest).and_then(|line| StatusCode::from_bytes(line.trim_ascii()).ok());
    let Some(status) = status else {
        return;
    };
    let headers = headers(rest);
    let body = *rest;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_755_780_000);
    for profile in PROFILES {
        let head = Answer::new(status, &headers, now);
        let _ = profile.wants_body(&head);
        for answer in [head, head.with_body(body)] {
            let _ = (answer.time(), answer.should_retry(), format!("{answer:?}"));
            assert!(answer.retry_after().is_none_or(is_a_delay));
            if let Some(signal) = profile.classify(&answer) {
                check_signal(&signal);
            }
            if let Some(quota) = profile.quota(&answer) {
                check_quota(&quota);
            }
        }
    }
    for profile in [
        PROFILES[0],
        PROFILES[usize::from(status.as_u16()) % PROFILES.len()],
    ] {
        paused(hear(profile, status, &headers, body));
    }
}

fn is_a_delay(time: Duration) -> bool {
    !time.is_zero() && time <= MAX_RETRY_AFTER
}

fn check_signal(signal: &Signal) {
    let _ = (signal.kind(), signal.scope(), signal.should_retry());
    assert!(signal.retry_after().is_none_or(is_a_delay), "{signal:?}");
    assert!(signal.period().is_none_or(|period| !period.is_zero()));
    assert_ne!(signal.rate_limit(), Some(0), "{signal:?}");
    assert_ne!(signal.concurrency_limit(), Some(0), "{signal:?}");
}

fn check_quota(quota: &QuotaReport) {
    let _ = (
        quota.limit(),
        quota.period(),
        quota.is_gradual(),
        quota.spacing(),
    );
    let _ = (quota.maximum_concurrency(), quota.current_concurrency());
    assert!(
        quota.reset().is_none_or(|reset| reset <= MAX_RETRY_AFTER),
        "{quota:?}"
    );
}

/// A layer that retries hears this answer, and then a success.
async fn hear(profile: Profile, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    const MAX_PAUSE: Duration = Duration::from_secs(5);
    let endpoints = Endpoints::new().route("/a", Quota::per_second(5).concurrency(4));
    let layer = ThrottleLayer::new(endpoints)
        .retry(RetryLayer::new().max_attempts(2))
        .classify(profile)
        .max_pause(MAX_PAUSE);
    let handle = layer.handle();
    let mut answer = Response::new(Full::<Bytes>::from(Bytes::copy_from_slice(body)));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers.clone();
    let mut answers = vec![Response::new(Full::default()), answer];
    let service = layer.layer(service_fn(move |_: Request<String>| {
        let answer = answers.pop().unwrap_or_default();
        async move { Ok::<_, BoxError>(answer) }
    }));
    let wait = tokio::time::timeout(
        Duration::from_secs(600),
        service
            .clone()
            .oneshot(Request::get("/a").body(String::new()).unwrap()),
    );
    let answer = wait
        .await
        .expect("no answer keeps anybody for ever")
        .unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    // Of what was peeked nothing is lost.
    assert!(text == body || text.is_empty());
    let snapshot = handle.snapshot();
    for bucket in snapshot.buckets() {
        assert_eq!(bucket.in_flight(), 0);
        let longest = MAX_PAUSE + Duration::from_millis(250);
        if bucket.paused_for().is_some_and(|time| time > longest) {
            // Nobody waits for so long.
            let next = Request::get("/a").body(String::new()).unwrap();
            let refused = service.clone().oneshot(next).await.unwrap_err();
            let refused = Refused::in_error(&refused).expect("it has not been sent");
            assert_eq!(refused.reason(), RefusedReason::ServerClosed, "{bucket:?}");
        }
        if let Some(learned) = bucket.learned() {
            assert!(learned.concurrency().is_none_or(|(n, _)| n > 0));
            assert!(
                learned
                    .rate()
                    .is_none_or(|(n, period, _)| n > 0 && !period.is_zero())
            );
        }
    }
}

/// Some requests, with a line `---` between them.
///
/// The mock answers each: with a body that ends, as long as its head says, and in JSON where it says so.
pub fn mock(text: &[u8]) {
    const BETWEEN: &[u8] = b"\n---\n";
    const MOST: usize = 6;
    let mut requests = Vec::new();
    let mut rest = text;
    while requests.len() < MOST {
        let end = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN);
        requests.extend(request(&rest[..end.unwrap_or(rest.len())]));
        match end {
            Some(end) => rest = &rest[end + BETWEEN.len()..],
            None => break,
        }
    }
    if requests.is_empty() {
        return;
    }
    paused(async {
        let api = MockElevenLabs::builder().seed(7).build();
        // Tests in other languages can tell the mock to fail: then it may.
        let mut may_fail = false;
        for request in requests {
            may_fail |= request.uri().path().starts_with("/__mock__/");
            let answered = tokio::time::timeout(DAY, visit(api.clone(), request, may_fail)).await;
            assert!(answered.is_ok() || may_fail, "nothing here takes a day");
        }
        let _ = (api.report().to_string(), format!("{api:?}"));
    });
}

const DAY: Duration = Duration::from_secs(86_400);

async fn visit(api: MockElevenLabs, request: Request<Full<Bytes>>, may_fail: bool) {
    let asked = format!("{} {}", request.method(), request.uri());
    let is_head = request.method() == Method::HEAD;
    let response = match api.oneshot(request).await {
        Ok(response) => response,
        Err(error) => return assert!(may_fail && breaks_off(&error), "{asked}: {error}"),
    };
    let (head, body) = response.into_parts();
    assert!(
        (200..600).contains(&head.status.as_u16()),
        "{asked}: {head:?}"
    );
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return assert!(may_fail, "{asked}: {error:?}"),
    };
    if may_fail || is_head {
        return;
    }
    if let Some(length) = head.headers.get(http::header::CONTENT_LENGTH) {
        assert_eq!(
            length.as_bytes(),
            body.len().to_string().as_bytes(),
            "{asked}"
        );
    }
    let kind = head.headers.get(http::header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes() == b"application/json") {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
        assert!(json.is_ok() || is_lines(&body), "{asked}: {body:?}");
    }
}

/// Some endpoints stream one value per line.
fn is_lines(body: &[u8]) -> bool {
    let mut lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.all(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok())
}

fn breaks_off(error: &BoxError) -> bool {
    error.downcast_ref::<io::Error>().is_some()
}
