//! Part one: a paused clock, which jumps to the next timer whenever there is nothing else to do.

use std::time::Duration;

use tower::ServiceBuilder;
use tower_throttle::{
    BoxError, ConcurrencyLayer, Endpoints, Quota, ThrottleLayer,
    mock::{
        Limit, Work,
        elevenlabs::{CLONE_VOICE, Client, MockElevenLabs, TTS},
    },
};

use super::row::Row;

/// How long the real API takes to refuse a call; until then, that call is in flight too.
const REFUSAL: Duration = Duration::from_millis(250);

/// Both tables of part one: the users, and the segments.
pub(crate) fn run(seed: u64, users: &[usize]) -> Result<(Vec<Row>, Vec<Row>), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async { Ok((run_all(seed, users).await?, three_ways().await?)) })
}

/// For each endpoint, groups of users who call at the same moment. Each group meets a fresh API.
async fn run_all(seed: u64, users: &[usize]) -> Result<Vec<Row>, BoxError> {
    let endpoints = Endpoints::new()
        .route(CLONE_VOICE, Quota::per_second(1).concurrency(1))
        .route(TTS, Quota::per_second(5).concurrency(4));
    let connect = || {
        let api = MockElevenLabs::builder().seed(seed).build();
        let throttled = ServiceBuilder::new()
            .layer(ThrottleLayer::new(endpoints.clone()))
            .service(api.clone());
        (api, Client::new(throttled))
    };
    let mut rows = Vec::new();
    for n in users {
        let (api, client) = connect();
        let calls = (0..*n).map(async |user| client.clone_voice(&format!("user {user}")).await);
        let label = format!("clone, {n} concurrent");
        rows.push(Row::measure(&label, &api, CLONE_VOICE, 0, calls).await?);
    }
    for n in users {
        let (api, client) = connect();
        let calls = (0..*n).map(async |user| client.tts("voice", &format!("user {user}")).await);
        let label = format!("TTS, {n} concurrent");
        rows.push(Row::measure(&label, &api, TTS, 0, calls).await?);
    }
    Ok(rows)
}

/// The post-mortem's drama: ten segments of 12 s, where the API allows four at once and has no rate
/// limit.
async fn three_ways() -> Result<Vec<Row>, BoxError> {
    let ways = [
        ("unlimited", Quota::unlimited(), 6),
        ("3 at a time", Quota::concurrent(3), 0),
        ("one by one", Quota::concurrent(1), 0),
    ];
    let mut rows = Vec::new();
    for (label, quota, to_be_refused) in ways {
        let work = Work::fixed(Duration::from_secs(12));
        let api = MockElevenLabs::builder()
            .tts(Limit::concurrent(4), work)
            .refusal_after(REFUSAL)
            .build();
        // This layer never retries, so a refusal stays one.
        let limited = ServiceBuilder::new()
            .layer(ConcurrencyLayer::new(Endpoints::new().route(TTS, quota)))
            .service(api.clone());
        let client = Client::new(limited);
        let calls = (1..=10).map(async |n| client.tts("voice", &format!("segment {n}")).await);
        rows.push(Row::measure(label, &api, TTS, to_be_refused, calls).await?);
    }
    Ok(rows)
}
