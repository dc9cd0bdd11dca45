//! An SDK that is no tower service, within the limits of a layer.
//!
//! Most SDKs make their own HTTP client and let nothing be put around it. Each call asks the layer's handle first.
//! Here half of the calls go through the SDK, and half through reqwest below the layer: all of them together keep to
//! the limits of the API, a mock of ElevenLabs on a real socket.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use http::{Request, StatusCode};
use tower::{BoxError, ServiceBuilder};
use tower_throttle::{
    Endpoints, Handle, Quota, ThrottleLayer,
    mock::{
        self,
        elevenlabs::{MockElevenLabs, TTS},
    },
    reqwest::{Client, ReqwestService},
    signal::{Signal, SignalKind},
};

const PATH: &str = "/v1/text-to-speech/narrator";

/// In place of an SDK that somebody else has written: it knows of no limits.
struct Sdk {
    http: reqwest::Client,
    url: String,
}

enum SdkError {
    TooManyRequests { retry_after: Option<Duration> },
    Other(BoxError),
}

impl Sdk {
    async fn speak(&self, text: &str) -> Result<Vec<u8>, SdkError> {
        let other = |error: reqwest::Error| SdkError::Other(error.into());
        let request = self.http.post(&self.url).header("xi-api-key", "any");
        let body = serde_json::json!({ "text": text });
        let answer = request.json(&body).send().await.map_err(other)?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = answer.headers().get("retry-after");
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = seconds.map(Duration::from_secs);
            return Err(SdkError::TooManyRequests { retry_after });
        }
        let answer = answer.error_for_status().map_err(other)?;
        Ok(answer.bytes().await.map_err(other)?.into())
    }
}

/// Calls the SDK when the limits have room for it, and once more whenever the API refuses all the same.
async fn speak(handle: &Handle, sdk: &Sdk, text: &str) -> Result<Vec<u8>, BoxError> {
    // What the layer's routes look at. The SDK makes the request itself.
    let head = Request::post(PATH).body(())?;
    let mut permit = handle.admit(&head).await?.dispatched().await?;
    loop {
        match sdk.speak(text).await {
            // The permit ends here, and the call counts as accepted.
            Ok(audio) => return Ok(audio),
            Err(SdkError::TooManyRequests { retry_after }) => {
                // Everybody waits now, those above the layer too, and the layer may learn from it.
                let mut signal = Signal::new(SignalKind::Rate);
                if let Some(delay) = retry_after {
                    signal = signal.with_retry_after(delay);
                }
                if permit.throttled(&signal).is_none() {
                    return Err("the API refuses, and no retry helps".into());
                }
                permit = handle.admit_again(permit).await?.dispatched().await?;
            }
            Err(SdkError::Other(error)) => {
                permit.failed();
                return Err(error);
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let api = MockElevenLabs::builder().build();
    let listener = mock::bind()?;
    let url = format!("http://{}{PATH}", listener.local_addr()?);
    tokio::spawn(api.clone().serve(listener));

    // The API counts when requests arrive, and some take longer on their way than others: hence the margin.
    let quota = Quota::per_second(5)
        .concurrency(4)
        .margin(Duration::from_millis(250));
    let layer = ThrottleLayer::new(Endpoints::new().route(TTS, quota));
    let handle = layer.handle();

    // The mock is on this machine, so no proxy leads to it.
    let http = ReqwestService::build(reqwest::Client::builder().no_proxy())?;
    let sdk = Sdk {
        http: http.get_ref().clone(),
        url: url.clone(),
    };
    let requests = sdk.http.clone();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(http));

    let by_sdk = ["Once upon", "a time", "there was"].map(|text| speak(&handle, &sdk, text));
    let by_client = ["a frog", "that sang", "all day"].map(async |text| {
        let request = requests.post(&url).header("xi-api-key", "any");
        let request = request.json(&serde_json::json!({ "text": text })).build()?;
        let answer = client.execute(request).await?.error_for_status()?;
        Ok::<_, BoxError>(answer.bytes().await?.to_vec())
    });
    let (by_sdk, by_client) = try_join(try_join_all(by_sdk), try_join_all(by_client)).await?;
    for audio in by_sdk.into_iter().chain(by_client) {
        println!("{}", String::from_utf8_lossy(&audio));
    }

    println!("\nWhat the API says of it:\n{}", api.report());
    api.report().assert_compliant();
    Ok(())
}
