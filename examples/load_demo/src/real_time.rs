//! Part two: the clock on the wall, and a socket between the client and the API.

use std::time::Duration;

use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use indicatif::{ProgressBar, ProgressStyle};
use tower::ServiceBuilder;
use tower_throttle::{
    BoxError, Endpoints, Quota, ThrottleLayer,
    mock::{
        self,
        elevenlabs::{Client, MockElevenLabs, TTS},
    },
};

use super::row::Row;

/// How many calls are made at once.
pub(crate) const CALLS: usize = 20;

/// How many of them the API allows in a second.
pub(crate) const PER_SECOND: u32 = 5;

/// By how much the client widens the window of a second.
///
/// The API counts when a call arrives, the client when it leaves. The first calls of a burst have to
/// wait for their connections, later ones find them open, so two calls that leave a second apart can
/// arrive closer than that. The margin has to be at least the difference between the slowest way and
/// the fastest: here about a millisecond, but as much as the whole process can be held up by a busy
/// machine between a call's stamp and its arrival, such as the 100 ms for which a container that has
/// used up its share of the processor stands still.
pub(crate) const MARGIN: Duration = Duration::from_millis(250);

/// So many runs, each with a fresh API and a fresh client.
pub(crate) fn run(seed: u64, runs: usize) -> Result<Vec<Row>, BoxError> {
    // One thread for the client and the API: the fewer there are, the less they wait for each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measure = |n| runtime.block_on(tts(seed, &format!("TTS, run {n}")));
    (1..=runs).map(measure).collect()
}

/// The shortest time in which the API saw one call more than it allows in a second.
pub(crate) fn closest(runs: &[Row]) -> Option<Duration> {
    let spans = runs.iter().flat_map(|run| {
        let calls = run.score.records.windows(PER_SECOND as usize + 1);
        calls.filter_map(|calls| calls.last()?.at.checked_sub(calls.first()?.at))
    });
    spans.min()
}

async fn tts(seed: u64, label: &str) -> Result<Row, BoxError> {
    let api = MockElevenLabs::builder().seed(seed).build();
    let listener = mock::bind()?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(api.clone().serve(listener));

    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http = HttpClient::builder(TokioExecutor::new()).build(connector);

    let quota = Quota::per_second(PER_SECOND).concurrency(4).margin(MARGIN);
    let throttled = ServiceBuilder::new()
        .layer(ThrottleLayer::new(Endpoints::new().route(TTS, quota)))
        .service(http);
    let client = Client::new(throttled).base_url(url);

    let progress = progress_bar(label)?;
    let calls = (1..=CALLS).map(async |n| {
        let answer = client.tts("voice", &format!("segment {n}")).await;
        completed(&progress);
        answer
    });
    let row = Row::measure(label, &api, TTS, 0, calls).await;
    progress.finish_and_clear();
    server.abort();
    row
}

/// On stderr, and hidden where that is no terminal.
fn progress_bar(label: &str) -> Result<ProgressBar, BoxError> {
    let style = ProgressStyle::with_template("  {prefix}: [{bar:20}] {pos}/{len} ({percent} %)")?;
    let bar = ProgressBar::new(CALLS as u64).with_style(style.progress_chars("=> "));
    Ok(bar.with_prefix(label.to_owned()))
}

fn completed(bar: &ProgressBar) {
    bar.inc(1);
    if bar.is_hidden() {
        let (done, all) = (bar.position(), CALLS as u64);
        eprintln!("  {}: {done}/{all} ({} %)", bar.prefix(), done * 100 / all);
    }
}
