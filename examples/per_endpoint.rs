//! Limits per endpoint, for a group of endpoints, and for everything together; and a look inside.

use std::time::Duration;

use futures_util::future::try_join_all;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_throttle::{Endpoints, Quota, ThrottleLayer};

const TTS: &str = "POST /v1/text-to-speech/{voice_id}";
const STREAM: &str = "POST /v1/text-to-speech/{voice_id}/stream";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let endpoints = Endpoints::new()
        .route(TTS, Quota::per_second(5))
        // Both ways to speech share four places. A request is let go when all its limits have room for it,
        // and holds none of them while it waits for another.
        .group("speech", Quota::concurrent(4), [TTS, STREAM])
        .route("GET /v1/voices", Quota::per(1, Duration::from_secs(2)))
        .all_other_paths(Quota::per_second(10))
        .overall(Quota::per_second(8));
    let layer = ThrottleLayer::new(endpoints);
    let handle = layer.handle();

    let start = Instant::now();
    let client =
        ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(async |request: Request<String>| {
                let path = request.uri().path();
                println!("{:.1} s: {path}", start.elapsed().as_secs_f64());
                sleep(Duration::from_millis(300)).await;
                Ok::<_, BoxError>(Response::new(String::new()))
            }));

    let get = |path| Request::get(path).body(String::new());
    let post = |path| Request::post(path).body(String::new());
    let mut requests = vec![get("/v1/voices")?, get("/v1/voices")?, get("/v1/models")?];
    for _ in 0..4 {
        requests.push(post("/v1/text-to-speech/ann")?);
        requests.push(post("/v1/text-to-speech/bob/stream")?);
    }
    let calls = requests
        .into_iter()
        .map(|request| client.clone().oneshot(request));
    let watch = async {
        sleep(Duration::from_millis(100)).await;
        for bucket in handle.snapshot().buckets() {
            let (sent, waiting) = (bucket.admitted(), bucket.waiting());
            println!(
                "       {:<42} {sent} sent, {waiting} waiting",
                bucket.name()
            );
        }
    };
    tokio::join!(try_join_all(calls), watch).0?;
    Ok(())
}
