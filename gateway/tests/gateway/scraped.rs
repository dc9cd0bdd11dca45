//! Each metric that `docs/operating.md` and `docs/gateway.md` list is on the metrics page after a run in which each kind
//! of event comes about.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{advance, pause, resume, sleep},
};

use crate::{
    files::Temporary,
    meters, reload,
    support::{
        AnyBody, Frames, Line, client, full, get, ms, post, send, serve, soon, streamed, until,
    },
};

/// This gateway has no store. The library's tests produce these.
const OF_STORES: [&str; 2] = [
    "tower_throttle_store_away_total",
    "tower_throttle_disagreements_total",
];

const OPERATING: &str = include_str!("../../../docs/operating.md");
const GATEWAY: &str = include_str!("../../../docs/gateway.md");
const METRICS: &str = "| metric | type | unit | labels | meaning |";

/// What the library counts, and what the gateway counts itself, as their guides have it: for each metric its type, its
/// labels and its meaning.
type Documented = BTreeMap<&'static str, (&'static str, BTreeSet<&'static str>, &'static str)>;

fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

fn documented(guide: &'static str) -> Documented {
    let mut lines = guide.lines().skip_while(|line| *line != METRICS);
    assert!(lines.next().is_some(), "there is no table of metrics");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = quoted(cells[0]).next().unwrap();
        (name, (cells[1], quoted(cells[3]).collect(), cells[4]))
    })
    .collect()
}

/// The labels of each metric of this gateway, without those that a histogram adds.
fn scraped(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut histogram = "";
    for line in page.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            histogram = of.strip_suffix(" histogram").unwrap_or_default();
        }
        let Some((name, labels)) = line.split_once('{') else {
            continue;
        };
        let (labels, _) = labels.rsplit_once('}').unwrap();
        if !labels.contains("layer=\"scraped\"") {
            continue;
        }
        let is_part = !histogram.is_empty() && name.starts_with(histogram);
        let name = if is_part { histogram } else { name };
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, _)| label.to_owned());
        let labels = labels.filter(|label| label != "le");
        found.entry(name.to_owned()).or_default().extend(labels);
    }
    found
}

/// Answers as the path says. What is left open is handed out.
fn upstream(open: mpsc::UnboundedSender<Frames>) -> String {
    serve(move |request: Request<Incoming>| {
        let answer = answer(request.uri().path(), &open);
        async {
            // The one that never ends is not answered.
            let _ = request.collect().await;
            answer
        }
    })
}

fn answer(path: &str, open: &mpsc::UnboundedSender<Frames>) -> Response<AnyBody> {
    let answer = Response::builder().header("content-type", "application/json");
    match path {
        "/one" => {
            let (frames, body) = streamed();
            frames.data("begun");
            open.send(frames).unwrap();
            answer.body(body)
        }
        "/crowd" => answer
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("retry-after", "1")
            .body(full(
                r#"{"detail":{"status":"too_many_concurrent_requests"}}"#,
            )),
        "/failing" => answer
            .status(StatusCode::SERVICE_UNAVAILABLE)
            .body(full("")),
        _ => answer.body(full("{}")),
    }
    .unwrap()
}

const FILE: &str = "
usage = 'openai'
[limits.routes]
'/one' = '1 at once'
'/window' = '1/s'
'/crowd' = '20 at once'
'/failing' = '20 at once'
'/gone' = '20 at once'
'/tokens' = '1000 tokens/min'
'/own' = '1 at once'
[limits.retry]
max_attempts = 2
backoff = { kind = 'full', base = '1ms', cap = '2ms' }
";

/// A call from a program of its own, which is as patient as can be: the clock jumps here.
fn call(line: &Line, path: &str) -> tokio::task::JoinHandle<StatusCode> {
    let (client, request) = (client(Version::HTTP_11), post(&line.url(path)));
    tokio::spawn(async move {
        let answer = client.request(request).await.unwrap();
        let status = answer.status();
        answer.collect().await.unwrap();
        status
    })
}

/// A place that is waited for by hand, and not taken: what else can be counted.
async fn absent_and_given_back(line: &Line) {
    let head = Request::get("/own").body(()).unwrap();
    let first = line
        .handle()
        .admit(&head)
        .await
        .unwrap()
        .dispatch()
        .unwrap();
    {
        let mut absent = pin!(line.handle().admit(&head));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(absent.as_mut().poll(&mut cx).is_pending());
        let (handle, head) = (line.handle().clone(), head.clone());
        let next = tokio::spawn(async move { drop(handle.admit(&head).await.unwrap()) });
        line.counted("/own", 2, 1).await;
        drop(first);
        // The one that is polled passes the one that is not.
        soon("the next is admitted", next).await.unwrap();
    }
    // Admitted, and not sent.
    drop(line.handle().admit(&head).await.unwrap());
}

/// A body that is open for as long as it takes to warn of it, while another request waits.
async fn kept_open(line: &Line, opened: &mut mpsc::UnboundedReceiver<Frames>) {
    let first = call(line, "/one");
    let frames = soon("a body", opened.recv()).await.unwrap();
    let second = call(line, "/one");
    line.counted("/one", 1, 1).await;
    pause();
    advance(Duration::from_secs(31)).await;
    resume();
    sleep(ms(10)).await;
    let page = get(&line.url("/__gateway__/metrics")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        page.contains("tower_throttle_waiting{layer=\"scraped\",endpoint=\"/one\"} 1\n"),
        "{page}"
    );
    drop(frames);
    drop(soon("a body", opened.recv()).await.unwrap());
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(second.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn each_documented_metric_is_scraped_after_a_run_that_produces_it() {
    let (open, mut opened) = mpsc::unbounded_channel();
    let file = Temporary::new(FILE);
    let upstream = upstream(open);
    let args = [
        "--config",
        file.path(),
        "--name=scraped",
        "--body-timeout=50ms",
    ];
    let line = Line::start(&upstream, &args);

    // Queued for a window, for a pause, and refused.
    assert_eq!(call(&line, "/window").await.unwrap(), StatusCode::OK);
    let queued = call(&line, "/window");
    line.counted("/window", 1, 0).await;
    line.handle().pause("/window", ms(50)).unwrap();
    let mut request = post(&line.url("/window"));
    let wait = "0ms".parse().unwrap();
    request.headers_mut().insert("x-gateway-max-wait", wait);
    let refused = send(&client(Version::HTTP_11), request).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(queued.await.unwrap(), StatusCode::OK);

    absent_and_given_back(&line).await;
    kept_open(&line, &mut opened).await;

    // Without a word of what it took; given up; throttled, which teaches.
    assert_eq!(call(&line, "/tokens").await.unwrap(), StatusCode::OK);
    let failing = get(&line.url("/failing")).await;
    assert_eq!(failing.status, StatusCode::SERVICE_UNAVAILABLE);
    let crowd: Vec<_> = (0..12).map(|_| call(&line, "/crowd")).collect();
    until("it is paused", || {
        let snapshot = line.handle().snapshot();
        let bucket = snapshot.bucket("/crowd").unwrap();
        bucket.learned().is_some() && bucket.paused_for().is_some()
    })
    .await;
    for one in crowd {
        one.abort();
    }
    // Without an answer: the caller's own body breaks off the call.
    let (frames, body) = streamed();
    frames.data("begun");
    let request = Request::post(line.url("/gone")).body(body).unwrap();
    let gone = send(&client(Version::HTTP_11), request).await;
    assert_eq!(gone.status, StatusCode::REQUEST_TIMEOUT);
    drop(frames);
    reload::again(&line.gateway, file.path().as_ref());

    let page = get(&line.url("/__gateway__/metrics")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let scraped = scraped(&page);
    let mut all = documented(OPERATING);
    all.extend(documented(GATEWAY));
    for name in OF_STORES {
        assert!(all.remove(name).is_some(), "no guide has {name}");
    }
    for (name, (kind, labels, _)) in &all {
        assert!(
            page.contains(&format!("# TYPE {name} {kind}\n")),
            "{name} is no {kind} of\n{page}"
        );
        let found = scraped
            .get(*name)
            .unwrap_or_else(|| panic!("{name} is not in\n{page}"));
        let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, *labels, "{name}");
    }
    let unknown: Vec<_> = scraped
        .keys()
        .filter(|name| !all.contains_key(name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "no guide has {unknown:?}");
}

#[test]
fn the_guide_lists_each_metric_of_the_gateway() {
    let listed: BTreeMap<_, _> = documented(GATEWAY)
        .into_iter()
        .map(|(name, (kind, _, meaning))| (name, (kind, meaning)))
        .collect();
    let all = meters::ALL.map(|(name, kind, help)| (name, (kind, help)));
    assert_eq!(listed, all.into());
}
