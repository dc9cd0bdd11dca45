//! The presets for ElevenLabs, against judges that allow just what was published.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::Instant;
use tower::ServiceExt;
use tower_throttle::{
    EndpointName, Endpoints, ThrottleLayer,
    elevenlabs::{self, Family, Plan},
    mock::{Judge, Limit, Work},
};

const SECOND: Duration = Duration::from_secs(1);

/// Sends so many requests at once, each on another of the endpoints for speech, and says how long it took.
async fn speak(endpoints: Endpoints, judge: &Judge, n: usize, family: Option<Family>) -> Duration {
    let client = tower::ServiceBuilder::new()
        .layer(ThrottleLayer::new(endpoints).without_retry())
        .service(judge.clone());
    let start = Instant::now();
    join_all((0..n).map(async |n| {
        let path = elevenlabs::TEXT_TO_SPEECH[n % 4].replace("{voice_id}", &format!("voice{n}"));
        let (_, path) = path.split_once(' ').unwrap();
        let mut request = Request::post(path).body(Empty::<Bytes>::new()).unwrap();
        if let Some(family) = family {
            request.extensions_mut().insert(EndpointName::from(family));
        }
        let answer = client.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
    }))
    .await;
    start.elapsed()
}

/// All four endpoints together allow so many at once, as one route.
fn judge(concurrency: usize) -> Judge {
    let limit = Limit::concurrent(concurrency);
    Judge::builder()
        .route("/v1/text-to-speech/{*rest}", limit, Work::fixed(SECOND))
        .build()
}

#[tokio::test(start_paused = true)]
async fn a_preset_stays_below_its_limit_on_all_four_endpoints_together() {
    for plan in Plan::ALL {
        let Some(preset) = plan.preset() else {
            continue;
        };
        let judge = judge(preset.limit);
        let took = speak(preset.into(), &judge, 3 * preset.recommended, None).await;
        assert_eq!(took, 3 * SECOND, "{plan}");
        let report = judge.report();
        report.assert_compliant();
        let most = report.endpoint("/v1/text-to-speech/{*rest}").most_in_flight;
        assert_eq!(most, preset.recommended);
    }
}

#[tokio::test(start_paused = true)]
async fn each_family_has_its_own_budget() {
    for plan in Plan::ALL {
        for family in Family::ALL {
            let n = plan.concurrency(family);
            let judge = judge(n);
            let took = speak(plan.into(), &judge, 2 * n, Some(family)).await;
            assert_eq!(took, 2 * SECOND, "{plan}, {family}");
            judge.report().assert_compliant();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn speech_of_no_named_family_is_under_the_lower_limit() {
    let judge = judge(Plan::Free.concurrency(Family::Multilingual));
    let took = speak(Plan::Free.into(), &judge, 4, None).await;
    assert_eq!(took, 2 * SECOND);
    judge.report().assert_compliant();
}

#[tokio::test(start_paused = true)]
async fn families_do_not_wait_for_each_other() {
    let judge = judge(6);
    let endpoints = Endpoints::from(Plan::Free);
    let layer = ThrottleLayer::new(endpoints).without_retry();
    let client = tower::ServiceBuilder::new()
        .layer(layer)
        .service(judge.clone());
    let start = Instant::now();
    let both = [Family::Multilingual; 2]
        .into_iter()
        .chain([Family::Flash; 4]);
    join_all(both.map(async |family| {
        let request = Request::post("/v1/text-to-speech/x")
            .extension(EndpointName::from(family))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = client.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }))
    .await;
    assert_eq!(start.elapsed(), SECOND);
    judge.report().assert_compliant();
}
